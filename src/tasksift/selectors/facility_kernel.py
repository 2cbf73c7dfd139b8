"""How well rows may serve one another, as a sparse kernel in whole units, and lazy greedy (Minoux 1978) on it."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tasksift.neighbors import search
from tasksift.neighbors.groups import Groups
from tasksift.progress import Progress
from tasksift.vectors import Vectors

Int = NDArray[np.int64]
Float = NDArray[np.float64]

UNIT = 2.0**30
"""Units of a similarity of 1. Sums of whole numbers are exact, so equal gains are equal and no gain ever grows."""

BLOCK_ROWS = 2048
"""Rows whose neighbours are searched at a time."""


def kernel_of(
    vectors: Vectors, groups: Groups, served: Int, caps: Int | None, neighbours: int, backend: str, progress: Progress
) -> sparse.csc_matrix:
    """Measure how well each group may serve each of `served` (u,), at most its cap (u,).

    Returns
    -------
    csc_matrix, int32 (u, groups), in units: max(0, 1 - d²/2) for the `neighbours` nearest groups of each, else 0.
    Cost: 2·u·n·d operations, and some 24 bytes for each entry on the way.
    """
    columns, values, counts = [], [], [np.zeros(1, dtype=np.int64)]
    with progress(f"searching {neighbours} neighbours of each row", len(served)) as tick:
        for at in range(0, len(served), BLOCK_ROWS):
            some = served[at : at + BLOCK_ROWS]
            lists = search.nearest(
                vectors, groups, vectors.take(groups.representative[some]), neighbours, backend=backend
            )
            similar = in_units(1 - np.stack([each.distances for each in lists]) ** 2 / 2)
            if caps is not None:
                similar = np.minimum(similar, caps[at : at + BLOCK_ROWS, None])
            there = similar > 0
            columns.append(np.stack([each.ids for each in lists]).astype(np.int32)[there])
            values.append(similar.astype(np.int32)[there])
            counts.append(there.sum(axis=1))
            tick(len(some))
    ends = np.cumsum(np.concatenate(counts))
    if len(served) == 0:
        return sparse.csc_matrix((0, len(groups)), dtype=np.int32)
    table = (np.concatenate(values), np.concatenate(columns), ends)
    return sparse.csr_matrix(table, shape=(len(served), len(groups))).tocsc()


def lazy_greedy(kernel: sparse.csc_matrix, weights: Int) -> Iterator[tuple[int, int]]:
    """Yield (column, gain): again and again the column that raises ``Σ_i weights_i max_{j in S} K_ij`` most.

    Parameters
    ----------
    kernel : csc_matrix of non-negative integers (u, g)
    weights : int64 (u,)

    Notes
    -----
    Ties go to the first column; it ends when no column gains anything. A gain never grows as S does, so an old one
    bounds the new, and only columns whose old gain comes first are looked at again.
    """
    starts, rows, units = kernel.indptr, kernel.indices, kernel.data
    best = np.zeros(kernel.shape[0], dtype=np.int64)
    total = np.concatenate([[0], np.cumsum(weights[rows] * units.astype(np.int64))])
    first = np.diff(total[starts])
    columns = np.flatnonzero(first > 0)
    queue = list(zip((-first[columns]).tolist(), columns.tolist(), strict=True))
    del total, first, columns
    heapify(queue)
    known = np.zeros(kernel.shape[1], dtype=np.int64)
    picked = 0
    while queue:
        gain, column = heappop(queue)
        here = slice(starts[column], starts[column + 1])
        if known[column] < picked:
            known[column] = picked
            some = rows[here]
            gain = -int(weights[some] @ np.maximum(0, units[here] - best[some]))
            if gain < 0:
                heappush(queue, (gain, column))
            continue
        best[rows[here]] = np.maximum(best[rows[here]], units[here])
        picked += 1
        yield column, -gain


def in_units(similarity: Float) -> Int:
    """Similarities, at least 0 and at most 1, in whole units."""
    return np.rint(np.clip(similarity, 0, 1) * UNIT).astype(np.int64)
