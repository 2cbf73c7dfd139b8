"""What training on each selection is worth: a small decoder, many targets, every selector, with the baselines.

The work is one `tasksift compare`, which can be killed and goes on: this script makes what it needs (a pool of the
asked size, the base model by `base.py`, checkpoints for gradients) and names the arms.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasksift.evaluate.compare import Comparison, compare
from tasksift.progress import bars
from tasksift.tune import Settings, tune_rows

TARGETS = ("gsm8k", "nl2bash", "commonsense_qa", "svamp", "medmcqa", "strategyqa", "arc_challenge", "mbpp")

ARMS = {
    "bm25": "preset=bm25",
    "dsir": "preset=dsir",
    "nearest": "preset=nearest representation=encoder model={encoder}",
    "round-robin": "preset=round-robin representation=encoder model={encoder}",
    "rds+": "preset=rds+ model={base} max_length={length}",
    "tsds-lexical": "preset=tsds",
    "tsds-encoder": "preset=tsds representation=encoder model={encoder}",
    "tsds-sketch": "preset=tsds representation=sketch model={base} max_length={length} dim=4096",
    "tsds-gradient": "preset=tsds representation=gradient checkpoints={warm} max_length={length}",
    "knn-uniform": "preset=tsds-uniform representation=encoder model={encoder}",
    "less": "preset=less checkpoints={warm} max_length={length}",
    "tarot": "preset=tarot checkpoints={warm} max_length={length}",
    "dsdm": "preset=dsdm checkpoints={warm} max_length={length}",
}
"""Every selector with what it looks at; `tsds-` names the representation, and the plain ones look at the encoder's."""


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with pool_300k.parquet and targets/")
    parser.add_argument("--base", type=Path, required=True, help="folder that base.py wrote")
    parser.add_argument("--encoder", required=True, help="folder or hub name of a sentence encoder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=10_000, help="rows of the pool, drawn at random; 0 for all")
    parser.add_argument("--length", type=int, default=64, help="tokens of a row")
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--budgets", default="0.3%,1%,5%")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--held-out", type=int, default=100, help="held-out rows of a target at most")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--hours", type=float)
    args = parser.parse_args()
    compared = run(args)
    for cell in compared.cells:
        print(cell.task, cell.arm, cell.budget, cell.seed, f"{cell.score('loss'):.4f}")
    print(f"{len(compared.cells)} cells, {compared.left} trainings left, failed: {compared.failed}")


def run(args: argparse.Namespace) -> Comparison:
    """Make pool and checkpoints where they are missing, and compare."""
    args.out.mkdir(parents=True, exist_ok=True)
    pool, warm = args.out / "pool.parquet", args.out / "warm"
    if not pool.exists():
        table = pq.read_table(args.data / "pool_300k.parquet")
        if args.rows:
            rows = np.sort(np.random.default_rng(0).choice(table.num_rows, args.rows, replace=False))
            table = table.take(pa.array(rows))
        pq.write_table(table, pool)
    if not warm.exists():
        settings = Settings(
            rank=16, alpha=32, dropout=0, learning_rate=1e-3, epochs=1, batch_size=16, max_length=args.length
        )
        tune_rows(pool, warm, model=args.base, sample="10%", settings=settings, device=args.device, progress=bars)
    places = {"encoder": args.encoder, "base": args.base, "warm": warm, "length": args.length}
    names = args.targets.split(",")
    return compare(
        pool,
        [args.data / "targets" / f"{name}.dev.jsonl" for name in names],
        [args.data / "targets" / f"{name}.test.jsonl" for name in names],
        out=args.out / "comparison",
        task_names=names,
        presets="random",
        arm=[f"{name}: {ARMS[name].format(**places)} device={args.device}" if "model=" in ARMS[name] else
             f"{name}: {ARMS[name].format(**places)}" for name in args.arms.split(",")],
        budgets=args.budgets, seeds=[int(seed) for seed in args.seeds.split(",")], max_held_out=args.held_out,
        model=str(args.base), method="full", learning_rate=1e-3, epochs=1, batch_size=8, max_length=args.length,
        dtype="bfloat16", choices=False, device=args.device, workers=args.workers, hours=args.hours,
        progress=bars, say=print,
    )  # fmt: skip


if __name__ == "__main__":
    main()
