"""How well `tasksift plan --scale` foresees: predicted and measured seconds of each stage, at several sizes.

    python benchmarks/scale_plan.py --kind vectors --rows 1e5,1e6,1e7 --arrays DIR --results scale_plan.json
    python benchmarks/scale_plan.py --kind text --rows 1e5,1e6 --budget 0.1% --arrays DIR --results scale_plan.json

A pool is made of `--kind`: `vectors` of `arrays.py` (clusters, targets near each other), or `text`: rows of 20 to 60
words, half of them of the row's subject. The plan sees the first `--sample` rows of it and nothing else. Then `select`
runs on pools of `--rows` rows, each in a process of its own, with the stages taken from the progress that it shows.
`--clock cpu` counts processor time in place of the wall's, for a machine that is busy.
Plans and runs that the results hold already are not made again; 10,000,000 rows of vectors take 15 GB of disk in
float32, half in float16.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from arrays import Arrays
from arrays import add_options as add_arrays
from command import earlier, keep, markdown

SUBJECTS, WORDS, OWN = 200, 20_000, 60
BLOCK = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arrays(parser)
    parser.set_defaults(rows="1e5,1e6", dtype="float16")
    for action in parser._actions:
        if action.dest == "rows":
            action.type = str
        if action.dest == "kind":
            action.choices, action.default = ("vectors", "text"), "vectors"
    parser.add_argument("--sample", type=int, default=50_000, help="rows that the plan sees")
    parser.add_argument("--budget", default="0.1%")
    parser.add_argument("--measure-seconds", type=float, default=60)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--results", type=Path, help="JSON file of all plans and runs; those in it are not made again")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.arrays.mkdir(parents=True, exist_ok=True)
    if args.one:
        print(json.dumps(one(json.loads(args.one), args)))
        return
    results = earlier(args.results)
    for rows in [int(float(each)) for each in args.rows.split(",")]:
        case = {"kind": args.kind, "rows": rows, "budget": args.budget, "clock": args.clock, "sample": args.sample}
        case |= {"targets": args.targets, "dtype": args.dtype, "dim": args.dim} if args.kind == "vectors" else {}
        found = next((each for each in results if all(each.get(name) == value for name, value in case.items())), None)
        if found is None:
            results.append(found := dict(case))
        for what in ("plan", "run"):
            if what not in found:
                inputs = pool(args, rows if what == "run" else args.sample)
                found[what] = child({"what": what, "rows": rows, **inputs})
                keep(args.results, results)
        print(report(found), flush=True)


def pool(args: argparse.Namespace, rows: int) -> dict[str, Any]:
    """Fields of a configuration for a pool of so many rows, made unless it is there."""
    if args.kind == "text":
        return texts(args.arrays, rows, args.targets, args.seed)
    arrays = Arrays(argparse.Namespace(**{**vars(args), "rows": rows, "kind": "near"})).make()
    return {"vectors": str(arrays.pool), "target_vectors": str(arrays.target)}


def texts(folder: Path, rows: int, targets: int, seed: int) -> dict[str, Any]:
    """A pool of short rows and targets of one subject; a pool of fewer rows is the beginning of one with more."""
    path, target = folder / f"text-seed{seed}-{rows}.jsonl", folder / f"text-seed{seed}-{targets}-targets.jsonl"
    for place, count, subject in ((path, rows, None), (target, targets, 0)):
        if not place.exists():
            part = place.with_suffix(".part")
            with part.open("w") as out:
                for at in range(0, count, BLOCK):
                    rng = np.random.default_rng([seed, at, int(subject is None)])
                    out.writelines(f'{{"text": "{text}"}}\n' for text in block(rng, subject)[: count - at])
            part.rename(place)
    return {"pool": [str(path)], "target": [str(target)]}


def block(rng: np.random.Generator, subject: int | None) -> list[str]:
    """`BLOCK` rows of words: half of them common to all, by a law like Zipf's, and half of the row's own subject."""
    of = rng.integers(SUBJECTS, size=BLOCK) if subject is None else np.full(BLOCK, subject)
    lengths = rng.integers(20, 60, size=BLOCK)
    total = int(lengths.sum())
    common = np.minimum(rng.zipf(1.3, size=total), WORDS) - 1
    own = WORDS + OWN * np.repeat(of, lengths) + rng.integers(OWN, size=total)
    words = np.where(rng.random(total) < 0.5, common, own)
    return [" ".join(f"w{word}" for word in part) for part in np.split(words, np.cumsum(lengths)[:-1])]


def child(work: dict[str, Any]) -> dict[str, Any]:
    """Do one plan or run in a process of its own."""
    command = [sys.executable, *sys.argv, "--one", json.dumps(work)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def one(work: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Plan, or run; seconds of each stage, and peak memory in MB."""
    from tasksift.config import RunConfig
    from tasksift.evaluate.scale.cluster import cluster_of
    from tasksift.evaluate.scale.plan import plan_scale
    from tasksift.evaluate.scale.recording import Recorder
    from tasksift.pipeline import run

    clock = time.perf_counter if args.clock == "wall" else cpu
    what, rows = work.pop("what"), work.pop("rows")
    config = RunConfig.create(**work, budget=args.budget)
    if what == "plan":
        record = plan_scale(config, rows, cluster_of, seconds=args.measure_seconds, clock=clock)
        stages = {stage["name"]: stage["time"]["value"] for stage in record["stages"]}
        return {"stages": stages, "total": record["total"], "sizes": record["sizes"], "memory": record["memory"]}
    out = args.arrays / "picked.jsonl"
    shutil.rmtree(out.with_name(out.name + ".run.part"), ignore_errors=True)
    recorder = Recorder(clock)
    selection = run(config, out=out, force=True, progress=recorder.progress)
    stages = recorder.finish().stages()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    info = selection.plan.info
    return {"stages": stages, "total": {"value": sum(stages.values())}, "peak_mb": peak, "info": info}


def cpu() -> float:
    """Processor time of this process and of those that it has ended."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def report(found: dict[str, Any]) -> str:
    """Predicted and measured seconds, stage by stage; hashing and looking for copies go together."""
    plan, run = dict(found["plan"]["stages"]), dict(found["run"]["stages"])
    for stages in (plan, run):
        stages["copies"] = stages.get("copies", 0.0) + stages.pop("hash", 0.0)
    table = []
    for name in [*dict.fromkeys([*plan, *run]), "total"]:
        ours = plan.get(name, 0.0) if name != "total" else found["plan"]["total"]["value"]
        real = run.get(name, 0.0) if name != "total" else found["run"]["total"]["value"]
        table.append([name, f"{ours:.2f}", f"{real:.2f}", f"{ours / real - 1:+.0%}" if real > 0 else "-"])
    total = found["plan"]["total"]
    head = f"{found['kind']}, {found['rows']:,} rows, budget {found['budget']}, {found['clock']} clock; "
    head += f"total from {total['low']:.1f} to {total['high']:.1f}; "
    computed = found["run"]["info"].get("densities_computed", 0)
    head += f"densities of {found['plan']['sizes']['candidates']:,.0f} rows predicted, {computed:,} computed\n"
    return head + markdown(["stage", "predicted s", "measured s", "off"], table)


if __name__ == "__main__":
    main()
