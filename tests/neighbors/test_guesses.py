"""Search by guessed limits: wrong guesses, parts in any order and pruning midway lose nothing."""

import numpy as np
import pytest
from adversarial import NAMES, ROWS, bfloat16, cases, exact
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import distances

from tasksift.neighbors import search as module
from tasksift.neighbors.distances import squared_distances
from tasksift.neighbors.groups import collapse, singletons
from tasksift.neighbors.parts import parts
from tasksift.neighbors.search import Shelf, nearest, scan
from tasksift.vectors import Vectors

RNG = np.random.default_rng(0)
POOL = np.vstack([RNG.normal(size=(1500, 12)), 3 + 0.01 * RNG.normal(size=(500, 12))]).astype(np.float32)
TARGETS = np.vstack([POOL[:4] * 1.01, POOL[-2:], np.full((1, 12), 50.0), np.full((1, 12), 1e3)]).astype(float)


def check_nearest(pool, targets, k, *, normalize=False, **options):
    """All distances by the same subtraction give the same ids and bits; and those agree with the definition."""
    vectors = Vectors(pool, normalize=normalize)
    groups = singletons(vectors, RNG.permutation(len(vectors)))
    rows = vectors.take(groups.representative)
    found = nearest(vectors, groups, targets, k, **options)
    for neighbours, target, expected in zip(found, targets, distances(rows, targets), strict=True):
        d = np.sqrt(squared_distances(rows, target))
        np.testing.assert_allclose(d, expected, rtol=1e-14 * vectors.dim)
        best = np.lexsort((np.arange(len(rows)), d))[:k]
        np.testing.assert_array_equal(neighbours.ids, best)
        np.testing.assert_array_equal(neighbours.distances, d[best])
    return found


