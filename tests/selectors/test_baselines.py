"""Nearest, round-robin and random against their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import distances, round_robin

from tasksift.errors import InputError
from tasksift.selectors import nearest, random
from tasksift.selectors import round_robin as turns

RNG = np.random.default_rng(0)
POOL, TARGETS = RNG.normal(size=(200, 5)), RNG.normal(size=(7, 5))
SQUARES = distances(POOL, TARGETS) ** 2


@pytest.mark.parametrize("cuts", [[], [1, 90]])
def test_nearest(cuts):
    plan = nearest.fit(np.split(POOL, cuts), TARGETS)
    np.testing.assert_allclose(plan.values, 1 - SQUARES.min(0) / 2, rtol=1e-12)
    assert (plan.links.target == SQUARES.argmin(0)).all()
    np.testing.assert_allclose(plan.links.distance, np.sqrt(SQUARES.min(0)), rtol=1e-12)
    mean = nearest.fit(np.split(POOL, cuts), TARGETS, aggregate="mean")
    np.testing.assert_allclose(mean.values, 1 - SQUARES.mean(0) / 2, rtol=1e-12)


def test_similarity_is_the_cosine_of_unit_vectors():
    pool, targets = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (POOL, TARGETS))
    np.testing.assert_allclose(nearest.fit(pool, targets).values, (targets @ pool.T).max(0), atol=1e-12)
    np.testing.assert_allclose(
        nearest.fit(pool, targets, aggregate="mean").values, (targets @ pool.T).mean(0), atol=1e-12
    )


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_round_robin_next_is_the_naive_masking_loop(seed):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(1, 60), rng.integers(1, 8)
    # Few distinct values make ties, which go to the first row.
    pool, targets = rng.integers(0, 4, size=(n, 2)) * 1.0, rng.integers(0, 4, size=(m, 2)) * 1.0
    budget = int(rng.integers(1, n + 1))
    plan = turns.fit(pool, targets, budget=budget, order=np.arange(n))
    picked = plan.ids[np.argsort(-plan.values)]
    assert picked.tolist() == round_robin(-distances(pool, targets), budget)


@pytest.mark.parametrize("tie", ["next", "skip"])
@pytest.mark.parametrize("budget", [1, 7, 50, 200])
def test_round_robin_gives_every_target_its_turns(tie, budget):
    plan = turns.fit(POOL, TARGETS, budget=budget, tie=tie)
    assert len(plan.ids) == min(budget, 200)
    assert plan.complete == (budget >= 200)
    picks = np.bincount(plan.links.target, minlength=7)
    if tie == "next":
        assert set(picks) <= {budget // 7, -(-budget // 7)}


def test_round_robin_skip_loses_the_turn():
    # Both targets want row 0 first; under "skip" the second one loses its first turn.
    pool, targets = np.array([[0.0], [1], [5]]), np.array([[0.1], [0.2]])
    for tie, turn in (("next", 1), ("skip", 2)):
        plan = turns.fit(pool, targets, budget=2, tie=tie)
        assert plan.ids.tolist() == [0, 1]
        assert plan.values.tolist() == [0, -turn]


def test_round_robin_with_one_target_is_top_k():
    plan = turns.fit(POOL, TARGETS[:1], budget=20)
    assert sorted(plan.ids) == sorted(np.argsort(SQUARES[0])[:20])


def test_round_robin_lists_grow_when_targets_share_their_neighbours():
    targets = np.repeat(TARGETS[:1], 9, axis=0)
    plan = turns.fit(POOL, targets, budget=180)
    assert sorted(plan.ids) == sorted(np.argsort(SQUARES[0])[:180])


def test_random_is_uniform():
    plan = random.fit(50)
    assert plan.ids.tolist() == list(range(50))
    np.testing.assert_allclose(plan.values, 1 / 50)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
@settings(max_examples=80)
def test_balanced_random_gives_sources_equal_shares_up_to_their_size(sizes, seed):
    rng = np.random.default_rng(seed)
    sources = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    budget = int(rng.integers(1, sum(sizes) + 1))
    plan = random.fit(sum(sizes), budget=budget, sources=sources, balanced=True)
    share = budget * np.bincount(sources, plan.values)
    level = share.max()
    assert (budget * plan.values <= 1 + 1e-9).all()
    np.testing.assert_allclose(share, np.minimum(sizes, level), rtol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nearest.fit(POOL, TARGETS, aggregate="median"), "aggregate 'median' does not exist"),
        (lambda: turns.fit(POOL, TARGETS, budget=3, tie="lose"), "tie 'lose' does not exist"),
        (lambda: random.fit(0), "the pool is empty"),
        (lambda: random.fit(5, balanced=True), "needs a budget"),
        (lambda: random.fit(2, balanced=True, budget=3, sources=np.zeros(2, dtype=int)), "exceeds the pool's 2 rows"),
    ],
)
def test_bad_parameters(call, message):
    with pytest.raises(InputError, match=message):
        call()
