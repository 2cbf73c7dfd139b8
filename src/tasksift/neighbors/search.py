"""Exact nearest neighbours by a streamed block product with a running threshold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasksift.neighbors.distances import Points, squared_distances
from tasksift.neighbors.groups import Groups
from tasksift.vectors import Vectors

Tick = Callable[[int], None]

TABLE_ENTRIES = 4 * 2**20
"""Entries of one table of bounds (targets × rows of a block)."""


@dataclass(frozen=True)
class Neighbours:
    """One target's nearest groups: ids and plain L2 distances, nearest first, ties by group number."""

    ids: NDArray[np.int64]
    distances: NDArray[np.float64]


def nearest(
    pool: Vectors, groups: Groups, targets: NDArray[np.float64], k: int, tick: Tick | None = None
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

    Returns
    -------
    list of m Neighbours, each of length min(k, len(groups)).

    Notes
    -----
    A row is dropped only when the lower bound of its distance exceeds the k-th smallest upper bound seen, so no true
    neighbour is lost to rounding. Cost: 2·m·n·d operations, and about 2·k candidates a target in memory.
    """
    k = min(k, len(groups))
    rank = groups.rank
    points = Points(targets)
    shelves = [_Shelf(k) for _ in range(len(targets))]
    limits = np.full(len(targets), np.inf)
    for start, raw in pool.blocks(max(1, min(pool.block_rows, TABLE_ENTRIES // max(1, len(targets))))):
        ids = rank[start : start + len(raw)]
        block = raw
        if (ids < 0).any():
            block, ids = raw[ids >= 0], ids[ids >= 0]
        if len(ids):
            table = points.table(block)
            near = table.within(limits)
            for i in np.flatnonzero(near.any(axis=1)):
                here = np.flatnonzero(near[i])
                limits[i] = shelves[i].put(ids[here], *table.bounds(i, here))
        if tick:
            tick(len(raw))
    return [_finish(pool, groups, targets[i], shelf.all_ids(), k) for i, shelf in enumerate(shelves)]


class _Shelf:
    """The candidates of one target that may still be among its k nearest."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.parts: list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]] = []
        self.count = 0
        self.limit = np.inf

    def put(self, ids: NDArray[np.int64], lower: NDArray[np.float64], upper: NDArray[np.float64]) -> float:
        """Add candidates and return the upper bound that later ones must not exceed."""
        self.parts.append((ids, lower, upper))
        self.count += len(ids)
        if self.count > 2 * self.k + 64:
            self._prune()
        return float(self.limit)

    def _prune(self) -> None:
        ids, lower, upper = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        self.limit = np.partition(upper, self.k - 1)[self.k - 1]
        keep = lower <= self.limit
        self.parts = [(ids[keep], lower[keep], upper[keep])]
        self.count = int(keep.sum())

    def all_ids(self) -> NDArray[np.int64]:
        if self.count > self.k:
            self._prune()
        return np.concatenate([part[0] for part in self.parts])


def _finish(pool: Vectors, groups: Groups, target: NDArray[np.float64], ids: NDArray[np.int64], k: int) -> Neighbours:
    """Measure the surviving candidates in float64 and keep the k nearest."""
    squares = np.empty(len(ids))
    for at in range(0, len(ids), pool.block_rows):
        some = ids[at : at + pool.block_rows]
        squares[at : at + len(some)] = squared_distances(pool.take(groups.representative[some]), target)
    distances = np.sqrt(squares)
    order = np.lexsort((ids, distances))[:k]
    return Neighbours(ids[order], distances[order])
