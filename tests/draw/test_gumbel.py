"""Drawing by log-probabilities: without replacement, one row after another."""

from __future__ import annotations

import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import chisquare

from tasksift.draw import draw, rows_for_tokens
from tasksift.draw.lot import lay_out
from tasksift.errors import InputError, ShortPlanError
from tasksift.plan import Plan

DRAWS = 20_000


def plan_of(values, **more):
    values = np.asarray(values, dtype=float)
    return Plan("logprob", "dsir", np.arange(len(values)), values, **more)


def counts(values, k):
    """How often each set of k rows comes out."""
    lot = lay_out(plan_of(values), order=np.arange(len(values))[::-1].copy())
    return Counter(frozenset(lot.draw(k, seed).ids.tolist()) for seed in range(DRAWS))


def test_one_row_is_drawn_by_softmax():
    values = np.array([0.0, -1.0, 0.5, -2.5, -1.0])
    found = counts(values, 1)
    p = np.exp(values) / np.exp(values).sum()
    assert chisquare([found[frozenset([i])] for i in range(5)], DRAWS * p).pvalue > 1e-3


def test_two_rows_are_drawn_one_after_the_other():
    values = np.array([0.0, -1.0, 0.5, -2.5])
    w = np.exp(values)
    expected = Counter()
    for i, j in permutations(range(4), 2):
        expected[frozenset([i, j])] += DRAWS * w[i] / w.sum() * w[j] / (w.sum() - w[i])
    found = counts(values, 2)
    assert chisquare([found[s] for s in expected], list(expected.values())).pvalue > 1e-3


def test_a_constant_changes_nothing():
    values = np.array([0.25, -1.5, 0.5, -2.5, 1.0])
    drawn = [draw(plan_of(values + c), 2, seed=5, order=np.arange(5)).ids.tolist() for c in (0.0, 1024.0, -4096.0)]
    assert drawn[0] == drawn[1] == drawn[2]


def test_rows_are_only_added_as_the_budget_grows():
    rng = np.random.default_rng(0)
    plan, order = plan_of(rng.normal(size=50)), rng.permutation(50)
    before: set[int] = set()
    for k in range(1, 51):
        now = set(draw(plan, k, seed=9, order=order).ids.tolist())
        assert before < now
        assert len(now) == k
        before = now


def test_the_whole_pool_and_one_row_more():
    plan, order = plan_of([-300.0, -10.0, -1567.0]), np.array([2, 0, 1])
    drawn = draw(plan, 3, seed=0, order=order)
    assert drawn.ids.tolist() == [1, 0, 2]
    assert drawn.method == "gumbel"
    assert np.isnan(drawn.inclusion).all()
    assert drawn.weight.tolist() == [1, 1, 1]
    with pytest.raises(InputError, match="has 3 rows to draw and the budget is 4"):
        draw(plan, 4, seed=0, order=order)
    with pytest.raises(ShortPlanError, match="names 3 rows and the budget is 4"):
        draw(plan_of([0, 1, 2], complete=False), 4, seed=0, order=np.arange(9))


def test_limits_per_source():
    sources, names = np.repeat([0, 1, 2], 10), ["a", "b", "c"]
    plan = plan_of(np.array([5.0, 0.0, -5.0])[sources])
    taken = set()
    for seed in range(60):
        drawn = draw(
            plan, 12, seed=seed, order=np.arange(30), sources=sources, source_names=names, minimum=2, maximum=8
        )
        assert np.bincount(sources[drawn.ids]).tolist() == [8, 2, 2]
        taken |= set(drawn.ids.tolist())
    assert len(taken) == 30


def test_equal_values_are_drawn_by_lot_and_top_takes_the_first():
    plan, order = plan_of(np.zeros(40)), np.arange(40)[::-1].copy()
    assert len({tuple(draw(plan, 3, seed=s, order=order).ids) for s in range(20)}) > 15
    assert draw(plan, 3, seed=4, order=order, method="top").ids.tolist() == [39, 38, 37]


def test_budget_in_tokens():
    rng = np.random.default_rng(3)
    tokens, order = rng.integers(1, 30, 60), rng.permutation(60)
    plan = plan_of(rng.normal(size=60) * 2)
    drawn = rows_for_tokens(plan, tokens, 200, seed=1, order=order)
    assert math.fsum(tokens[drawn.ids]) <= 200
    more = draw(plan, drawn.distinct + 1, seed=1, order=order)
    assert math.fsum(tokens[more.ids]) > 200
