"""The regularisation path of the report against plans that are solved for each of its values."""

from __future__ import annotations

import numpy as np
import pytest

from tasksift.report.regularisation import regularisation
from tasksift.selectors import tsds

COUNT = 3


def problem(n: int = 400, m: int = 6, seed: int = 0):
    rng = np.random.default_rng(seed)
    pool, target = rng.normal(size=(n, 4)), rng.normal(size=(m, 4))
    pool[-30:] = pool[0] + 0.01 * rng.normal(size=(30, 4))
    pool[-3:] = pool[1]
    return pool, target, rng.integers(0, COUNT, n)


def figures(plan, sources, budget):
    """Composition, effective rows, share of different rows and cost, from the plan's own fields."""
    composition = [plan.values[sources[plan.ids] == k].sum() for k in range(COUNT)]
    different = sum(min(1.0, budget * p) for p in plan.values) / budget
    return composition, 1 / sum(p * p for p in plan.values), different, (plan.links.mass * plan.links.distance).sum()


@pytest.mark.parametrize("sigma", [0.0, 0.5])
@pytest.mark.parametrize("knob", [{"breadth": 7.3}, {"budget": 60}, {"alpha": 0.6}, {"alpha": 0.95, "scale": 2.0}])
def test_every_value_is_the_plan_of_that_value(knob, sigma, monkeypatch):
    monkeypatch.setattr("tasksift.report.regularisation.VALUES", 9)
    pool, target, sources = problem(n=200)
    budget = knob.get("budget", 50)
    plan = tsds.fit(pool, target, sigma=sigma, **knob)
    alpha, scale = knob.get("alpha"), knob.get("scale", 5.0)
    path = regularisation(plan, sources, COUNT, budget, alpha=alpha, scale=scale)
    values, name = path["values"], path["knob"]
    assert name == ("breadth" if alpha is None else "alpha")
    assert values[path["current"]] == (plan.breadth if alpha is None else alpha)
    assert values == sorted(set(values))
    assert len(values) > 5
    shown = list(zip(path["composition"], path["effective_rows"], path["coverage"], path["distance"], strict=True))
    for found, wanted in zip(shown[path["current"]], figures(plan, sources, budget), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-14)
    certain = 0
    for k, value in enumerate(values):
        other = tsds.fit(pool, target, sigma=sigma, scale=scale, **{name: value})
        if other.status != "converged" or (path["exact_to"] and other.breadth > path["exact_to"]):
            continue
        certain += 1
        for found, wanted in zip(shown[k], figures(other, sources, budget), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)
    assert certain >= 4


def test_lists_that_were_not_searched_to_their_end():
    pool, target, sources = problem(n=3000)
    plan = tsds.fit(pool, target, sigma=0.4, breadth=40.0, prefetch=100)
    path = regularisation(plan, sources, COUNT, 200, alpha=None, scale=5.0)
    assert plan.breadth <= path["exact_to"] < max(path["values"])
    for value, effective in zip(path["values"], path["effective_rows"], strict=True):
        exact = 1 / np.square(tsds.fit(pool, target, sigma=0.4, breadth=value).values).sum()
        assert effective == pytest.approx(exact, rel=1e-9 if value <= path["exact_to"] else 0.3)


def test_more_breadth_costs_more_and_repeats_less():
    pool, target, sources = problem(seed=3)
    plan = tsds.fit(pool, target, sigma=0.0, budget=80)
    path = regularisation(plan, sources, COUNT, 80, alpha=None, scale=5.0)
    assert (np.diff(path["distance"]) > 0).all()
    assert path["coverage"][path["current"]] == pytest.approx(1.0)
    assert max(path["coverage"][: path["current"]]) < 1
    assert path["exact_to"] is None or path["exact_to"] >= plan.breadth
    np.testing.assert_allclose(np.sum(path["composition"], axis=1), 1)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 4), (50, 1)])
@pytest.mark.parametrize("same", [False, True])
def test_smallest(n, m, same):
    pool, target, sources = problem(n=100)
    pool, target = (np.ones((n, 2)), np.ones((m, 2))) if same else (pool[:n], target[:m])
    plan = tsds.fit(pool, target, budget=1)
    path = regularisation(plan, sources, COUNT, 1, alpha=None, scale=5.0)
    assert path["values"][path["current"]] == plan.breadth
    np.testing.assert_allclose(np.sum(path["composition"], axis=1), 1)


def test_fully_spread_has_one_value():
    pool, target, sources = problem()
    plan = tsds.fit(pool, target, alpha=0.0, sigma=0.5)
    path = regularisation(plan, sources, COUNT, 50, alpha=0.0, scale=5.0)
    assert (path["values"], path["current"]) == ([0.0], 0)
    assert path["effective_rows"] == [pytest.approx(1 / np.square(plan.values).sum())]
    assert np.isnan(path["distance"]).all()


def test_other_plans_have_none():
    from tasksift.plan import Plan

    plan = Plan("mass", "other", np.arange(2), np.full(2, 0.5))
    assert regularisation(plan, np.zeros(2, dtype=np.int64), 1, 1, alpha=None, scale=5.0) is None
