"""The second track: a sentence encoder with a classification head, finetuned to tell intents apart.

The pool holds labelled requests to several assistants, and other labelled texts; the target shows a few of one of
them. A selection is worth what a classifier trained on it gets right of the target's held-out requests.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from quality.finetuning import ARMS as FINETUNING
from tasksift.evaluate.compare import Comparison, compare
from tasksift.progress import bars

SOURCES = ("train_clinc150", "train_banking77", "nlu_home", "train_scicite", "train_agnews", "train_chemprot")
"""Labelled texts: requests of three kinds of assistants, and sentences of papers and news, whose classes are others."""

ARMS = {
    name: FINETUNING[name]
    for name in ("bm25", "dsir", "nearest", "round-robin", "tsds-lexical", "tsds-encoder", "knn-uniform")
} | {"facility-location-mi": "preset=facility-location-mi representation=encoder model={encoder}"}


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the pool and targets/")
    parser.add_argument("--pool", default="pool_50k.parquet")
    parser.add_argument("--encoder", required=True, help="folder or hub name of the sentence encoder")
    parser.add_argument("--target", default="clinc150")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budgets", default="2%,5%,20%")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--hours", type=float)
    args = parser.parse_args()
    compared = run(args)
    print(f"{len(compared.cells)} cells, {compared.left} trainings left, failed: {compared.failed}")


def run(args: argparse.Namespace) -> Comparison:
    """Cut the pool to labelled requests where that is not done yet, and compare."""
    args.out.mkdir(parents=True, exist_ok=True)
    pool = args.out / "pool.parquet"
    if not pool.exists():
        table = pq.read_table(args.data / args.pool)
        pq.write_table(table.filter(pc.is_in(table["source"], pa.array(SOURCES))), pool)
    return compare(
        pool,
        args.data / "targets" / f"{args.target}.dev.jsonl",
        args.data / "targets" / f"{args.target}.test.jsonl",
        out=args.out / "comparison",
        presets="random",
        arm=[f"{name}: {options.format(encoder=args.encoder)}" for name, options in ARMS.items()],
        budgets=args.budgets, seeds=[int(seed) for seed in args.seeds.split(",")],
        model=args.encoder, head="classes", epochs=3, learning_rate=3e-4, batch_size=16, max_length=64,
        dtype="bfloat16", device=args.device, workers=args.workers, hours=args.hours, progress=bars, say=print,
    )  # fmt: skip


if __name__ == "__main__":
    main()
