"""TSDS end to end on arrays: golden values, the published code's faults, and the knobs."""

import subprocess
import sys

import numpy as np
import pytest
from oracles import SHARED, density, distances, objective, queue_breadth

from tasksift.errors import InputError
from tasksift.neighbors import growing
from tasksift.neighbors.search import Neighbours, nearest
from tasksift.selectors import tsds

TOY = SHARED / "data" / "toy"
needs_toy = pytest.mark.skipif(not TOY.is_dir(), reason="the toy vectors are not part of the project")


def clustered(n, seed=0, dim=32, spread=0.15):
    """Unit vectors in tight clusters, and ten targets near some of them."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(2, n // 50), dim))
    pool = centres[rng.integers(0, len(centres), n)] + spread * rng.normal(size=(n, dim))
    targets = centres[:10] + spread * rng.normal(size=(len(centres[:10]), dim))
    return tuple(x / np.linalg.norm(x, axis=1, keepdims=True) for x in (pool, targets))


@needs_toy
@pytest.mark.parametrize(
    ("alpha", "breadth", "support", "entropy", "squares", "most", "status"),
    [
        (0.5, 54.591201, 492, 6.129574, 0.00234570, 0.005495, "converged"),
        (0.6, 40.124402, 378, 5.884935, 0.00295884, 0.007477, "converged"),
        (0.9, 7.958575, 87, 4.416373, 0.01248018, 0.025130, "converged"),
        (0.99, 1.0, 16, 2.443622, 0.09236246, 0.1, "converged"),
        (0.01, 936.347638, 1000, 6.902056, 0.00101070, 0.001068, "pool_exhausted"),
    ],
)
@pytest.mark.parametrize("prefetch", [100, 1000])
def test_golden_values_on_the_toy_data(alpha, breadth, support, entropy, squares, most, status, prefetch):
    pool, targets = np.load(TOY / "candidates.npy"), np.load(TOY / "query_examples.npy")
    plan = tsds.fit(pool, targets, alpha=alpha, scale=5.0, sigma=0.75, prefetch=prefetch)
    p = plan.probabilities
    assert plan.status == status
    assert plan.breadth == pytest.approx(breadth, abs=1e-6)
    assert (p > 1e-15).sum() == support
    assert -(p * np.log(p)).sum() == pytest.approx(entropy, abs=1e-5)
    assert (p**2).sum() == pytest.approx(squares, abs=1e-8)
    assert p.max() == pytest.approx(most, abs=1e-6)
    assert plan.info["gap"] < 1e-12


@needs_toy
@pytest.mark.parametrize(
    ("alpha", "breadth", "support"),
    [(0.5, 56, 472), (0.6, 41, 361), (0.9, 8, 78), (0.99, 1, 10), (0.01, 1000, 1000)],
)
def test_golden_values_uniform(alpha, breadth, support):
    pool, targets = np.load(TOY / "candidates.npy"), np.load(TOY / "query_examples.npy")
    plan = tsds.fit(pool, targets, alpha=alpha, sigma=0)
    assert plan.breadth == pytest.approx(breadth)
    assert len(plan.ids) == support


@needs_toy
@pytest.mark.parametrize(("alpha", "breadth"), [(0.5, 54.866444), (0.6, 40.387205), (0.9, 7.958575), (0.99, 1.0)])
def test_golden_values_in_parity_mode(alpha, breadth):
    pool, targets = np.load(TOY / "candidates.npy"), np.load(TOY / "query_examples.npy")
    parity = {"density": "prefetched", "prefetch": 100, "max_neighbors": 100, "sigma": 0.75}
    plan = tsds.fit(pool, targets, alpha=alpha, **parity)
    assert plan.breadth == pytest.approx(breadth, abs=1e-6)
    # The published lists end at alpha 0.01; the loop there goes on regardless, ours stops and says so.
    ended = tsds.fit(pool, targets, alpha=0.01, **parity)
    assert (ended.status, ended.breadth) == ("exhausted", pytest.approx(93.297, abs=1e-3))


@needs_toy
@pytest.mark.parametrize(
    ("budget", "breadth", "alpha", "support"),
    [
        (50, 10, 0.8673, 109),
        (100, 20, 0.7551, 205),
        (200, 60, 0.4704, 517),
        (500, 350, 0.0929, 997),
        (900, 900, 0.0176, 1000),
    ],
)
def test_golden_values_of_the_automatic_breadth(budget, breadth, alpha, support):
    pool, targets = np.load(TOY / "candidates.npy"), np.load(TOY / "query_examples.npy")
    plan = tsds.fit(pool, targets, sigma=0.75, breadth="auto", budget=budget)
    assert plan.breadth == pytest.approx(breadth, rel=1e-9)
    assert plan.alpha == pytest.approx(alpha, abs=5e-5)
    assert (plan.values > 1e-15).sum() == support


@pytest.mark.parametrize("sigma", [0, 0.4, 1.2])
@pytest.mark.parametrize("alpha", [0.05, 0.5, 0.9, 1.0])
def test_array_level_agrees_with_the_definition(sigma, alpha):
    rng = np.random.default_rng(3)
    pool, targets = rng.normal(size=(80, 3)), rng.normal(size=(4, 3))
    d, rho = distances(pool, targets), density(pool, sigma)
    plan = tsds.fit(pool, targets, alpha=alpha, scale=1.0, sigma=sigma, prefetch=3)
    expected = queue_breadth(d, rho, alpha, 1.0)
    assert plan.breadth == pytest.approx(expected or (1 / rho).sum(), rel=1e-8)
    gamma = np.zeros_like(d)
    gamma[plan.links.target, plan.links.row] = plan.links.mass
    np.testing.assert_allclose(gamma.sum(0)[plan.ids], plan.values, atol=1e-15)
    np.testing.assert_allclose(gamma.sum(1), 0.25, atol=1e-15)
    assert plan.info["objective"] == pytest.approx(objective(gamma, d, rho, alpha, 1.0), rel=1e-8)
    np.testing.assert_allclose(plan.density, rho[plan.ids], rtol=1e-8)


# The faults of the published code that give wrong selections in silence.


@pytest.mark.parametrize("n", [300, 1000, 2000])
def test_s1_no_mass_is_parked_on_the_farthest_prefetched_neighbour(n):
    pool, targets = clustered(n)
    plan = tsds.fit(pool, targets, alpha=0.5, scale=5.0, sigma=0.75, prefetch=max(1, n // 10))
    cap = 1 / (len(targets) * plan.breadth * plan.density[np.searchsorted(plan.ids, plan.links.row)])
    assert (plan.links.mass <= cap * (1 + 1e-9)).all()
    assert plan.status in ("converged", "pool_exhausted")
    again = tsds.fit(pool, targets, alpha=0.5, scale=5.0, sigma=0.75, prefetch=n)
    assert (again.ids == plan.ids).all()
    np.testing.assert_array_equal(again.values, plan.values)


def short_search(length):
    """A search that ends every list after `length` neighbours, as approximate indexes do."""

    def search(pool, groups, targets, k, tick=None):
        return [Neighbours(f.ids[:length], f.distances[:length]) for f in nearest(pool, groups, targets, k, tick)]

    return search


def test_s2_a_short_list_is_an_end_and_not_a_distance():
    pool, targets = clustered(1000)
    plan = tsds.fit(pool, targets, alpha=0.01, sigma=0.75, search=short_search(40))
    assert plan.status == "exhausted"
    # The published code would have seen a distance of 1.8e19 and called this converged.
    cap = 1 / (len(targets) * plan.breadth * plan.density[np.searchsorted(plan.ids, plan.links.row)])
    assert (plan.links.mass <= cap * (1 + 1e-9)).all()
    assert plan.values.sum() == pytest.approx(1)


def test_s3_the_last_row_is_not_the_missing_one():
    pool, targets = clustered(400)
    pool[-1] = -targets[0]
    plan = tsds.fit(pool, targets, alpha=0.1, sigma=0.75, search=short_search(30))
    assert len(pool) - 1 not in plan.ids
    whole = tsds.fit(pool, targets, alpha=0.0, sigma=0.75)
    assert whole.density[-1] == pytest.approx(density(pool, 0.75)[-1])


def test_s4_densities_are_finite_and_count_the_row_itself():
    pool, targets = clustered(6000, spread=0.3)
    plan = tsds.fit(pool, targets[:1], alpha=0.3, sigma=0.5)
    assert np.isfinite(plan.density).all()
    assert (plan.density >= 1).all()


def test_s5_the_nearest_neighbour_is_not_taken_as_full():
    pool, targets = clustered(500)
    plan = tsds.fit(pool, targets, alpha=1.0, sigma=0.75)
    assert plan.values.sum() == pytest.approx(1, abs=1e-12)
    nearest_rows = distances(pool, targets).argmin(1)
    assert sorted(plan.ids) == sorted(set(nearest_rows))
    shipped = np.bincount(plan.links.target, plan.links.mass)
    np.testing.assert_allclose(shipped, 1 / len(targets), atol=1e-15)


def test_s6_the_last_neighbour_is_used():
    pool, targets = clustered(60)
    plan = tsds.fit(pool, targets, alpha=0.0, sigma=0, prefetch=60)
    assert plan.breadth == 60
    # By lists as well as by the short cut for alpha = 0.
    assert tsds.fit(pool, targets, alpha=1e-12, sigma=0, prefetch=60).breadth == pytest.approx(60)


@pytest.mark.parametrize("copies", [50, 90, 99, 500])
@pytest.mark.parametrize("sigma", [0, 0.2])
def test_s7_copies_do_not_swamp_the_lists(copies, sigma):
    rng = np.random.default_rng(0)
    pool = rng.normal(size=(200, 8))
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    target = pool[:1] + 0.01
    single = tsds.fit(pool, target, alpha=0.3, sigma=sigma, prefetch=100)
    crowded = np.vstack([pool, np.repeat(pool[:1], copies - 1, axis=0)])
    plan = tsds.fit(crowded, target, alpha=0.3, sigma=sigma, prefetch=100, order=np.arange(len(crowded)))
    assert (plan.ids == single.ids).all()
    np.testing.assert_allclose(plan.values, single.values, rtol=1e-9)


# S8, repeated copies grouped by index: the draws and the writer have tests of their own.


@pytest.mark.parametrize("n", [1, 2, 3, 5, 9, 10, 15, 19, 20, 25, 39])
@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("sigma", [0, 1e-9, 0.75, 50.0])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_pools_that_crash_the_published_code(n, m, sigma, alpha):
    rng = np.random.default_rng(n)
    plan = tsds.fit(rng.normal(size=(n, 4)), rng.normal(size=(m, 4)), alpha=alpha, sigma=sigma)
    assert plan.values.sum() == pytest.approx(1)
    assert plan.info["gap"] < 1e-9


def test_a_huge_bandwidth_uses_the_whole_pool_and_says_so():
    pool, targets = clustered(300)
    plan = tsds.fit(pool, targets, alpha=0.5, sigma=50.0)
    assert plan.status == "pool_exhausted"
    assert plan.breadth == pytest.approx(1, abs=0.01)


def test_a_target_equal_to_a_row():
    pool, _ = clustered(100)
    plan = tsds.fit(pool, pool[:2], alpha=1.0, sigma=0)
    assert sorted(plan.ids) == [0, 1]


def test_float32_input_is_solved_in_float64():
    pool, targets = clustered(500)
    plan = tsds.fit(pool.astype(np.float32), targets.astype(np.float32), alpha=0.5, sigma=0.75)
    shipped = np.bincount(plan.links.target, plan.links.mass)
    np.testing.assert_allclose(shipped, 1 / len(targets), atol=1e-15)


def test_checks_are_not_asserts():
    """`python -O` drops asserts; what they guarded in the published code must hold and be refused without them."""
    code = """
