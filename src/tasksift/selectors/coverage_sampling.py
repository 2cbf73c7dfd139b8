"""Coverage-centric sampling: rows from the whole range of a score in like numbers, the extreme ones last.

Zheng, Liu, Lai, Prakash, "Coverage-centric coreset selection for high pruning rates", ICLR 2023 (arXiv 2210.15809),
Algorithm 1. There the smallest bin is served first and what it lacks goes to the others; that is the same as letting
the bins take turns, which is how it is written here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasksift.draw.sample import places
from tasksift.errors import InputError

Int = NDArray[np.int64]

EDGE = 1e-6
"""How far, in bins, the edges lie below round numbers, so that rounding moves no value that stands on one."""


def in_coverage_order(
    scores: NDArray[np.float64],
    labels: Int | None = None,
    *,
    order: Int | None = None,
    seed: int = 0,
    bins: int = 50,
    cut: float = 0.05,
) -> Int:
    """Return the place of every row in its cluster: the rows at places below k are the sample of k rows.

    Parameters
    ----------
    scores : float64 (n,)
        Finite.
    labels : int64 (n,), optional
        Cluster of every row, from 0; by default all rows are one.
    order : int64 (n,), optional
        Rank of every row, by which chance is given out, so that the order of the rows changes nothing.
    seed : int
    bins : int
        Bins of equal width between the lowest and the highest score of a cluster, tails left out.
    cut : float
        Share of a cluster's rows that is cut at each end. These come last, the least extreme first.

    Returns
    -------
    int64 (n,)
        The bins of a cluster take turns, in an order drawn by lot, each giving one row at random until it is empty. So
        every sample of k rows has k rows, for every k, and of any two bins the one that gave less is empty or gave
        one less.

    Raises
    ------
    InputError
        If `bins` is below 1 or `cut` leaves nothing.

    Notes
    -----
    Cost: some sorts of n rows.
    """
    if bins < 1 or not 0 <= cut < 0.5:
        raise InputError(f"bins={bins}, cut={cut}: there is at least 1 bin, and a cut lies from 0 to below 0.5")
    n = len(scores)
    labels = np.zeros(n, dtype=np.int64) if labels is None else labels
    rng = np.random.default_rng(seed)
    chance = rng.permutation(n)[np.arange(n) if order is None else order]
    sizes = np.bincount(labels)
    lot = rng.random((len(sizes), bins))
    by_score = np.lexsort((chance, scores, labels))
    place = places(by_score, labels)
    tail = np.floor(cut * sizes).astype(np.int64)
    begins = np.cumsum(sizes) - sizes
    some = sizes > 0
    low, high = np.zeros(len(sizes)), np.zeros(len(sizes))
    low[some] = scores[by_score[(begins + tail)[some]]]
    high[some] = scores[by_score[(begins + sizes - tail - 1)[some]]]
    width = np.where(high > low, high - low, 1.0)
    share = (scores - low[labels]) / width[labels]
    bin_of = np.clip(np.floor(bins * share + EDGE), 0, bins - 1).astype(np.int64)
    # How many places a row lies outside the kept range; none or less is inside.
    beyond = np.maximum(tail[labels] - place, place - (sizes - tail - 1)[labels])
    cut_off = beyond > 0
    turn = places(np.argsort(chance, kind="stable"), (labels * bins + bin_of) * 2 + cut_off)
    turn[cut_off] = beyond[cut_off]
    first = np.where(cut_off, chance, lot[labels, bin_of])
    return places(np.lexsort((chance, first, turn, cut_off)), labels)
