"""Pruning against its definition, on planted copies, and whatever the order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import distances

from tasksift.errors import InputError
from tasksift.selectors import pruning
from tasksift.selectors.pruning import equal_shares, prune

RNG = np.random.default_rng(0)


def slow_thin(pool, keep):
    """Drop, of the closest pair, the row whose next neighbour is nearer, ties to the later; rows come by rank."""
    alive = list(range(len(pool)))
    d = distances(pool, pool)
    while len(alive) > keep:
        _, i, j = min((d[i, j], i, j) for i in alive for j in alive if i < j)
        after = [min((d[a, c] for c in alive if c not in (i, j)), default=np.inf) for a in (i, j)]
        alive.remove(i if after[0] < after[1] else j)
    return alive


@given(st.integers(2, 14), st.integers(0, 10**6), st.sampled_from([0, 1, 3]))
@settings(max_examples=50)
def test_thinning_is_that_of_the_definition(n, seed, digits):
    """With few digits many distances tie."""
    rng = np.random.default_rng(seed)
    pool = np.unique(np.round(rng.normal(size=(n, 2)), digits), axis=0)
    keep = int(rng.integers(1, len(pool) + 1))
    assert prune(pool, keep).tolist() == slow_thin(pool, keep)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_short_lists_are_made_longer(length, monkeypatch):
    pool = RNG.normal(size=(60, 2))
    expected = prune(pool, 11)
    monkeypatch.setattr(pruning, "LIST", length)
    monkeypatch.setattr(pruning, "BLOCK", 7)
    assert prune(pool, 11).tolist() == expected.tolist() == slow_thin(pool, 11)


@pytest.mark.parametrize("seed", range(5))
def test_each_planted_group_of_copies_keeps_exactly_one_whatever_the_order(seed):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(40), rng.integers(1, 9, size=40))
    n = len(groups)
    pool = rng.normal(size=(40, 8)).astype(np.float32)[groups]
    labels, order, shuffle = groups % 3, rng.permutation(n), rng.permutation(n)
    kept = prune(pool, 40, labels, order=order)
    assert sorted(groups[kept]) == list(range(40))
    firsts = [min(np.flatnonzero(groups == k), key=lambda row: order[row]) for k in range(40)]
    assert kept.tolist() == sorted(firsts)
    again = prune(pool[shuffle], 40, labels[shuffle], order=order[shuffle])
    assert sorted(shuffle[again]) == kept.tolist()


@given(st.integers(1, 60), st.integers(0, 10**6))
@settings(max_examples=30)
def test_the_count_is_exact_and_permuting_the_pool_permutes_the_answer(keep, seed):
    """Published: the order of what is kept is by the upper triangle, so results depend on the order of the files."""
    rng = np.random.default_rng(seed)
    pool = rng.integers(0, 4, size=(60, 3)).astype(float)
    labels = np.unique(pool[:, 0], return_inverse=True)[1].ravel()
    order, shuffle = rng.permutation(60), rng.permutation(60)
    kept = prune(pool, keep, labels, order=order)
    assert len(np.unique(kept)) == keep
    again = prune(pool[shuffle], keep, labels[shuffle], order=order[shuffle])
    assert sorted(shuffle[again]) == kept.tolist()
    contents = len(np.unique(pool[kept], axis=0))
    assert contents == min(keep, len(np.unique(pool, axis=0)))


def test_copies_of_the_most_copied_go_first():
    pool = np.repeat(np.eye(3), [5, 2, 1], axis=0)
    assert prune(pool, 5).tolist() == [0, 1, 5, 6, 7]
    assert prune(pool, 6).tolist() == [0, 1, 2, 5, 6, 7]


def test_larger_clusters_pay_first():
    pool, labels = RNG.normal(size=(100, 4)), np.repeat([0, 1, 2], [60, 30, 10])
    for keep, sizes in ((90, [50, 30, 10]), (65, [28, 27, 10]), (30, [10, 10, 10])):
        assert np.bincount(labels[prune(pool, keep, labels)]).tolist() == sizes
    assert np.bincount(labels[prune(pool, 2, labels)], minlength=3).tolist() == [1, 1, 0]


def test_near_copies_go_before_rows_of_their_own():
    apart = np.eye(20)
    near = apart[:15] + 0.01 * RNG.normal(size=(15, 20))
    pool = np.vstack([apart, near])
    kept = prune(pool, 20)
    assert sorted(kept % 20) == list(range(20))


def test_nothing_and_everything():
    pool = RNG.normal(size=(5, 2))
    assert prune(pool, 0).tolist() == []
    assert prune(pool, 5).tolist() == [0, 1, 2, 3, 4]
    assert prune(pool[:1], 1).tolist() == [0]
    with pytest.raises(InputError, match="6 rows to keep: the pool has 5"):
        prune(pool, 6)


def slow_shares(sizes, total):
    """One row at a time to whoever has the least and can take more."""
    shares = [0] * len(sizes)
    for _ in range(total):
        k = min((share, k) for k, share in enumerate(shares) if share < sizes[k])[1]
        shares[k] += 1
    return shares


@given(st.lists(st.integers(0, 12), min_size=1, max_size=8), st.integers(0, 60))
def test_equal_shares(sizes, total):
    total = min(total, sum(sizes))
    assert equal_shares(np.array(sizes), total).tolist() == slow_shares(sizes, total)


@pytest.mark.parametrize("budget", [1000, 95])
def test_budgets_of_clusters_do_not_overshoot(budget):
    """Published: 1000 -> 1018 or 1012, 95 -> 100."""
    sizes = np.random.default_rng(0).integers(1, 90, size=37)
    shares = equal_shares(sizes, budget)
    assert shares.sum() == budget
    free = shares < sizes
    assert (shares <= sizes).all()
    assert np.ptp(shares[free]) <= 1
    assert shares[free].min() >= shares[~free].max() - 1
