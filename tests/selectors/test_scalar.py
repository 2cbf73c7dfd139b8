"""One number for each row: lowest, around the median, highest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksift.draw import draw
from tasksift.errors import InputError
from tasksift.presets import PRESETS
from tasksift.selectors import SELECTORS, Context, scalar
from tasksift.vectors import Vectors

numbers = st.lists(st.integers(0, 6).map(float), min_size=1, max_size=40)


def taken(values, direction, k, order=None):
    values = np.asarray(values, dtype=float)
    order = np.arange(len(values)) if order is None else order
    return np.sort(draw(scalar.fit(values, direction=direction, order=order), k, seed=0, order=order).ids)


@given(numbers, st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_lowest_and_highest_are_the_ends_of_the_sorted_rows(values, seed):
    order = np.random.default_rng(seed).permutation(len(values))
    rows = range(len(values))
    for k in {1, (len(values) + 1) // 2, len(values)}:
        lowest = sorted(rows, key=lambda i: (values[i], order[i]))[:k]
        highest = sorted(rows, key=lambda i: (-values[i], order[i]))[:k]
        assert taken(values, "lowest", k, order).tolist() == sorted(lowest)
        assert taken(values, "highest", k, order).tolist() == sorted(highest)


@given(numbers, st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_middle_is_what_remains_when_both_ends_are_taken_off(values, seed):
    order = np.random.default_rng(seed).permutation(len(values))
    remaining = sorted(range(len(values)), key=lambda i: (values[i], order[i]))
    while remaining:
        assert taken(values, "middle", len(remaining), order).tolist() == sorted(remaining)
        remaining = remaining[1:-1]


def test_middle_is_not_the_lowest_in_another_order():
    """A published release takes the same lowest k for "mid" as for "top"."""
    values = np.random.default_rng(0).permutation(np.arange(100.0))
    assert sorted(values[taken(values, "middle", 20)]) == list(range(40, 60))
    assert not set(taken(values, "middle", 20)) & set(taken(values, "lowest", 20))


def test_middle_goes_by_rank_and_not_by_value():
    values = np.array([0, 1, 2, 3, 4, 1e6, 2e6])  # the mean is far from every row
    assert values[taken(values, "middle", 3)].tolist() == [2, 3, 4]


@pytest.mark.parametrize(("preset", "expected"), [("lowest", 1), ("middle", 5), ("highest", 9)])
def test_the_name_says_the_direction(preset, expected):
    """A published release says highest and takes the lowest."""
    perplexity = np.random.default_rng(0).permutation(np.arange(1.0, 10))
    made = PRESETS[f"perplexity-{preset}"]
    selector = SELECTORS[made.selector]
    context = Context(
        order=np.arange(9),
        sources=np.zeros(9, dtype=np.int64),
        scores=Vectors(perplexity[:, None]),
        score_names=("perplexity",),
    )
    plan = selector.prepare(context, selector.settle(made.parameters, preset))(1)
    assert perplexity[plan.ids[plan.values.argmax()]] == expected
    assert plan.info["metric"] == "perplexity"
    assert plan.info["direction"] == preset


def test_many_equal_numbers_around_the_median_are_its_middle():
    values = np.r_[np.zeros(60), np.arange(1.0, 41)]
    assert (values[taken(values, "middle", 20)] == 0).all()


@pytest.mark.parametrize("direction", ["lowest", "middle", "highest"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_small_pools(direction, n):
    values = np.arange(n, dtype=float)
    assert taken(values, direction, n).tolist() == list(range(n))
    assert len(taken(values, direction, 1)) == 1


def test_equal_numbers_go_by_the_order_of_rows():
    order = np.array([3, 1, 0, 2])
    for direction in ("lowest", "highest"):
        assert taken(np.ones(4), direction, 2, order).tolist() == [1, 2]
    assert taken(np.ones(4), "middle", 2, order).tolist() == [1, 3]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scalar.fit(np.ones(3), direction="mid"), "direction 'mid' does not exist"),
        (lambda: scalar.fit(np.ones(0), direction="middle"), "the pool is empty"),
        (lambda: scalar.fit(np.array([1, np.nan, 2]), direction="lowest"), "row 1 has the number nan"),
        (lambda: scalar.fit(np.array([np.inf]), direction="middle"), "row 0 has the number inf"),
    ],
)
def test_bad_numbers(call, message):
    with pytest.raises(InputError, match=message):
        call()
