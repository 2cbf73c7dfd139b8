"""Gain curves: what a method scores with a share of a full training, between the measurements, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares

Float = NDArray[np.float64]

Basis = Literal["seeds", "panels", "residuals", "none"]

REPLICATES = 400
LOW, HIGH = 0.025, 0.975
"""The interval's quantiles."""

FIT_POINTS = 4
"""Points below which residuals of a fit with two parameters say nothing."""

SLACK = 1e-9
"""Relative: a share that rounding put below the first measured one is that one."""


@dataclass(frozen=True)
class GainCurve:
    """Scores against shares of a full training; higher is better, so losses come in negated.

    Between measured shares the score is linear in the logarithm of the share, through the running maximum: whoever can
    pay for a share can also train on less. Below the smallest share nothing is said, above the largest nothing more.

    Attributes
    ----------
    shares : float64 (p,)
        Ascending.
    scores : float64 (p,)
        Running maximum of the means.
    replicates : float64 (R, p)
        The same for R bootstrap replicates.
    basis : str
        What the replicates vary: ``seeds`` (or ``panels`` that stand for them), ``residuals`` of a fit where there is
        one run only, ``none`` where there are too few points for that, and the interval has no width.
    """

    shares: Float
    scores: Float
    replicates: Float
    basis: Basis

    def at(self, shares: ArrayLike) -> Float:
        """Return scores at shares, float64 (n,); NaN below the smallest measured share."""
        only: Float = self._through(self.scores[None], shares)[0]
        return only

    def replicated(self, shares: ArrayLike) -> Float:
        """Return each replicate's scores at shares, float64 (R, n)."""
        return self._through(self.replicates, shares)

    def interval(self, shares: ArrayLike) -> tuple[Float, Float]:
        """Return the 95 % percentile interval at shares, two float64 (n,), widened to hold the score itself."""
        middle, replicated = self.at(shares), self.replicated(shares)
        low, high = np.quantile(replicated, (LOW, HIGH), axis=0)
        return np.fmin(low, middle), np.fmax(high, middle)

    def enough(self, share: float) -> float:
        """Return the smallest share that scores what `share` does: the begin of a plateau, mostly the share itself."""
        share = min(share, float(self.shares[-1]))
        reached = np.flatnonzero(self.scores >= self.at([share])[0])
        return min(share, float(self.shares[reached[0]])) if len(reached) else share

    def _through(self, scores: Float, shares: ArrayLike) -> Float:
        x = np.atleast_1d(np.asarray(shares, dtype=np.float64))
        below = x < self.shares[0] * (1 - SLACK)
        x = np.clip(x, self.shares[0], self.shares[-1])
        right = np.clip(np.searchsorted(self.shares, x), 1, max(1, len(self.shares) - 1))
        if len(self.shares) == 1:
            found = np.repeat(scores, len(x), axis=1)
        else:
            from_, to = np.log(self.shares[right - 1]), np.log(self.shares[right])
            w = (np.log(x) - from_) / (to - from_)
            left = scores[:, right - 1]
            found = np.where(w >= 1, scores[:, right], left + w * (scores[:, right] - left))
        found[:, below] = np.nan
        return found


def gain_curve(
    runs: Mapping[float, Sequence[float]],
    *,
    basis: Literal["seeds", "panels"] = "seeds",
    seed: int = 0,
    replicates: int = REPLICATES,
) -> GainCurve:
    """Make a curve from runs: by share of a full training, above 0, the scores of its seeds.

    Several seeds are drawn again with replacement, deviations from their mean scaled by sqrt(n / (n - 1)), as few
    seeds would make the interval too narrow; a share with one seed takes deviations from the others. Where every share
    has one run, residuals of `fit` with p - 2 degrees of freedom are added to the scores instead. Curves of the same
    seed draw alike, the largest share first, so that arms trained on the same seeds stay paired.
    """
    shares = np.array(sorted(runs), dtype=np.float64)
    columns = [np.asarray(runs[share], dtype=np.float64) for share in sorted(runs)]
    means = np.array([column.mean() for column in columns])
    pooled = np.concatenate([(c - c.mean()) * np.sqrt(len(c) / (len(c) - 1)) for c in columns if len(c) > 1] or [[]])
    rng = np.random.default_rng([seed, 0])
    noise = np.zeros((replicates, len(shares)))
    if len(pooled):
        kind: Basis = basis
        for j in range(len(shares) - 1, -1, -1):
            column = columns[j]
            own = (column - column.mean()) * np.sqrt(len(column) / (len(column) - 1)) if len(column) > 1 else pooled
            drawn = rng.integers(len(own), size=(replicates, len(column)))
            noise[:, j] = own[drawn].mean(axis=1)
    elif len(shares) >= FIT_POINTS:
        kind = "residuals"
        left = means - fit(shares, means).at(shares)
        left = (left - left.mean()) * np.sqrt(len(left) / (len(left) - 2))
        noise = left[rng.integers(len(left), size=noise.shape)]
    else:
        kind = "none"
    running = np.maximum.accumulate(means + noise, axis=1)
    return GainCurve(shares, np.maximum.accumulate(means), running, kind)


@dataclass(frozen=True)
class Fit:
    """``ceiling - (ceiling - start) * exp(-rate * x)``, with the root mean square of what it leaves."""

    start: float
    rate: float
    ceiling: float
    rmse: float

    def at(self, x: ArrayLike) -> Float:
        """Return the fitted scores."""
        missing: Float = (self.ceiling - self.start) * np.exp(-self.rate * np.asarray(x, dtype=np.float64))
        return self.ceiling - missing


def fit(x: ArrayLike, scores: ArrayLike, *, ceiling: float | None = None, floor: float = -np.inf) -> Fit:
    """Fit the saturating curve by least squares, start in [floor, ceiling] and rate >= 0, from (first score, 1).

    Parameters
    ----------
    x : float (p,)
        Shares of a full training: cost stays outside. The published study (Yin, Rush, ICLR 2025) has all cost here,
        that of the selection included, over the cost of a full training, and ``floor=0``.
    scores : float (p,)
        Higher is better.
    ceiling : float, optional
        The score of training on everything; by default the best score.

    Notes
    -----
    With the study's x an expensive method never comes near 0, so its start is extrapolated and ends at the floor.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    top = float(y.max()) if ceiling is None else ceiling
    if top <= floor or np.ptp(y) == 0:
        return Fit(float(y[0]), 0.0, top, float(np.sqrt(np.mean((y - y[0]) ** 2))))

    def left(parameters: Float) -> Float:
        start, rate = parameters
        over: Float = top - (top - start) * np.exp(-rate * x) - y
        return over

    first = min(max(float(y[0]), floor), top)
    found = least_squares(left, (first, 1.0), bounds=([floor, 0.0], [top, np.inf]))
    return Fit(float(found.x[0]), float(found.x[1]), top, float(np.sqrt(np.mean(found.fun**2))))
