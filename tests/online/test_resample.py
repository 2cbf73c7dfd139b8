"""Weights turned into copies, and which draws need none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasksift.draw import draw
from tasksift.errors import InputError
from tasksift.online.weights import resample
from tasksift.plan import LEGAL_DRAWS, Plan


def test_only_the_largest_probabilities_need_weights():
    values = {"mass": np.array([0.05, 0.15, 0.1, 0.3, 0.4]), "quota": np.array([0.5, 1.5, 1.0, 3.0, 4.0])}
    for kind, draws in LEGAL_DRAWS.items():
        plan = Plan(kind, "by hand", np.arange(5), values.get(kind, np.log(values["mass"])))
        for method in (None, *draws):
            drawn = draw(plan, 2, seed=0, order=np.arange(5), method=method)
            np.testing.assert_allclose(drawn.weight @ drawn.copies, 2)
            assert (kind == "mass" and drawn.method == "top") == bool(np.ptp(drawn.weight)), (kind, drawn.method)


@given(
    st.lists(st.one_of(st.just(0.0), st.floats(1e-9, 1e9), st.integers(1, 5).map(float)), min_size=1, max_size=30),
    st.integers(1, 200),
    st.integers(0, 5),
)
def test_copies_are_expected_copies_rounded_down_or_up(weights, rows, seed):
    if not any(weights):
        weights[0] = 1.0
    positions = resample(weights, rows, seed)
    assert positions.dtype == np.int64
    assert len(positions) == rows
    expected = rows * np.array(weights) / sum(weights)
    counts = np.bincount(positions, minlength=len(weights))
    assert np.all(np.abs(counts - expected) < 1)
    assert np.array_equal(positions, resample(weights, rows, seed))


def test_whole_expectations_are_exact():
    assert resample([1, 2, 0, 3], 12, 0).tolist() == [0] * 2 + [1] * 4 + [3] * 6
    assert resample(np.full(10, 0.1), 10, 0).tolist() == list(range(10))


def test_copies_are_right_on_average():
    weights = np.array([0.3, 1.0, 2.7, 0.05, 4.0])
    counts = np.mean([np.bincount(resample(weights, 7, seed), minlength=5) for seed in range(2000)], axis=0)
    np.testing.assert_allclose(counts, 7 * weights / weights.sum(), atol=0.05)


@pytest.mark.parametrize(
    ("weights", "rows", "seed", "message"),
    [
        ([], 3, 0, "at least one number"), ([[1.0]], 3, 0, "shape"), ([1, -2], 3, 0, "row 1 has weight -2.0"),
        ([1, np.nan], 3, 0, "row 1 has weight nan"), ([0, 0], 3, 0, "all weights are 0"),
        ([1], 0, 0, "rows 0 is out of range"), ([1], 2.5, 0, "rows 2.5 is out of range"),
        ([1], 1, -1, "seed -1 is out of range"), (["a"], 1, 0, "are no numbers"),
    ],
)  # fmt: skip
def test_what_cannot_be_copied(weights, rows, seed, message):
    with pytest.raises(InputError, match=message):
        resample(weights, rows, seed)
