"""Vectors on disk or in memory, seen as one array: shards, blocks and rows, without copying what need not be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError

VectorsLike = Union["Vectors", NDArray[Any], Sequence[NDArray[Any]]]

BLOCK_BYTES = 16 * 2**20
"""How much of a shard is read at a time."""


class Vectors:
    """A pool of vectors: one or more two-dimensional arrays stacked by rows, read block by block.

    Parameters
    ----------
    shards : array or sequence of arrays
        Arrays or memory maps of shape (n_i, d), any real dtype. They are kept as they are and only read in blocks.
    normalize : bool
        Whether every row read is scaled to unit length. A zero row stays zero.
    name : str
        What messages call it.
    """

    def __init__(self, shards: VectorsLike, *, normalize: bool = False, name: str = "vectors") -> None:
        arrays: list[NDArray[Any]]
        if isinstance(shards, Vectors):
            arrays = shards.shards
            normalize = bool(normalize or shards.normalize)
        elif isinstance(shards, np.ndarray):
            arrays = [shards]
        else:
            arrays = [np.asarray(shard) for shard in shards]
        if not arrays:
            raise InputError(f"{name}: there are no vectors")
        for k, array in enumerate(arrays):
            if array.ndim != 2:
                raise InputError(f"{name}: shard {k} has shape {array.shape}; vectors are a table of rows × dimensions")
            if array.dtype.kind not in "fiu":
                raise InputError(f"{name}: shard {k} holds {array.dtype}, not real numbers; save it as float32")
            if array.shape[1] != arrays[0].shape[1]:
                raise InputError(
                    f"{name}: shard {k} has {array.shape[1]} dimensions and shard 0 has {arrays[0].shape[1]}"
                )
        self.shards: list[NDArray[Any]] = list(arrays)
        self.normalize: bool = normalize
        self.name = name
        self.starts = np.concatenate([[0], np.cumsum([len(array) for array in arrays])]).astype(np.int64)

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def dim(self) -> int:
        """Dimensions of a row."""
        return int(self.shards[0].shape[1])

    @property
    def block_rows(self) -> int:
        """Rows that fit a block of `BLOCK_BYTES` in float32."""
        return max(1, BLOCK_BYTES // (4 * max(1, self.dim)))

    def raw_blocks(self, rows: int | None = None) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield (position of the first row, at most `rows` rows as stored)."""
        step = rows or self.block_rows
        for start, shard in zip(self.starts, self.shards, strict=False):
            for at in range(0, len(shard), step):
                yield int(start) + at, shard[at : at + step]

    def blocks(self, rows: int | None = None) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield (position of the first row, at most `rows` rows, scaled if `normalize`).

        Rows come in float32, or in float64 where float32 cannot hold them.
        """
        for start, block in self.raw_blocks(rows):
            with np.errstate(over="ignore"):
                narrow = block.astype(np.float32, copy=False)
            if block.dtype.itemsize > 4 and not np.isfinite(narrow).all():
                narrow = block.astype(np.float64, copy=False)
            yield start, self._scaled(narrow)

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the given rows in float64, shape (len(rows), d), scaled if `normalize`."""
        out = np.empty((len(rows), self.dim))
        shard_of = np.searchsorted(self.starts, rows, side="right") - 1
        for k in np.unique(shard_of):
            here = shard_of == k
            out[here] = self.shards[k][rows[here] - self.starts[k]]
        return self._scaled(out)

    def check_finite(self) -> None:
        """Raise an `InputError` that names the first row with a NaN or infinite value."""
        for start, block in self.raw_blocks():
            good = np.isfinite(block).all(axis=1)
            if not good.all():
                row = start + int(np.argmin(good))
                raise InputError(f"{self.name}: row {row} holds a NaN or infinite value; remove it or embed it again")

    def _scaled(self, block: NDArray[Any]) -> NDArray[Any]:
        if not self.normalize:
            return block
        # Lengths in float64 and row by row, so that a row's value does not depend on the block it was read in.
        wide = block.astype(np.float64, copy=False)
        length = np.sqrt((wide * wide).sum(axis=1))
        length[length == 0] = 1.0
        scaled: NDArray[Any] = (wide / length[:, None]).astype(block.dtype, copy=False)
        return scaled
