"""Ids and their order, against definitions in one line each."""

import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksift import scratch
from tasksift.errors import InputError
from tasksift.rows import ids as module
from tasksift.rows.ids import check_user_ids, make_ids, rank_keys, rank_names

# Digests that share their first half, their second half, both or none; many copies.
digests = st.lists(
    st.sampled_from([bytes([k]) * 7 + bytes([i]) * 8 + bytes([j]) for k in (0, 7) for i in (0, 200) for j in (0, 1)]),
    max_size=60,
)


def slow_ids(found):
    return [d.hex() + (f"-{found[:i].count(d)}" if d in found[:i] else "") for i, d in enumerate(found)]


def ids_of(found, limit=1000):
    keys = np.frombuffer(b"".join(found), np.uint64).reshape(-1, 2)
    order, nth = rank_keys(keys, limit)
    return make_ids(keys, nth).to_pylist(), order.tolist()


@given(found=digests, more=digests, data=st.data())
@settings(max_examples=60)
def test_ids(found, more, data):
    ids, order = ids_of(found)
    assert ids == slow_ids(found)
    assert ids_of(found, data.draw(st.integers(1, 20))) == (ids, order)
    assert sorted(ids) == [name for _, name in sorted(zip(order, ids, strict=True))]
    assert ids_of(found + more)[0][: len(found)] == ids
    assert set(ids_of(data.draw(st.permutations(found)))[0]) == set(ids)


def test_the_order_of_many_copies_is_that_of_their_ids():
    found = [bytes([k % 3]) * 16 for k in range(330)]
    ids, order = ids_of(found)
    assert ids == slow_ids(found)
    assert [ids[row] for row in np.argsort(order)] == sorted(ids)
    # In parts, where one of the copies does not fit a bucket.
    assert ids_of(found, 100) == ids_of(found, 1) == (ids, order)


@pytest.mark.parametrize("count", [1, 9, 10, 11, 100, 101, 1234])
def test_copies_of_one_row_in_parts(count, monkeypatch):
    monkeypatch.setattr(scratch.chunks, "__defaults__", (7,))
    ids, order = ids_of([b"0123456789abcdef"] * count, 5)
    assert [ids[row] for row in np.argsort(order)] == sorted(ids)
    assert len(set(ids)) == count


def test_ranking_holds_a_bucket_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch.chunks, "__defaults__", (2**14,))
    monkeypatch.setattr(scratch, "LARGE", 2**17)
    n = 2**20
    keys = np.random.default_rng(0).integers(0, 2**64, (n, 2), dtype=np.uint64)
    keys[::5] = keys[3]
    tracemalloc.start()
    try:
        with scratch.scratch(tmp_path):
            order, nth = rank_keys(keys, 2**15)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * n
    plain, numbers = rank_keys(keys, n)
    assert np.array_equal(order, plain)
    assert np.array_equal(nth, numbers)


def test_many_different_digests():
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 2**64, (20_000, 2), dtype=np.uint64)
    keys[5_000:6_000, 0] = keys[0, 0]
    order, nth = rank_keys(keys)
    ids = make_ids(keys, nth).to_pylist()
    assert nth is None
    assert ids == [row.tobytes().hex() for row in keys]
    assert [ids[row] for row in np.argsort(order)] == sorted(ids)


def test_ids_come_in_chunks(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_ROWS", 7)
    found = [bytes([k % 5]) * 16 for k in range(30)]
    assert ids_of(found)[0] == slow_ids(found)
    keys = np.frombuffer(b"".join(found), np.uint64).reshape(-1, 2)
    rows = np.array([29, 3, 3, 0, 17, 8, 9, 10])
    assert make_ids(keys, rank_keys(keys)[1], rows).to_pylist() == [slow_ids(found)[row] for row in rows]


def test_the_order_of_given_names():
    names = ["b", "", "a-2", "é", "a-10", "a"]
    order = rank_names(pa.chunked_array([names[:2], names[2:]], pa.string()))
    assert [names[row] for row in np.argsort(order)] == sorted(names, key=str.encode)


def test_user_ids():
    check_user_ids(pa.chunked_array([["a"], ["b"]]))
    with pytest.raises(InputError, match="rows 1 and 3 of the pool both have the id 'b'"):
        check_user_ids(pa.chunked_array([["a", "b"], ["c", "b", "a"]]))
    with pytest.raises(InputError, match="row 1 of the pool has an empty id"):
        check_user_ids(pa.chunked_array([["a", ""]]))
