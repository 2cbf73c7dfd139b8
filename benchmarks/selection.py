"""Whole selections, .npy to ids and probabilities: tasksift against TSDS the way the published code does it.

    python benchmarks/selection.py --rows 1000000 --targets 200 --kind near --arrays DIR --results selection.json

Every run is a process of its own, timed from its start with imports included: `fit`, the array function of tasksift
on a memory-mapped pool (`ours.py`); `select`, its whole pipeline; `ivf`, the published method (`ivf_recipe.py`) with
the same alpha, C and bandwidth: that of ours by default, `--sigma 0.75` for the published one. A run of `ivf` that
takes longer than `--limit` is ended and reported as "more than"; it is not repeated.

Memory is what the process holds besides mapped files (on Linux; elsewhere mapped files count). Accuracy of `ivf`
compares it with `fit`: total variation distance of the two vectors of probabilities, mass of ours on rows to which it
gives none, and recall of its neighbour lists for 20 of the targets. Exact copies count as one row. Runs that the
results hold already are not made again.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from arrays import Arrays, add_options
from baselines import product_and_merge, recall
from command import earlier, keep, markdown
from measured import Measured, run

from tasksift.neighbors.groups import collapse
from tasksift.vectors import Vectors

WAYS = ("fit", "select", "ivf")
CASE = ("source", "kind", "rows", "dim", "targets", "dtype", "alpha", "scale", "asked_sigma")
ACCURACY = ("total_variation", "mass_missed", "recall")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--alpha", type=float, default=0.6)
    parser.add_argument("--scale", type=float, default=5.0, help="the paper's C")
    parser.add_argument("--sigma", default="auto", help="bandwidth of all ways; auto = that of tasksift")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ivf-repeats", type=int, help="if other than --repeats, as it takes long")
    parser.add_argument("--limit", type=float, help="seconds after which a run of ivf is ended")
    parser.add_argument("--results", type=Path, help="JSON file of all runs; those in it are not made again")
    args = parser.parse_args()
    results = earlier(args.results)
    with tempfile.TemporaryDirectory(prefix="selection-") as folder:
        measure(args, Arrays(args).make(), Path(folder), results)
    print(report(results))


def measure(args: argparse.Namespace, arrays: Arrays, folder: Path, results: list[dict[str, Any]]) -> None:
    """Make the runs that `results` lacks, and write it after each."""
    case = {**arrays.facts, "alpha": args.alpha, "scale": args.scale, "asked_sigma": args.sigma}

    def lacks(way: str, repeat: int) -> bool:
        made = [r for r in results if r["way"] == way and all(r[name] == value for name, value in case.items())]
        wanted = args.repeats if way != "ivf" or args.ivf_repeats is None else args.ivf_repeats
        return len(made) <= repeat < wanted and not any(r["cut"] for r in made)

    def selected(way: str, sigma: float | str) -> tuple[Measured, Path]:
        out = folder / f"{way}.npz"
        knobs = ("--alpha", args.alpha, "--scale", args.scale, "--sigma", sigma)
        if way == "ivf":
            return run("ivf_recipe.py", arrays.pool, arrays.target, out, *knobs, limit=args.limit), out
        return run("ours.py", arrays.pool, arrays.target, out, "--way", way, *knobs), out

    arrays.warm()
    ways = [way for way in WAYS if way in args.ways.split(",")]
    ours: tuple[Measured, Path] | None = None
    for repeat in range(max(args.repeats, args.ivf_repeats or 0)):
        for way in ways:
            if not lacks(way, repeat):
                continue
            sigma = args.sigma
            if way == "ivf":
                # Its bandwidth, and what it is compared with; made again if an earlier session made it.
                ours = ours or selected("fit", args.sigma)
                sigma = ours[0].facts["sigma"]
            done, out = selected(way, sigma)
            record = {**case, "way": way, "sigma": sigma, **done.record()}
            if way == "fit":
                ours = done, out
            if way == "ivf" and ours and not done.cut:
                record |= accuracy(arrays, ours[1], out)
            results.append(record)
            keep(args.results, results)


def accuracy(arrays: Arrays, ours: Path, theirs: Path) -> dict[str, Any]:
    """How far the probabilities and the neighbour lists of `theirs` are from the exact ones."""
    pool = arrays.open()
    exact, other = np.load(ours), np.load(theirs)
    rows, place = np.unique(np.concatenate([exact["ids"], other["ids"]]), return_inverse=True)
    group = collapse(Vectors(pool[rows])).of_row[place]
    size = int(group.max()) + 1
    p = np.bincount(group[: len(exact["ids"])], exact["probabilities"], size)
    q = np.bincount(group[len(exact["ids"]) :], other["probabilities"], size)
    targets = arrays.targets()[other["list_targets"]].astype(np.float32)
    truth = product_and_merge(pool, targets, other["lists"].shape[1])
    seen, where = np.unique(np.concatenate([truth.ravel(), other["lists"].ravel()]), return_inverse=True)
    of_seen = collapse(Vectors(pool[np.maximum(seen, 0)])).of_row
    true, found = np.split(where, [truth.size])
    found = np.where(other["lists"].ravel() < 0, -1, found)
    return {
        "total_variation": float(np.abs(p - q).sum() / 2),
        "mass_missed": float(p[q == 0].sum()),
        "recall": recall(found.reshape(len(targets), -1), true.reshape(len(targets), -1), of_seen),
    }


def report(results: list[dict[str, Any]]) -> str:
    """Medians of each case, line by line; × is how many times as long as `fit` a way takes."""
    table = []
    for case in dict.fromkeys(tuple(r[name] for name in CASE) for r in results):
        cases = [r for r in results if tuple(r[name] for name in CASE) == case]
        base = median([r["seconds"] for r in cases if r["way"] == "fit"] or [float("nan")])
        for way in WAYS:
            here = [r for r in cases if r["way"] == way]
            if here:
                source, kind, rows, dim, targets, dtype, *_ = case
                table.append([source, kind, f"{rows:,}", dim, targets, dtype, way, len(here), *_cells(here, base)])
    head = [
        "source", "kind", "rows", "dim", "targets", "dtype", "way", "runs", "sigma", "seconds", "×", "MB", "status",
        "breadth", "support", "TV", "mass missed", "recall", "seconds of each stage",
    ]  # fmt: skip
    return markdown(head, table)


def _cells(runs: list[dict[str, Any]], base: float) -> list[str]:
    """The figures of one way."""
    last = runs[-1]
    cut = any(r["cut"] for r in runs)
    seconds = median(r["seconds"] for r in runs)
    stages = {name: median(r["stages"].get(name, 0.0) for r in runs) for name in last["stages"]}
    more = "more than " if cut else ""
    status = last.get("status", "-")
    if cut and "density_done" in last:
        status = f"ended at {last['density_done'] / last['union']:.0%} of the densities"
    return [
        f"{last['sigma']:.3f}",
        f"{more}{seconds:.2f}",
        f"{more}{seconds / base:.1f}",
        f"{median(r['peak_mb'] for r in runs):,.0f}",
        status,
        f"{last['breadth']:.1f}" if "breadth" in last else "-",
        f"{last['support']:,}" if "support" in last else "-",
        *(f"{last[name]:.4f}" if name in last else "-" for name in ACCURACY),
        ", ".join(f"{name} {value:.2f}" for name, value in stages.items()),
    ]


if __name__ == "__main__":
    main()
