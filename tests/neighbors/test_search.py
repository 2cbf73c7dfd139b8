"""Exact search against the definition, on friendly and on adversarial data."""

import numpy as np
import pytest
from oracles import distances

from tasksift.errors import InputError
from tasksift.neighbors import search as module
from tasksift.neighbors.groups import collapse, singletons
from tasksift.neighbors.search import nearest
from tasksift.vectors import Vectors

RNG = np.random.default_rng(0)
BASE = RNG.normal(size=(300, 8))
ADVERSARIAL = {
    "plain": BASE,
    "near-duplicates": np.repeat(BASE[:30], 10, axis=0) + 1e-9 * RNG.normal(size=(300, 8)),
    "all equal but one": np.vstack([np.ones((299, 8)), np.zeros((1, 8))]),
    "zero vectors": np.vstack([np.zeros((50, 8)), BASE[:250]]),
    "huge norms": BASE * 1e12,
    "beyond float32": BASE * 1e30,
    "tiny": BASE * 1e-30,
    "one far outlier": np.vstack([BASE, np.full((1, 8), 1e9)]),
    "far from the origin": BASE * 1e-3 + 1e4,
    "near-ties": np.sign(BASE) + 1e-12 * BASE,
}


@pytest.mark.parametrize("name", ADVERSARIAL)
@pytest.mark.parametrize("k", [1, 7, 120, 10**6])
def test_the_nearest_by_brute_force(name, k):
    pool = ADVERSARIAL[name]
    targets = pool[[3, 77, 150]] * 1.0001
    order = RNG.permutation(len(pool))
    groups = singletons(Vectors(pool), order)
    d = distances(pool, targets)
    for found, expected in zip(nearest(Vectors(pool), groups, targets, k), d, strict=True):
        rows = np.lexsort((order, expected))[:k]
        assert groups.representative[found.ids].tolist() == rows.tolist()
        np.testing.assert_allclose(found.distances, expected[rows], rtol=1e-12)


@pytest.mark.parametrize("table", [1, 64, 4096])
@pytest.mark.parametrize("cuts", [[], [1], [100, 101, 250]])
def test_blocks_and_shards_leave_no_trace(monkeypatch, table, cuts):
    pool = ADVERSARIAL["near-duplicates"].astype(np.float32)
    targets = BASE[:5]
    expected = nearest(Vectors(pool), collapse(Vectors(pool)), targets, 50)
    monkeypatch.setattr(module, "TABLE_ENTRIES", table)
    shards = Vectors(np.split(pool, cuts))
    for found, wanted in zip(nearest(shards, collapse(shards), targets, 50), expected, strict=True):
        assert (found.ids == wanted.ids).all()
        assert (found.distances == wanted.distances).all()


def test_copies_count_once():
    pool = np.repeat(BASE[:20], 5, axis=0)
    groups = collapse(Vectors(pool))
    (found,) = nearest(Vectors(pool), groups, BASE[:1] + 0.1, 20)
    assert sorted(found.ids) == list(range(20))
    assert (np.diff(found.distances) > 0).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_normalised_on_the_fly(dtype):
    pool = BASE.astype(dtype)
    vectors = Vectors(pool, normalize=True)
    (found,) = nearest(vectors, singletons(vectors, np.arange(300)), BASE[:1], 10)
    unit = pool.astype(float) / np.linalg.norm(pool.astype(float), axis=1, keepdims=True)
    assert found.ids.tolist() == np.argsort(distances(unit, BASE[:1])[0], kind="stable")[:10].tolist()


def test_values_whose_squares_overflow_are_refused():
    pool = Vectors(BASE * 1e200)
    with pytest.raises(InputError, match="too large for squared distances"):
        nearest(pool, singletons(pool), BASE[:1], 5)
