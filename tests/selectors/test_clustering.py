"""Clusters: the same whatever the order of the pool, its shards and blocks."""

import numpy as np
import pytest

from tasksift.errors import InputError
from tasksift.selectors import clustering
from tasksift.selectors.clustering import cluster, numbered
from tasksift.vectors import Vectors

RNG = np.random.default_rng(3)
CENTRES = 5 * RNG.normal(size=(6, 4))
TRUTH = RNG.integers(0, 6, 150)
POOL = CENTRES[TRUTH] + 0.1 * RNG.normal(size=(150, 4))
ORDER = RNG.permutation(150)


def naive(pool, centres):
    distances = np.sqrt(((pool[:, None] - centres) ** 2).sum(axis=2))
    return distances.argmin(axis=1), distances.min(axis=1)


@pytest.mark.parametrize("k", [1, 2, 6, 20])
def test_every_row_belongs_to_its_nearest_centre(k):
    found = cluster(POOL, k, order=ORDER)
    labels, distances = naive(POOL, found.centres)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_allclose(found.distances, distances, atol=1e-12)
    assert sorted(set(found.labels)) == list(range(len(found.centres)))
    assert len(found.centres) == k


def test_clusters_that_lie_apart_are_found():
    found = cluster(POOL, 6)
    assert len(set(zip(found.labels.tolist(), TRUTH.tolist(), strict=True))) == 6


def test_clusters_are_numbered_by_their_first_rank():
    found = cluster(POOL, 6, order=ORDER)
    first = [ORDER[found.labels == c].min() for c in range(6)]
    assert first == sorted(first)


@pytest.mark.parametrize("sample", [40, 20_000])
def test_the_order_of_the_pool_changes_nothing(sample, monkeypatch):
    monkeypatch.setattr(clustering, "SAMPLE", sample)
    shuffle = RNG.permutation(150)
    one, other = cluster(POOL, 6, order=ORDER), cluster(POOL[shuffle], 6, order=ORDER[shuffle])
    np.testing.assert_array_equal(one.labels[shuffle], other.labels)
    np.testing.assert_array_equal(one.centres, other.centres)
    np.testing.assert_array_equal(one.distances[shuffle], other.distances)


def test_shards_and_blocks_change_nothing(monkeypatch):
    one = cluster(POOL, 6, order=ORDER)
    monkeypatch.setattr("tasksift.vectors.BLOCK_BYTES", 7 * 4 * 4)
    other = cluster(np.split(POOL, [1, 60, 61]), 6, order=ORDER)
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.centres, other.centres)
    np.testing.assert_array_equal(one.distances, other.distances)


def test_the_seed_decides():
    labels = [cluster(POOL, 9, seed=seed).labels for seed in range(5)]
    assert len({tuple(each) for each in labels}) > 1
    np.testing.assert_array_equal(labels[0], cluster(POOL, 9, seed=0).labels)


def test_copies_share_a_cluster_and_do_not_make_one():
    pool = np.repeat(POOL[:3], 10, axis=0)
    found = cluster(pool, 8)
    assert len(found.centres) == 3
    assert [set(found.labels[10 * i : 10 * i + 10]) for i in range(3)] == [{0}, {1}, {2}]
    np.testing.assert_allclose(found.distances, 0, atol=1e-12)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (1, 5), (3, 10), (10, 10)])
def test_no_more_clusters_than_rows(n, k):
    found = cluster(POOL[:n], k)
    assert len(found.centres) == min(n, k)
    np.testing.assert_array_equal(found.labels, np.arange(n))


def test_one_cluster_is_around_the_mean():
    found = cluster(POOL, 1)
    np.testing.assert_allclose(found.centres, [POOL.mean(axis=0)])
    assert (found.labels == 0).all()


def test_a_centre_without_rows_is_left_out(monkeypatch):
    """A centre fitted on a sample may be the nearest of no row; the numbers of the others stay without gaps."""
    from sklearn.cluster import KMeans

    def with_a_stray(self, sample):
        self.cluster_centers_ = np.vstack([np.full((1, 4), 1e3), CENTRES])
        return self

    monkeypatch.setattr(KMeans, "fit", with_a_stray)
    found = cluster(POOL, 7, order=ORDER)
    assert len(found.centres) == 6
    assert sorted(set(found.labels)) == list(range(6))
    np.testing.assert_array_equal(found.labels, naive(POOL, found.centres)[0])
    assert np.abs(found.centres).max() < 1e3


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_numbered_by_the_first_rank_in_each(seed):
    rng = np.random.default_rng(seed)
    codes, order = rng.choice([-3, 0, 8, 9], 12), rng.permutation(12)
    numbers, used = numbered(codes, order)
    assert used.tolist() == sorted(set(codes.tolist()), key=lambda code: order[codes == code].min())
    np.testing.assert_array_equal(used[numbers], codes)


def test_vectors_at_unit_length_are_compared_by_direction():
    pool = POOL * RNG.uniform(0.1, 9, size=(150, 1))
    one, other = cluster(Vectors(pool, normalize=True), 6), cluster(Vectors(POOL, normalize=True), 6)
    np.testing.assert_array_equal(one.labels, other.labels)


@pytest.mark.parametrize(
    ("pool", "k", "message"),
    [(POOL, 0, "0 clusters: ask for at least 1"), (np.array([[1.0], [np.nan]]), 1, "row 1 holds a NaN")],
)
def test_bad_requests(pool, k, message):
    with pytest.raises(InputError, match=message):
        cluster(pool, k)