def same(one, other):
    return all(
        np.array_equal(a.ids, b.ids) and np.array_equal(a.distances, b.distances)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("dim", [3, 200])
def test_adversarial_pools(name, normalize, dim):
    pool, _ = cases(dim)[name]
    targets = exact(pool, normalize=normalize)[[0, 31, 61, 119]]
    for k in (1, 10, ROWS - 1, ROWS + 5):
        check_nearest(pool, targets, k, normalize=normalize)


@pytest.mark.parametrize("k", [1, 20, 700, 2000])
@pytest.mark.parametrize("guess", ["zero", "too small", "random", "inf", "huge", "too large"])
def test_wrong_guesses_change_nothing(monkeypatch, guess, k):
    order = np.arange(2000)
    vectors = Vectors(np.split(POOL, [700]))
    expected = nearest(vectors, singletons(vectors, order), TARGETS, k)
    truth = np.sort(distances(POOL, TARGETS), axis=1)[:, k - 1] ** 2
    guesses = {
        "zero": 0 * truth,
        "too small": truth * (1 - 1e-7),
        "random": truth * 10.0 ** np.random.default_rng(k).uniform(-3, 3, len(truth)),
        "inf": np.full(len(truth), np.inf),
        "huge": np.full(len(truth), 1e300),
        "too large": truth * (1 + 1e-5),
    }
    asked = []
    monkeypatch.setattr(module, "_guess", lambda pool, groups, targets, k: asked.append(k) or guesses[guess])
    assert same(nearest(vectors, singletons(vectors, order), TARGETS, k), expected)
    assert asked == [k]


def test_enough_rows_by_a_hair_are_not_taken_for_the_nearest(monkeypatch):
    # The nearest row stands with one beyond float32, so its bounds are of float64 and exclude it; those of the next one
    # are of float32 and do not.
    step = np.eye(40)[:1]
    pool = [1 + step * np.sqrt(1 + 1e-6), np.vstack([1 + step * np.sqrt(1 + 5e-7), 1e60 * step])]
    monkeypatch.setattr(module, "_guess", lambda *_: np.array([1.0]))
    (found,) = nearest(Vectors(pool), singletons(Vectors(pool), np.arange(3)), np.ones((1, 40)), 1)
    assert found.ids.tolist() == [1]


@pytest.mark.parametrize("far_first", [False, True])
def test_sorted_pools(monkeypatch, far_first):
    targets = TARGETS[:3]
    order = np.argsort(distances(POOL, targets[:1])[0])
    pool = POOL[order[::-1] if far_first else order]
    monkeypatch.setattr(module, "TABLE_ENTRIES", 64)
    for k in (3, 300):
        check_nearest(pool, targets, k)


def test_a_sample_that_sees_none_of_the_near_rows(monkeypatch):
    # Every 32nd row is far away, and the others near.
    pool = np.full((4000, 5), 1e3) + RNG.normal(size=(4000, 5))
    pool[np.arange(4000) % 32 > 0] -= 1e3
    passes = []
    search = module._search
    monkeypatch.setattr(module, "_search", lambda *of: passes.append(of[3]) or search(*of))
    vectors = Vectors(pool)
    groups = singletons(vectors, np.arange(4000))
    for pick, k in ((pool[1:4], 50), (pool[:64:32], 300)):
        for found, d in zip(nearest(vectors, groups, pick, k), distances(pool, pick), strict=True):
            assert found.ids.tolist() == np.argsort(d, kind="stable")[:k].tolist()
    assert len(passes) > 1, "the guess must have failed once"


@pytest.mark.parametrize("k", [1, 5, 40])
@pytest.mark.parametrize("near_last", [False, True])
def test_pruning_midway(monkeypatch, k, near_last):
    monkeypatch.setattr(module, "TABLE_ENTRIES", 40 * 50)
    pruned = []
    prune = Shelf._prune
    monkeypatch.setattr(Shelf, "_prune", lambda self: pruned.append(True) or prune(self))
    targets = RNG.normal(size=(40, 3))
    pool = RNG.normal(size=(6000, 3))
    pool = pool[np.argsort(np.square(pool).sum(axis=1) * (-1 if near_last else 1))]
    monkeypatch.setattr(module, "_guess", lambda *_: np.full(40, np.inf))
    check_nearest(pool, targets, k)
    assert pruned


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_shelves_of_parts_add_up_to_that_of_the_whole(seed):
    rng = np.random.default_rng(seed)
    pool = rng.integers(-3, 4, size=(300, 2)) + rng.choice([0, 1e-9, 0.1]) * rng.normal(size=(300, 2))
    vectors = Vectors(pool.astype(np.float32))
    groups = collapse(vectors)
    targets, k = rng.normal(size=(4, 2)), min(int(rng.integers(1, 20)), len(groups))
    limits = np.full(4, np.inf) if rng.random() < 0.5 else rng.uniform(0, 9, 4)

    def shelf_of(spans):
        shelf = Shelf(limits.copy(), k)
        for part in parts(groups, spans):
            shelf.put(*scan(vectors, targets, k, "numpy", (part, limits.copy())))
        return shelf

    edges = np.sort(rng.choice(np.arange(1, 300), size=rng.integers(1, 9), replace=False))
    spans = list(zip(np.append(0, edges), np.append(edges, 300), strict=True))
    whole = shelf_of(spans)
    # In any order and grouping.
    shelves = [shelf_of([spans[i]]) for i in rng.permutation(len(spans))]
    while len(shelves) > 1:
        one, other = (shelves.pop(int(rng.integers(len(shelves)))) for _ in range(2))
        one.put(*other.columns())
        shelves.append(one)
    expected, found = whole.candidates(), shelves[0].candidates()
    np.testing.assert_allclose(shelves[0].limits, whole.limits, rtol=1e-5)
    for i, target in enumerate(targets):
        d = distances(vectors.take(groups.representative), target[None])[0]
        near = np.flatnonzero(d**2 <= min(limits[i], np.sort(d)[k - 1] ** 2))
        assert np.isin(near, expected[i]).all()
        assert np.isin(near, found[i]).all()
        assert len(np.unique(found[i])) == len(found[i])
        if np.isfinite(shelves[0].limits[i]):
            assert shelves[0].limits[i] >= np.sort(d)[k - 1] ** 2


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_shards_and_types_leave_no_trace(monkeypatch, workers):
    pool = np.rint(8 * POOL)
    order = np.arange(2000)
    expected = nearest(Vectors(pool), singletons(Vectors(pool), order), TARGETS, 150)
    monkeypatch.setenv("TASKSIFT_WORKERS", str(workers))
    monkeypatch.setattr(module, "TABLE_ENTRIES", 8 * 130)
    parts = [
        pool[:500].astype(np.int8),
        bfloat16(pool[500:1000]),
        np.asfortranarray(pool[1000:1500].astype(np.float16)),
        pool[1500:].astype(np.float64),
    ]
    for shards in (pool, parts, np.asfortranarray(pool), bfloat16(pool)):
        vectors = Vectors(shards)
        assert same(nearest(vectors, singletons(vectors, order), TARGETS, 150), expected)


def test_copies_are_not_searched():
    pool = np.vstack([POOL[:200].repeat(7, axis=0), POOL[-300:]])
    vectors = Vectors(pool)
    groups = collapse(vectors, np.arange(len(pool)))
    for found, d in zip(nearest(vectors, groups, TARGETS, 450), distances(pool, TARGETS), strict=True):
        assert len(found.ids) == 450
        rows = groups.representative[found.ids]
        np.testing.assert_allclose(found.distances, d[rows])
        np.testing.assert_allclose(found.distances, np.sort(d[groups.representative])[:450])


def test_rows_read_are_reported():
    done = []
    vectors = Vectors(np.split(POOL, [300]))
    nearest(vectors, singletons(vectors, np.arange(2000)), TARGETS[:2], 5, done.append)
    assert sum(done) % 2000 == 0
    assert nearest(vectors, singletons(vectors, np.arange(2000)), TARGETS[:2], 0)[0].ids.shape == (0,)
