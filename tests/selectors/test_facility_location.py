"""Facility location against its definition, naive greedy and the best of all subsets."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import distances
from scipy import sparse

from tasksift.errors import InputError
from tasksift.selectors import facility_kernel
from tasksift.selectors import facility_location as sites

UNIT = 2**30


def directions(rng, n, d=4):
    """Unit vectors, some of them copies of one another."""
    rows = rng.normal(size=(n, d))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[rng.integers(0, n, n)] if rng.random() < 0.5 else rows


def kernel(pool, neighbours=None, targets=None, eta=1.0):
    """K in whole units, served × serving: between each row and its nearest, every row once, at most its cap."""
    d = distances(pool, pool)
    similar = np.rint(np.clip(1 - d**2 / 2, 0, 1) * UNIT).astype(np.int64)
    for i, row in enumerate(d):
        similar[i, np.argsort(row, kind="stable")[neighbours or len(pool) :]] = 0
    if targets is not None:
        cap = eta * (1 - distances(pool, targets) ** 2 / 2).max(axis=0)
        similar = np.minimum(similar, np.rint(np.clip(cap, 0, 1) * UNIT).astype(np.int64)[:, None])
    return similar


def naive(table, budget):
    """Greedy by its definition: the first of the columns that raise the sum most, as long as one raises it."""
    picks, best = [], np.zeros(len(table), dtype=np.int64)
    for _ in range(budget):
        gains = np.maximum(table - best[:, None], 0).sum(axis=0)
        if gains.max() == 0:
            break
        picks.append(int(gains.argmax()))
        best = np.maximum(best, table[:, picks[-1]])
    return picks


def in_order(plan):
    return plan.ids[np.argsort(-plan.values)].tolist()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=80)
def test_lazy_greedy_is_naive_greedy_index_for_index(seed):
    rng = np.random.default_rng(seed)
    g, u = rng.integers(1, 40, 2)
    # Few distinct values make ties, which go to the first column.
    table = rng.integers(0, 5, size=(u, g)) * (rng.random((u, g)) < 0.4)
    weights = rng.integers(1, 4, u)
    found = list(facility_kernel.lazy_greedy(sparse.csc_matrix(table.astype(np.int32)), weights))
    assert [column for column, _ in found] == naive(np.repeat(table, weights, axis=0), g)
    gains = [gain for _, gain in found]
    assert gains == sorted(gains, reverse=True)  # diminishing
    assert all(gain > 0 for gain in gains)  # monotone
    assert sum(gains) == weights @ table.max(axis=1)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_all_neighbours_give_the_dense_objective(seed):
    rng = np.random.default_rng(seed)
    pool = directions(rng, int(rng.integers(1, 40)))
    budget = int(rng.integers(1, len(pool) + 1))
    plan = sites.fit(pool, budget=budget, neighbours=len(pool), order=np.arange(len(pool)))
    table = kernel(pool)
    expected = naive(table, budget)
    assert plan.info["value"] == pytest.approx(table[:, expected].max(axis=1).sum() / UNIT, abs=1e-7)
    rest = [row for row in range(len(pool)) if row not in expected]
    assert in_order(plan) == (expected + rest)[:budget]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_a_row_is_served_by_its_nearest_rows_only(seed):
    rng = np.random.default_rng(seed)
    pool = rng.normal(size=(int(rng.integers(1, 40)), 5))
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    neighbours = int(rng.integers(1, 10))
    plan = sites.fit(pool, budget=len(pool), neighbours=neighbours, order=np.arange(len(pool)))
    expected = naive(kernel(pool, neighbours), len(pool))
    assert in_order(plan)[: len(expected)] == expected
    assert plan.complete


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_mutual_information_caps_each_row_by_its_similarity_to_a_target(seed):
    rng = np.random.default_rng(seed)
    pool, targets = directions(rng, int(rng.integers(1, 40))), directions(rng, int(rng.integers(1, 4)))
    eta, n = float(rng.choice([0.3, 1.0, 2.0])), len(pool)
    plan = sites.fit(pool, targets, budget=n, neighbours=n, reach=n, eta=eta, order=np.arange(n))
    expected = naive(kernel(pool, targets=targets, eta=eta), n)
    near = distances(pool, targets).min(axis=0)
    rest = [row for row in np.argsort(near, kind="stable").tolist() if row not in expected]
    assert in_order(plan) == expected + rest
    np.testing.assert_allclose(plan.links.distance, near, atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("targeted", [False, True])
def test_greedy_reaches_63_percent_of_the_best_subset(seed, targeted):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 13))
    pool, targets = directions(rng, n, 3), directions(rng, 2, 3)
    table = kernel(pool, targets=targets if targeted else None)
    more = {"target": targets, "reach": n} if targeted else {}
    for budget in range(1, n + 1):
        best = max(table[:, list(some)].max(axis=1).sum() for some in combinations(range(n), budget)) / UNIT
        value = sites.fit(pool, budget=budget, neighbours=n, **more).info["value"]
        assert (1 - 1 / np.e) * best <= value <= best + 1e-7


def test_a_plan_begins_with_the_plan_of_a_smaller_budget():
    rng = np.random.default_rng(3)
    pool, targets = directions(rng, 60), directions(rng, 5)
    for served in (sites.prepare(pool), sites.prepare(pool, targets, reach=6)):
        long = served.plan(50)
        for budget in (1, 7, 49):
            short = served.plan(budget)
            assert len(short.ids) == budget
            assert not short.complete
            assert in_order(short) == in_order(long)[:budget]
        assert in_order(sites.prepare(pool).plan(60))[:7] == in_order(sites.fit(pool, budget=7))


def test_order_blocks_and_shards_change_nothing(monkeypatch):
    rng = np.random.default_rng(4)
    pool, order = rng.integers(-2, 3, size=(120, 3)).astype(np.float32), rng.permutation(120)
    pool /= np.maximum(np.linalg.norm(pool, axis=1, keepdims=True), 1e-9)
    plan = sites.fit(pool, budget=40, neighbours=9, order=order)
    shuffle = rng.permutation(120)
    monkeypatch.setattr(facility_kernel, "BLOCK_ROWS", 7)
    other = sites.fit(np.split(pool[shuffle], [1, 50]), budget=40, neighbours=9, order=order[shuffle])
    assert in_order(plan) == shuffle[in_order(other)].tolist()


def test_copies_count_in_the_sum_and_one_of_them_is_picked():
    rng = np.random.default_rng(5)
    pool = np.vstack([rng.normal(size=(20, 6)), np.tile(rng.normal(size=6), (100, 1))])
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    # More copies than neighbours, which are counted once.
    plan = sites.fit(pool, budget=5, neighbours=8, order=np.arange(120)[::-1].copy())
    assert in_order(plan)[0] == 119
    assert (plan.ids >= 20).sum() == 1


def test_rows_of_zeros_are_similar_to_nothing():
    rng = np.random.default_rng(6)
    pool = rng.normal(size=(10, 4))
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    pool[[0, 3]] = 0
    targets = np.vstack([np.zeros(4), pool[5]])
    assert in_order(sites.fit(pool, budget=10, order=np.arange(10)))[-2:] == [0, 3]
    plan = sites.fit(pool, targets, budget=10, order=np.arange(10))
    assert in_order(plan)[-2:] == [0, 3]
    assert set(plan.links.target) == {1}
    nothing = sites.fit(np.zeros((4, 3)), budget=2, order=np.array([3, 0, 1, 2]))
    assert in_order(nothing) == [1, 2]
    assert nothing.info["value"] == 0


def test_one_row_and_one_target():
    one = np.array([[1.0, 0.0]])
    assert sites.fit(one, budget=1).info["value"] == 1
    assert sites.fit(one, one, budget=1).ids.tolist() == [0]
    assert sites.fit(one, -one, budget=1).ids.tolist() == [0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"neighbours": 0}, "neighbours 0: it should be at least 1"),
        ({"reach": 0, "target": np.eye(2)}, "reach 0: it should be at least 1"),
        ({"eta": 0.0, "target": np.eye(2)}, "eta 0.0: it should be a positive number"),
        ({"target": np.zeros((2, 2))}, "target: every row is all zeros"),
        ({"target": np.eye(3)}, "dimensions"),
        ({"pool": np.empty((0, 2))}, "there are no rows"),
    ],
)
def test_what_does_not_fit_is_said(given, message):
    with pytest.raises(InputError, match=message):
        sites.fit(**{"pool": np.eye(2), "budget": 1, **given})
