"""Select for real targets out of real pools with the command line: time, memory, and what comes out.

    python benchmarks/select_real.py --data DIR --results real.json

Every selection is a process of its own, one at a time. The first of each pool computes the pool's features, the others
reuse them. Runs that the results hold already are not made again.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from command import Run, earlier, keep, markdown, select

PRESETS = "tsds,random,nearest,round-robin"
BUDGET = "1%"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with pool_<name>.parquet and targets/")
    parser.add_argument("--pools", default="50k,300k")
    parser.add_argument("--tasks", help="by default all of targets/*.dev.jsonl")
    parser.add_argument("--presets", default=PRESETS)
    parser.add_argument("--results", type=Path, help="JSON file of all runs; those in it are not made again")
    args = parser.parse_args()
    tasks = args.tasks.split(",") if args.tasks else sorted(f.name[:-10] for f in args.data.glob("targets/*.dev.jsonl"))
    results = earlier(args.results)
    done = {(r["pool"], r["task"], r["preset"]) for r in results}
    for pool in args.pools.split(","):
        with tempfile.TemporaryDirectory(prefix="select-real-") as folder:
            # First of all the features, by a run that is reported as such.
            asked = [(pool, task, preset) for task in tasks for preset in args.presets.split(",")]
            asked = [key for key in asked if key not in done]
            for key in [(pool, asked[0][1], "features"), *asked] if asked else []:
                run = _run(args.data, Path(folder), *key)
                results.append({**dict(zip(("pool", "task", "preset"), key, strict=True)), **describe(run, key[1])})
                keep(args.results, results)
    print(report(results))


def _run(data: Path, folder: Path, pool: str, task: str, preset: str) -> Run:
    return select(
        data / f"pool_{pool}.parquet",
        folder / "out.parquet",
        target=data / "targets" / f"{task}.dev.jsonl",
        budget=BUDGET,
        features=folder / "features",
        preset="nearest" if preset == "features" else preset,
    )


def describe(run: Run, task: str) -> dict[str, Any]:
    """Time, memory, and what was selected."""
    manifest = run.manifest
    rows = pq.read_table(run.out, columns=["source", "prompt", "response"])
    own = f"train_{task}"
    sources = rows["source"].to_pylist()
    pool = manifest["pool"]
    return {
        "rows": pool["rows"],
        "selected": len(sources),
        "distinct": len(set(zip(rows["prompt"].to_pylist(), rows["response"].to_pylist(), strict=True))),
        "sources": len(set(sources)),
        "own_share": sources.count(own) / len(sources) if own in pool["sources"] else None,
        "own_share_of_pool": pool["sources"][own] / pool["rows"] if own in pool["sources"] else None,
        "breadth": manifest["plan"]["breadth"],
        "status": manifest["plan"]["status"],
        "seconds": round(run.seconds, 1),
        "peak_mb": round(run.peak_mb),
        "stated_mb": run.stated_mb,
    }


def report(results: list[dict[str, Any]]) -> str:
    """A line for the features of each pool, then all selections; ratios are to the share of the pool."""
    presets = list(dict.fromkeys(r["preset"] for r in results))
    results = sorted(results, key=lambda r: (r["rows"], r["task"], presets.index(r["preset"])))
    first, rows = [], []
    for r in results:
        cost = [f"{r['seconds']:.0f}", f"{r['peak_mb']:,}", f"{r['stated_mb']:,.0f}"]
        if r["preset"] == "features":
            first.append([r["pool"], f"{r['rows']:,}", *cost])
            continue
        own = ["-", "-", "-"]
        if r["own_share"] is not None:
            times = r["own_share"] / r["own_share_of_pool"]
            own = [f"{r['own_share']:.1%}", f"{times:.1f}", f"{times * r['selected'] / r['rows']:.1%}"]
        tsds = [f"{r['breadth']:.0f}", r["status"]] if r["breadth"] else ["-", "-"]
        rows.append([r["pool"], r["task"], r["preset"], *cost[:2], *own, r["distinct"], r["sources"], *tsds])
    return "\n\n".join(
        [
            markdown(["pool", "rows", "seconds", "peak MB", "stated MB"], first),
            markdown(
                ["pool", "target", "preset", "seconds", "peak MB", "own source", "× pool's share", "of all own rows",
                 "distinct rows", "sources", "breadth", "status"],
                rows,
            ),
        ]
    )  # fmt: skip


if __name__ == "__main__":
    main()
