"""Lists that pick in turn, against a loop of a few lines."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksift.selectors.turns import take_turns


def loop(lists, budget, tie):
    """(row, picker, turn, place) of every pick."""
    picks, turn = [], 0
    left = [list(enumerate(each)) for each in lists]
    while len(picks) < budget:
        wanted = left[turn % len(lists)]
        taken = {row for row, *_ in picks}
        if tie == "next":
            wanted[:] = [(place, row) for place, row in wanted if row not in taken]
        if wanted:
            place, row = wanted.pop(0)
            if row not in taken:
                picks.append((row, turn % len(lists), turn, place))
        turn += 1
    return picks


@given(st.integers(0, 2**32 - 1), st.sampled_from(["next", "skip"]))
@settings(max_examples=150)
def test_complete_lists(seed, tie):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(1, 25), rng.integers(1, 7)
    lists = [rng.permutation(n) for _ in range(m)]
    budget = int(rng.integers(0, n + 1))
    picks = take_turns(lists, n, budget, tie)
    assert list(zip(*(each.tolist() for each in picks), strict=True)) == loop(lists, budget, tie)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["next", "skip"]))
@settings(max_examples=150)
def test_lists_that_end_early_give_the_same_or_nothing(seed, tie):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(1, 25), rng.integers(1, 7)
    lists = [rng.permutation(n) for _ in range(m)]
    budget = int(rng.integers(1, n + 1))
    cut = [each[: rng.integers(0, n + 1)] for each in lists]
    found, whole = take_turns(cut, n, budget, tie), take_turns(lists, n, budget, tie)
    if found is not None:
        for one, other in zip(found, whole, strict=True):
            np.testing.assert_array_equal(one, other)
    else:
        assert any(len(each) < n for each in cut)


def test_equal_lists_share_the_rows():
    picks = take_turns([np.arange(6)] * 3, 6, 6)
    assert picks.rows.tolist() == [0, 1, 2, 3, 4, 5]
    assert picks.pickers.tolist() == [0, 1, 2, 0, 1, 2]


def test_skip_loses_the_turn_and_keeps_the_place():
    picks = take_turns([np.array([0, 1, 2]), np.array([0, 2, 1])], 3, 3, "skip")
    assert picks.rows.tolist() == [0, 1, 2]
    assert picks.turns.tolist() == [0, 2, 3]
    assert picks.places.tolist() == [0, 1, 1]


@pytest.mark.parametrize("tie", ["next", "skip"])
def test_one_list_is_its_beginning(tie):
    assert take_turns([np.array([4, 0, 3, 1, 2])], 5, 3, tie).rows.tolist() == [4, 0, 3]


def test_no_budget_takes_no_row():
    assert all(len(each) == 0 for each in take_turns([np.arange(3)], 3, 0))
