"""Automatic breadth: as close to the targets as a budget allows with no example repeated.

For a budget B the wanted breadth is the smallest s with B · max_j p_j(s) <= 1. The maximum is not monotone in s, and
the answer can lie strictly between two breakpoints, so the sweep goes upward and looks inside every interval: there
each M·p_j = r_j + a_j / s, with r_j the targets whose unfilled remainder lies on j and a_j what is filled less what
those targets have shipped before. Each candidate thus allows a half-line of s, and two heaps keep the tightest ends.
"""

from __future__ import annotations

import heapq
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tasksift.transport.sweep import Lists

SLACK = 1e-12
"""Relative rounding of s that may be forgiven where the two ends of what is allowed meet."""


def breadth_for_budget(lists: Lists, budget: float) -> float | None:
    """Return the smallest breadth with budget · max p <= 1, or None when it lies beyond what the lists determine.

    Parameters
    ----------
    lists : Lists
    budget : float
        Expected number of rows to be drawn without replacement.

    Notes
    -----
    Everything below a necessary bound (what is filled stays filled) is skipped in bulk; the rest costs O(log E) for
    each of the E breakpoints passed.
    """
    cap = len(lists.ids) / budget
    # Numbered anew, so that the tables below are as long as the lists and not as the pool.
    codes = np.unique(np.concatenate(lists.ids), return_inverse=True)[1].ravel()
    ends = np.cumsum([len(ids) for ids in lists.ids])
    lists = replace(lists, ids=np.split(codes, ends[:-1]))
    # Up to the first breakpoint every target lies on its nearest neighbour alone.
    start = min(float(w[0]) for w in lists.weights)
    while start <= lists.limit * (1 + SLACK):
        found, start = _scan(lists, cap, _skip(lists, cap, start))
        if found is not None:
            return found
    return None


def _skip(lists: Lists, cap: float, start: float) -> float:
    """The largest breadth below which, from `start` on, some candidate is certainly over its cap."""
    size = 1 + max(int(ids.max()) for ids in lists.ids)
    if cap < 1:
        start = max(start, max(float(w[0]) for w in lists.weights) / cap)
    while start <= lists.limit:
        counts = [int(np.searchsorted(total, start, side="right")) for total in lists.cumulative]
        filled = np.bincount(
            np.concatenate([ids[:count] for ids, count in zip(lists.ids, counts, strict=True)]),
            weights=np.concatenate([weights[:count] for weights, count in zip(lists.weights, counts, strict=True)]),
            minlength=size,
        )
        need = float(filled.max()) / cap
        if need <= start:
            break
        start = need
    return start


class _Ends:
    """What every candidate allows: a smallest and a largest s; heaps give the tightest of all."""

    def __init__(self, size: int, cap: float) -> None:
        self.cap = cap
        self.rest = np.zeros(size)
        self.slope = np.zeros(size)
        self.low = np.zeros(size)
        self.high = np.full(size, np.inf)
        self.lows: list[tuple[float, int]] = []
        self.highs: list[tuple[float, int]] = []

    def refresh(self, j: int) -> None:
        room = self.cap - self.rest[j]
        a = self.slope[j]
        low, high = 0.0, np.inf
        if room > 0:
            low = a / room if a > 0 else 0.0
        elif a < 0:
            high = a / room if room < 0 else np.inf
        elif a > 0 or room < 0:
            low = np.inf
        if low != self.low[j]:
            self.low[j] = low
            heapq.heappush(self.lows, (-low, j))
        if high != self.high[j]:
            self.high[j] = high
            heapq.heappush(self.highs, (high, j))

    def tightest(self) -> tuple[float, float]:
        while self.lows and -self.lows[0][0] != self.low[self.lows[0][1]]:
            heapq.heappop(self.lows)
        while self.highs and self.highs[0][0] != self.high[self.highs[0][1]]:
            heapq.heappop(self.highs)
        return (-self.lows[0][0] if self.lows else 0.0), (self.highs[0][0] if self.highs else np.inf)


def _scan(lists: Lists, cap: float, start: float) -> tuple[float | None, float]:
    """Go upward from `start`, interval by interval: (breadth found or None, where to go on)."""
    if start > lists.limit * (1 + SLACK):
        return None, np.inf
    start = min(start, lists.limit)
    ends = _Ends(1 + max(int(ids.max()) for ids in lists.ids), cap)
    at, owner, place = [], [], []
    for i, (ids, weights, total) in enumerate(zip(lists.ids, lists.weights, lists.cumulative, strict=True)):
        count = int(np.searchsorted(total, start, side="right"))
        np.add.at(ends.slope, ids[:count], weights[:count])
        if count < len(ids):
            ends.rest[ids[count]] += 1
            ends.slope[ids[count]] -= total[count - 1] if count else 0.0
        # A list's last entry has no successor, so its breakpoint ends what the lists determine.
        stop = int(np.searchsorted(total[:-1], lists.limit, side="right"))
        at.append(total[count:stop])
        owner.append(np.full(max(0, stop - count), i))
        place.append(np.arange(count, max(count, stop)))
    for j in np.flatnonzero((ends.rest > 0) | (ends.slope != 0)):
        ends.refresh(int(j))
    breaks = np.concatenate(at)
    order = np.argsort(breaks, kind="stable")
    steps: NDArray[np.float64] = np.concatenate([[start], breaks[order], [lists.limit]])
    owners: NDArray[np.int64] = np.concatenate(owner)[order]
    places: NDArray[np.int64] = np.concatenate(place)[order]
    filled_most = 0.0
    for step, (low_end, high_end) in enumerate(pairwise(steps)):
        low, high = ends.tightest()
        s = max(low_end, low)
        end = min(high_end, high)
        if s <= end * (1 + SLACK):
            return float(min(s, end)), s
        if step == len(owners):
            break
        i, k = int(owners[step]), int(places[step])
        here, after = int(lists.ids[i][k]), int(lists.ids[i][k + 1])
        before = float(lists.cumulative[i][k - 1]) if k else 0.0
        ends.rest[here] -= 1
        ends.slope[here] += lists.weights[i][k] + before
        ends.rest[after] += 1
        ends.slope[after] -= lists.cumulative[i][k]
        ends.refresh(here)
        ends.refresh(after)
        if ends.rest[here] == 0:
            filled_most = max(filled_most, float(ends.slope[here]))
            # Far below what is certainly needed, rebuilding there is cheaper than walking.
            if step + 256 < len(steps) and filled_most / cap > steps[step + 256]:
                return None, filled_most / cap
    return None, np.inf
