"""Exact nearest neighbours: a streamed pass of block products, with limits guessed from a sample and then verified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.engines.current import cores, spread
from tasksift.engines.local import share
from tasksift.neighbors.backends import points_for
from tasksift.neighbors.distances import Points, pair_chunk, squared_distances
from tasksift.neighbors.groups import Groups
from tasksift.neighbors.parts import Part, parts
from tasksift.vectors import Vectors

Tick = Callable[[int], None]
Int = NDArray[np.int64]
Float = NDArray[np.float64]

TABLE_ENTRIES = 2**20
"""Entries of one table of bounds (targets × rows of a block): what a core's own cache holds."""

PART_ROWS = 131_072
"""Rows of one part of the pool, which is searched by itself, at most."""

SAMPLE_SHARE, SAMPLE_ROWS = 32, 32_768
"""One distinct row of so many is looked at beforehand, and at most so many rows."""


@dataclass(frozen=True)
class Neighbours:
    """One target's nearest groups: ids and plain L2 distances, nearest first, ties by group number."""

    ids: Int
    distances: Float


def nearest(
    pool: Vectors, groups: Groups, targets: Float, k: int, tick: Tick | None = None, *, backend: str = "numpy"
) -> list[Neighbours]:
    """Return the `k` nearest distinct rows of each target, exactly.

    Parameters
    ----------
    pool : Vectors (n, d)
    groups : Groups
        The distinct rows of the pool; only these are searched.
    targets : float64 (m, d)
    k : int
        Neighbours per target; all groups when there are fewer.
    tick : callable, optional
        Called with the number of pool rows just read.
    backend : str
        What multiplies, see `tasksift.neighbors.backends`. The answer is the same, bit for bit.

    Returns
    -------
    list of m Neighbours, each of length min(k, len(groups)).

    Notes
    -----
    A row is dropped when the lower bound of its distance exceeds a limit that is then verified to be no less than the
    k-th distance, so no true neighbour is lost to a guess or to rounding. Cost: 2·m·n·d operations, once, seldom
    twice; memory for about 2·k candidates a target.
    """
    k = min(k, len(groups))
    found = [Neighbours(np.empty(0, dtype=np.int64), np.empty(0))] * len(targets)
    left = np.arange(len(targets) if k else 0)
    limits = _guess(pool, groups, targets, k)
    while len(left):
        shelf = _search(pool, groups, targets[left], k, limits[left], backend, tick)
        candidates = shelf.candidates()
        sure = shelf.limits <= limits[left]
        done = [(targets[i], candidates[at]) for at, i in enumerate(left) if sure[at]]
        measured = share(lambda work: _finish(pool, groups, *work, k), done)
        for i, neighbours in zip(left[sure], measured, strict=True):
            found[i] = neighbours
        # The sample was not like the pool. What was found bounds the k-th distance for certain, if it is enough.
        limits[left] = shelf.limits
        left = left[~sure]
    return found


