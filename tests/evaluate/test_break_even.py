"""Break-evens: against arithmetic by hand, as intervals, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from tasksift.errors import InputError
from tasksift.evaluate.break_even import break_even, first_lead
from tasksift.evaluate.gain_curves import gain_curve
from tasksift.evaluate.planner import Method

SHARES = (0.01, 0.1, 1.0)


def method(name: str, scores: list[float], overhead: float, reusable: float = 1.0, spread: float = 0.0) -> Method:
    runs = {x: [y - spread, y, y + spread] for x, y in zip(SHARES, scores, strict=True)}
    return Method(name, gain_curve(runs, replicates=200), overhead, reusable, scales=overhead > 0)


def pair(spread: float = 0.0, reusable: float = 1.0) -> list[Method]:
    """Random is at 2 with a share of 0.1; the dear one is there with a share of 0.01 already."""
    return [
        method("random", [1.0, 2.0, 3.0], 0.0, spread=spread),
        method("dear", [2.0, 2.5, 3.0], 0.9, reusable, spread=spread),
    ]


def test_targets_by_hand():
    # Random scores 2 at a budget of 0.1; the dear one does from a share of 0.01 on: 0.9 / T <= 0.09.
    found = break_even(pair(), "dear", 1.0, 0.1, "targets", values=[1, 5, 9, 10, 11, 20])
    assert (found.value, found.tied_from, found.first, found.last) == (11, 10, 1, 20)
    assert break_even(pair(reusable=0.0), "dear", 1.0, 0.1, "targets").value is None


def test_ratios_by_hand():
    found = break_even(pair(), "dear", 1.0, 0.1, "ratio", values=[1, 5, 9, 10, 11, 20])
    assert (found.value, found.tied_from) == (11, 10)
    other = Method("rival", pair()[1].curve, 0.9, 1.0, scales=True)
    assert break_even([*pair(), other], "dear", 1.0, 0.1, "ratio", values=[11]).value == 11  # rivals do not scale
    assert break_even([*pair(), other], "dear", 1.0, 0.1, "targets", values=[11]).value is None


def test_budgets_by_hand():
    cheap = [pair()[0], method("dear", [2.0, 2.5, 3.0], 0.04)]
    grid = np.array([0.02, 0.045, 0.055, 0.1, 0.5])
    found = break_even(cheap, "dear", 1.0, grid, "budget")
    assert found.value == 0.055
    assert (found.first, found.last) == (0.02, 0.5)


def test_uncertain_scores_give_a_wide_interval():
    sure = break_even(pair(0.01), "dear", 1.0, 0.2, "targets")
    unsure = break_even(pair(0.15), "dear", 1.0, 0.2, "targets")
    assert sure.low is not None
    assert unsure.low is not None
    assert sure.value == unsure.value
    assert sure.low <= sure.value <= sure.high
    assert unsure.low <= sure.low
    assert unsure.high is None or unsure.high >= sure.high
    assert (unsure.low, unsure.high) != (sure.low, sure.high)
    assert unsure.tied_from <= sure.value


def test_the_margin_puts_it_off():
    near, far = (first_lead(pair(), "dear", 1.0, 0.1, "targets", margin=margin) for margin in (0.0, 0.3))
    assert near is not None
    assert far is not None
    assert far > near
    assert first_lead(pair(), "dear", 1.0, 0.1, "targets", margin=5.0) is None


def test_a_method_that_is_nowhere_affordable_is_nowhere():
    found = break_even([pair()[0], method("dear", [2.0, 2.5, 3.0], 50.0)], "dear", 1.0, [0.1, 0.5], "budget")
    assert (found.value, found.low, found.high, found.tied_from) == (None, None, None, None)


def test_it_needs_a_rival_and_a_budget_below_a_full_training():
    with pytest.raises(InputError, match="no break-even of dear"):
        break_even(pair()[1:], "dear", 1.0, 0.1, "ratio")
    with pytest.raises(InputError, match="below a full training"):
        break_even(pair(), "dear", 1.0, [1.0, 2.0], "ratio")
