"""The random draws, rounding, and rows by group. Rows come in the order given; who sorts them is order-invariant."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasksift.numbering import numbers
from tasksift.scratch import chunks, large

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def systematic(inclusion: Floats, rng: np.random.Generator, groups: Ints | None = None) -> Ints:
    """Draw exactly k distinct positions, each with its own inclusion probability.

    The rows are shuffled and laid end to end, each as long as its probability; one uniform offset is drawn, and the
    row under every unit step from there is taken (Madow 1949). Lengths are whole multiples of a tiny unit (2**-40 or
    less below four million draws), so neither k nor distinctness hangs on rounding. Pairs of rows are *not* drawn
    independently of each other.

    Parameters
    ----------
    inclusion : float64 (n,)
        Probabilities in [0, 1] that sum to a whole number k, up to 1e-8 * k.
    rng : numpy.random.Generator
        Draws the shuffle and the offset.
    groups : int64 (n,), optional
        A code >= 0 per row. Groups stay together in the shuffle, so each one's count is its expected count rounded
        down or up, and exactly its expected count if that is whole up to rounding.

    Returns
    -------
    int64 (k,)
        Positions, ascending. Cost: O(n log n).
    """
    total = float(inclusion.sum())
    k = round(total)
    if len(inclusion) and not (inclusion.min() >= 0 and inclusion.max() <= 1 and abs(total - k) <= 1e-8 * max(1, k)):
        raise ValueError(f"inclusion probabilities must lie in [0, 1] and sum to a whole number, not {total!r}")
    one = 1 << min(52, 62 - k.bit_length())
    shuffle = numbers(len(inclusion))
    rng.shuffle(shuffle)
    if groups is None:
        units = _units(inclusion, k * one, one)
    else:
        rows = members(groups, int(groups.max(initial=0)) + 1)
        units = _grouped_units(inclusion, rows, k, one)
        place = rng.permutation(len(rows))
        shuffle = shuffle[np.argsort(place[groups[shuffle]], kind="stable")]
    steps = int(rng.integers(one)) + one * np.arange(k, dtype=np.int64)
    taken, end = np.empty(k, dtype=np.int64), 0
    for some in chunks(len(shuffle)):
        here = shuffle[some]
        ends = end + np.cumsum(units[here])
        low, high = np.searchsorted(steps, [end, ends[-1]])
        taken[low:high] = here[np.searchsorted(ends, steps[low:high], side="right")]
        end = ends[-1]
    return np.sort(taken)


def multinomial(p: Floats, k: int, rng: np.random.Generator) -> Ints:
    """Draw k times with replacement and count.

    The first k draws of a larger k are the same draws, so counts only grow with k under one seed.

    Parameters
    ----------
    p : float64 (n,)
        Positive masses, in proportion to the probabilities.
    k : int
        Number of draws.
    rng : numpy.random.Generator
        Draws one uniform number per draw.

    Returns
    -------
    int64 (n,)
        How often each row came out; sums to k. Cost: O(n + k log n).
    """
    ends = np.cumsum(p / p.sum())
    hit = np.searchsorted(ends, rng.random(k) * ends[-1], side="right")
    return np.bincount(hit, minlength=len(p)).astype(np.int64)


def apportion(share: Floats, k: int) -> Ints:
    """Round shares to whole numbers that sum to k: down, and the largest remainders up (Hamilton's method).

    Parameters
    ----------
    share : float64 (n,)
        Numbers >= 0 that sum to k up to rounding.
    k : int

    Returns
    -------
    int64 (n,)
        Ties go to the first. Remainders are compared to nine digits, so that rounding of floats breaks none. Cost:
        O(n log n).
    """
    counts, rest = whole_and_rest(share)
    short = k - int(counts.sum())
    if not 0 <= short <= len(share):
        raise ValueError(f"shares must sum to {k}, not {float(share.sum())!r}")
    counts[np.argsort(-np.round(rest, 9), kind="stable")[:short]] += 1
    return counts


def whole_and_rest(x: Floats) -> tuple[Ints, Floats]:
    """Split x >= 0 into whole parts and rests in [0, 1); what is whole up to rounding (1e-9 + 1e-13 * x) is whole."""
    nearest = np.rint(x)
    x = np.where(np.abs(x - nearest) <= 1e-9 + 1e-13 * x, nearest, x)
    whole = np.floor(x)
    return whole.astype(np.int64), x - whole


def members(groups: Ints, n_groups: int) -> list[Ints]:
    """Positions of each group's rows, ascending, group by group."""
    ends = np.cumsum(np.bincount(groups, minlength=n_groups))
    return np.split(np.argsort(groups, kind="stable"), ends[:-1])


def places(ranked: Ints, groups: Ints) -> Ints:
    """Return the place of every row among those of its group, int64 (n,), in the order in which `ranked` has them."""
    counts = np.bincount(groups)
    begins = np.cumsum(counts) - counts
    at = np.empty(len(ranked), dtype=np.int64)
    together = ranked[np.argsort(groups[ranked], kind="stable")]
    at[together] = np.arange(len(ranked)) - begins[groups[together]]
    return at


def _units(share: Floats, total: int, one: int) -> Ints:
    """Integers in [0, one] next to ``share * one`` that sum to `total`; shares of 0 and 1 stay what they are."""
    units: Ints = large(len(share), np.int64)
    for some in chunks(len(share)):
        units[some] = np.rint(share[some] * one)
    while short := total - int(units.sum()):
        # Rounding left a few units over or under; the rows with a fraction take them in equal parts.
        up, left = short > 0, abs(short)
        most = -(-left // sum(len(_free(share[some], units[some], one, up)) for some in chunks(len(share))))
        for some in chunks(len(share)):
            part = units[some]
            free = _free(share[some], part, one, up)
            step = np.minimum(one - part[free] if up else part[free], most)
            step = np.diff(np.minimum(np.cumsum(step), left), prepend=0)
            part[free] += step if up else -step
            left -= int(step.sum())
    return units


def _free(share: Floats, units: Ints, one: int, up: bool) -> Ints:
    """The rows that may take units, or give some."""
    return np.flatnonzero((share > 0) & (units < one) if up else (share < 1) & (units > 0))


def _grouped_units(inclusion: Floats, groups: list[Ints], k: int, one: int) -> Ints:
    """As `_units`, with each group's sum a multiple of `one` where its expected count is whole."""
    whole, rest = whole_and_rest(np.array([inclusion[rows].sum() for rows in groups]))
    totals = whole * one + _units(rest, (k - int(whole.sum())) * one, one)
    units = np.zeros(len(inclusion), dtype=np.int64)
    for total, rows in zip(totals, groups, strict=True):
        units[rows] = _units(inclusion[rows], int(total), one)
    return units
