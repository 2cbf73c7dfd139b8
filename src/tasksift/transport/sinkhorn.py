"""Transport between two discrete measures for any table of costs: Sinkhorn's iterations, brought to convergence.

Cuturi 2013 (arXiv 1306.0895) in the log domain, with the scaling of epsilon of Schmitzer 2019 (arXiv 1610.06519).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

Float = NDArray[np.float64]

SCALING = 0.7
"""Each epsilon as a share of the one before; every level is iterated until it is nearly converged."""

EARLY_SWEEPS = 50
"""Iterations at an epsilon before the last."""

SWEEPS, ROUNDS = 10, 10
"""Iterations between looks at the error, and looks before the scalings are taken back into the potentials."""

RANGE = 1e30
"""Scalings beyond this, or below its inverse, are taken back at once; beyond the range of numbers they are dropped."""


@dataclass(frozen=True)
class Transport:
    """The cheapest way to carry one measure onto another, as far as it is known.

    Attributes
    ----------
    cost : float
        A lower bound of the exact cost, by the dual; close to it when converged.
    upper : float
        The cost of a plan that has the marginals exactly. The exact optimum lies between the two.
    f, g : float64 (p,) and (q,)
        Potentials. f_i is the derivative of the cost by the mass on point i, up to a constant: the farther a point lies
        from the other measure, the larger.
    error : float
        How much mass of the entropic plan is not where it should be, sum over j of |(P^T 1)_j - b_j|.
    """

    cost: float
    upper: float
    f: Float
    g: Float
    error: float


def transport(
    cost: Float,
    a: Float | None = None,
    b: Float | None = None,
    *,
    blur: float = 0.01,
    tolerance: float = 1e-3,
    most: int = 20_000,
) -> Transport:
    """Solve min_P <P, C> + epsilon KL(P | a b^T) over plans with marginals a and b, for epsilon = blur².

    Parameters
    ----------
    cost : float64 (p, q)
        Not negative.
    a, b : float64 (p,) and (q,), optional
        Masses, positive, each of sum 1; uniform by default.
    blur : float
        Square root of epsilon, in units of the square root of a cost.
    tolerance : float
        The error of the marginals at which it ends, as a share of all mass.
    most : int
        Iterations at the last epsilon at which it gives up; `error` then says how far it came.

    Returns
    -------
    Transport
        On one thread, so the answer does not depend on how many there are. Cost: O(p·q) an iteration, some hundreds to
        some thousands of them; four tables of p·q float64 besides the costs.
    """
    p, q = cost.shape
    a = np.full(p, 1.0 / p) if a is None else a
    b = np.full(q, 1.0 / q) if b is None else b
    f, g = np.zeros(p), np.zeros(q)
    last = blur**2
    epsilon = max(float(cost.max()), last)
    with threadpool_limits(1, user_api="blas"):
        while True:
            limit = most if epsilon <= last else EARLY_SWEEPS
            f, g, plan, error = _level(cost, a, b, f, g, epsilon, tolerance, limit)
            if epsilon <= last:
                break
            epsilon = max(SCALING * epsilon, last)
        return Transport(*_bounds(cost, a, b, f, plan), f, g, error)


def _level(
    cost: Float, a: Float, b: Float, f: Float, g: Float, epsilon: float, tolerance: float, most: int
) -> tuple[Float, Float, Float, float]:
    """Iterate at one epsilon: the potentials, the plan and its error."""
    used = 0
    while True:
        g = _soft(cost.T, f, a, epsilon)
        f = _soft(cost, g, b, epsilon)
        plan = np.exp((f[:, None] + g - cost) / epsilon) * (a[:, None] * b)
        # From here on by products with the plan, which cost much less than exponentials.
        u, v = np.ones_like(a), np.ones_like(b)
        for _ in range(ROUNDS):
            error = float(np.abs(v * (u @ plan) - b).sum())
            if error <= tolerance or used >= most:
                break
            before = u, v
            with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                for _ in range(SWEEPS):
                    v = b / (u @ plan)
                    u = a / (plan @ v)
            used += SWEEPS
            low, high = min(u.min(), v.min()), max(u.max(), v.max())
            if not (low > 1 / RANGE and high < RANGE):
                if not (low > 0 and np.isfinite(high)):
                    u, v = before
                break
        f, g = f + epsilon * np.log(u), g + epsilon * np.log(v)
        if error <= tolerance or used >= most:
            return f, g, plan * u[:, None] * v, error
        used += 1


def _soft(cost: Float, other: Float, mass: Float, epsilon: float) -> Float:
    """The potential that gives each row its mass: -epsilon log sum_j mass_j exp((other_j - C_ij) / epsilon)."""
    table = (other - cost) / epsilon
    top = table.max(axis=1)
    np.exp(table - top[:, None], out=table)
    soft: Float = -epsilon * (top + np.log(table @ mass))
    return soft


def _bounds(cost: Float, a: Float, b: Float, f: Float, plan: Float) -> tuple[float, float]:
    """A lower and an upper bound of the exact cost."""
    g = (cost - f[:, None]).min(axis=0)
    best = (cost - g).min(axis=1)
    # Rows and columns with too much are thinned; what is then missing is spread in proportion.
    plan = plan * (a / np.maximum(a, plan.sum(axis=1)))[:, None]
    plan = plan * (b / np.maximum(b, plan.sum(axis=0)))
    left, right = np.maximum(0.0, a - plan.sum(axis=1)), np.maximum(0.0, b - plan.sum(axis=0))
    upper = float((plan * cost).sum())
    if left.sum() > 0:
        upper += float(left @ cost @ right) / float(left.sum())
    return float(best @ a + g @ b), upper
