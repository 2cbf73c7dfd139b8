"""Shards of vectors that lie in files: mapped when they are read, and sent to other processes by name."""

from __future__ import annotations

import mmap
import socket
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias, overload

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from tasksift.errors import InputError

MOST_MAPPED = 2048
"""Shards that a process maps at a time, at most; a system allows some 65,000 maps for everything."""

Shape = tuple[int, int]


class Elsewhere(Protocol):
    """A file that has to be fetched before it can be read."""

    @property
    def url(self) -> str:
        """Where it is."""

    def open(self) -> IO[bytes]:
        """Open it on this machine, fetched if need be."""


class FileShard:
    """A table of numbers in a file.

    Parameters
    ----------
    file : str or Elsewhere
        An absolute path, or what fetches the file.
    shape, dtype
        (n, d), and what the file holds.
    strides : (int, int), optional
        Bytes from row to row and from column to column; by default those of rows one after the other.
    offset : int
        Where the first number is, in bytes from the first number of a ``.npy`` file, otherwise from the file's start.
    npy : bool
        Whether the file is a ``.npy`` file, whose header is then compared when it is mapped.
    array : array, optional
        The table, where it is mapped already by somebody who keeps it so.

    Notes
    -----
    A process keeps the `MOST_MAPPED` shards mapped that were used last, and no more than half of the files that it
    may open. Pickled, a shard is its file's name.
    """

    __slots__ = ("__weakref__", "_array", "dtype", "file", "mapped", "npy", "offset", "shape", "strides")

    def __init__(
        self,
        file: str | Elsewhere,
        shape: Shape,
        dtype: np.dtype[Any],
        strides: Shape | None = None,
        offset: int = 0,
        npy: bool = True,
        array: NDArray[Any] | None = None,
    ) -> None:
        self.file, self.shape, self.dtype, self.offset, self.npy = file, shape, dtype, offset, npy
        self.strides: Shape = strides or (shape[1] * dtype.itemsize, dtype.itemsize)
        self._array = array
        self.mapped = array is not None
        """Whether it stays mapped, whatever else is."""

    @classmethod
    def of(cls, array: NDArray[Any]) -> FileShard | None:
        """Return the shard that a memory map, or a view of one, is; None for an array that has no file."""
        base: Any = array
        while not (isinstance(base, np.memmap) and isinstance(base.base, mmap.mmap)):
            base = base.base
            if not isinstance(base, np.ndarray):
                return None
        if base.filename is None or base.mode == "c" or not array.size or array.ndim != 2:
            return None
        offset = base.offset + _address(array) - _address(base)
        strides = (array.strides[0], array.strides[1])
        # As a plain array, because slicing a memory map costs much more.
        plain = np.asarray(array)
        return cls(
            str(Path(base.filename).absolute()), plain.shape, plain.dtype, strides, offset, npy=False, array=plain
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def columns(self, start: int, stop: int) -> FileShard:
        """Return some columns, without reading anything."""
        array = self._array[:, start:stop] if self.mapped and self._array is not None else None
        shape, offset = (self.shape[0], stop - start), self.offset + start * self.strides[1]
        return FileShard(self.file, shape, self.dtype, self.strides, offset, self.npy, array)

    def array(self) -> NDArray[Any]:
        """Return the table, mapped if it is not.

        Raises
        ------
        InputError
            If the file cannot be seen on this machine, is cut short, or is not what it was.
        """
        array = self._array
        if array is None:
            array = self._map()
            with _lock:
                self._array = array
                _mapped[id(self)] = weakref.ref(self, partial(_gone, id(self)))
                while len(_mapped) > most_mapped():
                    _let_go(_mapped.popitem(last=False)[1])
        elif not self.mapped:
            with _lock:
                if id(self) in _mapped:
                    _mapped.move_to_end(id(self))
        return array

    def __reduce__(self) -> tuple[Any, ...]:
        if self._array is not None and isinstance(self.file, str) and not Path(self.file).exists():
            return np.asarray, (np.ascontiguousarray(self._array),)  # a file that has only its maps left
        return FileShard, (self.file, self.shape, self.dtype, self.strides, self.offset, self.npy)

    def _map(self) -> NDArray[Any]:
        name = self.file if isinstance(self.file, str) else self.file.url
        try:
            with Path(self.file).open("rb") if isinstance(self.file, str) else self.file.open() as file:
                start = self._first_number(file, name) if self.npy else 0
                return self._view(file, start, name)
        except FileNotFoundError:
            raise InputError(
                f"{name} cannot be seen on this machine ({socket.gethostname()}); put it on storage that all machines "
                "share, or name it by URL"
            ) from None
        except OSError as error:
            raise InputError(f"{name} cannot be mapped: {error.strerror}") from None

    def _first_number(self, file: IO[bytes], name: str) -> int:
        """Read the header, compare it with what the shard is taken to be, and return where the numbers begin."""
        try:
            shape, fortran, dtype = read_header(file)
        except ValueError:
            raise InputError(f"{name} has a damaged header; make it again") from None
        strides = (dtype.itemsize, dtype.itemsize * shape[0]) if fortran else _strides(shape, dtype)
        if len(shape) != 2 or shape[0] != self.shape[0] or dtype != self.dtype or strides != self.strides:
            raise InputError(f"{name} holds {dtype} {shape} and not what was there before; run again")
        return file.tell()

    def _view(self, file: IO[bytes], start: int, name: str) -> NDArray[Any]:
        try:
            whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return np.ndarray(self.shape, self.dtype, whole, start + self.offset, self.strides)
        except (TypeError, ValueError):  # there are fewer bytes than that
            raise InputError(f"{name} is truncated; copy or make it again") from None


Item: TypeAlias = FileShard | NDArray[Any]


class Shards(Sequence[NDArray[Any]]):
    """Tables, those in files mapped as they are asked for. What `shapes` and `dtypes` say opens nothing."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.items: list[Item] = list(items)

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, k: int) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, k: slice) -> Shards: ...
    def __getitem__(self, k: int | slice) -> NDArray[Any] | Shards:
        if isinstance(k, slice):
            return Shards(self.items[k])
        item = self.items[k]
        return item.array() if isinstance(item, FileShard) else item

    def __mul__(self, times: int) -> Shards:
        return Shards(self.items * times)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of each."""
        return [item.shape for item in self.items]

    @property
    def dtypes(self) -> set[np.dtype[Any]]:
        """The dtypes that there are."""
        return {item.dtype for item in self.items}

    @property
    def nbytes(self) -> int:
        """Bytes of all."""
        return sum(item.nbytes for item in self.items)

    def columns(self, start: int, stop: int) -> Shards:
        """Return some columns of each, without reading or copying anything."""
        return Shards(
            item.columns(start, stop) if isinstance(item, FileShard) else item[:, start:stop] for item in self.items
        )


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether columns lie one after the other, and dtype of a ``.npy`` file, up to its first number.

    Raises
    ------
    ValueError
        If this is no such header.
    """
    version = npy.read_magic(file)
    # Version 3 exists for the field names of structured arrays, which are no vectors anyway.
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return shape, fortran, dtype


def open_shard(name: str | Elsewhere) -> FileShard:
    """Return the shard in a ``.npy`` file, not mapped yet; a `ValueError` if its header is not that of a table."""
    with Path(name).open("rb") if isinstance(name, str) else name.open() as file:
        return shard_of(file, name)


def shard_of(file: IO[bytes], name: str | Elsewhere) -> FileShard:
    """Return the shard in a ``.npy`` file, which `file` has open at its start and which `name` opens later."""
    shape, fortran, dtype = read_header(file)
    if len(shape) != 2 or dtype.hasobject:
        raise ValueError(f"{dtype} {shape} is no table of numbers")
    return table_shard(name, shape, fortran, dtype)


def table_shard(name: str | Elsewhere, shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any]) -> FileShard:
    """Return the shard in a ``.npy`` file whose header says this, a table."""
    strides = (dtype.itemsize, dtype.itemsize * shape[0]) if fortran else None
    return FileShard(name, (shape[0], shape[1]), dtype, strides)


def forget(path: Path) -> None:
    """Let go of what this process has mapped of a fetched file, which is about to leave the disk."""
    with _lock:
        for number, reference in list(_mapped.items()):
            shard = reference()
            if shard is not None and not isinstance(shard.file, str) and getattr(shard.file, "path", None) == path:
                _let_go(_mapped.pop(number))


@cache
def most_mapped() -> int:
    """Return how many shards this process keeps mapped; a map of Python's holds an open file as well."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return MOST_MAPPED
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_MAPPED if soft == resource.RLIM_INFINITY else max(1, min(MOST_MAPPED, soft // 2))


_lock = threading.RLock()
_mapped: OrderedDict[int, weakref.ref[FileShard]] = OrderedDict()
"""What this process has mapped, the least recently used first."""


def _let_go(reference: weakref.ref[FileShard]) -> None:
    shard = reference()
    if shard is not None:
        shard._array = None  # the map goes with its last reader


def _gone(number: int, _: weakref.ref[FileShard]) -> None:
    with _lock:
        _mapped.pop(number, None)


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def _strides(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, int]:
    return (dtype.itemsize * shape[-1], dtype.itemsize)
