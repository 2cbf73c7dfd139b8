"""Estimates of fine-tuning on any subset of groups, without training: logistic regression on projected gradients.

Li, Zhang, Wang, Zhang 2024 (GradEx, arXiv 2409.19458). Near θ* a margin is linear,
f(z; θ* + P w) ≈ b + g·w with b = f(z; θ*) and g = Pᵀ∇f(z; θ*), and cross-entropy is log(1 + exp(-f)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit

from tasksift.engines.local import share

Float = NDArray[np.float64]
Moved = Callable[[Float], tuple[float, Float]]

STEPS = 200
"""Newton steps at most; it takes some 5 to 10."""


@dataclass(frozen=True)
class Check:
    """An estimate held against the model itself at θ* + P w, as it is: nothing is rescaled.

    Attributes
    ----------
    distance : float
        ||P w|| / ||θ*||. Estimates hold near 0 only.
    taylor_error : float
        Σ (f - f̂)² / Σ (f - b)² over the targets, f the model's margins and f̂ = b + g·w: the share of what changes, as
        a residual sum of squares, that the linear prediction misses. 0 where nothing changes.
    loss : float
        The model's mean target loss there.
    loss_error : float
        Relative error of the group's performance, |estimated loss - loss| / loss.
    squared_difference : float
        Mean of ((f̂ - f) / f)² over the targets. Its root is on the scale of `loss_error`; the two are not one.
    """

    distance: float
    taylor_error: float
    loss: float
    loss_error: float
    squared_difference: float


@dataclass(frozen=True)
class Estimate:
    """What fine-tuning on some groups would do.

    Attributes
    ----------
    subset : tuple of int
        The groups, ascending.
    weights : float64 (d,)
        W_S: the model would move by P w.
    margins : float64 (m,)
        Of the targets, b + g·w.
    loss, accuracy : float
        Mean of log(1 + exp(-f)) over the targets, and the share of them with f > 0.
    check : Check or None
        None where there is no model to ask.
    """

    subset: tuple[int, ...]
    weights: Float
    margins: Float
    loss: float
    accuracy: float
    check: Check | None = None


@dataclass(frozen=True)
class Linearised:
    """Training rows by group, and targets, as a model near θ* sees them.

    Attributes
    ----------
    gradients, margins : sequences of k arrays, float64 (r_j, d) and (r_j,)
        g and b of the rows of each group.
    sizes : float64 (k,)
        How many rows those of each group stand for.
    target_gradients, target_margins : float64 (m, d) and (m,)
    ridge : float
        λ in W_S = argmin mean_S log(1 + exp(-b - g·w)) + λ||w||²; above 0 unless there are `steps`.
    steps, rate : int and float, optional
        So many steps of gradient descent from w = 0 in place of the minimum: what fine-tuning with as many full-batch
        steps at that rate does, as steps in w move g·w as steps in θ do.
    moved : callable, optional
        Of `tasksift.selectors.contract.Margins`.
    """

    gradients: Sequence[Float]
    margins: Sequence[Float]
    sizes: Float
    target_gradients: Float
    target_margins: Float
    ridge: float = 0.0
    steps: int | None = None
    rate: float = 0.0
    moved: Moved | None = None

    def estimate(self, subset: Sequence[int], start: Float | None = None) -> Estimate:
        """Estimate fine-tuning on the groups of `subset`, unchecked; without groups nothing moves.

        Parameters
        ----------
        subset : sequence of int
            Each group at most once.
        start : float64 (d,), optional
            Where to begin the search for the minimum.

        Notes
        -----
        Cost: some 8·rows·d² operations, or 4·rows·d for every step of gradient descent.
        """
        chosen = tuple(sorted(subset))
        if len(set(chosen)) < len(chosen):
            raise ValueError(f"a group is twice in {chosen}")
        if not chosen:
            return self._read(chosen, np.zeros(self.target_gradients.shape[1]))
        x = np.concatenate([self.gradients[j] for j in chosen])
        b = np.concatenate([self.margins[j] for j in chosen])
        share_of = np.concatenate([np.full(len(self.margins[j]), self.sizes[j] / len(self.margins[j])) for j in chosen])
        share_of /= share_of.sum()
        if self.steps is None:
            return self._read(chosen, minimise(x, b, share_of, self.ridge, start))
        return self._read(chosen, descend(x, b, share_of, self.ridge, self.steps, self.rate))

    def estimates(self, subsets: Sequence[Sequence[int]], start: Float | None = None) -> Iterator[Estimate]:
        """Yield the unchecked estimates of many subsets in order, computed by the threads of this process."""
        return share(lambda subset: self.estimate(subset, start), subsets)

    def checked(self, estimate: Estimate) -> Estimate:
        """Return the estimate with its `Check`, or as it is without a model. Cost: a forward pass over the targets."""
        if self.moved is None:
            return estimate
        distance, true = self.moved(estimate.weights)
        loss, difference = target_loss(true), estimate.margins - true
        relative = np.divide(difference, true, out=np.zeros_like(true), where=true != 0)
        check = Check(
            distance=float(distance),
            taylor_error=_ratio((difference**2).sum(), ((true - self.target_margins) ** 2).sum()),
            loss=loss,
            loss_error=_ratio(abs(estimate.loss - loss), loss),
            squared_difference=float((relative**2).mean()),
        )
        return replace(estimate, check=check)

    def _read(self, subset: tuple[int, ...], weights: Float) -> Estimate:
        margins = self.target_margins + self.target_gradients @ weights
        return Estimate(subset, weights, margins, target_loss(margins), float((margins > 0).mean()))


def target_loss(margins: Float) -> float:
    """Return the mean of log(1 + exp(-f)), finite for margins of any size."""
    return float(np.logaddexp(0.0, -margins).mean())


def minimise(x: Float, b: Float, share_of: Float, ridge: float, start: Float | None = None) -> Float:
    """Return the w at which Σ share·log(1 + exp(-b - x·w)) + λ||w||² is least, by Newton's method.

    Logistic regression with an offset, without an intercept, every label 1.

    Parameters
    ----------
    x, b : float64 (n, d) and (n,)
    share_of : float64 (n,)
        Weights of the rows, sum 1.
    ridge : float
        λ > 0.
    start : float64 (d,), optional
    """
    if not ridge > 0:
        raise ValueError(f"ridge {ridge}: without one the minimum may lie at infinity")
    w = np.zeros(x.shape[1]) if start is None else start.copy()

    def value(w: Float) -> float:
        return float(share_of @ np.logaddexp(0.0, -(b + x @ w))) + ridge * float(w @ w)

    at = value(w)
    for _ in range(STEPS):
        wrong = expit(-(b + x @ w))
        slope = 2 * ridge * w - x.T @ (share_of * wrong)
        scaled = x * np.sqrt(share_of * wrong * (1 - wrong))[:, None]
        curvature = scaled.T @ scaled
        curvature.flat[:: len(w) + 1] += 2 * ridge
        step = cho_solve(cho_factor(curvature, lower=True), slope)
        drop = float(slope @ step)
        if drop <= 1e-13 * at:  # the last step doubles the digits, and values can no longer tell
            w = w - step
            break
        length = 1.0
        while length > 1e-12 and value(w - length * step) > at - 0.25 * length * drop:
            length /= 2
        w = w - length * step
        at = value(w)
    return w


def descend(x: Float, b: Float, share_of: Float, ridge: float, steps: int, rate: float) -> Float:
    """Return w after steps of gradient descent from 0 on the function that `minimise` minimises."""
    w = np.zeros(x.shape[1])
    for _ in range(steps):
        w = w - rate * (2 * ridge * w - x.T @ (share_of * expit(-(b + x @ w))))
    return w


def _ratio(part: float, whole: float) -> float:
    """A share of something that may be nothing."""
    return float(part / whole) if whole > 0 else 0.0
