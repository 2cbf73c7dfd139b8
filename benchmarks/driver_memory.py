"""What a selection holds in memory besides mapped files, for pools of 10^5 to 10^7 rows; it should not grow with them.

    python benchmarks/driver_memory.py --arrays DIR --results memory.json

Every selection is `tasksift select` in a process of its own, report included; the largest anonymous memory of that
process (RssAnon, Linux) is kept, and said as a multiple of that of the smallest pool. Worker processes are not counted.
Pools of `vectors` are those of `arrays.py`, one cluster for every 500 rows; pools of `text` are JSON lines of words
drawn at random, and are selected from by the default representation. Files that exist already are not made again, nor
are runs that the results hold; a pool of 10^7 rows takes 0.64 GB of disk with 32 dimensions, and 1.3 GB as text.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from arrays import Arrays
from command import earlier, keep, markdown
from measured import sample_memory

CLUSTER_ROWS = 500
WORDS = [f"w{k:x}" for k in range(20_000)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default="vectors", help="vectors,text")
    parser.add_argument("--presets", default="tsds,random")
    parser.add_argument("--rows-steps", default="1e5,1e6,1e7")
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--targets", type=int, default=50)
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--more", default="", help="further options of tasksift select, in one argument")
    parser.add_argument("--arrays", type=Path, required=True, help="folder in which pools are made, and found again")
    parser.add_argument("--results", type=Path, help="JSON file of all runs; those in it are not made again")
    args = parser.parse_args()
    results = earlier(args.results)
    for kind in args.kinds.split(","):
        for step in args.rows_steps.split(","):
            for preset in args.presets.split(","):
                facts = {"kind": kind, "preset": preset, "rows": int(float(step)), "more": args.more}
                if not any(facts.items() <= each.items() for each in results):
                    pool = _vectors(args, facts["rows"]) if kind == "vectors" else _text(args, facts["rows"])
                    results.append({**facts, **measure(args, preset, pool)})
                    keep(args.results, results)
    print(report(results))


def measure(args: argparse.Namespace, preset: str, pool: list[str]) -> dict[str, Any]:
    """Run one selection."""
    with tempfile.TemporaryDirectory(dir=args.arrays) as folder, tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", "tasksift", "select", *pool, "--preset", preset, "--budget", str(args.budget)]
        command += ["--out", f"{folder}/picked.{'parquet' if '--vectors' in pool else 'jsonl'}", *args.more.split()]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=log)
        over, peak = threading.Event(), [0.0]
        watch = threading.Thread(target=sample_memory, args=(process.pid, over, peak))
        watch.start()
        try:
            process.wait()
        finally:
            process.kill()
            over.set()
            watch.join()
        if process.returncode:
            log.seek(0)
            sys.exit(f"{' '.join(command)}\nended with {process.returncode}:\n{log.read().decode(errors='replace')}")
        return {"seconds": round(time.perf_counter() - start, 2), "peak_mb": round(peak[0], 1)}


def _vectors(args: argparse.Namespace, rows: int) -> list[str]:
    made = argparse.Namespace(
        rows=rows, dim=args.dim, targets=args.targets, kind="near", dtype="float16", seed=0, arrays=args.arrays,
        clusters=max(1, rows // CLUSTER_ROWS), vectors=None, target_vectors=None,
    )  # fmt: skip
    arrays = Arrays(made).make()
    return ["--vectors", str(arrays.pool), "--target-vectors", str(arrays.target)]


def _text(args: argparse.Namespace, rows: int) -> list[str]:
    pool, target = args.arrays / f"text-{rows}.jsonl", args.arrays / f"text-target-{args.targets}.jsonl"
    for path, count, seed in ((pool, rows, 0), (target, args.targets, 1)):
        if not path.exists():
            rng = random.Random(seed)
            part = path.with_suffix(".part")
            with part.open("w", encoding="utf-8") as file:
                for k in range(count):
                    text = " ".join(rng.choices(WORDS, k=20))
                    file.write(json.dumps({"text": text, "source": f"s{k % 5}"}) + "\n")
            part.rename(path)
    return [str(pool), "--target", str(target)]


def report(results: list[dict[str, Any]]) -> str:
    """A line for each run."""
    table = []
    for run in sorted(results, key=lambda run: (run["kind"], run["preset"], run["more"], run["rows"])):
        same = [each for each in results if all(each[name] == run[name] for name in ("kind", "preset", "more"))]
        least = min(same, key=lambda each: int(each["rows"]))["peak_mb"]
        names = (run["kind"], run["preset"], run["more"] or "-", f"{run['rows']:,}")
        table.append([*names, f"{run['seconds']:.1f}", f"{run['peak_mb']:.0f}", f"{run['peak_mb'] / least:.2f}"])
    head = ["pool", "preset", "options", "rows", "seconds", "anonymous MB", "÷ smallest pool"]
    return markdown(head, table)


if __name__ == "__main__":
    main()
