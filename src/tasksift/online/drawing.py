"""Which domains the rows of a step come from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def draw_domains(
    count: int,
    probabilities: NDArray[np.float64],
    *,
    first: NDArray[np.bool_],
    served: NDArray[np.int64] | None,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw domains for `count` rows, or micro-batches.

    Parameters
    ----------
    probabilities : float64 (K,)
        Zero where nothing is left to draw; not all of them.
    first : bool (K,)
        Domains that come before chance does, one each, as far as they fit.
    served : int64 (K,), optional
        What each had so far. With it the counts are exact: after any step no domain is more than about one away from
        its share of everything drawn.
    rng : numpy.random.Generator
        Of this step alone.

    Returns
    -------
    int64 (count,)
        In random order. Cost: O(count log K + K).
    """
    ahead = rng.permutation(np.flatnonzero(first & (probabilities > 0)))[:count]
    if served is None:
        cumulative = np.cumsum(probabilities)
        # The last domain that can be drawn ends at the very total, so rounding never reaches one that cannot.
        drawn = np.searchsorted(cumulative, rng.random(count - len(ahead)) * cumulative[-1], side="right")
        rest = np.minimum(drawn, np.flatnonzero(probabilities)[-1])
    else:
        share = probabilities / probabilities.sum()
        due = share * (served.sum() + count) - served - np.bincount(ahead, minlength=len(served))
        counts = whole_counts(np.where(share > 0, due, -np.inf), count - len(ahead))
        rest = np.repeat(np.arange(len(share)), counts)
    return rng.permutation(np.concatenate([ahead, rest])).astype(np.int64)


def whole_counts(due: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Round what is due, (K,), to whole numbers that add up to `total`, by largest remainders; none is below 0.

    Equal remainders go to the first. Minus infinity is due nothing, ever.
    """
    counts = np.floor(np.maximum(due, 0)).astype(np.int64)
    while (left := total - int(counts.sum())) != 0:
        # What was overdrawn before (due below 0) leaves others short, so the rest may take several rounds.
        ranked = np.argsort(counts - due, kind="stable")
        if left > 0:
            counts[ranked[np.isfinite(due[ranked])][:left]] += 1
        else:
            full = ranked[counts[ranked] > 0]
            counts[full[left:]] -= 1
    return counts