import numpy as np
from tasksift.errors import InputError
from tasksift.selectors import tsds
rng = np.random.default_rng(0)
pool = np.repeat(rng.normal(size=(20, 4)), 10, axis=0) + 0.05 * rng.normal(size=(200, 4))
print(abs(tsds.fit(pool, pool[:9] + 0.01, alpha=1.0, sigma=0.75).values.sum() - 1) < 1e-12)
for bad in ({"alpha": 2.0}, {"alpha": 0.5, "scale": -1.0}, {"breadth": -1.0}):
    try:
        tsds.fit(pool, pool[:2], **bad)
    except InputError:
        print("refused")
"""
    out = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["True", "refused", "refused", "refused"]


def test_scale_zero_is_alpha_one():
    pool, targets = clustered(200)
    plan, same = (tsds.fit(pool, targets, alpha=a, scale=c, sigma=0.5) for a, c in ((0.3, 0.0), (1.0, 5.0)))
    np.testing.assert_array_equal(plan.values, same.values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -0.1}, "alpha -0.1 is out of range"),
        ({"alpha": float("nan")}, "alpha nan is out of range"),
        ({"alpha": 0.5, "scale": -1.0}, "scale -1.0 is out of range"),
        ({"alpha": 0.5, "sigma": -1.0}, "sigma -1.0 is out of range"),
        ({"alpha": 0.5, "sigma": float("inf")}, "sigma inf is out of range"),
        ({"alpha": 0.5, "sigma": 1e-300}, "sigma 1e-300 is out of range"),
        ({"alpha": 0.5, "breadth": 3.0}, "two names of one knob"),
        ({"breadth": 0.0}, "breadth 0.0 is out of range"),
        ({"breadth": "auto"}, "needs a budget"),
        ({"budget": 1000}, "cannot be drawn without repeating"),
        ({"alpha": 0.5, "density": "some"}, "density 'some' does not exist"),
    ],
)
def test_parameters_out_of_range(options, message):
    pool, targets = clustered(100)
    with pytest.raises(InputError, match=message):
        tsds.fit(pool, targets, **options)


def test_a_given_breadth_and_the_alpha_that_it_stands_for():
    pool, targets = clustered(500)
    plan = tsds.fit(pool, targets, breadth=12.5, sigma=0.3)
    assert plan.breadth == 12.5
    assert plan.info["gap"] < 1e-12
    # The alpha reported is critical: a hair below it, the breadth is at least as large.
    assert tsds.fit(pool, targets, alpha=plan.alpha * (1 - 1e-9), sigma=0.3).breadth >= 12.5
    beyond = tsds.fit(pool, targets, breadth=1e6, sigma=0.3)
    assert beyond.status == "pool_exhausted"


def test_lists_that_would_not_fit_in_memory_are_refused(monkeypatch):
    monkeypatch.setattr(growing, "LIST_BYTES", 16 * 10 * 300)
    pool, targets = clustered(3000)
    with pytest.raises(InputError, match=r"needs more than \d+ neighbours .* larger alpha"):
        tsds.fit(pool, targets, alpha=0.001, sigma=0, prefetch=200)


def test_one_problem_answers_every_knob():
    pool, targets = clustered(500)
    problem = tsds.prepare(pool, targets, sigma=0.4)
    for knob in ({"alpha": 0.2}, {"breadth": 7.0}, {"alpha": 0.9}, {"budget": 30}):
        once = tsds.fit(pool, targets, sigma=0.4, **knob)
        again = problem.plan(**knob)
        np.testing.assert_array_equal(once.ids, again.ids)
        np.testing.assert_array_equal(once.values, again.values)
