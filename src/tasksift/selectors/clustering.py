"""Clusters of rows by k-means, the same whatever the order of the pool and the number of threads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.progress import Progress, silent
from tasksift.selectors import nearest
from tasksift.selectors.inputs import check_pool
from tasksift.vectors import VectorsLike

SAMPLE = 20_000
"""Rows on which the centres are fitted."""


@dataclass(frozen=True)
class Clusters:
    """A division of the rows.

    Attributes
    ----------
    labels : int64 (n,)
        Cluster of every row, 0 to k - 1; each has at least one row.
    centres : float64 (k, d)
    distances : float64 (n,)
        From each row to its centre.
    """

    labels: NDArray[np.int64]
    centres: NDArray[np.float64]
    distances: NDArray[np.float64]


def cluster(
    pool: VectorsLike,
    k: int,
    *,
    order: NDArray[np.int64] | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Clusters:
    """Divide rows into at most k clusters by k-means.

    Parameters
    ----------
    pool : array (n, d), memory map, list of shards, or Vectors
        Compared by distance; unit vectors are compared by their cosine.
    k : int
        Clusters; fewer come out when some would be empty, or the rows have fewer distinct vectors.
    order : int64 (n,), optional
        Rank of every row, by which the sample is drawn, so that the order of the pool changes nothing.
    seed : int
        Of the sample and of the first centres.

    Returns
    -------
    Clusters
        Numbered by the smallest rank in each. Cost: about 40·SAMPLE·k·d operations for the centres (scikit-learn's
        k-means, greedy k-means++ start) and 2·n·k·d to assign the rows.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    if k < 1:
        raise InputError(f"{k} clusters: ask for at least 1")
    vectors = check_pool(pool)
    n = len(vectors)
    order = np.arange(n) if order is None else order
    ranked = np.argsort(order, kind="stable")
    drawn = ranked[np.sort(np.random.default_rng(seed).permutation(n)[:SAMPLE])]
    sample = vectors.take(drawn)
    k = min(k, len(np.unique(sample, axis=0)))
    # On one thread, as several add up in an order that changes from run to run.
    with progress(f"finding {k} clusters", 0), threadpool_limits(1):
        fitted = KMeans(k, n_init=1, max_iter=50, random_state=seed % 2**32, algorithm="lloyd").fit(sample)
    links = nearest.fit(vectors, fitted.cluster_centers_, progress=progress).links
    assert links is not None
    labels, used = numbered(links.target, order)
    return Clusters(labels, fitted.cluster_centers_[used], links.distance)


def numbered(codes: NDArray[np.int64], order: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number groups of rows by the smallest rank in each, so that it does not matter which code each had.

    Parameters
    ----------
    codes : int64 (n,)
        Of the group of every row.
    order : int64 (n,)
        Rank of every row.

    Returns
    -------
    (numbers, codes) : int64 (n,) and (g,)
        The number of every row's group, 0 to g - 1, and the code that each number had. Cost: two sorts.
    """
    ranked = np.argsort(order, kind="stable")
    used, first, place = np.unique(codes[ranked], return_index=True, return_inverse=True)
    by_rank = np.argsort(first)
    numbers = np.empty(len(codes), dtype=np.int64)
    numbers[ranked] = np.argsort(by_rank)[place]
    return numbers, used[by_rank]
