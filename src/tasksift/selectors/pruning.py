"""Pruning near-copies: a pool is brought down to a size by dropping rows that are most like another that stays.

The permanent pruning of Adapt-∞ (Maharana et al. 2025, arXiv 2410.10636), after SemDeDup (Abbas et al. 2023,
arXiv 2303.09540): within clusters, and larger clusters pay first.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray

from tasksift.draw.limits import water_fill
from tasksift.draw.sample import apportion, members, places
from tasksift.errors import InputError
from tasksift.neighbors.distances import squared_distances
from tasksift.neighbors.groups import collapse, singletons
from tasksift.neighbors.search import nearest
from tasksift.progress import Progress, silent
from tasksift.selectors.inputs import check_pool
from tasksift.vectors import Vectors, VectorsLike

Int = NDArray[np.int64]

LIST = 32
"""Neighbours that are found for each row at a time; only where all have been dropped are more looked for."""

BLOCK = 512
"""Rows of a cluster that are compared with all others of it at a time."""


def prune(
    pool: VectorsLike, keep: int, labels: Int | None = None, *, order: Int | None = None, progress: Progress = silent
) -> Int:
    """Return the rows that stay, exactly `keep` of them.

    Parameters
    ----------
    pool : array (n, d), memory map, list of shards, or Vectors
        Unit vectors are compared by their cosine.
    keep : int
        At most n.
    labels : int64 (n,), optional
        Cluster of every row; only rows of one cluster are compared. By default all rows are one cluster.
    order : int64 (n,), optional
        Rank of every row: among equals the first in rank stays.

    Returns
    -------
    int64 (keep,)
        Rows, ascending. Exact copies go first, and only when each row is the only one of its content does anything
        else. Then the clusters that hold more than their equal share give up what is above it: again and again the
        closest pair of a cluster loses the row whose next neighbour is nearer, so that what stays is as far apart as
        dropping one at a time can make it.

    Raises
    ------
    InputError
        If `keep` is not from 0 to n.

    Notes
    -----
    Distances are exact and ties break by rank, so permuting the pool permutes the answer. Cost for a cluster of c rows:
    2·c²·d operations, and c·d for each row whose `LIST` nearest have all been dropped; memory some 80·`LIST` bytes
    for each row of the cluster, besides its vectors.
    """
    vectors = check_pool(pool)
    n = len(vectors)
    if not 0 <= keep <= n:
        raise InputError(f"{keep} rows to keep: the pool has {n}")
    order = np.arange(n) if order is None else order
    groups = collapse(vectors, order)
    heads = groups.representative  # in the order of their ranks
    if len(heads) >= keep:
        labels = np.zeros(n, dtype=np.int64) if labels is None else labels
        stays = _thin(vectors, heads, labels[heads], keep, progress)
    else:
        # Of every content in turn one more copy stays.
        turn = places(np.argsort(order, kind="stable"), groups.of_row)
        stays = np.lexsort((order, turn))[:keep]
    return np.sort(stays)


def _thin(vectors: Vectors, rows: Int, labels: Int, keep: int, progress: Progress) -> Int:
    """Bring distinct rows, which come by rank, down to `keep`, every cluster to its share."""
    sizes = np.bincount(labels)
    shares = equal_shares(sizes, keep)
    kept = []
    with progress("dropping near-copies", len(rows)) as tick:
        for some, share in zip(members(labels, len(sizes)), shares.tolist(), strict=True):
            stay = rows[some]
            if 0 < share < len(stay):
                inside = Vectors(vectors.rows(stay), normalize=vectors.normalize)
                stay = stay[_Thinning(inside).down_to(share)]
            kept.append(stay[:share])
            tick(len(some))
    return np.concatenate(kept)


def equal_shares(sizes: Int, total: int) -> Int:
    """Share a whole number equally; what one cannot take goes to the others.

    Parameters
    ----------
    sizes : int64 (g,)
        What each can take.
    total : int
        At most their sum.

    Returns
    -------
    int64 (g,)
        They sum to `total`. Nobody who could take more has less than another, but for 1, which goes to the first that
        can take it.
    """
    level = water_fill((sizes > 0).astype(np.float64), np.zeros(len(sizes)), sizes.astype(np.float64), float(total))
    return apportion(level, total)


class _Thinning:
    """Distinct rows, numbered by rank, of which the most crowded are dropped one by one."""

    def __init__(self, rows: Vectors) -> None:
        self.rows = rows
        n = len(rows)
        self.alive = np.ones(n, dtype=bool)
        everyone = singletons(rows, np.arange(n))
        self.lists: list[tuple[list[int], list[float]]] = []
        for start in range(0, n, BLOCK):
            some = np.arange(start, min(start + BLOCK, n))
            for row, found in zip(some, nearest(rows, everyone, rows.take(some), LIST + 1), strict=True):
                others = found.ids != row
                self.lists.append((found.ids[others].tolist(), found.distances[others].tolist()))

    def down_to(self, keep: int) -> Int:
        """Drop rows until `keep` (at least 1) are left; return these."""
        heap = [self._pair(row) for row in range(len(self.rows))]
        heapify(heap)
        left = len(self.rows)
        while left > keep:
            _, first, second, row = heappop(heap)
            if not self.alive[row]:
                continue
            if self.alive[first] and self.alive[second]:
                # Both are as close to each other; the one whose next neighbour is nearer says less that is new.
                nearer = self._nearest(first, second)[0] < self._nearest(second, first)[0]
                self.alive[first if nearer else second] = False
                left -= 1
            if self.alive[row] and left > 1:
                heappush(heap, self._pair(row))
        return np.flatnonzero(self.alive)

    def _pair(self, row: int) -> tuple[float, int, int, int]:
        distance, other = self._nearest(row, row)
        return distance, min(row, other), max(row, other), row

    def _nearest(self, row: int, but: int) -> tuple[float, int]:
        """The nearest row that is left, other than `row` and `but`; at an infinite distance if there is none."""
        ids, distances = self.lists[row]
        for _ in range(2):
            for other, distance in zip(ids, distances, strict=True):
                if self.alive[other] and other != but:
                    return distance, other
            left = np.flatnonzero(self.alive)
            left = left[(left != row) & (left != but)]
            squares = np.empty(len(left))
            for start in range(0, len(left), BLOCK):
                some = slice(start, start + BLOCK)
                squares[some] = squared_distances(self.rows.take(left[some]), self.rows.take(np.array([row])))
            first = np.lexsort((left, squares))[:LIST]
            ids, distances = left[first].tolist(), np.sqrt(squares[first]).tolist()
            self.lists[row] = ids, distances
        return np.inf, row
