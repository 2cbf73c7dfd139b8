"""Near-copies: what a selection is worth when 1 % of the rows are copied many times, with small edits.

The copied rows are drawn from the whole pool, where few of them matter to a target, or from the targets' own sources
(`train_<target>`), where all do. Every pool is compared by itself: the same small decoder, the same targets, selections
of 1 % of the clean pool's rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from near_copies import write_copies

from tasksift.evaluate.compare import Comparison, compare
from tasksift.progress import bars

ARMS = {"tsds": "preset=tsds", "knn-uniform": "preset=tsds-uniform", "nearest": "preset=nearest"}
ARMS["round-robin"] = "preset=round-robin"

KINDS = ("random", "own")


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with targets/")
    parser.add_argument("--pool", type=Path, required=True, help="parquet: the clean pool, such as finetuning.py made")
    parser.add_argument("--base", type=Path, required=True, help="folder that base.py wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--factors", default="0,100,1000", help="copies of each row that is copied")
    parser.add_argument("--copied", nargs="+", choices=KINDS, default=KINDS, help="where copied rows are drawn from")
    parser.add_argument("--targets", default="gsm8k,nl2bash,commonsense_qa")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--length", type=int, default=64, help="tokens of a row")
    parser.add_argument("--held-out", type=int, default=100)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    for copied in args.copied:
        for factor in map(int, args.factors.split(",")):
            compared = run(args, copied, factor)
            done = f"{len(compared.cells)} cells, {compared.left} trainings left, failed: {compared.failed}"
            print(f"{copied}, x{factor}: {done}")


def run(args: argparse.Namespace, copied: str, factor: int) -> Comparison:
    """Copy 1 % of the rows `factor` times, and compare on that pool; without copies there is one for both kinds."""
    args.out.mkdir(parents=True, exist_ok=True)
    names = args.targets.split(",")
    sources = pq.read_table(args.pool, columns=["source"])["source"].to_pylist()
    budget = round(0.01 * len(sources))
    pool, name = args.pool, ("own-" if copied == "own" and factor else "") + f"x{factor}"
    if factor:
        pool = args.out / f"pool-{name}.parquet"
        own = {f"train_{target}" for target in names}
        among = [row for row, source in enumerate(sources) if copied == "random" or source in own]
        if len(among) < budget:
            raise SystemExit(f"the sources of {', '.join(names)} have {len(among)} rows, and {budget} are to be copied")
        if not pool.exists():
            write_copies(args.pool, pool, np.random.default_rng(0).permutation(among)[:budget], factor, 0)
    return compare(
        pool,
        [args.data / "targets" / f"{name}.dev.jsonl" for name in names],
        [args.data / "targets" / f"{name}.test.jsonl" for name in names],
        out=args.out / name, task_names=names, presets="random",
        arm=[f"{name}: {options}" for name, options in ARMS.items()], without="full", budgets=[budget],
        seeds=[int(seed) for seed in args.seeds.split(",")], max_held_out=args.held_out, model=str(args.base),
        method="full", learning_rate=1e-3, epochs=1, batch_size=8, max_length=args.length, dtype="bfloat16",
        choices=False, device=args.device, workers=args.workers, progress=bars, say=print,
    )  # fmt: skip


if __name__ == "__main__":
    main()
