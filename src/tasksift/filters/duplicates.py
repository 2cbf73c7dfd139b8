"""Semantic de-duplication: of rows that nearly say the same, the first stays.

SemDeDup: Abbas, Tirumala, Simig, Ganguli, Morcos 2023 (arXiv 2303.09540), section 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasksift.engines.current import spread
from tasksift.errors import InputError
from tasksift.filters import LeftOut
from tasksift.neighbors.distances import Points, pair_chunk, squared_distances
from tasksift.neighbors.groups import collapse
from tasksift.progress import Progress, silent
from tasksift.selectors.clustering import cluster
from tasksift.selectors.inputs import check_pool, not_zero
from tasksift.vectors import Vectors, VectorsLike

Int = NDArray[np.int64]
Float = NDArray[np.float64]

CLUSTER_ROWS, MOST_CLUSTERS = 1000, 1000
"""Rows of a cluster, and clusters, where the user does not say."""

BLOCK_ROWS, KEPT_ROWS = 512, 4096
"""Rows that are compared at a time, with so many of those kept before them."""


@dataclass(frozen=True)
class Dropped:
    """Rows that repeat others.

    Attributes
    ----------
    keep : bool (n,)
        False for the dropped rows.
    rows, duplicate_of : int64 (r,)
        The dropped rows, ascending, and the kept row that each resembles most.
    cosine : float64 (r,)
        Of the two; exact copies have 1.
    """

    keep: NDArray[np.bool_]
    rows: Int
    duplicate_of: Int
    cosine: Float

    def left_out(self, ids: Sequence[str] | Mapping[int, str] | None = None) -> LeftOut:
        """Return them for the record; `ids` are what kept rows are called, else their positions."""
        kept = [str(row) if ids is None else ids[row] for row in self.duplicate_of.tolist()]
        because_of = [f"{row} (cosine {value:.4f})" for row, value in zip(kept, self.cosine.tolist(), strict=True)]
        return LeftOut(self.rows, ["copy" if value == 1 else "near-copy" for value in self.cosine], because_of)


def near_duplicates(
    pool: VectorsLike,
    eps: float,
    *,
    clusters: int | None = None,
    order: Int | None = None,
    among: NDArray[np.bool_] | None = None,
    seed: int = 0,
    keys: NDArray[np.uint64] | None = None,
    progress: Progress = silent,
) -> Dropped:
    """Find the rows whose direction is nearly that of a row that stays.

    Parameters
    ----------
    pool : array (n, d), memory map, list of shards, or Vectors
        Their lengths do not matter. A row of zeros has no direction and stays.
    eps : float
        A row is dropped when its cosine to an earlier kept row of its cluster exceeds 1 - eps; 0 to 1. With 0 only
        exact copies are dropped.
    clusters : int, optional
        Only rows of one k-means cluster are compared. By default there is one for every 1000 rows, and at most 1000.
    order : int64 (n,), optional
        Rank of every pool row, for breaking ties.
    among : bool (n,), optional
        Rows that take part; the others are neither dropped nor a reason to drop a row.
    seed : int
        Of the clusters.
    keys : uint64 (n, 2), optional
        The pool's `tasksift.neighbors.groups.content_keys`, if they are known already.

    Returns
    -------
    Dropped

    Notes
    -----
    In each cluster rows are looked at from the farthest from the centre to the nearest, so the hard ones stay. Copies
    count as one row, which is where the first of them is, so no cut between clusters parts them. Decisions are made on
    float64 differences and do not depend on blocks, shards or threads. Cost: that of `clustering.cluster`, and at most
    Σ c²·d operations over clusters of c rows; memory for one cluster in float32 for each thread.
    """
    if not 0 <= eps <= 1:
        raise InputError(f"eps {eps:g}: it should be from 0 (exact copies only) to 1")
    vectors = check_pool(Vectors(pool, normalize=True, name=pool.name if isinstance(pool, Vectors) else "pool"))
    n = len(vectors)
    if clusters is not None and clusters < 1:
        raise InputError(f"{clusters} clusters: ask for at least 1")
    part = np.ones(n, dtype=bool) if among is None else among
    if order is not None:
        # Those who take part come first, so that one of them stands for its copies.
        order = np.argsort(np.lexsort((order, ~part)))
    elif among is not None:
        order = np.argsort(np.lexsort((collapse(vectors, keys=keys).of_row, ~part)))
    groups = collapse(vectors, order, keys=keys)
    if order is None:
        order = np.argsort(np.argsort(groups.of_row, kind="stable"))
    says = not_zero(vectors)
    heads = groups.representative[(part & says)[groups.representative]]

    duplicate_of, cosine = np.arange(n), np.ones(n)
    if eps > 0 and len(heads) > 1:
        k = clusters or min(MOST_CLUSTERS, max(1, len(heads) // CLUSTER_ROWS))
        found = cluster(vectors, k, order=order, seed=seed, progress=progress)
        # By cluster, the farthest first, ties by rank.
        heads = heads[np.lexsort((order[heads], -found.distances[heads], found.labels[heads]))]
        cuts = np.flatnonzero(np.diff(found.labels[heads])) + 1
        rooms = np.split(heads, cuts)
        with progress("comparing rows of a cluster", len(heads)) as tick:
            for rows, (first, apart) in zip(rooms, spread(_sift, (vectors, eps), rooms), strict=True):
                duplicate_of[rows], cosine[rows] = rows[first], 1 - apart / 2
                tick(len(rows))
    # Copies go where the row that stands for them goes.
    head = groups.representative[groups.of_row]
    duplicate_of, cosine = duplicate_of[head], cosine[head]
    dropped = np.flatnonzero((duplicate_of != np.arange(n)) & part & says)
    keep = np.ones(n, dtype=bool)
    keep[dropped] = False
    return Dropped(keep, dropped, duplicate_of[dropped], cosine[dropped])


def _sift(vectors: Vectors, eps: float, rows: Int) -> tuple[Int, Float]:
    """Go through rows (c,) in turn and drop those too near a kept one.

    Returns
    -------
    (int64 (c,), float64 (c,)) : the place of the kept row nearest to each dropped one, or its own; their squared
    distance.
    """
    first, apart = np.arange(len(rows)), np.zeros(len(rows))
    kept = np.empty(0, dtype=np.int64)
    for at in range(0, len(rows), BLOCK_ROWS):
        here = first[at : at + BLOCK_ROWS].copy()
        exact = vectors.take(rows[here])
        points = Points(exact)
        least = np.full(len(here), np.inf)
        for start in range(0, len(kept), KEPT_ROWS):
            before = kept[start : start + KEPT_ROWS]
            i, j, squares = _near(vectors, points, rows[before], eps)
            # The nearest for each, ties to the first.
            best = np.lexsort((j, squares, i))
            best = best[np.flatnonzero(np.diff(i[best], prepend=-1))]
            nearer = best[squares[best] < least[i[best]]]
            least[i[nearer]] = squares[nearer]
            first[at + i[nearer]] = before[j[nearer]]
        i, j, squares = _near(vectors, points, rows[here], eps)
        earlier = np.flatnonzero(j < i)
        earlier = earlier[np.lexsort((j[earlier], i[earlier]))]
        stays = np.isinf(least)
        for one in np.split(earlier, np.flatnonzero(np.diff(i[earlier])) + 1):
            one = one[stays[j[one]]]
            if len(one):
                place, nearest = int(i[one[0]]), one[squares[one].argmin()]
                stays[place] = False
                if squares[nearest] < least[place]:
                    least[place] = squares[nearest]
                    first[at + place] = at + j[nearest]
        apart[here[~stays]] = least[~stays]
        kept = np.concatenate([kept, here[stays]])
    return first, apart


def _near(vectors: Vectors, points: Points, rows: Int, eps: float) -> tuple[Int, Int, Float]:
    """The pairs (point, row) whose cosine exceeds 1 - eps, and their squared distances."""
    raw = vectors.rows(rows)
    i, j, _, _ = points.near(vectors.narrow(raw), 2 * eps)
    used, place = np.unique(j, return_inverse=True)
    exact = vectors.exact(raw[used])
    squares = np.empty(len(i))
    step = pair_chunk(vectors.dim)
    for at in range(0, len(i), step):
        some = slice(at, at + step)
        squares[some] = squared_distances(points.points[i[some]], exact[place[some]])
    near = squares < 2 * eps
    return i[near], j[near], squares[near]
