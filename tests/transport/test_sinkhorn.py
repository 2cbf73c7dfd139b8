"""Converged Sinkhorn against linear programming."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import cheapest_transport
from scipy.stats import spearmanr

from tasksift.transport.sinkhorn import transport


def sphere(p, q, d, seed=0, shift=0.3):
    """Distances of unit vectors."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(p, d)), rng.normal(size=(q, d)) + shift
    x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))
    return np.sqrt(np.maximum(0, 2 - 2 * x @ y.T))


@pytest.mark.parametrize(("p", "q", "d"), [(10, 40, 16), (40, 10, 16), (60, 30, 3), (30, 30, 8), (1, 9, 4), (9, 1, 4)])
def test_within_a_tenth_of_a_percent_of_the_exact_cost(p, q, d):
    """Fault 10: the stop rule of TAROT compares differences of one percent."""
    cost = sphere(p, q, d)
    found, truth = transport(cost), cheapest_transport(cost)
    assert found.cost == pytest.approx(truth, rel=1e-3)
    assert found.upper == pytest.approx(truth, rel=2e-3)
    assert found.error <= 1e-3


@settings(max_examples=40)
@given(p=st.integers(1, 8), q=st.integers(1, 8), seed=st.integers(0, 10**6), copies=st.booleans(), even=st.booleans())
def test_the_exact_cost_lies_between_the_bounds(p, q, seed, copies, even):
    rng = np.random.default_rng(seed)
    cost = sphere(p, q, 3, seed)
    if copies:
        cost = cost[rng.integers(0, p, p)]
    a, b = (None, None) if even else (rng.dirichlet(np.full(k, 2.0)) + 1e-6 for k in (p, q))
    if not even:
        a, b = a / a.sum(), b / b.sum()
    found, truth = transport(cost, a, b), cheapest_transport(cost, a, b)
    assert found.cost <= truth + 1e-9
    assert found.upper >= truth - 1e-9
    assert found.cost == pytest.approx(truth, rel=1e-2, abs=1e-3)


def test_bounds_hold_before_it_has_converged():
    cost = sphere(30, 20, 3)
    found, truth = transport(cost, most=0), cheapest_transport(cost)
    assert found.error > 1e-3
    assert found.cost <= truth <= found.upper


def test_the_potentials_are_those_of_the_plan():
    cost = sphere(12, 17, 5)
    found = transport(cost, tolerance=1e-6)
    plan = np.exp((found.f[:, None] + found.g - cost) / 1e-4) / cost.size
    np.testing.assert_allclose(plan.sum(1), 1 / 12, atol=1e-6)
    np.testing.assert_allclose(plan.sum(0), 1 / 17, atol=1e-6)


def test_a_potential_is_the_derivative_by_the_mass_and_grows_with_the_distance():
    """Fault 4: the largest potential is that of the worst point, so mass has to go to the small ones."""
    cost = sphere(30, 20, 6)
    found = transport(cost)
    assert spearmanr(found.f, cost.min(axis=1)).statistic > 0.5
    for far, near in ((found.f.argmax(), found.f.argmin()), (0, 1)):
        a = np.full(30, 1 / 30)
        a[far] += 1e-4
        a[near] -= 1e-4
        assert (cheapest_transport(cost, a) - cheapest_transport(cost)) / 1e-4 == pytest.approx(
            found.f[far] - found.f[near], abs=2e-2
        )


def test_one_point_and_points_that_coincide():
    cost = np.array([[0.2, 0.6, 1.0]])
    assert transport(cost).cost == pytest.approx(0.6, abs=1e-12)
    assert transport(cost.T).upper == pytest.approx(0.6, abs=1e-12)
    assert transport(np.zeros((4, 3))).cost == 0.0


def test_copies_share_what_one_point_has():
    """Two copies of a point, half its mass each, have its potential."""
    cost = sphere(6, 5, 4)
    one = transport(cost, np.array([2, 1, 1, 1, 1, 1]) / 7, tolerance=1e-7)
    two = transport(cost[[0, 0, 1, 2, 3, 4, 5]], tolerance=1e-7)
    assert two.cost == pytest.approx(one.cost, rel=1e-6)
    np.testing.assert_allclose(two.f[[0, 1]] - two.f[2], one.f[0] - one.f[1], atol=1e-6)
