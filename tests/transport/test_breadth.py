"""Automatic breadth against a search of every interval."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import dense_transport, smallest_breadth, whole_lists

from tasksift.transport.breadth import breadth_for_budget


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=400)
def test_the_smallest_breadth_that_serves_the_budget(seed):
    rng = np.random.default_rng(seed)
    m, n = rng.integers(1, 5), rng.integers(1, 12)
    d = np.round(rng.random((m, n)) * 10, rng.choice([0, 8]))
    rho = rng.choice([1, 1.5, 2, 3, 9], n).astype(float)
    lists = whole_lists(d, rho)
    budget = float(rng.choice([rng.uniform(0.5, n + 1), rng.integers(1, n + 1)]))
    s, expected = breadth_for_budget(lists, budget), smallest_breadth(lists, budget, n)
    assert (s is None) == (expected is None)
    if s is not None:
        assert budget * dense_transport(lists, s, n).sum(0).max() <= 1 + 1e-9
        assert s == pytest.approx(expected, rel=1e-9)


def test_the_maximum_is_not_monotone():
    # Different first neighbours and one shared second: max p is 1/M at s = 1 and 1/2 at s = 2.
    m = 4
    d = np.full((m, m + 6), 50.0) + np.arange(m + 6)
    d[np.arange(m), np.arange(m)] = 1
    d[:, m] = 2
    lists = whole_lists(d, np.ones(m + 6))
    p = [dense_transport(lists, s, m + 6).sum(0).max() for s in (1.0, 2.0)]
    assert p == pytest.approx([1 / m, 1 / 2])
    assert breadth_for_budget(lists, m) == 1.0


def test_an_answer_between_two_breakpoints():
    # One row has 3/(4s), another 3/4 - 1/(2s): 0.75 and 0.5 are too much at both ends, 0.45 is the least in between.
    d = np.array([[1.0, 2, 9, 9, 9, 9, 9, 9]] * 3 + [[9.0, 1, 2, 9, 9, 9, 9, 9]])
    lists = whole_lists(d, np.ones(8))
    assert [dense_transport(lists, s, 8).sum(0).max() for s in (1, 5 / 3, 2)] == pytest.approx([0.75, 0.45, 0.5])
    assert breadth_for_budget(lists, 1 / 0.47) == pytest.approx(0.75 / 0.47)


def test_a_budget_beyond_the_fully_spread_plan_has_no_breadth():
    lists = whole_lists(np.array([[1.0, 2, 3]]), np.array([1.0, 2, 2]))
    # Z = 2 and the least crowded row takes half of the mass.
    assert breadth_for_budget(lists, 2.0) == pytest.approx(2.0)
    assert breadth_for_budget(lists, 2.01) is None


def test_larger_problems_agree_with_the_definition():
    rng = np.random.default_rng(7)
    pool, targets = rng.normal(size=(60, 3)), rng.normal(size=(6, 3))
    d = np.sqrt(((targets[:, None] - pool[None]) ** 2).sum(2))
    rho = rng.uniform(1, 4, 60)
    lists = whole_lists(d, rho)
    for budget in (2, 5, 7.5, 10, 15, 20, 25):
        s, expected = breadth_for_budget(lists, budget), smallest_breadth(lists, budget, 60)
        assert (s is None) == (expected is None)
        if s is not None:
            assert s == pytest.approx(expected, rel=1e-9)
