"""Groups ranked by estimates of fine-tuning on subsets of them: over an ensemble of subsets, or forward, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb, gcd

import numpy as np
from numpy.typing import NDArray

from tasksift.progress import Progress
from tasksift.selectors.gradex_estimates import Estimate, Linearised

Int = NDArray[np.int64]
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """Groups in order.

    Attributes
    ----------
    order : int64 (k,)
        Groups, best first.
    scores : float64 (k,)
        Estimated gain of each group, by its number: higher = keep.
    kept : int
        How many of them are kept.
    table : list of Estimate
        Checked, where there is a model.
    """

    order: Int
    scores: Float
    kept: int
    table: list[Estimate]


def within(linear: Linearised, distance: float) -> Linearised:
    """Raise λ until the estimate for all groups moves the model no further than `distance`."""
    while linear.moved is not None and distance > 0:
        [everything] = linear.estimates([range(len(linear.sizes))])
        far = linear.moved(everything.weights)[0]
        if far <= distance:
            break
        # λ||w|| grows with λ, so that this goes a tenth too far at most. Rounded, as norms may differ in the last bits.
        linear = replace(linear, ridge=float(f"{1.1 * linear.ridge * far / distance:.6g}"))
    return linear


def ensemble(linear: Linearised, keep: float, subsets: int, rng: np.random.Generator, progress: Progress) -> Ranking:
    """Score every group by the mean gain of the random halves that contain it, and keep a share of the groups."""
    k = len(linear.sizes)
    halves = balanced_subsets(k, max(1, k // 2), subsets, rng)
    [everything] = linear.estimates([range(k)])
    table = _checked(linear, _tried(linear, halves, everything.weights, progress), progress)
    scores = ensemble_scores(k, halves, linear.estimate(()).loss - np.array([each.loss for each in table]))
    return Ranking(np.argsort(-scores, kind="stable"), scores, max(1, round(keep * k)), table)


def forward(linear: Linearised, progress: Progress) -> Ranking:
    """Add the group with the largest gain, again and again, until none helps; at least one is kept.

    The score of a group is the gain of the last subset that it was tried in, and those not chosen follow by it.
    """
    chosen: list[int] = []
    rest = list(range(len(linear.sizes)))
    best = linear.estimate(())
    rested = best.loss
    scores = np.zeros(len(rest))
    path: list[Estimate] = []
    while rest:
        tried = _tried(linear, [[*chosen, j] for j in rest], best.weights, progress)
        losses = np.array([each.loss for each in tried])
        scores[rest] = rested - losses
        first = int(losses.argmin())
        path.append(linear.checked(tried[first]))
        if not losses[first] < best.loss:
            break
        best = tried[first]
        chosen.append(rest.pop(first))
    rest.sort(key=lambda j: -scores[j])
    return Ranking(np.array([*chosen, *rest]), scores, max(1, len(chosen)), path)


def balanced_subsets(k: int, size: int, count: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Draw subsets of `size` of k groups such that every group is in equally many.

    Every subset once where there are no more than `count`; otherwise `count` random ones, and up to k - 1 more where
    they come out even only then.
    """
    if comb(k, size) <= count:
        return list(combinations(range(k), size))
    times = np.zeros(k, dtype=np.int64)
    even = k // gcd(size, k)
    drawn = []
    for _ in range(even * -(-count // even)):
        chosen = np.lexsort((rng.random(k), times))[:size]
        times[chosen] += 1
        drawn.append(tuple(sorted(int(j) for j in chosen)))
    return drawn


def ensemble_scores(k: int, subsets: Sequence[Sequence[int]], gains: Float) -> Float:
    """Return T, float64 (k,): the mean gain of the subsets that contain each group, each subset counted as it comes."""
    inside = np.zeros((len(subsets), k))
    for row, subset in zip(inside, subsets, strict=True):
        row[list(subset)] = 1
    scores: Float = (inside * gains[:, None]).sum(axis=0) / inside.sum(axis=0)
    return scores


def _tried(linear: Linearised, subsets: Sequence[Sequence[int]], start: Float, progress: Progress) -> list[Estimate]:
    with progress(f"estimating {len(subsets)} subsets", len(subsets)) as tick:
        found = []
        for each in linear.estimates(subsets, start):
            found.append(each)
            tick(1)
    return found


def _checked(linear: Linearised, found: list[Estimate], progress: Progress) -> list[Estimate]:
    if linear.moved is None:
        return found
    with progress("checking estimates", len(found)) as tick:
        for k, each in enumerate(found):
            found[k] = linear.checked(each)
            tick(1)
    return found
