"""Vectors on disk or in memory, seen as one array: shards, blocks and rows, without copying what need not be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray

from tasksift.engines.current import spread
from tasksift.errors import InputError
from tasksift.shards import FileShard, Item, Shards

VectorsLike = Union["Vectors", Item, Sequence[Item]]

BLOCK_BYTES = 8 * 2**20
"""How much of a shard is converted at a time, in float32: small enough for the caches, large enough for a product."""

PART_ROWS = 65_536
"""Rows of a part at most that is read by itself, wherever the engine of a run does so."""

Span = tuple[int, int]


class Vectors:
    """A pool of vectors: one or more two-dimensional arrays stacked by rows, read block by block.

    Parameters
    ----------
    shards : array or sequence of arrays or of FileShard
        Arrays, memory maps or `.npy` files of shape (n_i, d), any real dtype. They are kept as they are and only read
        in blocks. A dtype of two opaque bytes (``V2``, how NumPy saves the bfloat16 of ml_dtypes) is read as bfloat16.
    normalize : bool
        Whether every row read is scaled to unit length. A zero row stays zero.
    name : str
        What messages call it.

    Attributes
    ----------
    shards : Shards
        The arrays; those in files are mapped as they are asked for.
    starts : int64 (shards + 1,)
        The first row of every shard, and the number of rows.
    checked : bool
        Whether `check_finite` has passed.

    Notes
    -----
    Pickled, memory maps and files are their names, arrays in memory their bytes.
    """

    def __init__(self, shards: VectorsLike, *, normalize: bool = False, name: str = "vectors") -> None:
        self.checked = False
        if isinstance(shards, Vectors):
            normalize = bool(normalize or shards.normalize)
            self.checked = shards.checked
        self.shards: Shards = _shards(shards)
        if not self.shards:
            raise InputError(f"{name}: there are no vectors")
        first = self.shards.items[0]
        for k, item in enumerate(self.shards.items):
            if len(item.shape) != 2:
                raise InputError(f"{name}: shard {k} has shape {item.shape}; vectors are a table of rows × dimensions")
            if not is_real(item.dtype):
                raise InputError(f"{name}: shard {k} holds {item.dtype}, not real numbers; save it as float32")
            if item.shape[1] != first.shape[1]:
                raise InputError(f"{name}: shard {k} has {item.shape[1]} dimensions and shard 0 has {first.shape[1]}")
        self.normalize: bool = normalize
        self.name = name
        self.starts = np.concatenate([[0], np.cumsum([shape[0] for shape in self.shards.shapes])]).astype(np.int64)

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def dim(self) -> int:
        """Dimensions of a row."""
        return int(self.shards.items[0].shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of all rows as stored."""
        return self.shards.nbytes

    @property
    def block_rows(self) -> int:
        """Rows that fit a block of `BLOCK_BYTES` in float32."""
        return max(1, BLOCK_BYTES // (4 * max(1, self.dim)))

    def spans(self, rows: int | None = None) -> list[Span]:
        """Cut the rows into (start, stop) of at most `rows` rows, by default `block_rows`, within single shards."""
        step = rows or self.block_rows
        return [
            (at, min(at + step, stop))
            for start, stop in pairwise(self.starts.tolist())
            for at in range(start, stop, step)
        ]

    def raw(self, span: Span) -> NDArray[Any]:
        """Return the rows of a span as stored, without copying them; bfloat16 is widened to float32."""
        k = int(np.searchsorted(self.starts, span[0], side="right")) - 1
        return _readable(self.shards[k][span[0] - self.starts[k] : span[1] - self.starts[k]])

    def narrow(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Return rows as stored in float32, scaled if `normalize`; in float64 where float32 cannot hold them.

        Every value is within 2^-22 of its exact one, as a share of the row's length.
        """
        with np.errstate(over="ignore"):
            narrow = widen(raw).astype(np.float32, copy=False)
        if raw.dtype.itemsize > 4 and not np.isfinite(narrow).all():
            return self.exact(raw)
        if not self.normalize:
            return narrow
        squares = np.einsum("ij,ij->i", narrow, narrow)
        if not (np.isfinite(squares).all() and (squares > TINY).all()):
            return self.exact(raw)
        scaled: NDArray[Any] = narrow * (1 / np.sqrt(squares))[:, None]
        return scaled

    def exact(self, raw: NDArray[Any]) -> NDArray[np.float64]:
        """Return rows as stored in float64, scaled if `normalize`; a row's value does not depend on the others."""
        # In one order of memory, because sums over rows that lie otherwise round otherwise.
        wide = widen(raw).astype(np.float64, order="C")
        if self.normalize:
            with np.errstate(over="ignore", under="ignore"):
                length = np.sqrt((wide * wide).sum(axis=1))
            odd = np.flatnonzero(~((length > 1e-140) & (length < 1e140)))
            if len(odd):  # their squares leave the range of float64
                exponent = np.frexp(np.abs(wide[odd]).max(axis=1, initial=0.0))[1]
                wide[odd] = np.ldexp(wide[odd], -exponent[:, None])
                length[odd] = np.sqrt((wide[odd] * wide[odd]).sum(axis=1))
            length[length == 0] = 1.0
            wide /= length[:, None]
        return wide

    def rows(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the given rows as stored, shape (len(rows), d); in the widest dtype of the shards."""
        if len(self.shards) == 1:
            return _readable(self.shards[0].take(rows, axis=0))
        kinds = {np.dtype(np.float32) if dtype.kind == "V" else dtype for dtype in self.shards.dtypes}
        out = np.empty((len(rows), self.dim), dtype=np.result_type(*kinds))
        shard_of = np.searchsorted(self.starts, rows, side="right") - 1
        for k in np.unique(shard_of):
            here = shard_of == k
            out[here] = _readable(self.shards[k].take(rows[here] - self.starts[k], axis=0))
        return out

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the given rows in float64, shape (len(rows), d), scaled if `normalize`."""
        return self.exact(self.rows(rows))

    def copy(self, rows: NDArray[np.int64], path: Path) -> Vectors:
        """Write the given rows, as stored, to a ``.npy`` file, a block at a time, and return them mapped."""
        dtype = self.rows(rows[:1]).dtype
        out = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(len(rows), self.dim))
        for start in range(0, len(rows), self.block_rows):
            some = slice(start, start + self.block_rows)
            out[some] = self.rows(rows[some])
        out.flush()
        return Vectors(out, normalize=self.normalize, name=self.name)

    def columns(self, start: int, stop: int) -> Vectors:
        """Return some columns, as stored, without reading or copying anything."""
        return Vectors(self.shards.columns(start, stop), name=self.name)

    def check_finite(self, tick: Callable[[int], None] | None = None) -> None:
        """Raise an `InputError` that names the first row with a NaN or infinite value; once is enough."""
        if self.checked:
            return
        spans = self.spans(PART_ROWS)
        for span, row in zip(spans, spread(first_infinite, (self,), spans), strict=True):
            if row is not None:
                raise InputError(f"{self.name}: row {row} holds a NaN or infinite value; remove it or embed it again")
            if tick:
                tick(span[1] - span[0])
        self.checked = True

    def blocks(self, span: Span, rows: int | None = None) -> list[Span]:
        """Cut a span within a single shard into (start, stop) of at most `rows` rows, by default `block_rows`."""
        step = rows or self.block_rows
        return [(at, min(at + step, span[1])) for at in range(*span, step)]


def first_infinite(vectors: Vectors, span: Span) -> int | None:
    """Return the first row of a span that holds a NaN or infinite value; None if there is none."""
    for block_span in vectors.blocks(span):
        block = vectors.raw(block_span)
        if block.dtype == np.float32 and np.isfinite(np.einsum("ij,ij->i", block, block)).all():
            continue  # one pass is enough: a sum of squares is finite only when every value is
        if block.dtype == np.float16 and not ((block.view(np.uint16) & 0x7C00) == 0x7C00).any():
            continue  # no exponent of all ones, which NumPy tells ten times faster from the bits
        good = np.isfinite(block).all(axis=1)
        if not good.all():
            return block_span[0] + int(np.argmin(good))
    return None


TINY = 1e-30
"""Squared lengths below this may have lost digits to the underflow of float32."""


def widen(raw: NDArray[Any]) -> NDArray[Any]:
    """Return float16 rows, which must be finite, in float32, and others as they are.

    By moving bits: sign, exponent and fraction find their places, and one product corrects the exponent's bias. Exact,
    and six times faster than NumPy's conversion.
    """
    if raw.dtype != np.float16:
        return raw
    bits = raw.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= np.int32(-0x70002000)
    wide = bits.view(np.float32)
    wide *= np.float32(2.0**112)
    return wide


def is_real(dtype: np.dtype[Any]) -> bool:
    """Tell whether vectors may have this dtype: floats, integers, and bfloat16 as two opaque bytes."""
    return dtype.kind in "fiu" or (dtype.kind == "V" and dtype.itemsize == 2 and dtype.names is None)


def _shards(given: VectorsLike) -> Shards:
    if isinstance(given, Vectors):
        return given.shards
    if isinstance(given, Shards):
        return given
    several = [given] if isinstance(given, np.ndarray | FileShard) else given
    return Shards(each if isinstance(each, FileShard) else _item(np.asanyarray(each)) for each in several)


def _item(array: NDArray[Any]) -> Item:
    # As plain arrays, because slicing a memory map costs much more.
    return FileShard.of(array) or np.asarray(array)


def _readable(rows: NDArray[Any]) -> NDArray[Any]:
    """Widen bfloat16, the upper half of a float32, which NumPy itself cannot compute with."""
    if rows.dtype.kind != "V":
        return rows
    halves = np.ascontiguousarray(rows).view(np.uint16).astype(np.uint32)
    halves <<= np.uint32(16)
    return halves.view(np.float32)
