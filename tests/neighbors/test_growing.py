"""Lists that grow: the answer does not depend on where they start or on what is guessed on the way."""

from dataclasses import replace

import numpy as np
import pytest
from oracles import density, distances, queue_breadth, smallest_breadth, whole_lists

from tasksift.neighbors import growing as module
from tasksift.neighbors.growing import GrowingLists
from tasksift.neighbors.search import Neighbours, nearest
from tasksift.selectors import tsds

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(9, 5))
# Crowded near some targets and sparse farther out, so that the mean weight of near rows says little of far ones.
POOL = np.vstack([CENTRES.repeat(20, axis=0) + 0.1 * RNG.normal(size=(180, 5)), 2 * RNG.normal(size=(120, 5))])
TARGETS = np.vstack([CENTRES[:4] + 0.1, 2 * RNG.normal(size=(2, 5))])
SIGMA = 0.5
KNOBS = [
    {"alpha": 1.0},
    {"alpha": 0.9},
    {"alpha": 0.5},
    {"alpha": 0.05},
    {"alpha": 0.0},
    {"breadth": 0.7},
    {"breadth": 8.0},
    {"breadth": 40.0},
    {"breadth": 1e6},
    {"budget": 1},
    {"budget": 20},
    {"budget": 70},
]


def check_same(plan, expected):
    np.testing.assert_array_equal(plan.ids, expected.ids)
    np.testing.assert_array_equal(plan.values, expected.values)
    assert (plan.status, plan.breadth, plan.alpha) == (expected.status, expected.breadth, expected.alpha)
    assert plan.info["objective"] == expected.info["objective"]
    assert plan.info["gap"] == pytest.approx(expected.info["gap"], abs=1e-12)
    assert plan.complete == expected.complete


@pytest.fixture(scope="module", params=[0, SIGMA])
def whole(request):
    """Bandwidth, and the answers from lists that hold the whole pool at once."""
    problem = tsds.prepare(POOL, TARGETS, sigma=request.param, prefetch=len(POOL))
    problem.lists.depth[:] = len(POOL)
    problem.lists._weigh()
    return request.param, [problem.plan(**knob) for knob in KNOBS]


@pytest.mark.parametrize(
    ("prefetch", "first_depth", "guessed_from"), [(1, 1, 1), (2, 7, 64), (33, 32, 64), (300, 1, 64), (300, 7, 1)]
)
def test_where_lists_start_leaves_no_trace(monkeypatch, whole, prefetch, first_depth, guessed_from):
    monkeypatch.setattr(module, "FIRST_DEPTH", first_depth)
    monkeypatch.setattr(module, "GUESSED_FROM", guessed_from)
    sigma, expected = whole
    for knob, plan in zip(KNOBS, expected, strict=True):
        check_same(tsds.fit(POOL, TARGETS, sigma=sigma, prefetch=prefetch, **knob), plan)
    # One problem, asked in turn, the narrow knobs after the wide ones as well.
    problem = tsds.prepare(POOL, TARGETS, sigma=sigma, prefetch=prefetch)
    for at in RNG.permutation(len(KNOBS)):
        check_same(problem.plan(**KNOBS[at]), expected[at])


@pytest.mark.parametrize(("factor", "prefetch"), [(1e-9, 1), (0.1, 20), (10.0, 20), (1e9, 1), ("random", 20)])
def test_wrong_guesses_leave_no_trace(monkeypatch, whole, factor, prefetch):
    honest = GrowingLists.guessed

    def guessed(self):
        lists = honest(self)
        weights = []
        for ids, weight in zip(lists.ids, lists.weights, strict=True):
            unknown = np.isnan(self.density[ids])
            scale = 10.0 ** RNG.uniform(-6, 6, len(ids)) if factor == "random" else factor
            weights.append(np.where(unknown, weight * scale, weight))
        return replace(lists, weights=weights)

    monkeypatch.setattr(GrowingLists, "guessed", guessed)
    monkeypatch.setattr(module, "FIRST_DEPTH", 2)
    sigma, expected = whole
    for knob, plan in zip(KNOBS, expected, strict=True):
        check_same(tsds.fit(POOL, TARGETS, sigma=sigma, prefetch=prefetch, **knob), plan)


