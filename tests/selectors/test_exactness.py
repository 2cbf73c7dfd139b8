"""TSDS against brute force in float64, on pools that tempt fast search and densities into errors."""

import numpy as np
import pytest
from adversarial import NAMES, ROWS, cases, exact
from oracles import dense_transport, density, distances, queue_breadth, smallest_breadth, whole_lists

from tasksift.errors import InputError
from tasksift.neighbors import balls, frame, growing, kernel
from tasksift.neighbors import density as densities
from tasksift.selectors import tsds

SCALE = 0.2
"""C, in units of the median distance."""

FAST = [
    (balls, "SIMPLE", 0),
    (densities, "FEW_PAIRS", -1),
    (densities, "SPAN_ROWS", 50),
    (frame, "DIRECTIONS", (32,)),
    (frame, "_DIRECT", 0.0),
    (kernel, "MANY", 0.0),
    (growing, "SMALL_POOL", 0),
    (growing, "FIRST_DEPTH", 5),
]
"""What sends a small problem along the ways of a large one."""


def brute_force(pool, targets, sigma, order):
    """Distances, multiplicity over density and group of every distinct row, in tie order, from the definitions."""
    rows = exact(pool)
    by_order = np.argsort(order)
    first = [row for at, row in enumerate(by_order) if not (rows[by_order[:at]] == rows[row]).all(axis=1).any()]
    copies = np.array([(rows == rows[row]).all(axis=1).sum() for row in first])
    return np.array(first), distances(rows[first], targets), density(rows, sigma)[first] / copies


def check_plan(plan, first, d, rho, breadth):
    """The ids and probabilities of a breadth, where one whole table of distances tells the transport."""
    mass = dense_transport(whole_lists(d, rho), breadth, len(first)).sum(axis=0)
    assert set(plan.ids) <= set(first)
    found = plan.dense(ROWS)[first]
    # A row on the border of what is reached may get nothing or a rounding error.
    assert ((found > 0) | (mass < 1e-8)).all()
    assert ((mass > 0) | (found < 1e-8)).all()
    np.testing.assert_allclose(found, mass, rtol=1e-6, atol=1e-9)
    assert plan.values.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("dim", [3, 200])
@pytest.mark.parametrize("name", NAMES)
def test_ids_and_probabilities(monkeypatch, name, dim, fast):
    for module, constant, value in FAST if fast else []:
        monkeypatch.setattr(module, constant, value)
    pool, sigma = cases(dim)[name]
    targets = exact(pool)[[5, 45, 46, 100]] * 1.01
    order = np.random.default_rng(0).permutation(ROWS)
    first, d, rho = brute_force(pool, targets, sigma, order)
    scale = SCALE * float(np.median(d))
    problem = tsds.prepare(pool, targets, sigma=sigma, order=order, prefetch=7 if fast else None)
    for alpha in (1.0, 0.8, 0.3):
        plan = problem.plan(alpha=alpha, scale=scale)
        breadth = queue_breadth(d, rho, alpha, scale) or (1 / rho).sum()
        if plan.breadth != pytest.approx(breadth, rel=1e-6):
            # Where many rows are as far as each other but for rounding, neighbouring breakpoints serve as well.
            assert plan.info["gap"] <= 1e-9 * plan.info["objective"]
            breadth = plan.breadth
        check_plan(plan, first, d, rho, breadth)
    for budget in (1, 6):
        breadth = smallest_breadth(whole_lists(d, rho), budget, len(first))
        if breadth is None:
            with pytest.raises(InputError, match="cannot be drawn without repeating"):
                problem.plan(budget=budget)
            continue
        plan = problem.plan(budget=budget)
        assert plan.breadth == pytest.approx(breadth, rel=1e-6)
        check_plan(plan, first, d, rho, plan.breadth)
        assert budget * plan.values.max() <= 1 + 1e-9


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_how_it_is_computed_is_seen_in_the_answer(monkeypatch, name, workers):
    pool, sigma = cases(40)[name]
    targets = exact(pool)[[5, 45, 46, 100]] * 1.01
    shuffle = np.random.default_rng(1).permutation(ROWS)
    plain = tsds.fit(pool, targets, sigma=sigma, order=np.arange(ROWS), breadth=3.0)
    monkeypatch.setenv("TASKSIFT_WORKERS", str(workers))
    for module, constant, value in FAST:
        monkeypatch.setattr(module, constant, value)
    monkeypatch.setattr("tasksift.vectors.BLOCK_BYTES", 4 * 40 * 9)
    shards = np.split(pool[shuffle], [7, 70])
    plan = tsds.fit(shards, targets, sigma=sigma, order=shuffle, breadth=3.0, prefetch=3)
    np.testing.assert_array_equal(plan.dense(ROWS), plain.dense(ROWS)[shuffle])
    assert (plan.alpha, plan.breadth, plan.status) == (plain.alpha, plain.breadth, plain.status)
