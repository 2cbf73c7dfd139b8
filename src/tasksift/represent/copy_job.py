"""Rows that are copies of rows of earlier shards get the very vectors of these, once all shards were begun."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from tasksift.engines.current import Done
from tasksift.errors import InputError, UnfinishedError
from tasksift.represent.model_job import dropped
from tasksift.represent.shard_jobs import Layout
from tasksift.represent.shard_writer import ShardWriter

UNIT_SHARDS = 16
"""Shards that are handed out at a time."""


@dataclass(frozen=True)
class CopiedRows:
    """The rows of one shard that wait, and where their vectors are, as plain data.

    Attributes
    ----------
    shard : int
    rows : int64 (k,)
        Rows of this shard, ascending.
    from_shard, from_row : int64 (k,)
        The shards and the rows in them that these rows are copies of.
    keys : bytes
        The content digests of a shard of which every row waits, so that it is not there yet; otherwise empty.
    """

    shard: int
    rows: NDArray[np.int64]
    from_shard: NDArray[np.int64]
    from_row: NDArray[np.int64]
    keys: bytes = b""


@dataclass(frozen=True)
class CopyUnit:
    """Shards that are handed out together, ascending."""

    shards: tuple[CopiedRows, ...]

    @property
    def numbers(self) -> list[int]:
        """The numbers of the shards."""
        return [each.shard for each in self.shards]


@dataclass(frozen=True)
class CopyJob:
    """A `tasksift.engines.current.ShardJob` that reads no pool and no model, for the units of `copy_units`.

    Attributes
    ----------
    writer : ShardWriter
        Of the store.
    """

    writer: ShardWriter

    gpu = heavy = False

    def read(self, unit: CopyUnit) -> Iterator[tuple[int, CopiedRows]]:
        """Yield each shard of a unit."""
        return ((each.shard, each) for each in unit.shards)

    def load(self) -> None:
        """Nothing is needed."""

    def write(self, state: None, shard: int, rows: CopiedRows) -> Done:
        """Fill the rows of a shard that wait, and complete it."""
        begun = perf_counter()
        waiting = self.writer.begun(shard)
        if waiting is not None and not len(waiting):  # an attempt whose end went unnoticed
            return Done(shard, 0, 0, perf_counter() - begun)
        if waiting is None and not rows.keys:
            # Or another worker, which was thought to be lost, completes it just now.
            raise UnfinishedError(f"shard {shard} of {self.writer.folder} is gone; run again to compute it")
        vectors: NDArray[np.generic] | None = None
        for source in np.unique(rows.from_shard).tolist():
            here = rows.from_shard == source
            taken = self._take(source, rows.from_row[here])
            if vectors is None:
                vectors = np.empty((len(rows.rows), taken.shape[1]), dtype=taken.dtype)
            vectors[here] = taken
        assert vectors is not None
        if waiting is None:
            size = self.writer.write(shard, vectors, keys=rows.keys)
        else:
            size = self.writer.fill(shard, rows.rows, vectors)
        drops = dropped(self.writer.identity, vectors)
        return Done(shard, len(rows.rows), size, perf_counter() - begun, drops)

    def _take(self, shard: int, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        try:
            return self.writer.take(shard, rows)
        except InputError as error:
            # Another worker may complete this very shard: between its table and its marker, the two do not agree.
            raise UnfinishedError(str(error)) from None


def copy_units(layout: Layout, left: Sequence[int]) -> list[CopyUnit]:
    """Cut the shards that are left, ascending, into runs."""
    starts = np.array([start for start, _ in layout.spans])
    shards = [_copied(layout, starts, shard) for shard in left]
    return [CopyUnit(tuple(shards[at : at + UNIT_SHARDS])) for at in range(0, len(shards), UNIT_SHARDS)]


def _copied(layout: Layout, starts: NDArray[np.int64], shard: int) -> CopiedRows:
    assert layout.firsts is not None
    rows = layout.copied(shard)
    firsts = layout.firsts[starts[shard] + rows]
    sources = np.searchsorted(starts, firsts, side="right") - 1
    keys = layout.key_bytes(shard) if len(rows) == layout.size(shard) else b""
    return CopiedRows(shard, rows, sources, firsts - starts[sources], keys)
