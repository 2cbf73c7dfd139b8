"""How many MB of text DSIR and BM25 read in a second on one core, and DSIR against its form without a cache.

    python benchmarks/lexical.py --mb 10

Reads docstrings of Python's standard library, or the texts of `--pool FILE` (one a line). The form without a cache
hashes every n-gram of every text and multiplies a whole vector of counts, one text at a time; it gets a twentieth of
the texts. The cache is empty in the first pass, which counts, and holds what was counted in the second, which weighs.
Ways are run in turn, `--repeats` times; the table has medians, in seconds of the processor.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np

from tasksift.demo_pool import docstrings, standard_library
from tasksift.progress import silent
from tasksift.selectors import bm25, dsir
from tasksift.selectors.ngrams import Hashed

BUCKETS = 10_000
TARGETS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=float, default=10.0, help="text to read")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pool", type=Path, help="a text on every line")
    args = parser.parse_args()
    texts = (
        args.pool.read_text().splitlines()
        if args.pool
        else [row["text"] for row in docstrings(standard_library(), silent)]
    )
    texts = upto(texts, args.mb * 1e6)
    target, few = texts[:: max(1, len(texts) // TARGETS)], texts[::20]
    hashed = Hashed(BUCKETS)
    delta = dsir.log_ratio(hashed.count(target), hashed.count(texts))
    slow = [naive(text, delta) for text in few]
    fast = [delta[Hashed(BUCKETS).read(text)[0]].sum() for text in few]
    apart = max(abs(a - b) for a, b in zip(slow, fast, strict=True))
    print(f"{size(texts) / 1e6:.1f} MB, {len(texts)} texts, {len(target)} targets; the two forms differ by {apart:.1e}")
    ways: dict[str, tuple[list[str], Callable[[list[str]], object]]] = {
        "DSIR, weights without a cache": (few, lambda some: [naive(text, delta) for text in some]),
        "DSIR, first pass": (texts, lambda some: Hashed(BUCKETS).count(some)),
        "DSIR, second pass": (texts, lambda some: [delta[hashed.read(text)[0]].sum() for text in some]),
        "DSIR, whole": (texts, lambda some: dsir.fit(some, target)),
        "BM25, mean": (texts, lambda some: bm25.fit(some, target)),
        "BM25, max": (texts, lambda some: bm25.fit(some, target, aggregate="max")),
        "BM25, turns for 1 %": (
            texts, lambda some: bm25.fit(some, target, aggregate="turns", budget=len(some) // 100 + 1)
        ),
    }  # fmt: skip
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.repeats):
        for name, (some, way) in ways.items():
            start = time.process_time()
            way(some)
            rates[name].append(size(some) / 1e6 / (time.process_time() - start))
    base = median(next(iter(rates.values())))
    print("| way | MB a second | times the first |\n| --- | --- | --- |")
    for name, found in rates.items():
        print(f"| {name} | {median(found):.2f} | {median(found) / base:.2f} |")


def upto(texts: list[str], limit: float) -> list[str]:
    """The first texts that together hold `limit` bytes, or all."""
    at = np.searchsorted(np.cumsum([len(text.encode()) for text in texts]), limit)
    return texts[: int(at) + 1]


def size(texts: list[str]) -> int:
    return sum(len(text.encode()) for text in texts)


def naive(text: str, delta: np.ndarray) -> float:
    """The weight of one text by the vector of all its counts."""
    words = re.findall(r"\w+|[^\w\s]+", text.lower())
    counts = np.zeros(BUCKETS)
    grams = words + [" ".join(pair) for pair in pairwise(words)]
    for gram, times in Counter(grams).items():
        counts[int(sha256(gram.encode()).hexdigest(), 16) % BUCKETS] += times
    return float(counts @ delta)


if __name__ == "__main__":
    main()
