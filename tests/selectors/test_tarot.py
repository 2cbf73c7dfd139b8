"""TAROT against its definition: layers, the estimate of the size with exact transport, and the signs of weights."""

import numpy as np
import pytest
from oracles import cheapest_transport
from scipy.stats import spearmanr

from tasksift.draw import draw
from tasksift.errors import InputError
from tasksift.selectors import tarot
from tasksift.selectors.whitening import whiten


def task(n=150, m=12, d=6, seed=0):
    """A pool of a wide cloud and some rows around the targets, at lengths of their own."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, d))
    target = centres[np.arange(m) % 3] + 0.3 * rng.normal(size=(m, d))
    near = centres[np.arange(n // 5) % 3] + 0.4 * rng.normal(size=(n // 5, d))
    pool = np.vstack([near, 1.5 * rng.normal(size=(n - len(near), d))])
    stretch = np.geomspace(1, 30, d)
    return (pool * stretch).astype(np.float32), (target * stretch).astype(np.float32)


def table(pool, target):
    """Distances of whitened directions, targets × pool."""
    x, y = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in whiten(pool, target))
    return np.linalg.norm(y[:, None] - x[None], axis=2)


def layers(d, order):
    """Rows by (layer, distance to the target that brings it, rank)."""
    best = {}
    for row_of_table in d:
        for layer, row in enumerate(np.lexsort((order, row_of_table))):
            best[row] = min(best.get(row, (np.inf,)), (layer, row_of_table[row], order[row]))
    return sorted(best, key=best.get)


def fold(d, anchors, most):
    """The best k of one fold, and its rows."""
    others = np.setdiff1d(np.arange(len(d)), anchors)
    best, keep, at, before = np.inf, set(), 0, set()
    for k in range(1, most + 1):
        inside = {int(row) for q in anchors for row in np.argsort(d[q], kind="stable")[:k] if d[q][row] < np.sqrt(2)}
        if inside == before:
            continue
        before = inside
        cost = cheapest_transport(d[np.ix_(others, sorted(inside))])
        if cost > best:
            break
        best, keep, at = cost, inside, k
    return keep, at


def parts(m, folds=10, seed=0):
    return np.array_split(np.random.default_rng(seed).permutation(m), min(m, folds))


def ranking(plan):
    return plan.ids[np.argsort(-plan.values)].tolist()


@pytest.mark.parametrize("budget", [1, 7, 30, 149, 150])
def test_layers_are_those_of_the_definition(budget):
    pool, target = task()
    order = np.random.default_rng(4).permutation(150)
    plan = tarot.fit(pool, target, budget=budget, order=order)
    assert ranking(plan) == layers(table(pool, target), order)[:budget]
    assert plan.complete == (budget == 150)
    d = table(pool, target)
    np.testing.assert_allclose(plan.links.distance, d[plan.links.target, plan.links.row], atol=1e-6)


def test_every_prefix_is_the_plan_of_its_length():
    pool, target = task(seed=3)
    ready = tarot.prepare(pool, target)
    whole = ranking(ready.plan(150))
    assert all(ranking(ready.plan(k)) == whole[:k] for k in (1, 2, 13, 100))
    assert all(ranking(tarot.fit(pool, target, budget=k)) == whole[:k] for k in (2, 100))


def test_whole_layers_hold_the_nearest_of_every_target():
    pool, target = task(seed=5)
    d = table(pool, target)
    for i in (1, 2, 4):
        want = set(np.argsort(d, axis=1)[:, :i].ravel().tolist())
        assert set(tarot.fit(pool, target, budget=len(want)).ids.tolist()) == want


def test_an_invertible_map_of_the_features_changes_nothing():
    """A8, and fault 1: true for X·L^-T only. The plain cosine is far from it."""
    pool, target = task(n=400, m=30, d=8, seed=1)
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(8, 8)))[0] for _ in range(2))
    turn = left * np.geomspace(1, 10, 8) @ right
    one, other = table(pool, target), table(pool @ turn, target @ turn)
    assert min(spearmanr(a, b).statistic for a, b in zip(one, other, strict=True)) >= 0.99
    plain = [
        [y @ x.T / np.linalg.norm(x, axis=1) / np.linalg.norm(y) for y in b]
        for x, b in ((pool, target), (pool @ turn, target @ turn))
    ]
    assert min(spearmanr(a, b).statistic for a, b in zip(*plain, strict=True)) < 0.9
    # What a map still changes is the ridge, so nearly without one.
    raw = tarot.prepare(pool, target, ridge=1e-10)
    mapped = tarot.prepare(pool.astype(np.float64) @ turn, target.astype(np.float64) @ turn, ridge=1e-10)
    assert ranking(raw.plan(60)) == ranking(mapped.plan(60))
    np.testing.assert_array_equal(raw.plan(0).ids, mapped.plan(0).ids)


@pytest.mark.parametrize("seed", range(4))
def test_the_estimate_is_that_of_exact_transport(seed):
    """Fault 3: the neighbours of the best k are taken, not those of the k at which it rose."""
    pool, target = task(n=60, m=8, d=4, seed=seed)
    plan = tarot.fit(pool, target, folds=4, seed=seed)
    d = table(pool, target)
    found = [fold(d, anchors, 2000) for anchors in parts(8, 4, seed)]
    assert [each["k"] for each in plan.info["folds"]] == [k for _, k in found]
    assert set(plan.ids.tolist()) == set().union(*(rows for rows, _ in found))
    assert plan.complete
    assert plan.info["estimated_rows"] == len(plan.ids)
    whole = layers(d, np.arange(60))
    assert ranking(plan) == [row for row in whole if row in set(plan.ids.tolist())]


def test_the_transport_falls_to_the_best_k_and_not_after_it():
    """A10, in every fold."""
    for seed in range(3):
        for trace in tarot.fit(*task(n=200, m=20, d=8, seed=seed)).info["folds"]:
            costs, at = trace["costs"], trace["tried"].index(trace["k"])
            assert (np.diff(costs[: at + 1]) < 0).all()
            assert trace["stop"] in ("last", "used up") or costs[at + 1] > costs[at]


def test_the_last_k_is_tried():
    """Fault 3, the other half."""
    pool, target = task(n=200, m=20, d=8)
    whole = tarot.fit(pool, target).info["folds"]
    short = tarot.fit(pool, target, most=2).info["folds"]
    assert any(each["k"] > 2 for each in whole)
    for one, other in zip(whole, short, strict=True):
        assert other["tried"] == [1, 2]
        assert other["costs"] == one["costs"][:2]
        if one["k"] >= 2:
            assert (other["k"], other["stop"]) == (2, "last")


def test_a_second_call_gives_the_same():
    """Fault 5: nothing that a call switches on stays on."""
    ready = tarot.prepare(*task())
    first = ready.plan(0), ready.weighted(40, 0, "derivative"), ready.plan(30)
    ready.weighted(10, 25, "reference")
    again = ready.plan(0), ready.weighted(40, 0, "derivative"), ready.plan(30)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.values, other.values)
        assert one.info == other.info


@pytest.mark.parametrize(("sign", "favours_near"), [("derivative", True), ("reference", False)])
def test_weights_go_to_small_potentials_and_in_the_other_mode_to_large_ones(sign, favours_near):
    """Fault 4: with the sign of the released code, rows far from the targets are repeated most."""
    pool, target = task(n=300, m=20, seed=2)
    plan = tarot.fit_weighted(pool, target, budget=200, rows=120, sign=sign)
    assert plan.kind == "quota"
    assert plan.values.min() >= 0
    assert plan.values.sum() == pytest.approx(200)
    far = table(pool, target)[:, plan.ids].min(0)
    assert (spearmanr(plan.values, far).statistic < -0.6) == favours_near
    assert (spearmanr(plan.values, far).statistic > 0.6) != favours_near


@pytest.mark.parametrize("rows", [0, 30])
def test_copies_are_whole_and_sum_to_the_budget(rows):
    ready = tarot.prepare(*task())
    for total in (1, 29, 200, 1001):
        plan = ready.weighted(total, rows, "derivative")
        drawn = draw(plan, total, seed=0, order=np.arange(150), method="apportion")
        assert drawn.copies.sum() == total
        assert drawn.copies.min() >= 0
    if rows:
        assert len(plan.ids) == 30
    else:
        np.testing.assert_array_equal(plan.ids, ready.plan(0).ids)
        assert ready.weighted(0, 0, "derivative").values.sum() == pytest.approx(len(plan.ids))


def test_equal_potentials_give_equal_copies():
    pool = np.vstack([np.eye(4), -np.eye(4)])
    plan = tarot.fit_weighted(pool, np.eye(4), budget=8, rows=4)
    np.testing.assert_allclose(plan.values, 2.0)
    np.testing.assert_array_equal(plan.ids, np.arange(4))


def test_copies_tie_by_rank_and_do_not_stop_the_estimate():
    pool, target = task(n=60, m=8, d=4, seed=1)
    nearest = int(table(pool, target)[0].argmin())
    pool = np.vstack([pool, np.tile(pool[nearest], (3, 1))])
    order = np.random.default_rng(0).permutation(63)
    plan = tarot.fit(pool, target, budget=63, order=order)
    copies = [row for row in ranking(plan) if row in (nearest, 60, 61, 62)]
    assert copies == sorted(copies, key=lambda row: order[row])
    alone = tarot.fit(pool, target[[0, 0, 1, 2, 3, 4, 5, 6]], folds=8, order=order)
    assert all(len(each["tried"]) > 1 for each in alone.info["folds"])


def test_rows_and_targets_without_features():
    """Rows of zeros are last, and targets of zeros ask for nothing."""
    pool, target = task()
    pool[[3, 70]] = 0
    more = np.vstack([np.zeros((1, 6), np.float32), target])
    plan = tarot.fit(pool, more, budget=150)
    assert ranking(plan)[-2:] == [3, 70]
    assert plan.info["targets_without_features"] == 1
    assert 0 not in plan.links.target
    assert ranking(tarot.fit(pool, target, budget=148)) == ranking(plan)[:148]
    assert not set(tarot.fit(pool, more).ids.tolist()) & {3, 70}
    with pytest.raises(InputError, match="no target row has features"):
        tarot.fit(pool, np.zeros_like(target), budget=3)


def test_only_rows_of_positive_cosine_are_estimated():
    pool, target = task(n=40, m=5, d=3, seed=8)
    plan = tarot.fit(pool, target)
    assert (table(pool, target)[:, plan.ids].min(0) < np.sqrt(2)).all()
    with pytest.raises(InputError, match="positive cosine"):
        tarot.fit(-np.eye(3), np.eye(3))


def test_one_row_and_one_target():
    pool, target = task()
    assert tarot.fit(pool[:1], target[:1], budget=1).ids.tolist() == [0]
    assert tarot.fit(pool[:1], target, budget=5).ids.tolist() == [0]
    one = tarot.fit(pool, target[:1], budget=20)
    assert ranking(one) == np.argsort(table(pool, target[:1])[0])[:20].tolist()
    assert tarot.fit_weighted(pool, target[:1], budget=20, rows=5).values.sum() == pytest.approx(20)
    for estimate in (tarot.fit, tarot.fit_weighted):
        with pytest.raises(InputError, match="one target row is not enough"):
            estimate(pool, target[:1])
