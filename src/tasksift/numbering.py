"""Rows numbered another way, chunk by chunk: what these functions need meanwhile does not grow with the pool."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tasksift.scratch import CHUNK_ROWS, Column, chunks, large

Int = NDArray[np.int64]

SPARSE = 8
"""Ranks that reach to more than so many times their number are sorted, not looked up."""


def numbers(n: int) -> Int:
    """Return 0, 1 ... n-1, int64 (n,)."""
    out = large(n, np.int64)
    for some in chunks(n):
        out[some] = np.arange(some.start, some.stop)
    return out


def gather(values: NDArray[Any], rows: Int, dtype: DTypeLike | None = None) -> NDArray[Any]:
    """Return ``values[rows]``, of another dtype if one is given."""
    out = large((len(rows), *values.shape[1:]), values.dtype if dtype is None else dtype)
    for some in chunks(len(rows)):
        out[some] = values[rows[some]]
    return out


def inverse(rows: Int, n: int, missing: int | None = None) -> Int:
    """Return the place of each of n rows in `rows`; `missing`, or whatever, for those that are not there."""
    place = large(n, np.int64, fill=missing)
    for some in chunks(len(rows)):
        place[rows[some]] = np.arange(some.start, some.stop)
    return place


def where(mask: NDArray[Any]) -> Int:
    """Return the places at which `mask` (n,) is not zero, ascending."""
    found = Column(np.int64)
    for some in chunks(len(mask)):
        found.extend(some.start + np.flatnonzero(mask[some]))
    return found.done()


def by_rank(ranks: Int) -> Int:
    """Return the places of `ranks` (n,), the lowest rank first; of equal ranks the first place comes first."""
    n = len(ranks)
    if n and ranks.min() >= 0 and ranks.max() < SPARSE * n:
        place = inverse(ranks, int(ranks.max()) + 1, -1)
        found = Column(np.int64)
        for some in chunks(len(place)):
            found.extend(place[some][place[some] >= 0])
        if len(found) == n:
            return found.done()
    return np.argsort(ranks, kind="stable")


def highest(values: NDArray[np.float64], k: int, order: Int | None = None) -> Int:
    """Return the places of the k highest values, best first; of equal ones those of lower `order`, by default place."""
    found = np.empty(0, dtype=np.int64)
    for some in chunks(len(values), max(k, CHUNK_ROWS)):
        rows = np.append(found, np.arange(some.start, some.stop))
        found = rows[np.lexsort((rows if order is None else order[rows], -values[rows]))[:k]]
    return found
