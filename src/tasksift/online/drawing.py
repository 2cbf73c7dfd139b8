"""Which domains the rows of a step come from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasksift.draw.sample import apportion


def draw_domains(
    count: int,
    probabilities: NDArray[np.float64],
    *,
    first: NDArray[np.bool_],
    due: NDArray[np.float64] | None,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw domains for `count` rows, or micro-batches.

    Parameters
    ----------
    probabilities : float64 (K,)
        Zero where nothing is left to draw; not all of them.
    first : bool (K,)
        Domains that come before anything else, one each, as far as they fit.
    due : float64 (K,), optional
        What each would have to get, were there fractions: its share of all that was and is drawn, without what it got.
        With it the counts are exact, and no domain is ever more than about one away from its share.
    rng : numpy.random.Generator
        Of this step alone.

    Returns
    -------
    int64 (count,)
        In random order. Cost: O(count log K + K log K).
    """
    ahead = rng.permutation(np.flatnonzero(first & (probabilities > 0)))[:count]
    left = count - len(ahead)
    if due is None:
        cumulative = np.cumsum(probabilities)
        # The last domain that can be drawn ends at the very total, so rounding never reaches one that cannot.
        drawn = np.searchsorted(cumulative, rng.random(left) * cumulative[-1], side="right")
        rest = np.minimum(drawn, np.flatnonzero(probabilities)[-1])
    else:
        due = due - np.bincount(ahead, minlength=len(due))
        # A domain that had too much is due nothing, and the others get less than they lack, which evens out later.
        due = np.where(probabilities > 0, np.maximum(due, 0), 0.0)
        due = due if due.any() else probabilities
        rest = np.repeat(np.arange(len(due)), apportion(due * (left / due.sum()), left))
    return rng.permutation(np.concatenate([ahead, rest])).astype(np.int64)
