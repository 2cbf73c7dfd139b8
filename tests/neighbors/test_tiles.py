"""Balls of candidates: every candidate is in one, whatever they look like."""

import numpy as np
import pytest
from adversarial import NAMES, cases, exact
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksift.neighbors import tiles as module
from tasksift.neighbors.tiles import tiles

RNG = np.random.default_rng(0)


def check_cut(points, sample, sigma):
    balls = tiles(points, sample, sigma)
    assert all(len(ball) for ball in balls)
    np.testing.assert_array_equal(np.sort(np.concatenate(balls)), np.arange(len(points)))
    return balls


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dim", [1, 30])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "beyond float32"])
def test_every_point_is_in_one_ball(name, dim, dtype):
    pool, sigma = cases(dim)[name]
    pool = exact(pool).astype(dtype)
    for factor in (1, 1e-6, 1e6, 1e100):
        check_cut(pool[::2], pool, factor * sigma)
        check_cut(pool[:1], pool[:1], factor * sigma)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_every_random_point_is_in_one_ball(seed):
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 200), rng.integers(1, 5)
    points = rng.choice([1e-3, 1.0, 1e3]) * rng.integers(-3, 4, size=shape) + rng.choice([0, 1e-6, 1]) * rng.normal(
        size=shape
    )
    sample = rng.normal(size=(rng.integers(1, 300), shape[1])) * rng.choice([1e-3, 1.0, 1e3])
    check_cut(points, sample, float(rng.choice([1e-9, 0.1, 10.0])))


@pytest.mark.parametrize(
    "points",
    [
        np.ones((5000, 4), np.float32),
        np.full((5000, 4), 0.1) * (1 + 1e-16 * RNG.integers(0, 3, size=(5000, 1))),
        np.vstack([np.zeros((4999, 4)), np.ones((1, 4))]),
        np.arange(5000.0)[:, None] * np.ones(4),
        # Every cut takes off one point only.
        2.0 ** -np.arange(900.0)[:, None] * np.ones(4),
        np.repeat(RNG.normal(size=(3, 4)), 2000, axis=0),
    ],
    ids=["equal", "equal but for rounding", "one apart", "collinear", "halving", "copies of three"],
)
def test_points_that_are_hard_to_cut(monkeypatch, points):
    # As if nothing but the pairs cost anything, so that every cut that can be made is tried.
    monkeypatch.setattr(module, "_ROW", 0.0)
    monkeypatch.setattr(module, "_ROW_DIM", 0.0)
    calls, halve = [], module._halve
    monkeypatch.setattr(module, "_halve", lambda offset: calls.append(len(offset)) or halve(offset))
    check_cut(points, points[:: max(1, len(points) // 200)], 1e-3)
    # Cuts are made within cuts, up to so deep, and each point is in one of them at every depth.
    assert sum(calls) <= (module.DEEPEST + 1) * len(points)


def test_clusters_become_balls_and_what_cannot_be_saved_stays_whole():
    centres = 10 * RNG.normal(size=(40, 8))
    points = np.repeat(centres, 50, axis=0) + 0.1 * RNG.normal(size=(2000, 8))
    balls = check_cut(points, points[::2], 0.5)
    assert len(balls) == 40
    assert all(np.ptp(ball // 50) == 0 for ball in balls)
    assert len(check_cut(points, points[::2], 1e3)) == 1
