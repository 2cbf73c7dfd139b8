"""Whole copies by largest remainder."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasksift.draw import draw, rows_for_tokens
from tasksift.draw.sample import apportion
from tasksift.errors import InputError
from tasksift.plan import Plan


def plan_of(values):
    return Plan("quota", "tarot", np.arange(len(values)), np.asarray(values, dtype=float))


def largest_remainder(values, k, order):
    """The same in fractions: floors, then one more for the largest remainders, ties by order."""
    exact = [Fraction(k) * Fraction(v) / sum(values) for v in values]
    copies = [int(x) for x in exact]
    by_rest = sorted(range(len(values)), key=lambda i: (-(exact[i] - copies[i]), order[i]))
    for i in by_rest[: k - sum(copies)]:
        copies[i] += 1
    return copies


def copies_of(drawn, n):
    copies = np.zeros(n, dtype=int)
    copies[drawn.ids] = drawn.copies
    return copies.tolist()


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(1, 200), st.randoms())
def test_against_fractions(values, k, random):
    order = np.array(random.sample(range(len(values)), len(values)))
    drawn = draw(plan_of(values), k, seed=0, order=order)
    assert drawn.method == "apportion"
    assert copies_of(drawn, len(values)) == largest_remainder(values, k, order)
    assert drawn.copies.sum() == k
    assert np.array_equal(drawn.inclusion, drawn.copies)
    assert (drawn.weight == 1).all()


@given(st.lists(st.floats(1e-12, 1e12), min_size=1, max_size=30), st.integers(1, 10**6))
def test_any_values_give_exactly_the_budget(values, k):
    drawn = draw(plan_of(values), k, seed=0, order=np.arange(len(values)))
    share = k * np.array(values) / np.sum(values)
    assert drawn.copies.sum() == k
    assert np.abs(np.array(copies_of(drawn, len(values))) - share).max() < 1 + 1e-6


def test_a_quota_that_sums_to_the_budget_is_kept():
    drawn = draw(plan_of([3, 0, 1, 2]), 6, seed=0, order=np.arange(4))
    assert drawn.ids.tolist() == [0, 3, 2]
    assert drawn.copies.tolist() == [3, 2, 1]


def test_rounding_of_floats_breaks_no_tie():
    """0.1 added seven times is not 0.7; on paper all rests are 1/2, and the order decides."""
    values = [sum([0.1] * times) for times in (1, 3, 5, 7, 9, 11)]
    order = np.array([5, 3, 1, 0, 2, 4])
    drawn = draw(plan_of(values), 18, seed=0, order=order)
    assert copies_of(drawn, 6) == largest_remainder([1, 3, 5, 7, 9, 11], 18, order)


@given(st.data())
def test_limits_per_source(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n = data.draw(st.integers(3, 20))
    sources = np.append([0, 1, 2], rng.integers(0, 3, n - 3))
    values, order = rng.integers(1, 9, n), rng.permutation(n)
    minimum, maximum = data.draw(st.integers(0, 5)), data.draw(st.integers(5, 9))
    k = data.draw(st.integers(max(1, 3 * minimum), 3 * maximum))
    limits = {"sources": sources, "source_names": ["a", "b", "c"], "minimum": minimum, "maximum": maximum}
    drawn = draw(plan_of(values), k, seed=0, order=order, **limits)
    copies = np.array(copies_of(drawn, n))
    assert copies.sum() == k
    for source in range(3):
        mine = np.flatnonzero(sources == source)
        assert minimum <= copies[mine].sum() <= maximum
        if copies[mine].sum():
            expected = largest_remainder(values[mine].tolist(), int(copies[mine].sum()), order[mine])
            assert copies[mine].tolist() == expected


def test_loose_limits_round_the_sources_first():
    values, sources = [1, 1, 1, 3], np.array([0, 0, 0, 1])
    drawn = draw(plan_of(values), 5, seed=0, order=np.arange(4), sources=sources, maximum=5)
    assert np.bincount(sources[drawn.ids], weights=drawn.copies).tolist() == [3, 2]


def test_budget_in_tokens():
    tokens = np.array([10, 20])
    drawn = rows_for_tokens(plan_of([1, 3]), tokens, 1000, seed=0, order=np.arange(2))
    assert copies_of(drawn, 2) == largest_remainder([1, 3], int(drawn.copies.sum()), [0, 1])
    assert 1000 - 20 < (tokens[drawn.ids] * drawn.copies).sum() <= 1000


def test_wrong_requests():
    with pytest.raises(ValueError, match="shares must sum to 3"):
        apportion(np.array([2.0, 2.0]), 3)
    with pytest.raises(InputError, match="has 0 rows to draw"):
        draw(plan_of([0, 0]), 1, seed=0, order=np.arange(2))
