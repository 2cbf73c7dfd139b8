"""How a whole selection grows with rows N, targets M and dimensions d: time, memory, and a bare product beside it.

    python benchmarks/growth.py --arrays DIR --results growth.json --plot growth.png

One of the three is changed at a time, the others stay as given. Every selection is a process of its own (`ours.py`:
the array function on a memory-mapped pool); after each, the bare product (`baselines.py`: all rows with all targets,
nothing kept) is timed on the same file, without the start of a process. The steps of N all have the dtype
`--rows-dtype`, so that they can be compared with each other, and one cluster for every 500 rows; those of M and d have
`--dtype` and `--clusters`.

The largest pool of the default steps, 10,000,000 × 384 float16, takes 7.7 GB of disk; `--tidy` deletes each pool once
it is measured. Runs that the results hold already are not made again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from arrays import Arrays, add_options
from baselines import bare_product
from command import earlier, keep, markdown
from measured import run

AXES = {"rows": "rows N", "targets": "targets M", "dim": "dimensions d"}
CASE = ("axis", "kind", "rows", "dim", "targets", "dtype")
CLUSTER_ROWS = 500
COLOURS = {"near": "#0072b2", "spread": "#d55e00"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--axes", default=",".join(AXES), help="what is changed")
    parser.add_argument("--kinds", default="near", help="near,spread; takes the place of --kind")
    parser.add_argument("--rows-steps", default="1e5,3e5,1e6,3e6,1e7")
    parser.add_argument("--targets-steps", default="10,30,100,300,1000")
    parser.add_argument("--dim-steps", default="128,256,384,768,1024")
    parser.add_argument("--rows-dtype", choices=("float32", "float16"), default="float16")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=float, help="seconds after which a selection is ended")
    parser.add_argument("--tidy", action="store_true", help="delete pools that were made here")
    parser.add_argument("--results", type=Path, help="JSON file of all runs; those in it are not made again")
    parser.add_argument("--plot", type=Path, help="PNG or SVG (needs matplotlib)")
    args = parser.parse_args()
    results = earlier(args.results)
    for axis, case in cases(args):
        measure(axis, case, results)
    print(report(results))
    if args.plot:
        plot(results, args.plot)


def cases(args: argparse.Namespace) -> Iterator[tuple[str, argparse.Namespace]]:
    """The options of each point to measure."""
    for axis in args.axes.split(","):
        for step in getattr(args, f"{axis}_steps").split(","):
            for kind in args.kinds.split(","):
                changed = {axis: int(float(step)), "kind": kind}
                if axis == "rows":
                    # More rows of the same make: a cluster stays as large as it is, or the selection would change too.
                    changed |= {"dtype": args.rows_dtype, "clusters": max(1, changed["rows"] // CLUSTER_ROWS)}
                yield axis, argparse.Namespace(**{**vars(args), **changed})


def measure(axis: str, args: argparse.Namespace, results: list[dict[str, Any]]) -> None:
    """Make the runs of one point that `results` lacks, and write it after each."""
    arrays = Arrays(args)
    case = {"axis": axis, **arrays.facts}
    made = [r for r in results if all(r[name] == value for name, value in case.items())]
    if len(made) >= args.repeats or any(r["cut"] for r in made):
        return
    new = not arrays.pool.exists()
    arrays.make().warm()
    product, how = bare_product(arrays.open(), arrays.targets().astype(np.float32))
    with tempfile.TemporaryDirectory(prefix="growth-") as folder:
        for _ in range(len(made), args.repeats):
            done = run("ours.py", arrays.pool, arrays.target, Path(folder) / "out.npz", limit=args.limit)
            start = time.perf_counter()
            product()
            bare = round(time.perf_counter() - start, 4)
            results.append({**case, **done.record(), "bare_seconds": bare, "how": how})
            keep(args.results, results)
            if done.cut:
                break
    if args.tidy and new:
        arrays.pool.unlink()


def points(results: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Medians of each point, axis by axis."""
    for case in sorted(dict.fromkeys(tuple(r[name] for name in CASE) for r in results)):
        runs = [r for r in results if tuple(r[name] for name in CASE) == case]
        middle = {name: median(r[name] for r in runs) for name in ("seconds", "bare_seconds", "peak_mb")}
        start = median(r["stages"]["imports"] for r in runs)
        yield {**runs[-1], **middle, "start": start, "runs": len(runs), "cut": any(r["cut"] for r in runs)}


def report(results: list[dict[str, Any]]) -> str:
    """A line for each point; µs a row leaves out the start of the process."""
    table = []
    for p in points(results):
        more = "more than " if p["cut"] else ""
        work = p["seconds"] - p["start"]
        table.append(
            [
                AXES[p["axis"]], p["kind"], f"{p['rows']:,}", p["targets"], p["dim"], p["dtype"], p["runs"],
                f"{more}{p['seconds']:.2f}", f"{p['start']:.2f}", f"{more}{1e6 * work / p['rows']:.3f}",
                f"{p['bare_seconds']:.3f}", f"{more}{p['seconds'] / p['bare_seconds']:.1f}", f"{p['peak_mb']:,.0f}",
                f"{p['breadth']:.1f}" if "breadth" in p else "-", p.get("densities", "-"), p.get("prefetch", "-"),
            ]
        )  # fmt: skip
    head = [
        "grows", "kind", "N", "M", "d", "dtype", "runs", "seconds", "of it imports", "µs a row", "bare product",
        "÷ bare", "MB", "breadth", "densities", "prefetch",
    ]  # fmt: skip
    return markdown(head, table)


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Seconds above, peak memory besides the mapped file below, over each of N, M and d."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    every = [p for p in points(results) if not p["cut"]]
    axes = [axis for axis in AXES if any(p["axis"] == axis for p in every)]
    # White behind everything, so that the picture reads the same on a dark page.
    size = (4 * len(axes), 6.4)
    figure, places = pyplot.subplots(2, len(axes), figsize=size, squeeze=False, sharex="col", sharey="row")
    for (above, below), axis in zip(places.T, axes, strict=True):
        for kind, colour in COLOURS.items():
            here = sorted((p for p in every if p["axis"] == axis and p["kind"] == kind), key=lambda p: p[axis])
            if not here:
                continue
            steps = [p[axis] for p in here]
            above.plot(steps, [p["seconds"] for p in here], "o-", color=colour, label=f"selection, {kind} targets")
            above.plot(steps, [p["bare_seconds"] for p in here], "--", color=colour, label="bare product")
            below.plot(steps, [p["peak_mb"] for p in here], "o-", color=colour)
        fixed = {name: here for name in AXES if len(here := {p[name] for p in every if p["axis"] == axis}) == 1}
        above.set_title(", ".join(f"{AXES[name][-1]} = {min(value):,}" for name, value in fixed.items()), fontsize=10)
        below.set_xlabel(AXES[axis])
        steps = sorted({p[axis] for p in every if p["axis"] == axis})
        for place in (above, below):
            place.set_xscale("log")
            place.set_yscale("log")
            place.minorticks_off()
            place.set_xticks(steps, [f"{step:,}" if step < 1e5 else f"{step:.0e}" for step in steps])
            place.grid(alpha=0.3)
    places[0][0].set_ylabel("seconds")
    places[0][0].legend(frameon=False, fontsize=8)
    places[1][0].set_ylabel("peak memory, MB")
    figure.tight_layout()
    figure.savefig(path, dpi=130, facecolor="white")


if __name__ == "__main__":
    main()
