"""How shards of a store are read and made anywhere: which rows each has, and where they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tasksift.engines.current import Engine
from tasksift.errors import InputError
from tasksift.rows import Batch
from tasksift.rows.slices import Slice, read_slice

Row = TypeVar("Row")

BATCH_ROWS = 512
"""Rows that are read at a time."""


@dataclass(frozen=True)
class Remote:
    """Where the shards of a store are made, other than here.

    Attributes
    ----------
    engine : Engine
    slices : sequence of Slice
        The pool, as the first pass left it.
    firsts : int64 (n,) or None
        For every row the first one with the same conversation; for models.
    """

    engine: Engine
    slices: Sequence[Slice]
    firsts: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class ShardRows:
    """Which rows of a pool a shard has, as plain data.

    Attributes
    ----------
    shard, start, stop : int
    keys : str
        The digest of the rows' content digests, where there are some.
    copied : bytes
        A bit for each row, set where it is a copy of a row of an earlier shard; empty if none is.
    """

    shard: int
    start: int
    stop: int
    keys: str = ""
    copied: bytes = b""


@dataclass(frozen=True)
class Unit:
    """Shards that are read in one go, as plain data: those that begin in one slice.

    Attributes
    ----------
    slices : tuple of Slice
        That slice, and those into which the last shard reaches.
    first : int
        The row of the pool with which the first slice begins.
    shards : tuple of ShardRows
        Ascending; rows between them are passed over.
    """

    slices: tuple[Slice, ...]
    first: int
    shards: tuple[ShardRows, ...]

    @property
    def numbers(self) -> list[int]:
        """The numbers of the shards."""
        return [each.shard for each in self.shards]


@dataclass(frozen=True)
class Layout:
    """Where the rows of every shard stand; what only the process that hands out the work knows.

    Attributes
    ----------
    slices : sequence of Slice
        All of the pool, as the first pass left them.
    spans : sequence of (int, int)
        The rows (start, stop) of every shard.
    keys : uint64 (n, 2) or None
        The content digests of the pool's rows.
    firsts : int64 (n,) or None
        For every row the first one with the same conversation.
    """

    slices: Sequence[Slice]
    spans: Sequence[tuple[int, int]]
    keys: NDArray[np.uint64] | None = None
    firsts: NDArray[np.int64] | None = None

    def units(self, left: Sequence[int]) -> list[Unit]:
        """Cut the shards that are left, ascending, into units: a file that cannot be cut is read once."""
        ends = np.cumsum([part.rows for part in self.slices])
        units: list[Unit] = []
        k = 0
        for j, end in enumerate(ends.tolist()):
            begun = k
            while k < len(left) and self.spans[left[k]][0] < end:
                k += 1
            if k > begun:
                last = int(np.searchsorted(ends, self.spans[left[k - 1]][1]))
                some = tuple(part for part in self.slices[j : last + 1] if part.rows)
                units.append(Unit(some, end - self.slices[j].rows, tuple(map(self._shard, left[begun:k]))))
        return units

    def copied(self, shard: int) -> NDArray[np.int64]:
        """Return the rows of a shard, counted in it, that are copies of rows of earlier shards."""
        start, stop = self.spans[shard]
        if self.firsts is None:
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero(self.firsts[start:stop] < start)

    def size(self, shard: int) -> int:
        """Return how many rows a shard has."""
        start, stop = self.spans[shard]
        return stop - start

    def key_bytes(self, shard: int) -> bytes:
        """Return the content digests of a shard's rows, one after the other."""
        assert self.keys is not None
        start, stop = self.spans[shard]
        return np.ascontiguousarray(self.keys[start:stop]).tobytes()

    def _shard(self, shard: int) -> ShardRows:
        keys = "" if self.keys is None else key_digest(self.key_bytes(shard))
        copied = b""
        if len(rows := self.copied(shard)):
            bits = np.zeros(self.size(shard), dtype=np.uint8)
            bits[rows] = 1
            copied = np.packbits(bits).tobytes()
        return ShardRows(shard, *self.spans[shard], keys, copied)


def key_digest(keys: bytes) -> str:
    """Return the digest of content digests."""
    return blake2b(keys, digest_size=16).hexdigest()


def read_unit(unit: Unit, take: Callable[[Batch, Slice], list[Row]]) -> Iterator[tuple[ShardRows, list[Row]]]:
    """Yield every shard of a unit with its rows, as `take` makes them of a batch and the slice that it stands in.

    Memory holds one shard and a batch.

    Raises
    ------
    InputError
        If a row cannot be read, or the pool has other rows than it had.
    """
    waiting = iter(unit.shards)
    shard = next(waiting, None)
    held: list[Row] = []
    begin = unit.first
    for part in unit.slices:
        end = begin + part.rows
        at = begin if shard is None else max(begin, min(shard.start, end))
        for batch in read_slice(part, BATCH_ROWS, skip=at - begin):
            stop = at + len(batch.records)
            while shard is not None and shard.start < stop:
                held += take(_some(batch, max(shard.start - at, 0), shard.stop - at), part)
                if shard.stop > stop:
                    break
                yield shard, held
                shard, held = next(waiting, None), []
            if shard is None:
                return
            at = stop
        if at != end:
            raise changed(part.file.path)
        begin = end
    raise changed(unit.slices[-1].file.path)


def changed(path: str) -> InputError:
    """Return the error for a file that is no longer as it was."""
    return InputError(f"{path} was changed while it was read; run again")


def _some(batch: Batch, low: int, high: int) -> Batch:
    if low == 0 and high >= len(batch.records):
        return batch
    lines = None if batch.lines is None else batch.lines[low:high]
    return Batch(batch.file, batch.start + low, batch.records[low:high], lines)
