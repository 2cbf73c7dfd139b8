"""Large arrays in nameless temporary files: a number for every row of a pool lies on the disk and not in memory.

Inside ``with scratch(folder)`` whatever `large` gives is mapped from a file on the disk of `folder`. The system writes
its pages out when memory is short, and the file is gone as soon as the array is, however the process ends. A folder
that is itself kept in memory (tmpfs) saves nothing.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tasksift.errors import InputError

LARGE = 4 * 2**20
"""Bytes from which on an array lies in a file."""

CHUNK_ROWS = 2**18
"""Rows of a large array that are worked on at a time: what they take meanwhile does not grow with the pool."""

_folder: ContextVar[Path | None] = ContextVar("scratch", default=None)


@contextmanager
def scratch(folder: Path) -> Iterator[None]:
    """Let large arrays lie on the disk of `folder`. Threads that start inside do not see it: theirs stay in memory."""
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


def large(shape: int | tuple[int, ...], dtype: DTypeLike, fill: float | None = None) -> NDArray[Any]:
    """Return a new array: mapped from a scratch file if it has `LARGE` bytes or more, in memory otherwise.

    Parameters
    ----------
    shape : int or tuple of int
    dtype : dtype
    fill : number, optional
        What stands in it; by default nothing in particular.

    Raises
    ------
    InputError
        If the disk has no room for it. The room is taken at once, for a page that finds none later ends the process.
    """
    shape = (shape,) if isinstance(shape, int) else shape
    kind = np.dtype(dtype)
    folder, size = _folder.get(), kind.itemsize * math.prod(shape)
    if folder is None or size < LARGE:
        out: NDArray[Any] = np.empty(shape, dtype=kind)
    else:
        with _opened(folder) as file:
            try:
                _take_room(file, size)
            except OSError as error:
                raise _refused(folder, size, error) from None
            out = np.ndarray(shape, kind, mmap.mmap(file.fileno(), size))
    if fill is not None:
        out[...] = fill
    return out


class Column:
    """Numbers that come batch after batch, nobody knows how many; they lie where `large` would put them."""

    def __init__(self, dtype: DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self._folder = _folder.get()
        self._held = bytearray()
        self._file: IO[bytes] | None = None
        self._written = 0

    def __len__(self) -> int:
        return (self._written + len(self._held)) // self.dtype.itemsize

    def extend(self, values: Any) -> None:
        """Append numbers: bytes of this dtype, or whatever NumPy takes for an array."""
        self._held += values if isinstance(values, bytes) else np.asarray(values, dtype=self.dtype).tobytes()
        if self._folder is not None and len(self._held) >= LARGE:
            self._write()

    def done(self) -> NDArray[Any]:
        """All numbers in one array (n,); nothing may be appended afterwards."""
        if self._file is None:
            return np.frombuffer(self._held, dtype=self.dtype)
        self._write()
        with self._file as file:
            return np.ndarray(len(self), self.dtype, mmap.mmap(file.fileno(), self._written))

    def _write(self) -> None:
        assert self._folder is not None
        if self._file is None:
            self._file = _opened(self._folder)
        try:
            self._file.write(self._held)
            self._file.flush()
        except OSError as error:
            raise _refused(self._folder, self._written + len(self._held), error) from None
        self._written += len(self._held)
        self._held.clear()


def chunks(n: int, rows: int = CHUNK_ROWS) -> Iterator[slice]:
    """Cut `n` rows into slices of at most `rows`."""
    return (slice(at, min(at + rows, n)) for at in range(0, n, rows))


def _opened(folder: Path) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        raise _refused(folder, 0, error) from None


def _take_room(file: IO[bytes], size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    zeros = bytes(min(size, LARGE))
    for at in range(0, size, len(zeros)):
        file.write(zeros[: size - at])
    file.flush()


def _refused(folder: Path, size: int, error: OSError) -> InputError:
    what = f"{size / 1e6:.0f} MB of numbers of the rows" if size else "numbers of the rows"
    return InputError(f"cannot write {what} in {folder}: {error.strerror or error}; make room there")
