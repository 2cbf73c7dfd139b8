from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasksift.draw.limits import inclusion_within, quotas, water_fill
from tasksift.errors import InputError, ShortPlanError


def by_bisection(mass, low, high, total):
    """The slow definition of water filling."""
    bottom, top = 0.0, float((high / mass).max())
    for _ in range(200):
        level = (bottom + top) / 2
        bottom, top = (level, top) if np.clip(level * mass, low, high).sum() < total else (bottom, level)
    return np.clip(top * mass, low, high)


@st.composite
def vessels(draw):
    n = draw(st.integers(1, 8))
    vector = lambda of: np.array(draw(st.lists(of, min_size=n, max_size=n)))  # noqa: E731
    mass = vector(st.one_of(st.floats(1e-6, 1), st.just(0.25)))
    low = vector(st.integers(0, 4)).astype(float)
    high = low + vector(st.integers(0, 6))
    share = draw(st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1))
    return mass, low, high, float(low.sum() + share * (high - low).sum())


@given(vessels())
def test_water_fill(case):
    _, low, high, total = case
    share = water_fill(*case)
    assert np.all((low <= share) & (share <= high))
    assert share.sum() == pytest.approx(total, abs=1e-12)
    assert share == pytest.approx(by_bisection(*case), abs=1e-9)


def test_water_fill_keeps_whole_bounds_exact():
    share = water_fill(np.array([0.1, 0.2, 0.7]), np.array([3.0, 0, 0]), np.array([9.0, 9, 4]), 10.0)
    assert share.tolist() == [3.0, 3.0, 4.0]


def test_water_fill_with_masses_next_to_nothing():
    share = water_fill(np.array([5e-324, 1e-280, 1.0, 0.0]), np.zeros(4), np.array([1.0, 1, 1, 0]), 2.5)
    assert share == pytest.approx([0.5, 1, 1, 0])


NAMES = ["web", "books", "code"]


def of(mass, rows, k, low=None, high=None, **more):
    names = [f"s{i}" for i in range(len(mass))] if len(mass) != 3 else NAMES
    return quotas(np.array(mass), np.array(rows), k, low, high, names, **more)


def test_quotas_follow_mass_within_limits():
    assert of([0.5, 0.3, 0.2], [99, 99, 99], 10).tolist() == pytest.approx([5, 3, 2])
    assert of([0.5, 0.3, 0.2], [99, 99, 99], 10, 3).tolist() == pytest.approx([4, 3, 3])
    assert of([0.8, 0.1, 0.1], [99, 99, 99], 10, None, 4).tolist() == pytest.approx([4, 3, 3])
    assert of([0.8, 0.1, 0.1], [2, 99, 99], 10).tolist() == pytest.approx([2, 4, 4])
    assert of([0.8, 0.2, 0.0], [9, 9, 0], 10).tolist() == pytest.approx([8, 2, 0])


@given(st.data())
def test_quotas_keep_every_bound_and_the_budget(data):
    n = data.draw(st.integers(1, 6))
    rows = np.array(data.draw(st.lists(st.integers(1, 30), min_size=n, max_size=n)))
    mass = np.array(data.draw(st.lists(st.floats(1e-9, 1), min_size=n, max_size=n)))
    low = data.draw(st.integers(0, int(rows.min())))
    high = data.draw(st.integers(max(low, 1), 30))
    k = data.draw(st.integers(max(1, n * low), int(np.minimum(rows, high).sum())))
    quota = of(mass / mass.sum(), rows, k, low, high)
    assert quota.sum() == pytest.approx(k, rel=1e-12)
    assert np.all((quota >= low) & (quota <= np.minimum(rows, high)))


@pytest.mark.parametrize(
    ("rows", "k", "low", "high", "message"),
    [
        ([9, 9, 9], 10, 4, None, "--min-per-source 4 for 3 sources takes 12 rows and the budget is 10.* to 3$"),
        ([9, 9, 9], 10, None, 3, "--max-per-source 3 for 3 sources allows 9 rows and the budget is 10.* to 4$"),
        ([9, 9, 9], 10, 3, 2, "--min-per-source 3 is above --max-per-source 2"),
        ([9, 9, 9], 10, -1, None, "whole numbers from 0, not -1"),
        ([9, 1, 0], 9, 3, None, "books has 1, code has none; lower the minimum"),
        ([9, 1, 1], 10, None, 4, "can give 6 rows under --max-per-source 4 and the budget is 10; .* raise the maximum"),
        ([3, 3, 3], 10, 1, None, "can give 9 rows and the budget is 10; .* plan for more rows"),
    ],
)
def test_infeasible_limits(rows, k, low, high, message):
    with pytest.raises(InputError, match=message) as caught:
        of([0.5, 0.3, 0.2], rows, k, low, high)
    assert not isinstance(caught.value, ShortPlanError)
    assert "\n" not in str(caught.value)


def test_many_lacking_sources_are_counted():
    with pytest.raises(InputError, match="s4 has none and 3 more;"):
        of([1.0] * 8, [0] * 8, 8, 1)


@pytest.mark.parametrize(
    ("rows", "k", "low", "high", "short"),
    [
        ([9, 1, 0], 9, 3, None, True),
        ([9, 1, 1], 10, None, 4, True),
        ([3, 3, 3], 10, 1, None, True),
        ([9, 9, 9], 10, 4, None, False),
        ([9, 9, 9], 10, None, 3, False),
    ],
)
def test_only_what_a_longer_plan_mends_is_short(rows, k, low, high, short):
    with pytest.raises(InputError) as caught:
        of([0.5, 0.3, 0.2], rows, k, low, high, complete=False)
    assert isinstance(caught.value, ShortPlanError) == short


def test_inclusion_inside_sources():
    p = np.array([0.6, 0.1, 0.1, 0.2])
    source = np.array([0, 0, 0, 2])
    # Source 0 wants 2: the first row is certain, the other two share what is left.
    assert inclusion_within(p, source, np.array([2.0, 0.0, 0.5])).tolist() == pytest.approx([1, 0.5, 0.5, 0.5])
