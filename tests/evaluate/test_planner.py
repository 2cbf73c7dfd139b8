"""The planner: its laws, ties, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksift.errors import InputError
from tasksift.evaluate.gain_curves import gain_curve
from tasksift.evaluate.planner import Method, budgets, frontier, pareto, plan

SHARES = (0.05, 0.1, 0.3, 1.0)


def method(name: str, scores: list[float], overhead: float = 0.0, reusable: float = 1.0, query: float = 0.0) -> Method:
    curve = gain_curve({x: [y - 0.5, y + 0.5] for x, y in zip(SHARES, scores, strict=True)}, replicates=30)
    return Method(name, curve, overhead, reusable, query)


SCORES = st.lists(st.integers(0, 100), min_size=4, max_size=4).map(lambda found: [float(each) for each in found])
METHODS = st.lists(st.tuples(SCORES, st.floats(0, 2), st.floats(0, 1), st.floats(0, 0.5)), min_size=1, max_size=4).map(
    lambda found: [method(str(k), *each) for k, each in enumerate(found)]
)


@settings(max_examples=30)
@given(METHODS, st.floats(0.01, 5), st.floats(0.01, 5), st.integers(1, 30), st.integers(1, 30))
def test_more_budget_or_more_targets_never_score_less(methods: list[Method], k1: float, k2: float, t1: int, t2: int):
    less = plan(methods, min(k1, k2), 1.0, targets=min(t1, t2)).best
    for budget, targets in ((max(k1, k2), min(t1, t2)), (min(k1, k2), max(t1, t2))):
        more = plan(methods, budget, 1.0, targets=targets).best
        if less is not None:
            assert more is not None
            assert more.score >= less.score - 1e-9


@settings(max_examples=30)
@given(METHODS, st.floats(0.01, 5), st.integers(1, 30))
def test_plans_keep_to_the_budget_and_the_measured_shares(methods: list[Method], budget: float, targets: int):
    made = plan(methods, budget, 1.0, targets=targets)
    for choice in made.choices:
        assert choice.total <= budget * (1 + 1e-6)
        assert SHARES[0] <= choice.share <= SHARES[-1]
        assert choice.low <= choice.score <= choice.high
    assert [c.score for c in made.choices] == sorted((c.score for c in made.choices), reverse=True)
    if made.best is not None:
        assert made.best.method in made.tied
        assert set(made.tied) == {c.method for c in made.choices if c.high >= made.best.low}


@settings(max_examples=25)
@given(st.lists(SCORES, min_size=1, max_size=4), st.floats(0.05, 1))
def test_without_overhead_the_best_is_the_highest_curve(curves: list[list[float]], budget: float):
    methods = [method(str(k), scores) for k, scores in enumerate(curves)]
    best = plan(methods, budget, 1.0).best
    assert best is not None
    assert best.score == pytest.approx(max(float(each.curve.at([budget])[0]) for each in methods))


def test_a_full_training_is_taken_where_it_is_paid_for():
    methods = [method("random", [1, 2, 3, 9]), method("dear", [5, 6, 7, 9], overhead=0.2)]
    assert not plan(methods, 0.99, 1.0).everything
    for budget in (1.0, 1.2, 50.0):
        made = plan(methods, budget, 1.0)
        assert made.everything
        assert (made.choices[0].method, made.choices[0].total) == ("random", 1.0)


def test_equals_go_by_cost_then_by_declaration():
    same = [1.0, 2.0, 3.0, 4.0]
    dear, first, second = method("dear", same, overhead=0.01), method("first", same), method("second", same)
    for budget in (0.5, 2.0):
        assert [c.method for c in plan([dear, first, second], budget, 1.0).choices][:2] == ["first", "second"]
        assert [c.method for c in plan([second, dear, first], budget, 1.0).choices][:2] == ["second", "first"]
    with pytest.raises(InputError, match="two methods have the name 'first'"):
        plan([first, first], 1.0, 1.0)


def test_nothing_is_said_below_the_smallest_share():
    made = plan([method("a", [1, 2, 3, 4]), method("b", [1, 2, 3, 4], overhead=1.0)], 0.04, 1.0)
    assert made.best is None
    assert made.tied == ()
    assert not made.everything


def test_costs_are_shared_as_far_as_they_are_reusable():
    assert method("a", [0, 1, 2, 3], 8.0, 1.0, 0.5).selection(4) == 2.5
    assert method("a", [0, 1, 2, 3], 8.0, 0.0, 0.5).selection(4) == 8.5
    assert method("a", [0, 1, 2, 3], 8.0, 0.5).selection(4) == 5.0


def test_the_frontier_spans_the_budgets():
    methods = [method("a", [1, 2, 3, 4]), method("b", [2, 3, 3.5, 4], overhead=0.5)]
    grid = budgets(methods, 10.0, steps=7)
    assert (grid[0], grid[-1], len(grid)) == (pytest.approx(0.5), pytest.approx(10.5), 7)
    found = frontier(methods, 10.0)
    assert all(made.best is not None for made in found[1:])
    assert found[-1].everything
    assert [made.budget for made in frontier(methods, 10.0, [1.0, 2.0])] == [1.0, 2.0]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_the_front_against_a_slow_one(points: list[tuple[int, int]]):
    expected = [
        not any((c <= cost and s > score) or (c < cost and s >= score) for c, s in points) for cost, score in points
    ]
    found = pareto([cost for cost, _ in points], [score for _, score in points])
    assert found.tolist() == expected


def test_bad_numbers_are_refused():
    good = [method("a", [1, 2, 3, 4])]
    for budget, full, targets, match in (
        (0.0, 1.0, 1, "a budget of 0"), (np.inf, 1.0, 1, "a budget of inf"), (np.nan, 1.0, 1, "a budget of nan"),
        (1.0, 0.0, 1, "a full training of 0"), (1.0, 1.0, 0.5, "0.5 targets"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=match):
            plan(good, budget, full, targets=targets)
    with pytest.raises(InputError, match=r"a: a reusable fraction of 1\.5"):
        method("a", [1, 2, 3, 4], reusable=1.5)
    with pytest.raises(InputError, match="a: operations of selecting"):
        method("a", [1, 2, 3, 4], overhead=-1.0)
