"""Renumbering chunk by chunk, against NumPy in one line each."""

import numpy as np
import pytest

from tasksift import numbering, scratch
from tasksift.numbering import by_rank, gather, highest, inverse, numbers, where


@pytest.fixture(autouse=True, params=[3, 2**18])
def chunk_rows(request, monkeypatch):
    monkeypatch.setattr(scratch.chunks, "__defaults__", (request.param,))
    monkeypatch.setattr(numbering, "CHUNK_ROWS", request.param)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 20])
def test_numbering(n):
    rng = np.random.default_rng(n)
    assert numbers(n).tolist() == list(range(n))
    values, rows = rng.random((n + 1, 2)), rng.integers(0, n + 1, n)
    assert np.array_equal(gather(values, rows), values[rows])
    assert np.array_equal(gather(values[:, 0], rows, np.float32), values[rows, 0].astype(np.float32))
    mask = rng.integers(-1, 2, n)
    assert where(mask).tolist() == np.flatnonzero(mask).tolist()
    shuffled = rng.permutation(n)
    assert inverse(shuffled, n).tolist() == np.argsort(shuffled).tolist()
    some = shuffled[: n // 2]
    assert inverse(some, n, -1).tolist() == [some.tolist().index(k) if k in some else -1 for k in range(n)]


@pytest.mark.parametrize("most", [1, 3, 20, 100, 10**9])
@pytest.mark.parametrize("low", [0, -5])
def test_by_rank(most, low):
    rng = np.random.default_rng(most)
    for distinct in (True, False):
        ranks = np.array([4 % most]) if most < 20 else rng.choice(most, 12, replace=not distinct) + low
        assert by_rank(ranks).tolist() == np.argsort(ranks, kind="stable").tolist()
    assert by_rank(ranks[:0]).tolist() == []


@pytest.mark.parametrize("k", [0, 1, 4, 20, 30])
def test_highest(k):
    rng = np.random.default_rng(k)
    values, order = rng.integers(0, 4, 20).astype(float), rng.permutation(20)
    assert highest(values, k).tolist() == np.argsort(-values, kind="stable")[:k].tolist()
    assert highest(values, k, order).tolist() == np.lexsort((order, -values))[:k].tolist()
    assert highest(values[:0], k).tolist() == []
