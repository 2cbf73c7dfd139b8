"""Exact search of tasksift against a bare matrix product, the usual numpy recipe and faiss, in one process in turn.

    python benchmarks/search.py --rows 1000000 --targets 200 --k 1000,5000 --arrays DIR --results search.json

Ways, by default all: `ours`; `torch`, the same with products of bfloat16 by PyTorch; `bare`, one product of all rows
with all targets that keeps nothing, read from the same memory-mapped file in blocks of the fastest size; `merge`, a
product and an argpartition with the best so far; `flat`, faiss' exact search; `ivf`, faiss' IVF index with √N/2 lists
and 10 probes. Only the search is timed: exact copies are grouped before (ours), rows are read into memory as float32
before (faiss), and the index is made before (ivf; its seconds are reported). Recall is the share of the neighbours of
a run of `merge` that goes before.

All ways run in turn, `--repeats` times; the table has medians and, for `bare`, the ratio of the medians with the
smallest and the largest ratio of neighbouring runs. Runs that the results hold already are not made again, so a
benchmark can be stopped and continued; for ratios that are to mean something, on a machine that has nothing else to do.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from arrays import Arrays, add_options
from baselines import bare_product, faiss_flat, faiss_ivf, product_and_merge, recall
from command import earlier, keep, markdown

from tasksift.neighbors.groups import Groups, collapse
from tasksift.neighbors.search import nearest
from tasksift.vectors import Vectors

WAYS = ("ours", "torch", "bare", "merge", "flat", "ivf")
CASE = ("source", "kind", "rows", "dim", "targets", "dtype", "k")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--k", default="1000,5000", help="neighbours per target")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--results", type=Path, help="JSON file of all runs; those in it are not made again")
    args = parser.parse_args()
    results = earlier(args.results)
    measure(args, Arrays(args).make(), results)
    print(report(results))


def measure(args: argparse.Namespace, arrays: Arrays, results: list[dict[str, Any]]) -> None:
    """Make the runs that `results` lacks, and write it after each."""

    def made(way: str, k: int) -> int:
        case = {**arrays.facts, "way": way, "k": k}
        return sum(all(run[name] == value for name, value in case.items()) for run in results)

    cases = [(int(k), way) for k in args.k.split(",") for way in args.ways.split(",")]
    asked = [(k, way) for repeat in range(args.repeats) for k, way in cases if made(way, k) <= repeat]
    if not asked:
        return
    arrays.warm()
    groups = collapse(Vectors(arrays.open()))
    ways = ways_to_search(arrays, groups, {way for _, way in asked})
    truth = {k: ways["merge"].search(k) for k, way in asked if way != "bare"}
    for k, name in asked:
        way = ways[name]
        start = time.perf_counter()
        found = way.search(k)
        run = {**arrays.facts, "way": name, "k": k, "seconds": round(time.perf_counter() - start, 4), **way.facts}
        if found is not None:
            run["recall"] = recall(way.rows(found), truth[k], groups.of_row)
        results.append({**run, "load": round(os.getloadavg()[0], 2)})
        keep(args.results, results)


@dataclass(frozen=True)
class Way:
    """One way to search: what is timed, how its result names rows, and what else to report."""

    search: Callable[[int], Any]
    rows: Callable[[Any], Any] = lambda found: found
    facts: dict[str, Any] = field(default_factory=dict)


def ways_to_search(arrays: Arrays, groups: Groups, asked: set[str]) -> dict[str, Way]:
    """Prepare the ways that are asked for, and `merge`, which recall needs."""
    pool = arrays.open()
    targets = arrays.targets()
    narrow = targets.astype(np.float32)
    vectors = Vectors(pool)
    ways = {
        "ours": Way(
            partial(nearest, vectors, groups, targets),
            lambda found: [groups.representative[one.ids] for one in found],
        ),
        "torch": Way(
            partial(nearest, vectors, groups, targets, backend="torch"),
            lambda found: [groups.representative[one.ids] for one in found],
        ),
        "merge": Way(partial(product_and_merge, pool, narrow)),
    }
    if "bare" in asked:
        product, how = bare_product(pool, narrow)
        ways["bare"] = Way(lambda k: product(), facts={"how": how})
    if asked & {"flat", "ivf"}:
        rows = np.array(pool, dtype=np.float32)
        ways["flat"] = Way(partial(faiss_flat, rows, narrow))
    if "ivf" in asked:
        start = time.perf_counter()
        index = faiss_ivf(rows)
        built = round(time.perf_counter() - start, 2)
        ways["ivf"] = Way(lambda k: index.search(narrow, k)[1], facts={"index_seconds": built})
    return ways


def report(results: list[dict[str, Any]]) -> str:
    """Medians of each case, line by line, with the ratio to the bare product."""
    cases = dict.fromkeys(tuple(run[name] for name in CASE) for run in results)
    table = []
    for case in cases:
        runs = [run for run in results if tuple(run[name] for name in CASE) == case]
        bare = [run["seconds"] for run in runs if run["way"] == "bare"]
        for way in WAYS:
            here = [run for run in runs if run["way"] == way]
            if not here:
                continue
            seconds = [run["seconds"] for run in here]
            ratio, between = "-", "-"
            if bare:
                pairs = [one / other for one, other in zip(seconds, bare, strict=False)]
                ratio, between = f"{median(seconds) / median(bare):.2f}", f"{min(pairs):.2f} to {max(pairs):.2f}"
            found = f"{here[0]['recall']:.4f}" if "recall" in here[0] else "-"
            source, kind, rows, dim, targets, dtype, k = case
            what = [source, kind, f"{rows:,}", dim, targets, dtype, k]
            note = here[0].get("how") or (f"index {here[0]['index_seconds']} s" if way == "ivf" else "")
            table.append([*what, way, len(here), f"{median(seconds):.3f}", ratio, between, found, note])
    head = [*CASE, "way", "runs", "seconds", "÷ bare", "run by run", "recall", "note"]
    return markdown(head, table)


if __name__ == "__main__":
    main()
