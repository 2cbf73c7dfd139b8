"""Buckets of rows: every row once, in the order of keys, few at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasksift import scratch
from tasksift.buckets import buckets


@pytest.fixture(autouse=True, scope="module")
def small_chunks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scratch.chunks, "__defaults__", (5,))
        yield


words = st.sampled_from([0, 1, 2**16, 2**48, 2**63, 2**64 - 1, 0x0123456789ABCDEF])


def check(keys, limit, number=np.asarray):
    seen = []
    last = None
    for rows, some in buckets(keys, number, limit):
        assert np.array_equal(some, keys[rows])
        assert (np.diff(rows) > 0).all()
        if not len(keys):
            continue
        ordered = sorted((int(a), int(b)) for a, b in number(some))
        assert len(rows) <= limit or len(set(ordered)) == 1
        assert last is None or last < ordered[0]
        last = ordered[-1]
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(keys)))


@given(keys=st.lists(st.tuples(words, words), max_size=30), limit=st.integers(1, 12))
def test_keys_that_share_much(keys, limit):
    check(np.array(keys, dtype=np.uint64).reshape(-1, 2), limit)


@pytest.mark.parametrize("limit", [1, 2, 7, 100, 1000])
def test_keys_spread_evenly(limit):
    keys = np.random.default_rng(limit).integers(0, 2**64, (400, 2), dtype=np.uint64)
    check(keys, limit)
    check(keys, limit, lambda words: words.byteswap())
