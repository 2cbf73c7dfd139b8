"""Outlooks: break-evens of one's own sizes, the front, and ranges over cases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasksift.evaluate.gain_curves import gain_curve
from tasksift.evaluate.outlook import Case, across, break_evens, outlook
from tasksift.evaluate.planner import Method

FULL = 1000.0


def case(overhead: float, gain: float = 0.125, ratio: float = 1.0) -> Case:
    """A free method, and a dear one that scores `gain` more below a full training."""
    free = gain_curve({0.1: [0.5, 0.5], 0.5: [0.7, 0.7], 1.0: [0.8, 0.8]})
    dear = gain_curve({0.1: [0.5 + gain] * 2, 0.5: [0.7 + gain] * 2, 1.0: [0.8, 0.8]})
    methods = Method("free", free, 0.0, 1.0), Method("dear", dear, overhead, 1.0, scales=True)
    return Case("c", "accuracy", True, methods, FULL, ratio)


def test_the_ratio_is_that_of_the_models_whatever_the_case_has_in_its_costs():
    first, again = (
        next(each for each in break_evens(one, 300, 1) if each.what == "ratio")
        for one in (case(400.0), case(100.0, ratio=4.0))
    )
    assert first == again
    assert first.value is not None


def test_the_front_is_what_nothing_beats():
    made = outlook(case(100.0), 300)
    points = [(point["method"], point["share"], point["flops"]) for point in made["front"]]
    assert points == [
        ("free", 0.1, pytest.approx(100)), ("dear", 0.1, pytest.approx(200)), ("free", 0.5, pytest.approx(500)),
        ("dear", 0.5, pytest.approx(600)),
    ]  # fmt: skip
    turned = outlook(replace(case(100.0), higher_is_better=False), 300)
    assert [point["score"] for point in turned["front"]] == [-point["score"] for point in made["front"]]


def test_ranges_over_cases_count_those_without():
    cases = [case(100.0), case(400.0), case(100.0, gain=-0.2)]
    found = {row["what"]: row for row in across(cases, 300, 1)}
    assert found["ratio"]["cases"] == 3
    assert (found["ratio"]["never"], found["ratio"]["high"]) == (1, None)
    two = {row["what"]: row for row in across(cases[:2], 300, 1)}["ratio"]
    assert two["never"] == 0
    assert two["low"] < two["high"]
