"""Ids and their order, against definitions in one line each."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def ids_of(found):
    keys = np.frombuffer(b"".join(found), np.uint64).reshape(-1, 2)
    order, nth = rank_keys(keys)
    return make_ids(keys, nth).to_pylist(), order.tolist()


@given(found=digests, more=digests, data=st.data())
def test_ids(found, more, data):
    ids, order = ids_of(found)
    assert ids == slow_ids(found)
    assert sorted(ids) == [name for _, name in sorted(zip(order, ids, strict=True))]
    assert ids_of(found + more)[0][: len(found)] == ids
    assert set(ids_of(data.draw(st.permutations(found)))[0]) == set(ids)


def test_the_order_of_many_copies_is_that_of_their_ids():
    found = [bytes([k % 3]) * 16 for k in range(330)]
    ids, order = ids_of(found)
    assert ids == slow_ids(found)
    assert [ids[row] for row in np.argsort(order)] == sorted(ids)


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
