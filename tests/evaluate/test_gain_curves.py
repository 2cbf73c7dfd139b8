"""Gain curves: between the points, beyond them, how sure, and the fit."""

from __future__ import annotations

from bisect import bisect_right
from math import exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksift.evaluate.gain_curves import fit, gain_curve

SHARES = st.lists(st.integers(1, 1000), min_size=1, max_size=6, unique=True).map(
    lambda found: [each / 1000 for each in sorted(found)]
)


def slow(shares: list[float], scores: list[float], x: float) -> float:
    """Read a curve at x, point by point."""
    best = [max(scores[: k + 1]) for k in range(len(scores))]
    k = bisect_right(shares, x)
    if k == 0:
        return float("nan")
    if k == len(shares):
        return best[-1]
    w = (log(x) - log(shares[k - 1])) / (log(shares[k]) - log(shares[k - 1]))
    return best[k - 1] + w * (best[k] - best[k - 1])


@settings(max_examples=30)
@given(SHARES, st.data())
def test_curves_against_a_slow_reading(shares: list[float], data: st.DataObject):
    scores = data.draw(st.lists(st.floats(-5, 5), min_size=len(shares), max_size=len(shares)))
    curve = gain_curve({x: [y] for x, y in zip(shares, scores, strict=True)}, replicates=20)
    at = [*shares, *data.draw(st.lists(st.floats(1e-4, 2), max_size=8))]
    found = curve.at(at)
    np.testing.assert_allclose(found, [slow(shares, scores, x) for x in at], atol=1e-9)
    low, high = curve.interval(at)
    inside = ~np.isnan(found)
    assert np.all((low[inside] <= found[inside]) & (found[inside] <= high[inside]))
    assert np.array_equal(np.isnan(low), ~inside)
    running = curve.replicated(np.sort(at))
    assert np.all(np.diff(running[:, ~np.isnan(running[0])], axis=1) >= 0)


def test_rounding_does_not_put_a_share_below_the_first():
    curve = gain_curve({0.025: [1.0], 1.0: [2.0]})
    assert curve.at([0.025 * (1 - 1e-12)]) == 1.0
    assert np.isnan(curve.at([0.0249]))


def test_a_plateau_is_left_where_it_begins():
    curve = gain_curve({0.1: [1.0], 0.2: [3.0], 0.5: [2.0], 1.0: [4.0]})
    assert curve.enough(0.5) == 0.2
    assert curve.enough(0.15) == 0.15
    assert curve.enough(3.0) == 1.0


def test_what_the_interval_comes_from():
    points = {0.1: [1.0], 0.2: [2.1], 0.5: [2.9], 1.0: [3.0]}
    assert gain_curve(points).basis == "residuals"
    assert gain_curve({0.1: [1.0], 1.0: [3.0]}).basis == "none"
    assert gain_curve({**points, 0.1: [1.0, 1.2]}).basis == "seeds"
    assert gain_curve({**points, 0.1: [1.0, 1.2]}, basis="panels").basis == "panels"
    low, high = gain_curve({0.1: [1.0], 1.0: [3.0]}).interval([0.3])
    assert low == high


def test_the_interval_of_seeds_is_as_wide_as_their_mean_is_unsure():
    rng = np.random.default_rng(0)
    widths = []
    for k in range(60):
        curve = gain_curve({0.1: rng.normal(size=3).tolist()}, seed=k, replicates=400)
        widths.append(curve.replicates[:, 0].std())
    assert np.mean(widths) == pytest.approx(0.886 / np.sqrt(3), rel=0.15)


def test_a_point_with_one_seed_takes_the_noise_of_the_others():
    curve = gain_curve({0.1: [1.0, 2.0, 3.0], 1.0: [9.0]})
    assert curve.replicates[:, 1].std() == pytest.approx(1.0, rel=0.1)


def test_the_same_seed_draws_alike():
    one, two = (gain_curve({0.1: [1.0, 2.0, 4.0], 1.0: [5.0, 6.0, 8.0]}) for _ in range(2))
    assert np.array_equal(one.replicates, two.replicates)
    more = gain_curve({0.05: [0.5, 0.1, 0.3], 0.1: [1.0, 2.0, 4.0], 1.0: [5.0, 6.0, 8.0]})
    assert np.array_equal(one.replicates[:, -1], more.replicates[:, -1])  # arms stay paired at the full training
    other = gain_curve({0.1: [1.0, 2.0, 4.0], 1.0: [5.0, 6.0, 8.0]}, seed=1)
    assert not np.array_equal(one.replicates, other.replicates)


@settings(max_examples=20)
@given(st.floats(-3, 3), st.floats(0.5, 20), st.floats(0.5, 5))
def test_the_fit_finds_a_curve_that_is_one(start: float, rate: float, gain: float):
    x = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0]
    y = [start + gain - gain * exp(-rate * each) for each in x]
    found = fit(x, y, ceiling=start + gain)
    assert found.rmse < 1e-4
    np.testing.assert_allclose(found.at(x), y, atol=1e-3)


def test_the_fit_stays_within_its_bounds():
    falling = fit([0.1, 0.5, 1.0], [3.0, 2.0, 1.0], floor=0.0)
    assert falling.rate >= 0
    assert 0 <= falling.start <= 3
    flat = fit([0.1, 1.0], [0.0, 0.0], floor=0.0)
    assert (flat.rate, flat.rmse) == (0.0, 0.0)
    expensive = fit([1.8 + x for x in (0.025, 0.1, 0.5, 1.0)], [46.1, 46.5, 47.1, 47.3], floor=0.0)
    assert expensive.start == pytest.approx(0, abs=1e-3)
