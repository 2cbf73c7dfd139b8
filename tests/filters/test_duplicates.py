"""Semantic de-duplication against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksift.errors import InputError
from tasksift.filters import LeftOut, duplicates, merge
from tasksift.filters.duplicates import near_duplicates
from tasksift.selectors.clustering import cluster
from tasksift.vectors import Vectors


def crowd(rng, n, d=5, spread=0.15):
    """Rows around a few directions, with some copies."""
    rows = rng.normal(size=(max(1, n // 6), d))[rng.integers(0, max(1, n // 6), n)] + spread * rng.normal(size=(n, d))
    return rows[rng.integers(0, n, n)] if rng.random() < 0.5 else rows


def brute_force(pool, eps, order, distances, labels):
    """Cluster by cluster, from the far to the near: keep what is not too near to what is kept. Copies always go."""
    unit = pool / np.linalg.norm(pool, axis=1, keepdims=True)
    because_of = np.arange(len(pool))
    for k in np.unique(labels):
        kept = []
        for row in sorted(np.flatnonzero(labels == k), key=lambda row: (-distances[row], order[row])):
            cosine = np.array([unit[row] @ unit[other] for other in kept])
            same = np.array([bool((pool[row] == pool[other]).all()) for other in kept], dtype=bool)
            if len(kept) and (same.any() or cosine.max() > 1 - eps):
                because_of[row] = kept[int((cosine + same).argmax())]
            else:
                kept.append(row)
    return because_of


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.01, 0.1, 0.6]))
@settings(max_examples=60)
def test_one_cluster_is_brute_force(seed, eps):
    rng = np.random.default_rng(seed)
    pool = crowd(rng, int(rng.integers(1, 60)))
    order = rng.permutation(len(pool))
    found = near_duplicates(pool, eps, clusters=1, order=order)
    far = cluster(Vectors(pool, normalize=True), 1, order=order).distances
    expected = brute_force(pool, eps, order, far, np.zeros(len(pool)))
    np.testing.assert_array_equal(np.flatnonzero(~found.keep), np.flatnonzero(expected != np.arange(len(pool))))
    np.testing.assert_array_equal(found.duplicate_of, expected[found.rows])


def test_several_clusters_are_brute_force_in_each():
    rng = np.random.default_rng(2)
    pool, order = crowd(rng, 400), rng.permutation(400)
    found = near_duplicates(pool, 0.03, clusters=7, order=order, seed=3)
    clusters = cluster(Vectors(pool, normalize=True), 7, order=order, seed=3)
    expected = brute_force(pool, 0.03, order, clusters.distances, clusters.labels)
    np.testing.assert_array_equal(found.duplicate_of, expected[found.rows])
    assert 0 < len(found.rows) < 400
    assert (found.keep.sum() + len(found.rows)) == 400


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(7)
    pool = crowd(rng, 300, spread=0.3)
    one = near_duplicates(pool, 0.05, clusters=1)
    monkeypatch.setattr(duplicates, "BLOCK_ROWS", 7)
    monkeypatch.setattr(duplicates, "KEPT_ROWS", 5)
    other = near_duplicates(np.split(pool, [1, 130]), 0.05, clusters=1)
    assert 10 < len(one.rows) < 290
    for name in ("keep", "rows", "duplicate_of", "cosine"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("eps", [0.0, 0.02])
@pytest.mark.parametrize("clusters", [1, 5, None])
def test_exact_copies_collapse_to_one_whatever_the_clusters(eps, clusters):
    rng = np.random.default_rng(1)
    single = rng.normal(size=(30, 8))
    pool, order = np.repeat(single, 4, axis=0), rng.permutation(120)
    found = near_duplicates(pool, eps, clusters=clusters, order=order)
    assert found.keep.reshape(30, 4).sum(axis=1).tolist() == [1] * 30
    # The first in order stays, and its copies name it.
    first = np.arange(0, 120, 4) + order.reshape(30, 4).argmin(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(found.keep), first)
    np.testing.assert_array_equal(found.duplicate_of, first[found.rows // 4])
    assert (found.cosine == 1).all()


def test_eps_0_keeps_unique_rows():
    rng = np.random.default_rng(3)
    pool = rng.normal(size=(50, 4))
    pool[1] = pool[0] * (1 + 1e-12)
    assert near_duplicates(pool, 0).keep.all()


def test_only_kept_rows_drop_others():
    """Along a chain a, b, c, b resembles a and goes; c, which resembles b alone, stays."""
    angle = np.radians([0.0, 8.0, 16.0, 100.0])
    pool = np.column_stack([np.cos(angle), np.sin(angle)])
    assert cluster(pool, 1).distances.argsort().tolist() == [2, 1, 0, 3]
    found = near_duplicates(pool, 1 - np.cos(np.radians(10)), clusters=1)
    assert found.rows.tolist() == [1]
    assert found.cosine == pytest.approx(np.cos(np.radians(8)))


def test_the_row_farthest_from_the_centre_stays():
    angle = np.radians([10.0, 5.0, 120.0, 0.0])
    pool = np.column_stack([np.cos(angle), np.sin(angle)])
    far = cluster(pool, 1).distances
    found = near_duplicates(pool, 0.05, clusters=1)
    assert found.rows.tolist() == [0, 1]
    assert far[3] > far[1] > far[0]
    assert found.duplicate_of.tolist() == [3, 3]


def test_order_of_the_pool_changes_nothing():
    rng = np.random.default_rng(5)
    pool, order = crowd(rng, 200), rng.permutation(200)
    one = near_duplicates(pool, 0.04, clusters=4, order=order)
    shuffle = rng.permutation(200)
    other = near_duplicates(pool[shuffle], 0.04, clusters=4, order=order[shuffle])
    np.testing.assert_array_equal(one.keep[shuffle], other.keep)
    because_of = dict(zip(shuffle[other.rows].tolist(), shuffle[other.duplicate_of].tolist(), strict=True))
    assert because_of == dict(zip(one.rows.tolist(), one.duplicate_of.tolist(), strict=True))


def test_rows_of_zeros_and_rows_that_do_not_take_part_stay():
    pool = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 1e-3], [1.0, 0.0]])
    for eps in (0.0, 0.1):
        found = near_duplicates(pool, eps, clusters=1, among=np.array([False, True, True, True, True, True]))
        assert found.keep[[0, 1, 3]].all()
        assert not np.isin(found.duplicate_of, [0, 1, 3]).any()
        assert found.rows.tolist() == ([5] if eps == 0 else [2, 5])
        assert found.duplicate_of.tolist() == ([2] if eps == 0 else [4, 4])


def test_one_row():
    assert near_duplicates(np.ones((1, 3)), 0.1).keep.tolist() == [True]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"eps": -0.1}, "eps -0.1: it should be from 0"),
        ({"eps": float("nan")}, "eps nan"),
        ({"clusters": 0}, "0 clusters"),
        ({"pool": np.empty((0, 2))}, "there are no rows"),
        ({"pool": np.array([[np.nan, 1.0]])}, "row 0 holds a NaN"),
    ],
)
def test_what_does_not_fit_is_said(given, message):
    with pytest.raises(InputError, match=message):
        near_duplicates(**{"pool": np.eye(2), "eps": 0.1, **given})


def test_what_is_left_out_is_recorded_and_counted():
    pool = np.array([[0.0, 2.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.02]])
    found = near_duplicates(pool, 0.01, clusters=1, order=np.array([3, 0, 1, 2]))
    left = found.left_out(["w", "x", "y", "z"])
    assert found.keep.tolist() == left.keep(4).tolist() == [True, True, False, False]
    assert left.counts() == {"copy": 1, "near-copy": 1}
    assert left.because_of == ["x (cosine 1.0000)", "x (cosine 0.9998)"]
    assert found.left_out().because_of[0] == "1 (cosine 1.0000)"
    both = merge([LeftOut(np.array([0, 3]), ["a run", "a run"], ["q", "q"]), left])
    assert both.table().to_pylist() == [
        {"row": 0, "reason": "a run", "because_of": "q"},
        {"row": 2, "reason": "copy", "because_of": "x (cosine 1.0000)"},
        {"row": 3, "reason": "a run", "because_of": "q"},
    ]
    assert merge([]).counts() == {}
