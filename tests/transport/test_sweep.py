"""The closed form against linear programs, the published queue, golden values and its invariants."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import dense_transport, lp_value, objective, queue_breadth, whole_lists

from tasksift.transport.certificate import certify
from tasksift.transport.sweep import breadth_for_alpha, trace_path, transport_at


def solve(d, rho, alpha, scale=1.0):
    """(breadth, transport plan) of a complete problem."""
    d, rho = np.atleast_2d(np.asarray(d, float)), np.asarray(rho, float)
    lists = whole_lists(d, rho)
    s = breadth_for_alpha(trace_path(lists), alpha, scale)
    s = lists.full_breadth if s is None else s
    return s, dense_transport(lists, s, d.shape[1])


def random_problem(rng):
    m, n = rng.integers(1, 4), rng.integers(1, 9)
    # Rounded distances make ties common.
    d = np.round(rng.random((m, n)) * rng.choice([1, 5, 20]), rng.choice([0, 1, 8]))
    rho = rng.choice([1, 1.5, 2, 3, 9], n).astype(float)
    alpha = rng.choice([0.0, 1.0, 0.01, 0.99, rng.random(), rng.random(), rng.random()])
    return d, rho, float(alpha), float(rng.choice([0.1, 1, 5]))


def test_optimal_and_feasible_on_1200_random_instances():
    rng = np.random.default_rng(0)
    for _ in range(1200):
        d, rho, alpha, scale = random_problem(rng)
        _, gamma = solve(d, rho, alpha, scale)
        assert (gamma >= 0).all()
        np.testing.assert_allclose(gamma.sum(1), 1 / len(d), rtol=0, atol=1e-15)
        assert objective(gamma, d, rho, alpha, scale) <= lp_value(d, rho, alpha, scale) + 1e-8


def test_optimal_for_the_two_sided_penalty_up_to_half_of_the_full_breadth():
    rng = np.random.default_rng(1)
    checked = 0
    for _ in range(400):
        d, rho, alpha, scale = random_problem(rng)
        s, gamma = solve(d, rho, alpha, scale)
        if s > (1 / rho).sum() / 2:
            continue
        checked += 1
        value = objective(gamma, d, rho, alpha, scale, two_sided=True)
        assert value <= lp_value(d, rho, alpha, scale, two_sided=True) + 1e-8
    assert checked > 100


def test_the_same_breadth_as_the_queue():
    rng = np.random.default_rng(2)
    for _ in range(500):
        d, rho, alpha, scale = random_problem(rng)
        expected = queue_breadth(d, rho, alpha, scale)
        s = breadth_for_alpha(trace_path(whole_lists(d, rho)), alpha, scale)
        assert (s is None) == (expected is None)
        if s is not None:
            assert s == pytest.approx(expected, rel=1e-12)


def test_the_certificate_closes_the_gap():
    rng = np.random.default_rng(3)
    for _ in range(500):
        d, rho, alpha, scale = random_problem(rng)
        lists = whole_lists(d, rho)
        s = breadth_for_alpha(trace_path(lists), alpha, scale) or lists.full_breadth
        proof = certify(lists, transport_at(lists, s), s, alpha, scale)
        value = lp_value(d, rho, alpha, scale)
        assert proof.primal == pytest.approx(objective(dense_transport(lists, s, d.shape[1]), d, rho, alpha, scale))
        assert proof.lower_bound <= value + 1e-9 * max(1, value)
        assert proof.gap <= 1e-9 * max(1, value)


def test_the_certificate_tells_a_plan_that_is_not_optimal():
    d, rho = np.array([[1.0, 2, 3, 4]]), np.ones(4)
    lists = whole_lists(d, rho)
    # alpha 0.3 wants breadth 2; breadth 4 costs more, and the bound must not hide that.
    assert certify(lists, transport_at(lists, 4.0), 4.0, 0.3, 1.0).gap > 0.05


@pytest.mark.parametrize(
    ("rho", "alpha", "breadth", "p"),
    [
        ([1, 1, 1, 1], 0.3, 2, [1 / 2, 1 / 2, 0, 0]),
        ([1, 1, 1, 1], 0.1, 4, [1 / 4, 1 / 4, 1 / 4, 1 / 4]),
        ([2, 2, 1, 1], 0.5, 1, [1 / 2, 1 / 2, 0, 0]),
        ([2, 2, 1, 1], 0.3, 2, [1 / 4, 1 / 4, 1 / 2, 0]),
        ([2, 2, 1, 1], 0.1, 3, [1 / 6, 1 / 6, 1 / 3, 1 / 3]),
    ],
)
def test_golden_values_one_target(rho, alpha, breadth, p):
    s, gamma = solve([[1, 2, 3, 4]], rho, alpha)
    assert s == breadth
    np.testing.assert_allclose(gamma.sum(0), p, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("rho", "breadth", "slope", "alpha"),
    [
        ([1, 1, 1, 1], [1, 2, 3], [1, 3, 6], [1 / 2, 1 / 4, 1 / 7]),
        ([2, 2, 1, 1], [0.5, 1, 2], [0.5, 1.5, 3.5], [2 / 3, 2 / 5, 2 / 9]),
    ],
)
def test_golden_path(rho, breadth, slope, alpha):
    path = trace_path(whole_lists(np.array([[1.0, 2, 3, 4]]), np.array(rho, float)))
    np.testing.assert_allclose(path.breadth, breadth)
    np.testing.assert_allclose(path.slope, slope)
    np.testing.assert_allclose(path.critical_alpha(1.0), alpha)
    assert [path.alpha_at(s, 1.0) for s in breadth] == pytest.approx(alpha)


@pytest.mark.parametrize(
    ("alpha", "breadth", "p"),
    [
        (1.0, 0.5, [1 / 2, 0, 0, 1 / 2]),
        (0.9, 0.5, [1 / 2, 0, 0, 1 / 2]),  # the published logic gives a total mass of 1.5 here
        (0.5, 1, [1 / 2, 0, 1 / 4, 1 / 4]),
        (0.3, 2, [1 / 4, 1 / 2, 1 / 8, 1 / 8]),
        (0.2, 2.5, [0.3, 0.4, 0.2, 0.1]),
        (0.1, 3, [1 / 3, 1 / 3, 1 / 6, 1 / 6]),
        (0.0, 3, [1 / 3, 1 / 3, 1 / 6, 1 / 6]),
    ],
)
def test_golden_values_two_targets(alpha, breadth, p):
    s, gamma = solve([[1, 2, 3, 4], [5, 4, 3, 0]], [1, 1, 2, 2], alpha)
    assert s == pytest.approx(breadth)
    np.testing.assert_allclose(gamma.sum(0), p, rtol=0, atol=1e-14)


problems = st.integers(0, 2**32 - 1).map(lambda seed: random_problem(np.random.default_rng(seed)))


@given(problems)
@settings(max_examples=150)
def test_the_order_of_candidates_and_targets_does_not_matter(problem):
    d, rho, alpha, scale = problem
    rng = np.random.default_rng(d.size)
    # Ties between different candidates may be broken either way; keep distances apart so that the answer is unique.
    d = d + rng.random(d.shape) * 1e-3
    columns, rows = rng.permutation(d.shape[1]), rng.permutation(d.shape[0])
    s, gamma = solve(d, rho, alpha, scale)
    other_s, other = solve(d[rows][:, columns], rho[columns], alpha, scale)
    assert s == pytest.approx(other_s, rel=1e-12)
    np.testing.assert_allclose(gamma[rows][:, columns], other, atol=1e-13)


@given(problems, st.floats(0.01, 100))
@settings(max_examples=150)
def test_scaling_distances_is_scaling_c(problem, factor):
    d, rho, alpha, scale = problem
    d = d + np.random.default_rng(d.size).random(d.shape)
    # A power of two scales without rounding, so that no critical alpha is crossed.
    factor = 2.0 ** np.round(np.log2(factor))
    assert solve(d * factor, rho, alpha, scale * factor)[0] == solve(d, rho, alpha, scale)[0]


@given(problems)
@settings(max_examples=100)
def test_breadth_falls_and_support_shrinks_as_alpha_grows(problem):
    d, rho, _, scale = problem
    answers = [solve(d, rho, alpha, scale) for alpha in (0.0, 0.05, 0.2, 0.5, 0.8, 0.95, 1.0)]
    breadths = [s for s, _ in answers]
    assert breadths == sorted(breadths, reverse=True)
    supports = [int((gamma.sum(0) > 0).sum()) for _, gamma in answers]
    assert supports == sorted(supports, reverse=True)


def test_fully_spread_is_inverse_density():
    rng = np.random.default_rng(5)
    d, rho = rng.random((3, 7)), rng.uniform(1, 5, 7)
    s, gamma = solve(d, rho, 0.0)
    assert s == pytest.approx((1 / rho).sum())
    np.testing.assert_allclose(gamma.sum(0), (1 / rho) / (1 / rho).sum(), atol=1e-15)
