"""Arrays in scratch files: like others, but for where they lie."""

import errno
import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tasksift import scratch as module
from tasksift.errors import InputError
from tasksift.scratch import Column, chunks, large, scratch

MANY = module.LARGE // 8


def in_memory(make):
    """What a call leaves in memory, in bytes; maps of files are not counted."""
    tracemalloc.start()
    try:
        kept = make()
        return tracemalloc.get_traced_memory()[0], kept
    finally:
        tracemalloc.stop()


def test_small_arrays_and_those_outside_lie_in_memory(tmp_path):
    with scratch(tmp_path):
        held, array = in_memory(lambda: large(MANY - 1, np.float64))
        assert held >= array.nbytes
    held, array = in_memory(lambda: large((MANY, 2), np.int64))
    assert held >= array.nbytes


@pytest.mark.parametrize("shape", [MANY, (MANY, 2), (3, MANY)])
@pytest.mark.parametrize("fill", [None, 0, np.nan])
def test_large_arrays_lie_in_nameless_files(shape, fill, tmp_path):
    with scratch(tmp_path):
        held, array = in_memory(lambda: large(shape, np.float64, fill))
    assert held < 10_000
    assert type(array) is np.ndarray
    assert type(array[5:] + 1) is np.ndarray
    assert array.shape == (shape if isinstance(shape, tuple) else (shape,))
    assert fill is None or np.array_equal(array, np.full(shape, fill), equal_nan=True)
    array[-1] = 7.0  # outside of the block as well
    assert (array[-1] == 7.0).all()
    assert list(tmp_path.iterdir()) == []


def test_scratch_ends_with_its_block(tmp_path):
    with scratch(tmp_path), pytest.raises(ZeroDivisionError), scratch(tmp_path / "inner"):
        raise ZeroDivisionError
    with scratch(tmp_path / "gone"), pytest.raises(InputError, match=r"cannot write .* in .*gone: No such file"):
        large(MANY, np.int64)
    large(MANY, np.int64)


def test_threads_inside_do_not_see_it(tmp_path):
    with scratch(tmp_path / "gone"), ThreadPoolExecutor(1) as pool:
        assert len(pool.submit(large, MANY, np.int64).result()) == MANY


@pytest.mark.parametrize("dtype", [np.int32, np.uint64, np.float64])
@pytest.mark.parametrize("count", [0, 1, 1000, 3 * MANY])
def test_columns(dtype, count, tmp_path):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 1000, count).astype(dtype)
    cuts = np.sort(rng.integers(0, count + 1, 5))

    def fill():
        column = Column(dtype)
        for part in np.split(values, cuts):
            column.extend(part.tobytes() if len(part) % 2 else part.tolist() if len(part) < 100 else part)
        assert len(column) == count
        return column.done()

    with scratch(tmp_path):
        held, array = in_memory(fill)
    assert array.dtype == dtype
    assert np.array_equal(array, values)
    assert held < module.LARGE + 100_000
    assert np.array_equal(fill(), values)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_before_anything_is_written(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "_take_room", full)
    with scratch(tmp_path), pytest.raises(InputError, match=r"cannot write 8 MB .*: No space left on device"):
        large(2 * MANY, np.int64)


def test_without_fallocate_the_room_is_written(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with scratch(tmp_path):
        array = large(2 * MANY + 3, np.int64)
    assert len(array) == 2 * MANY + 3
    assert not array.any()


def test_chunks():
    assert list(chunks(0)) == []
    assert list(chunks(7, 3)) == [slice(0, 3), slice(3, 6), slice(6, 7)]