@pytest.mark.parametrize("breadth", [5, 32, 33, 200])
@pytest.mark.parametrize("prefetch", [5, 32, 200])
def test_a_breadth_at_which_a_list_ends(breadth, prefetch):
    # Without a bandwidth every weight is 1, and the breadth is a number of neighbours.
    plan = tsds.fit(POOL, TARGETS, sigma=0, prefetch=prefetch, breadth=float(breadth))
    check_same(plan, tsds.fit(POOL, TARGETS, sigma=0, prefetch=300, breadth=float(breadth)))
    assert plan.info["gap"] < 1e-12


def test_against_the_slow_definitions(whole):
    sigma, plans = whole
    d, rho = distances(POOL, TARGETS), density(POOL, sigma)
    for knob, plan in zip(KNOBS, plans, strict=True):
        if knob.get("alpha"):
            expected = queue_breadth(d, rho, knob["alpha"], 5.0) or (1 / rho).sum()
            assert plan.breadth == pytest.approx(expected, rel=1e-8)
        if knob.get("budget") == 20:
            assert plan.breadth == pytest.approx(smallest_breadth(whole_lists(d, rho), 20, len(POOL)), rel=1e-8)


def test_the_whole_pool_is_used_up_and_said_to_be(whole):
    sigma, plans = whole
    status = {str(knob): plan.status for knob, plan in zip(KNOBS, plans, strict=True)}
    assert status["{'alpha': 0.0}"] == status["{'breadth': 1000000.0}"] == "pool_exhausted"
    assert status["{'alpha': 0.9}"] == status["{'breadth': 8.0}"] == status["{'budget': 20}"] == "converged"
    for prefetch in (1, 40):
        plan = tsds.fit(POOL, TARGETS, sigma=sigma, prefetch=prefetch, alpha=1e-7)
        assert plan.status == "pool_exhausted"
        assert plan.breadth == pytest.approx((1 / density(POOL, sigma)).sum())


@pytest.mark.parametrize("length", [1, 5, 33])
@pytest.mark.parametrize("prefetch", [1, 20, 300])
def test_a_search_whose_lists_end(length, prefetch):
    asked = []

    def search(pool, groups, targets, k, tick=None):
        asked.append(k)
        return [
            Neighbours(of.ids[: length + i], of.distances[: length + i])
            for i, of in enumerate(nearest(pool, groups, targets, k, tick))
        ]

    for knob in ({"alpha": 1e-4}, {"breadth": 200.0}):
        plan = tsds.fit(POOL, TARGETS, sigma=SIGMA, search=search, prefetch=prefetch, **knob)
        assert plan.status == "exhausted"
        assert plan.values.sum() == pytest.approx(1)
        assert len(plan.ids) <= length * 6 + 15
    assert len(asked) < 30
    # Lists of different lengths determine the answer as far as the shortest of them goes.
    plan = tsds.fit(POOL, TARGETS, sigma=SIGMA, search=search, prefetch=prefetch, alpha=0.97)
    if plan.status == "converged":
        check_same(plan, tsds.fit(POOL, TARGETS, sigma=SIGMA, alpha=0.97))


def test_few_rows_get_a_density_where_few_are_needed():
    rng = np.random.default_rng(1)
    pool, targets = rng.normal(size=(4000, 4)), rng.normal(size=(5, 4))
    plan = tsds.fit(pool, targets, sigma=0.3, breadth=4.0)
    assert plan.info["densities_computed"] < 400
    assert plan.info["prefetch"] == 512


def test_prefetched_densities_do_not_grow():
    options = {"density": "prefetched", "prefetch": 10, "sigma": SIGMA}
    plan = tsds.fit(POOL, TARGETS, alpha=0.01, **options)
    assert plan.status == "exhausted"
    assert plan.info["prefetch"] == 10
    # Without a bandwidth nothing is smoothed: every density is 1.
    plain = tsds.fit(POOL, TARGETS, alpha=0.5, **{**options, "sigma": 0.0})
    assert set(plain.density) == {1.0}
