"""TSDS in closed form: one sorted sweep over all breakpoints answers every trade-off at once.

Each target fills its neighbours nearest first, each up to the cap 1/(M s rho), so its mass reaches the neighbours whose
cumulative weight W stays within the breadth s. The breakpoints of s are the values W; at each of them the summed slope
of the transport cost rises by (d_{k+1} - d_k) W_k, and the optimum for (alpha, C) is the first breakpoint at which
(alpha / C) * slope >= (1 - alpha) * M. Source: Liu, Karbasi, Rekatsinas 2024 (arXiv 2410.11303), with the queue of
the published algorithm replaced by a sort.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]
Float = NDArray[np.float64]

DUST = 1e-12
"""Relative difference below which a breadth counts as lying on a breakpoint, so that no row keeps rounding dust."""


@dataclass(frozen=True)
class Lists:
    """The nearest neighbours of every target, as far as their weights are known.

    Attributes
    ----------
    ids, distances, weights : list of M arrays (L_i,)
        Group number, plain L2 distance (ascending) and weight multiplicity/density of each neighbour.
    whole : bool
        Whether every list holds the whole pool.
    """

    ids: list[Int]
    distances: list[Float]
    weights: list[Float]
    whole: bool

    @cached_property
    def cumulative(self) -> list[Float]:
        """W: the cumulative weights of each list."""
        return [np.cumsum(w) for w in self.weights]

    @cached_property
    def limit(self) -> float:
        """The breadth up to which these lists determine the answer: the smallest total weight of a list."""
        return min(float(total[-1]) for total in self.cumulative)

    @cached_property
    def full_breadth(self) -> float:
        """Z, the total weight of the pool (meaningful for whole lists only)."""
        return max(float(total[-1]) for total in self.cumulative)


@dataclass(frozen=True)
class Path:
    """The regularisation path: at `breadth[b]` the mean slope of the transport cost jumps to `slope[b]`.

    Both ascend. For the trade-off (alpha, C) the optimal breadth is the first with alpha·slope >= (1 - alpha)·C.
    """

    breadth: Float
    slope: Float

    def critical_alpha(self, scale: float) -> Float:
        """The alpha at which each breakpoint becomes optimal, C / (C + slope)."""
        total = scale + self.slope
        return np.divide(scale, total, out=np.ones_like(total), where=total > 0)

    def alpha_at(self, breadth: float, scale: float) -> float:
        """The alpha that a breadth stands for: the critical one of the last breakpoint not above it."""
        at = int(np.searchsorted(self.breadth, breadth * (1 + DUST), side="right")) - 1
        return 1.0 if at < 0 else float(self.critical_alpha(scale)[at])


def trace_path(lists: Lists) -> Path:
    """Compute the path as far as the lists determine it, in O(E log E) for E list entries."""
    breadth, rise = [], []
    for distances, total in zip(lists.distances, lists.cumulative, strict=True):
        breadth.append(total[:-1])
        rise.append(np.diff(distances) * total[:-1])
    at, up = np.concatenate(breadth), np.concatenate(rise)
    valid = at <= lists.limit
    at, up = at[valid], up[valid]
    order = np.lexsort((up, at))
    at, up = at[order], np.cumsum(up[order])
    last = np.ones(len(at), dtype=bool)
    last[:-1] = at[1:] > at[:-1]
    return Path(at[last], up[last] / len(lists.ids))


def breadth_for_alpha(path: Path, alpha: float, scale: float) -> float | None:
    """The optimal breadth for (alpha, C), or None when it lies beyond the path."""
    reached = np.flatnonzero(alpha * path.slope >= (1.0 - alpha) * scale)
    return float(path.breadth[reached[0]]) if len(reached) else None


@dataclass(frozen=True)
class Transport:
    """A sparse transport plan in coordinate form: `mass[e]` goes from `target[e]` to the group `ids[e]`."""

    target: Int
    ids: Int
    mass: Float
    distance: Float
    weight: Float


def transport_at(lists: Lists, breadth: float) -> Transport:
    """The optimal transport of a given breadth: every target ships exactly 1/M, nearest first, up to the caps.

    `breadth` must not exceed `lists.limit`, except that for whole lists anything beyond means fully spread.
    """
    m = len(lists.ids)
    parts: list[tuple[Int, Int, Float, Float, Float]] = []
    for i, total in enumerate(lists.cumulative):
        s = min(breadth, float(total[-1])) if lists.whole else breadth
        count = int(np.searchsorted(total, s * (1 - DUST), side="left")) + 1
        filled = np.minimum(total[:count] / s, 1.0)
        filled[-1] = 1.0
        mass = np.diff(filled, prepend=0.0) / m
        own = np.full(count, i, dtype=np.int64)
        parts.append((own, lists.ids[i][:count], mass, lists.distances[i][:count], lists.weights[i][:count]))
    target, ids, mass, distance, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Transport(target, ids, mass, distance, weight)
