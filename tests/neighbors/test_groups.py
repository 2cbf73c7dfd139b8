"""Exact duplicates as one weighted point."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksift import scratch
from tasksift.neighbors import groups as module
from tasksift.neighbors.groups import collapse, content_keys, singletons
from tasksift.vectors import Vectors


def random_pool(seed):
    rng = np.random.default_rng(seed)
    pool = rng.integers(-2, 3, size=(rng.integers(1, 40), rng.integers(1, 4))).astype(float)
    return pool, rng.permutation(len(pool))


@pytest.fixture(autouse=True, scope="module", params=[12, 1000], ids=["small buckets", "one bucket"])
def bucket_rows(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BUCKET_ROWS", request.param)
        patch.setattr(scratch.chunks, "__defaults__", (request.param,))
        yield


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_groups_are_the_distinct_rows(seed):
    pool, order = random_pool(seed)
    groups = collapse(Vectors([pool[:3], pool[3:]]), order)
    assert len(groups) == len(np.unique(pool, axis=0))
    assert (pool[groups.representative[groups.of_row]] == pool).all()
    assert (groups.size == np.bincount(groups.of_row)).all()
    # The representative is the first of its group in tie order, and groups are numbered in that order.
    for g, row in enumerate(groups.representative):
        assert order[row] == order[groups.of_row == g].min()
    assert (np.diff(order[groups.representative]) > 0).all()
    assert (groups.rank[groups.representative] == np.arange(len(groups))).all()
    assert (groups.rank >= 0).sum() == len(groups)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_without_ids_the_numbering_follows_the_content(seed):
    pool, shuffle = random_pool(seed)
    one, other = collapse(Vectors(pool)), collapse(Vectors(pool[shuffle]))
    assert (pool[one.representative] == pool[shuffle][other.representative]).all()
    assert (one.size == other.size).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from([2**64 - 1, 2**63, 3]))
@settings(max_examples=60)
def test_without_ids_rows_come_by_key_value_and_position(seed, kept_bits):
    pool, _ = random_pool(seed)
    keys = content_keys(Vectors(pool)) & np.uint64(kept_bits)  # so that different rows collide in a half or in both
    ranked = sorted(range(len(pool)), key=lambda row: (*keys[row].tolist(), *pool[row].tolist(), row))
    heads = {tuple(pool[row]): row for row in ranked[::-1]}
    wanted = [row for row in ranked if heads[tuple(pool[row])] == row]
    groups = collapse(Vectors(pool), keys=keys)
    assert groups.representative.tolist() == wanted
    assert groups.of_row.tolist() == [wanted.index(heads[tuple(row)]) for row in pool]


@pytest.mark.parametrize("copies", [1, 2, 12])
def test_a_pool_of_one_row(copies):
    pool, order = Vectors(np.ones((copies, 2))), np.arange(copies)[::-1]
    for groups in (collapse(pool), collapse(pool, order)):
        assert (groups.size.tolist(), groups.of_row.tolist()) == ([copies], [0] * copies)
    assert collapse(pool, order).representative.tolist() == [copies - 1]
    assert singletons(pool, order).representative.tolist() == list(range(copies))[::-1]
    assert singletons(pool).representative.tolist() == list(range(copies))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8])
def test_dtypes_and_negative_zero(dtype):
    pool = np.array([[0, 1], [1, 0], [0, 1], [-0.0, 1]]).astype(dtype)
    groups = collapse(Vectors(pool))
    assert sorted(groups.size) == [1, 3]


def test_equal_keys_do_not_merge_different_rows(monkeypatch):
    monkeypatch.setattr(module, "content_keys", lambda pool, tick: np.zeros((len(pool), 2), dtype=np.uint64))
    pool = np.array([[1.0], [2], [1], [3], [2]])
    groups = collapse(Vectors(pool), np.arange(5))
    assert (pool[groups.representative].ravel() == [1, 2, 3]).all()
    assert groups.size.tolist() == [2, 2, 1]


def test_singletons_keep_copies_apart_and_in_order():
    pool = Vectors(np.array([[1.0], [2], [1]]))
    groups = singletons(pool, np.array([2, 0, 1]))
    assert groups.representative.tolist() == [1, 2, 0]
    assert groups.of_row.tolist() == [2, 0, 1]
    by_content = singletons(pool)
    assert len(by_content) == 3
    assert abs(int(by_content.of_row[0]) - int(by_content.of_row[2])) == 1
