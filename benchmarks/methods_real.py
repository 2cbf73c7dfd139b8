"""Run every method on a real pool for several targets: time, memory, what comes out, and how far two methods agree.

    python benchmarks/methods_real.py --data DIR --methods methods.json --tasks gsm8k,nl2bash --results methods.json

The file of methods says which presets to run, and with which options: {"less": {"features": "steps"}, "bm25": {}}; an
option may hold {task}. Features are best made before, by `tasksift tune` and `tasksift embed`, so that times are those
of the choice. Every selection is a process of its own, one at a time; those in the results are not made again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from command import earlier, keep, markdown, select
from select_real import describe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with pool_<name>.parquet and targets/")
    parser.add_argument("--pool", default="50k")
    parser.add_argument("--tasks", required=True)
    parser.add_argument("--methods", type=Path, required=True, help="JSON file: preset to options")
    parser.add_argument("--budget", default="500")
    parser.add_argument("--results", type=Path, help="JSON file of all runs; those in it are not made again")
    args = parser.parse_args()
    results = earlier(args.results)
    done = {(r["preset"], r["task"]) for r in results}
    methods: dict[str, dict[str, str]] = json.loads(args.methods.read_text(encoding="utf-8"))
    tasks = args.tasks.split(",")
    for preset, options in methods.items():
        for task in tasks:
            if (preset, task) in done:
                continue
            given = {"target": str(args.data / "targets" / "{task}.dev.jsonl"), **options}
            given = {name: value.format(task=task) for name, value in given.items()}
            with tempfile.TemporaryDirectory(prefix="methods-real-") as folder:
                out = Path(folder) / "out.parquet"
                run = select(args.data / f"pool_{args.pool}.parquet", out, preset=preset, budget=args.budget, **given)
                taken = sorted(run.column("position").tolist())
                results.append({"preset": preset, "task": task, **describe(run, task), "positions": taken})
            keep(args.results, results)
    wanted = [r for r in results if r["preset"] in methods and r["task"] in tasks]
    print(report(wanted, tasks))


def report(results: list[dict[str, Any]], tasks: list[str]) -> str:
    """A line for each preset: cost, own share of each task; and the overlap of each two, the mean over tasks."""
    presets = list(dict.fromkeys(r["preset"] for r in results))
    found = {(r["preset"], r["task"]): r for r in results}
    rows = []
    for preset in presets:
        runs = [found[preset, task] for task in tasks]
        seconds, peak = (sum(r[name] for r in runs) / len(runs) for name in ("seconds", "peak_mb"))
        own = ["-" if r["own_share"] is None else f"{r['own_share']:.1%}" for r in runs]
        rows.append([preset, f"{seconds:.0f}", f"{peak:,.0f}", *own, min(r["sources"] for r in runs)])
    table = markdown(["preset", "seconds", "peak MB", *tasks, "sources at least"], rows)
    overlap = []
    for one in presets:
        line: list[object] = [one]
        for other in presets:
            pairs = [(set(found[one, t]["positions"]), set(found[other, t]["positions"])) for t in tasks]
            line.append(f"{100 * sum(len(a & b) / min(len(a), len(b)) for a, b in pairs) / len(pairs):.0f}")
        overlap.append(line)
    return f"{table}\n\n{markdown(['rows in common, %', *presets], overlap)}"


if __name__ == "__main__":
    main()
