"""Bounds of distances by products: on whichever side of the truth they promise to be."""

import numpy as np
import pytest
from adversarial import NAMES, cases, exact
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import distances

from tasksift.errors import InputError
from tasksift.neighbors.distances import Points, scratch, squared_distances, true_pairs
from tasksift.vectors import Vectors


def check_bounds(points, pool, *, normalize=False):
    """`near` keeps all that is near and bounds what it keeps, for limits of every size; so does `bounds`."""
    vectors = Vectors(pool, normalize=normalize)
    rows, block = exact(vectors), vectors.narrow(vectors.raw((0, len(vectors))))
    truth = distances(rows, points) ** 2
    measure = Points(points)
    # Limits that are true distances themselves, one of them for each point, and none at all.
    for limits in (np.inf, 0.0, np.quantile(truth, 0.3), truth[:, 0], np.median(truth, axis=1), truth.min(axis=1)):
        i, j, lower, upper = measure.near(block, limits)
        kept = np.zeros(truth.shape, dtype=bool)
        kept[i, j] = True
        assert (kept | (truth > np.broadcast_to(limits, len(points))[:, None])).all()
        assert (np.diff(i * len(rows) + j) > 0).all()
        assert (lower <= truth[i, j]).all()
        assert (truth[i, j] <= upper).all()
        low, high = measure.bounds(block, i, j)
        assert (low <= truth[i, j]).all()
        assert (truth[i, j] <= high).all()
    i, j = np.divmod(np.arange(truth.size), len(rows))
    lower, upper = measure.near(block, np.inf)[2:]
    lengths = (points**2).sum(axis=1)[i] + (rows**2).sum(axis=1)[j]
    assert (upper - lower <= 1e-6 * (rows.shape[1] + 20) * lengths + 1e-30).all(), "bounds so wide serve for nothing"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("dim", [1, 3, 200, 600])
def test_bounds_hold(name, normalize, dim):
    pool, _ = cases(dim)[name]
    points = exact(pool, normalize=normalize)[::40] * 1.0001
    check_bounds(points, pool, normalize=normalize)


@pytest.mark.parametrize("factor", [0.0, 1e-30, 1e9, 1e15, 1e16, 1e40])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_one_point_of_another_size_does_not_spoil_the_bounds_of_the_rest(factor, normalize, dtype):
    # All points are then multiplied in float64, by rows that were rounded to float32.
    pool, _ = cases(40)["clustered"]
    points = np.vstack([pool[:5], factor * pool[5:6]])
    check_bounds(points, pool.astype(dtype), normalize=normalize)


@given(
    seed=st.integers(0, 2**32 - 1),
    dim=st.integers(1, 600),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    normalize=st.booleans(),
    offset=st.sampled_from([0.0, 1.0, 1e3]),
    spread=st.sampled_from([1e-7, 1e-3, 1.0, 30.0]),
)
@settings(max_examples=60)
def test_bounds_hold_for_any_rows(seed, dim, dtype, normalize, offset, spread):
    rng = np.random.default_rng(seed)
    pool = (offset + spread * rng.normal(size=(30, dim))).astype(dtype)
    points = exact(pool, normalize=normalize)[:4] + rng.choice([0.0, 1e-8, 1.0]) * rng.normal(size=(4, dim))
    check_bounds(points, pool, normalize=normalize)


def test_rounding_that_always_errs_to_one_side():
    # Equal values add up with the same rounding at every step.
    for value in (0.1, 1 / 3, 1 - 2.0**-24):
        pool = np.full((20, 600), value) * (1 + 1e-7 * np.arange(20)[:, None])
        check_bounds(exact(pool.astype(np.float32))[:3], pool.astype(np.float32))
        check_bounds(exact(pool, normalize=True)[:3], pool.astype(np.float32), normalize=True)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 8), (5, 13), (64, 64), (2, 0)])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_true_pairs(shape, share):
    mask = np.random.default_rng(0).random(shape) < share
    found, expected = true_pairs(mask), np.nonzero(mask)
    np.testing.assert_array_equal(found, expected)


def test_scratch_is_the_same_memory_again():
    one, other = scratch((3, 5), np.float32), scratch((2, 4), np.float32)
    assert one.shape == (3, 5)
    assert np.shares_memory(one, other)
    assert not np.shares_memory(one, scratch((3, 5), np.float64))


@given(st.integers(0, 2**32 - 1), st.integers(1, 300))
@settings(max_examples=40)
def test_a_pairs_distance_does_not_depend_on_its_neighbours_in_memory(seed, dim):
    rng = np.random.default_rng(seed)
    left, right = rng.normal(size=(2, 40, dim))
    together = squared_distances(left, right)
    np.testing.assert_allclose(together, ((left - right) ** 2).sum(axis=1), rtol=1e-13)
    alone = [float(squared_distances(left[k : k + 1], right[k : k + 1])[0]) for k in range(40)]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(squared_distances(np.asfortranarray(left), np.asfortranarray(right)), together)
    np.testing.assert_array_equal(squared_distances(left[::-1], right[::-1])[::-1], together)
    np.testing.assert_array_equal(squared_distances(left, left[0]), squared_distances(left, left[:1].repeat(40, 0)))


def test_squares_beyond_float64_are_refused():
    with pytest.raises(InputError, match="too large for squared distances"):
        Points(np.full((1, 2), 1e200))
    with pytest.raises(InputError, match="too large for squared distances"):
        Points(np.zeros((1, 2))).near(np.full((1, 2), 1e200), np.inf)
