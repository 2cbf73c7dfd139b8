"""Paired differences of two arms of a comparison, with an interval that knows of both rows and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from tasksift.evaluate.names import SEEDS

Float = NDArray[np.float64]

Verdict = Literal["better", "worse", "tie", "too few seeds", "too few rows"]

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Difference:
    """How much better one arm is than another.

    Attributes
    ----------
    mean : float
        In the metric's own unit; above 0 where the first arm is better.
    low, high : float
        The interval; infinite where nothing can be said.
    seeds, rows : int
        How many there were to go by: of the arm that varies more often, and of held-out rows that count.
    verdict : str
        ``better`` or ``worse`` where the interval leaves 0 out, ``tie`` where it does not; ``too few seeds`` below
        `SEEDS`, ``too few rows`` below two rows.
    """

    mean: float
    low: float
    high: float
    seeds: int
    rows: int
    verdict: Verdict


@dataclass(frozen=True)
class Pair:
    """The scores of two arms on the same held-out rows of one task.

    Attributes
    ----------
    a, b : float64 (S, I)
        Seed s of one goes with seed s of the other. An arm that knows no seeds has S = 1 and goes with all.
    weights : float64 (I,), optional
        How much each row counts, at least 0; all alike by default.
    """

    a: Float
    b: Float
    weights: Float | None = None


def paired(
    a: Any,
    b: Any,
    weights: Any = None,
    *,
    higher_is_better: bool,
    confidence: float = 0.95,
    replicates: int = 4000,
    seed: int = 0,
) -> Difference:
    """Return how much better `a` is than `b`, both (S, I); see `over_tasks`, of which this is the case of one task."""
    return over_tasks(
        [Pair(a, b, weights)],
        higher_is_better=higher_is_better,
        confidence=confidence,
        replicates=replicates,
        seed=seed,
    )


def over_tasks(
    pairs: Sequence[Pair],
    *,
    higher_is_better: bool,
    confidence: float = 0.95,
    replicates: int = 4000,
    seed: int = 0,
) -> Difference:
    r"""Return how much better one arm is than another in the mean over tasks.

    Parameters
    ----------
    pairs : sequence of T Pair
        One per task, with the same seeds in the same order.
    higher_is_better : bool
        Of the scores; the sign of the answer follows.
    confidence : float
        Of the interval, between 0 and 1.
    replicates : int
        Draws of rows; the interval comes from twice as many numbers.
    seed : int
        Of these draws. The same seed gives the same interval to the last bit.

    Returns
    -------
    Difference

    Raises
    ------
    ValueError
        If shapes do not fit, a number is not finite, a weight is negative, or all weights of a task are 0.

    Notes
    -----
    The difference of row i under seed s is d_si = μ + r_i + u_s + e_si. Another sample of rows would have brought other
    r_i, another seed another draw of the selection and another training, so other u_s, and either one other e_si. With
    D_s = Σ_i w_i d_si / Σ_i w_i and D their mean, the interval has the quantiles of

        D + κ · c · (bootstrap over rows of the seeds' mean difference - D)  ±  t_j · sd(D_s) / √S

    where t_j runs through the quantiles of Student's t with S - 1 degrees of freedom. Three seeds cannot be resampled;
    the t distribution says how little they tell. A bootstrap draws I rows with replacement, each with its weight, for
    numerator and denominator alike. The e_si are in both parts, so κ² = 1 - V_e / V takes them out of the first: V is
    the variance of D over rows, V_e the part that differs from seed to seed. c = √(n / (n - 1)) · t(f) / z widens the
    percentile interval as a t interval is wider than a normal one (Hesterberg, *What Teachers Should Know About the
    Bootstrap*, The American Statistician 2015), with n = (Σw)² / Σw² rows that count and f = 2 / (Σx⁴ / (Σx²)² - 1 / I)
    degrees of freedom (Satterthwaite 1946), at most n - 1, where x_i is what row i adds to the mean: a few large rows
    tell little about the spread. With one seed the second part is left out; with more the interval is never narrower
    than the rows alone would make it (κ = 1, no second part), as three seeds may agree by luck.

    The tasks are these tasks, not a sample of tasks: rows are drawn in each by itself, and D_s is the mean over tasks,
    because one training may serve several.

    How often nominal 95 % cover in simulations is in ``docs/evidence.md``.
    Time is linear in rows × replicates: 0.03 s for 500 rows. A few 8 MB arrays at a time.
    """
    if not pairs:
        raise ValueError("there is no task to compare on")
    tasks = [_differences(pair, higher_is_better) for pair in pairs]
    varied = [len(d) for d, _ in tasks]
    seeds = max(varied)
    if any(n not in (1, seeds) for n in varied):
        raise ValueError(f"the tasks have different numbers of seeds: {varied}")
    of_seeds = np.mean([np.broadcast_to(d @ w, seeds) for d, w in tasks], axis=0)
    mean, rows = float(of_seeds.mean()), sum(len(w) for _, w in tasks)
    if min(len(w) for _, w in tasks) < 2:
        return Difference(mean, -np.inf, np.inf, seeds, rows, "too few rows")
    rows_only, spread = np.zeros(replicates), np.zeros(replicates)
    for at, (d, w) in enumerate(tasks):
        drawn, kept = _row_part(d, w, confidence, replicates, np.random.default_rng([seed, at]))
        rows_only += drawn / len(tasks)
        spread += kept * drawn / len(tasks)
    if seeds > 1:
        error = of_seeds.std(ddof=1) / np.sqrt(seeds)
        steps = stdtrit(seeds - 1, (np.arange(replicates) + 0.5) / replicates) * error
        # Each step up and down: so a against b is b against a with the other sign, exactly.
        spread = np.concatenate([spread + steps, spread - steps])
    levels = [(1 - confidence) / 2, (1 + confidence) / 2]
    ends = mean + np.stack([np.quantile(spread, levels), np.quantile(rows_only, levels)])
    low, high = ends[:, 0].min(), ends[:, 1].max()
    return Difference(mean, float(low), float(high), seeds, rows, _verdict(low, high, seeds))


def _verdict(low: float, high: float, seeds: int) -> Verdict:
    if seeds < SEEDS:
        return "too few seeds"
    return "better" if low > 0 else "worse" if high < 0 else "tie"


def _differences(pair: Pair, higher_is_better: bool) -> tuple[Float, Float]:
    """Return the differences, float64 (S, I), and the weights, which sum to 1, of the rows that count."""
    a, b = (np.atleast_2d(np.asarray(each, dtype=np.float64)) for each in (pair.a, pair.b))
    if a.shape[1] != b.shape[1] or (len(a) != len(b) and 1 not in (len(a), len(b))):
        raise ValueError(f"scores of shape {a.shape} and {b.shape} are not pairs")
    n = a.shape[1]
    w = np.ones(n) if pair.weights is None else np.asarray(pair.weights, dtype=np.float64)
    if w.shape != (n,) or not np.isfinite(w).all() or (w < 0).any() or not w.any():
        raise ValueError(f"the weights are not {n} numbers of at least 0, some above it")
    difference = (a - b if higher_is_better else b - a)[:, w > 0]
    if not np.isfinite(difference).all():
        raise ValueError("a score is not finite")
    return difference, w[w > 0] / w.sum()


def _row_part(d: Float, w: Float, confidence: float, replicates: int, rng: np.random.Generator) -> tuple[Float, float]:
    """Return replicates of the error of the mean over rows, float64 (replicates,), around 0, and κ."""
    n, seeds = len(w), len(d)
    parts = w * (d - (d @ w)[:, None])
    kept = parts.mean(axis=0)
    total = float((kept**2).sum())
    if total == 0:
        return np.zeros(replicates), 1.0
    by_seed = float(((parts - kept) ** 2).sum()) / (seeds * (seeds - 1)) if seeds > 1 else 0.0
    counts = 1 / float((w**2).sum())
    unsure = float(((kept**2 / total) ** 2).sum()) - 1 / n
    freedom = min(2 / max(unsure, 2 / n), max(counts - 1, 1.0))
    level = (1 + confidence) / 2
    scale = float(np.sqrt(counts / max(counts - 1, 1.0)))
    scale *= float(stdtrit(max(freedom, 1.0), level) / ndtri(level))
    drawn: Float = np.empty(replicates)
    step = max(1, _CHUNK // n)
    for start in range(0, replicates, step):
        rows = rng.integers(n, size=(min(step, replicates - start), n), dtype=np.int32)
        drawn[start : start + step] = kept[rows].sum(axis=1) / w[rows].sum(axis=1)
    return scale * drawn, float(np.sqrt(max(0.0, 1 - by_seed / total)))
