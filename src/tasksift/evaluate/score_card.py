"""The score card of a selection: how much of the full pool's score, from how much of it, at what cost.

Source: Liu, Ke, Liu, Jiang, Li, *Take the essence and discard the dross*, NAACL 2025, arXiv 2406.14115, where methods
of different papers are ranked. Ratios of different benchmarks cannot be compared: inside one comparison the card is a
report format, and the line that the residual is taken from goes through random selections of that comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tasksift.evaluate.cells import Costs
from tasksift.evaluate.names import HIGHER_IS_BETTER
from tasksift.presets import PRESETS

Scale = Literal["same_win_rate", "same_benchmark", "other_benchmark"]

SCALES: dict[Scale, tuple[tuple[float, float], tuple[float, float]]] = {
    "same_win_rate": ((0.0, 1.0), (0.0, 1.0)),
    "same_benchmark": ((0.949, 1.01), (1.284, 1.475)),
    "other_benchmark": ((0.985, 1.0), (1.344, 1.426)),
}
"""From which to which interval a published ratio is mapped, by where it was measured."""

MODELS = frozenset({"encoder", "endpoint", "hidden", "loss", "sketch", "gradient"})
"""Representations that a model computes."""

MANY_MODELS = 100
"""Trained models above which `simplicity` no longer counts."""


@dataclass(frozen=True)
class Line:
    """A line ``intercept + slope · x``."""

    intercept: float
    slope: float

    @classmethod
    def through(cls, first: tuple[float, float], second: tuple[float, float]) -> Line:
        """Return the line through two points (x, y) of different x."""
        slope = (second[1] - first[1]) / (second[0] - first[0])
        return cls(first[1] - slope * first[0], slope)

    def at(self, x: float) -> float:
        """Return its height at x."""
        return self.intercept + self.slope * x


def performance_ratio(score: float, reference: float, metric: str) -> float | None:
    """Return PIR, score over reference, and for a loss reference over score: above 1 is better than the reference.

    None where it would be divided by 0.
    """
    over, under = (score, reference) if HIGHER_IS_BETTER[metric] else (reference, score)
    return over / under if under else None


def residual(ratio: float, fraction: float, line: Line) -> float:
    """Return how far a performance ratio lies above a line over the selected fraction."""
    return ratio - line.at(fraction)


def local_line(fraction: float, points: Sequence[tuple[float, float]]) -> Line | None:
    """Return the line through the two points (fraction, ratio) nearest to a fraction, by the ratio of the fractions.

    Parameters
    ----------
    fraction : float
    points : sequence of (float, float)
        Random selections; where there is one only, the full pool at (1, 1) is the second.

    Returns
    -------
    Line or None
        None where there are no two points of different, positive fractions.
    """
    heights = {at: [y for x, y in points if x == at] for at, _ in points if at > 0}
    if len(heights) == 1:
        heights.setdefault(1.0, [1.0])
    if len(heights) < 2 or fraction <= 0:
        return None
    near = sorted(heights, key=lambda at: (abs(np.log(at / fraction)), at))[:2]
    first, second = ((at, float(np.mean(heights[at]))) for at in near)
    return Line.through(first, second)


def selection_time_ratio(costs: Costs, full: Costs | None) -> float | None:
    """Return STR, the seconds of features and selection over those of a training on the full pool."""
    if full is None or not full.train_seconds:
        return None
    return (costs.feature_seconds + costs.select_seconds) / full.train_seconds


def flops_share(costs: Costs) -> float | None:
    """Return which part of a run's operations its features and selection are; None where none are counted."""
    selection = costs.feature_flops + costs.select_flops
    total = selection + costs.train_flops
    return selection / total if total else None


def flags(preset: str | None, representation: str | None = None) -> dict[str, bool] | None:
    """Return what a preset works without: ``model_free``, ``dataset_free``, ``gpt_free``.

    Parameters
    ----------
    preset : str or None
    representation : str, optional
        Where it is not the preset's own.

    Returns
    -------
    dict or None
        None where nothing was selected or the preset is not known.

    Notes
    -----
    A model is any network that computes features or scores, trained for the purpose or not; the paper counts trained
    ones only. No preset needs data besides pool and targets. ``gpt_free`` is false where a server is asked.
    """
    if preset not in PRESETS:
        return None
    known = PRESETS[preset]
    looked_at = representation or known.representation
    modelled = looked_at in MODELS or known.scores is not None
    return {"model_free": not modelled, "dataset_free": True, "gpt_free": looked_at != "endpoint"}


def on_one_scale(ratio: float, scale: Scale) -> float:
    """Return a published PIR on the scale of win rates, by the linear map of `SCALES`."""
    (low, high), (to_low, to_high) = SCALES[scale]
    return to_low + (ratio - low) * (to_high - to_low) / (high - low)


def simplicity(models: int, steps: int, reproducible: bool, *, per_model: float = 2.0) -> float:
    """Return how laborious a method is: ``per_model · models + steps``, 1 more where it cannot be reproduced.

    Parameters
    ----------
    models : int
        Language models trained; above `MANY_MODELS` the answer is 200 whatever the rest.
    steps : int
    reproducible : bool
    per_model : float
        The paper takes 1.5 for Superfiltering, whose model is small.
    """
    return 200.0 if models > MANY_MODELS else per_model * models + steps + (not reproducible)


def flexibility(model_free: bool, dataset_free: bool, gpt_free: bool) -> int:
    """Return the paper's flexibility, where lower is better: 3, 2 and 1 for what is not free, added up."""
    return 3 * (not model_free) + 2 * (not dataset_free) + (not gpt_free)


def dense_rank(values: Sequence[float]) -> NDArray[np.int64]:
    """Return ranks from 1, the lowest first; equal values share one, and none is left out after them."""
    ranks: NDArray[np.int64] = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True)[1].reshape(-1) + 1
    return ranks


def feasibility(simplicities: Sequence[float], flexibilities: Sequence[float]) -> NDArray[np.int64]:
    """Return the dense rank of each method by the sum of its two dense ranks; 1 is the easiest to use."""
    return dense_rank((dense_rank(simplicities) + dense_rank(flexibilities)).tolist())
