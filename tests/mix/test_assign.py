"""Counts and copies: whole, exact, and the same whatever the order of the pool."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasksift.mix.assign import generator, make_parts, passes, shuffled
from tasksift.online.domains import Domains


@given(st.integers(1, 30), st.integers(0, 100), st.integers(0, 3))
def test_no_row_comes_a_third_time_before_every_row_came_twice(n: int, count: int, seed: int):
    rows = np.arange(100, 100 + n)
    taken = passes(rows, count, np.random.default_rng(seed))
    assert len(taken) == count
    for begin in range(0, count, n):
        some = taken[begin : begin + n]
        assert len(set(some.tolist())) == len(some)  # each pass has every row once, the last one some of them
    assert set(taken.tolist()) <= set(rows.tolist())


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 50)), min_size=1, max_size=8), st.integers(1, 300))
def test_counts_are_rounded_by_largest_remainder(domains: list[tuple[int, int]], budget: int):
    weights = [weight for _, weight in domains]
    if not sum(weights):
        weights[0] = 1
    codes = np.repeat(np.arange(len(domains)), [size for size, _ in domains])
    names = tuple(f"d{k}" for k in range(len(domains)))
    shares = np.array(weights) / sum(weights)
    parts = make_parts(Domains(names, codes), shares, budget, order=np.arange(len(codes)), seed=0)
    exact = [Fraction(budget * weight, sum(weights)) for weight in weights]
    expected = [int(share) for share in exact]
    rests = sorted(range(len(exact)), key=lambda k: (expected[k] - exact[k], k))
    for k in rests[: budget - sum(expected)]:
        expected[k] += 1
    assert {part.name: len(part.rows) for part in parts} == {
        name: count for name, count, weight in zip(names, expected, weights, strict=True) if weight
    }


def test_a_domain_is_shuffled_the_same_whatever_the_others_get():
    domains = Domains(("a", "b"), np.array([0] * 5 + [1] * 5))
    alone = make_parts(domains, np.array([0.0, 1.0]), None, order=np.arange(10), seed=3)
    both = make_parts(domains, np.array([0.5, 0.5]), None, order=np.arange(10), seed=3)
    assert alone[0].once.tolist() == both[1].once.tolist()


def test_the_order_of_the_pool_changes_nothing():
    rng = np.random.default_rng(0)
    order, codes = rng.permutation(50), rng.integers(0, 3, 50)
    moved = rng.permutation(50)
    shares = np.array([0.2, 0.3, 0.5])
    here, there = (
        order_of[shuffled(make_parts(Domains(("a", "b", "c"), some), shares, 70, order=order_of, seed=1), 1)]
        for order_of, some in ((order, codes), (order[moved], codes[moved]))
    )
    assert here.tolist() == there.tolist()
    assert Counter(np.unique(here, return_counts=True)[1].tolist()).keys() <= {1, 2, 3}


def test_seeds_and_domains_have_random_numbers_of_their_own():
    draws = {generator(seed, name).integers(2**60) for seed in range(3) for name in ("", "a", "b", "\ud800")}
    assert len(draws) == 12
