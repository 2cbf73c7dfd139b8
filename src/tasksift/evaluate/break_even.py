"""Break-even: from which model size, number of targets or budget on a method is worth what its selection costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasksift.errors import InputError
from tasksift.evaluate.gain_curves import HIGH, LOW
from tasksift.evaluate.planner import Method

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

What = Literal["ratio", "targets", "budget"]

RATIOS = np.concatenate(
    [
        np.arange(0.25, 4, 0.25),
        np.arange(4, 10, 0.5),
        np.arange(10, 20, 1.0),
        np.arange(20, 50, 2.5),
        np.arange(50, 100, 5.0),
        np.arange(100, 1001, 100.0),
    ]
)
TARGETS = np.unique(RATIOS[RATIOS >= 1].round())
"""What is tried: trained model over the model that selects, and targets that share the selection."""


@dataclass(frozen=True)
class BreakEven:
    """From where on a method wins; None stands for nowhere in what was tried.

    Attributes
    ----------
    method, what : str
    value : float or None
        The smallest value tried at which the method leads by the measured curves.
    low, high : float or None
        The 95 % interval of that over the curves' replicates. Both None: it wins in hardly any of them.
    tied_from : float or None
        The smallest value at which the method is in the tied set of a plan: from there on it cannot be ruled out.
    first, last : float
        The range that was tried.
    """

    method: str
    what: What
    value: float | None
    low: float | None
    high: float | None
    tied_from: float | None
    first: float
    last: float


def break_even(
    methods: Sequence[Method],
    name: str,
    full_training: float,
    budgets: ArrayLike,
    what: What,
    *,
    targets: float = 1,
    values: ArrayLike | None = None,
    margin: float = 0.0,
) -> BreakEven:
    """Return from where on one method scores more than all its rivals, at any of the budgets.

    Parameters
    ----------
    methods : sequence of Method
        With costs at a ratio of 1 if `what` is ``ratio``: trained and selecting model of one size.
    name : str
    full_training : float
    budgets : float (k,)
        Those of a full training and more are left out: there, everything is trained on and selecting is pointless.
    what : {"ratio", "targets", "budget"}
        What grows. Rivals under ``ratio`` are the methods that do not run the model that selects; else all others.
    targets : float
    values : float (v,), optional
        What is tried, ascending; `RATIOS`, `TARGETS` or the budgets.
    margin : float
        How much more it must score, in units of the score.

    Notes
    -----
    No number comes without its interval: on the published panels these values differ by more than a factor of 10.
    """
    tried, measured, replicated, tied = _hits(
        methods, name, full_training, budgets, what, targets, values, margin, True
    )
    found = np.array([_first(tried, row) for row in replicated])
    low, high = np.quantile(found, (LOW, HIGH), method="inverted_cdf")
    value, from_, to, ties = (_known(each) for each in (_first(tried, measured), low, high, _first(tried, tied)))
    return BreakEven(name, what, value, from_, to, ties, float(tried[0]), float(tried[-1]))


def first_lead(
    methods: Sequence[Method],
    name: str,
    full_training: float,
    budgets: ArrayLike,
    what: What,
    *,
    targets: float = 1,
    values: ArrayLike | None = None,
    margin: float = 0.0,
) -> float | None:
    """Return `BreakEven.value` alone, for ranges over several sets of curves; never to be shown by itself."""
    asked = (methods, name, full_training, budgets, what, targets, values, margin)
    tried, measured, _, _ = _hits(*asked, False)
    return _known(_first(tried, measured))


def _hits(
    methods: Sequence[Method], name: str, full_training: float, budgets: ArrayLike, what: What, targets: float,
    values: ArrayLike | None, margin: float, intervals: bool,
) -> tuple[Float, Bool, Bool, Bool]:  # fmt: skip
    """Return the values tried (v,), and where the method leads (v,), in each replicate (R, v), and is tied (v,)."""
    (own,) = (each for each in methods if each.name == name)
    rivals = [each for each in methods if each is not own and not (what == "ratio" and each.scales)]
    grid = np.atleast_1d(np.asarray(budgets, dtype=np.float64))
    grid = grid[grid < full_training]
    if not rivals or not len(grid):
        raise InputError(f"no break-even of {name}: it needs a rival, and a budget below a full training")
    if what == "budget":
        return grid, *_compare([own, *rivals], full_training, grid, targets, margin, intervals, intervals)
    tried = np.asarray({"ratio": RATIOS, "targets": TARGETS}[what] if values is None else values, dtype=np.float64)
    columns, tied_before = [], False
    for value in tried:
        sized = [_at_ratio(each, value) if what == "ratio" else each for each in (own, *rivals)]
        shared = value if what == "targets" else targets
        ties = intervals and not tied_before  # what matters is the first
        hits = _compare(sized, full_training, grid, shared, margin, intervals, ties)
        columns.append([each.any(axis=-1) for each in hits])
        tied_before = tied_before or bool(columns[-1][2])
    wins, many, tied = (np.stack(each, axis=-1) for each in zip(*columns, strict=True))
    return tried, wins, many, tied


def _compare(
    methods: Sequence[Method], full_training: float, grid: Float, targets: float, margin: float,
    replicates: bool, ties: bool,
) -> tuple[Bool, Bool, Bool]:  # fmt: skip
    """Return at which budgets (k,) the first method leads, in each replicate (R, k), and is tied with the best (k,)."""
    shares = [(grid - each.selection(targets)) / full_training for each in methods]
    pairs = list(zip(methods, shares, strict=True))
    scores = np.stack([_or_nothing(each.curve.at(x)) for each, x in pairs])
    wins = scores[0] - scores[1:].max(axis=0) > margin
    many, tied = np.zeros((0, len(grid)), dtype=bool), np.zeros(len(grid), dtype=bool)
    if replicates:
        least = min(len(each.curve.replicates) for each in methods)
        drawn = np.stack([_or_nothing(each.curve.replicated(x)[:least]) for each, x in pairs])
        many = drawn[0] - drawn[1:].max(axis=0) > margin
    if ties:
        best = scores.argmax(axis=0)
        lows = np.stack([each.curve.interval(x)[0] for each, x in pairs])[best, np.arange(len(grid))]
        with np.errstate(invalid="ignore"):
            tied = methods[0].curve.interval(shares[0])[1] >= lows
    return wins, many, tied


def _at_ratio(method: Method, ratio: float) -> Method:
    if not method.scales:
        return method
    return replace(method, overhead=method.overhead / ratio, query=method.query / ratio)


def _or_nothing(scores: Float) -> Float:
    """A method that a budget does not pay for scores nothing; lower than all, yet with a difference to its like."""
    return np.where(np.isnan(scores), np.finfo(np.float64).min / 4, scores)


def _first(tried: Float, hits: Bool) -> float:
    return float(tried[hits.argmax()]) if hits.any() else np.inf


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