def _search(
    pool: Vectors, groups: Groups, targets: Float, k: int, limits: Float, backend: str, tick: Tick | None
) -> Shelf:
    """Put on a shelf what one pass over the pool finds within the limits."""
    shelf = Shelf(limits, k)
    spans = pool.spans(min(PART_ROWS, max(4096, len(pool) // (4 * cores()))))
    # Parts that begin later profit from what was found by then.
    work = ((part, shelf.limits) for part in parts(groups, spans))
    found = spread(scan, (pool, targets, k, backend), work, gpu=backend == "cuda")
    for span, columns in zip(spans, found, strict=True):
        shelf.put(*columns)
        if tick:
            tick(span[1] - span[0])
    return shelf


def scan(pool: Vectors, targets: Float, k: int, backend: str, work: tuple[Part, Float]) -> tuple[NDArray[Any], ...]:
    """Find the rows of one part that may be among the k nearest of the targets, given limits; see `Shelf.columns`."""
    part, limits = work
    points, shelf = points_for(backend)(targets), Shelf(limits, k)
    step = max(1, min(pool.block_rows, TABLE_ENTRIES // len(targets)))
    raw = pool.raw(part.span)
    for at in range(0, len(raw), step):
        block, ids = raw[at : at + step], part.ids[at : at + step]
        if (ids < 0).any():
            block, ids = block[ids >= 0], ids[ids >= 0]
        if len(ids):
            point, row, lower, upper = points.near(pool.narrow(block), shelf.limits)
            shelf.put(point, ids[row], lower, upper)
    return shelf.columns()


class Shelf:
    """The rows that may be among the k nearest of some targets; what parts of a pool put there adds up to the whole.

    Parameters
    ----------
    limits : float64 (m,)
        Squared distances beyond which rows need not be put: guesses, or inf. They only ever shrink.
    k : int
    """

    def __init__(self, limits: Float, k: int) -> None:
        self.k = k
        self.limits = limits
        self._narrow = np.uint16 if len(limits) <= 2**16 else np.uint32
        self._parts: list[tuple[NDArray[Any], ...]] = []
        self._count = 0

    def put(self, target: NDArray[Any], ids: Int, lower: Float, upper: Float) -> None:
        """Add candidates, with bounds of their squared distances."""
        # As 16 bits, targets are sorted by radix.
        self._parts.append((target.astype(self._narrow, copy=False), ids, lower, upper))
        self._count += len(ids)
        if self._count > (4 * self.k + 256) * len(self.limits):
            self._prune()

    def columns(self) -> tuple[NDArray[Any], ...]:
        """Targets, ids and bounds of the rows that may be among the k nearest, as `put` takes them."""
        self._prune()
        return self._parts[0]

    def candidates(self) -> list[Int]:
        """The ids of the rows that may be among the k nearest, for each target.

        From then on `limits` holds what is known for certain of the k-th squared distance of each target, or inf.
        """
        (target, ids, lower, _), order, certain = self._sort()
        self.limits = certain
        order = order[(lower <= certain[target])[order]]
        starts = np.searchsorted(target[order], np.arange(len(certain) + 1))
        return [ids[order[a:b]] for a, b in pairwise(starts)]

    def _prune(self) -> None:
        """Drop what cannot be among the k nearest."""
        columns, _, certain = self._sort()
        self.limits = np.minimum(self.limits, certain)
        keep = columns[2] <= certain[columns[0]]
        self._parts = [tuple(column[keep] for column in columns)]
        self._count = int(keep.sum())

    def _sort(self) -> tuple[list[NDArray[Any]], Int, Float]:
        """All candidates in columns, how to sort them by targets, and what is certain of the k-th squared distances."""
        m = len(self.limits)
        empty = (np.empty(0, self._narrow), np.empty(0, np.int64), np.empty(0), np.empty(0))
        columns = [np.concatenate(part) for part in zip(empty, *self._parts, strict=True)]
        target, upper = columns[0], columns[3]
        order = np.argsort(target, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(target, minlength=m))])
        certain = np.full(m, np.inf)
        for i in np.flatnonzero(np.diff(starts) >= self.k):
            certain[i] = np.partition(upper[order[starts[i] : starts[i + 1]]], self.k - 1)[self.k - 1]
        return columns, order, certain


def _guess(pool: Vectors, groups: Groups, targets: Float, k: int) -> Float:
    """Squared distances that probably hold k rows of the pool for each target, and not many more."""
    step = max(SAMPLE_SHARE, len(groups) // SAMPLE_ROWS)
    # Groups are numbered by ids that come from content, so every step-th of them is a sample like any other.
    sample = groups.representative[::step]
    share_of_k = k * len(sample) / max(1, len(groups))
    rank = int(share_of_k + 5 * np.sqrt(share_of_k) + 5)
    if rank >= len(sample):
        return np.full(len(targets), np.inf)
    rows = pool.narrow(pool.rows(np.sort(sample)))
    cuts = range(0, len(targets), max(1, 4 * TABLE_ENTRIES // len(sample)))
    step = cuts.step

    def part(start: int) -> Float:
        table = Points(targets[start : start + step]).table(rows)
        high = np.partition(table.half, len(sample) - rank, axis=1)[:, len(sample) - rank]
        return np.asarray(table.own - 2.0 * high, dtype=np.float64)

    guess: Float = np.maximum(0.0, np.concatenate(list(share(part, cuts))))
    return guess


def _finish(pool: Vectors, groups: Groups, target: Float, ids: Int, k: int) -> Neighbours:
    """Measure the surviving candidates in float64 and keep the k nearest."""
    squares = np.empty(len(ids))
    step = pair_chunk(pool.dim)
    for at in range(0, len(ids), step):
        some = ids[at : at + step]
        squares[at : at + len(some)] = squared_distances(pool.take(groups.representative[some]), target)
    distances = np.sqrt(squares)
    order = np.lexsort((ids, distances))[:k]
    return Neighbours(ids[order], distances[order])
