"""The selection of tasksift in a process of its own, for `selection.py` and `growth.py`: .npy to ids and probabilities.

    python benchmarks/ours.py pool.npy target.npy out.npz --way fit --alpha 0.6 --scale 5 --sigma auto

`fit` calls the array function, `select` the whole pipeline for a budget of 1,000 rows, drawn with replacement as in the
paper: at a given alpha a plan may have fewer rows than that.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from measured import Stages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--way", choices=("fit", "select"), default="fit")
    parser.add_argument("--alpha", type=float, default=0.6)
    parser.add_argument("--scale", type=float, default=5.0)
    parser.add_argument("--sigma", default="auto")
    args = parser.parse_args()
    sigma = args.sigma if args.sigma == "auto" else float(args.sigma)
    stages = Stages()
    if args.way == "fit":
        from tasksift.selectors import tsds

        stages.end("imports")
        pool, targets = np.load(args.pool, mmap_mode="r"), np.load(args.target)
        plan = tsds.fit(pool, targets, alpha=args.alpha, scale=args.scale, sigma=sigma)
    else:
        from tasksift import select

        stages.end("imports")
        plan = select(
            vectors=args.pool,
            target_vectors=args.target,
            budget=1000,
            draw="multinomial",
            normalize=False,
            alpha=args.alpha,
            scale=args.scale,
            sigma=sigma,
        ).plan
    stages.end(
        args.way,
        sigma=float(plan.info["sigma"]),
        status=plan.status,
        breadth=plan.breadth,
        support=len(plan.ids),
        densities=plan.info["densities_computed"],
        prefetch=plan.info.get("prefetch"),
    )
    np.savez(args.out, ids=plan.ids, probabilities=plan.probabilities)


if __name__ == "__main__":
    main()
