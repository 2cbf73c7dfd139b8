"""Exact duplicates as one weighted point (specs: collapse before the search, so that a list counts distinct rows)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.engines.local import share
from tasksift.vectors import Span, Vectors

Int = NDArray[np.int64]


@dataclass(frozen=True)
class Groups:
    """The distinct rows of a pool, numbered in tie order: group 0 wins every tie.

    Because the numbering comes from row ids (or, without ids, from the content), everything that is computed on
    groups is the same however the pool is ordered.

    Attributes
    ----------
    representative : int64 (g,)
        The pool row that stands for each group: its member that is first in tie order.
    size : int64 (g,)
        How many equal rows the group holds.
    of_row : int64 (n,)
        The group of every pool row.
    """

    representative: Int
    size: Int
    of_row: Int

    def __len__(self) -> int:
        return len(self.representative)

    @cached_property
    def rank(self) -> Int:
        """The group of every row that represents one, -1 for the other copies, shape (n,)."""
        if len(self) == len(self.of_row):
            return self.of_row
        rank = np.full(len(self.of_row), -1, dtype=np.int64)
        rank[self.representative] = np.arange(len(self))
        return rank


def singletons(pool: Vectors, order: Int | None = None) -> Groups:
    """Every row as a group of its own, for selectors that do not collapse copies; copies follow one another."""
    if order is None:
        by_order = np.argsort(collapse(pool).of_row, kind="stable")
        order = np.empty(len(pool), dtype=np.int64)
        order[by_order] = np.arange(len(pool))
    return Groups(np.argsort(order), np.ones(len(pool), dtype=np.int64), np.argsort(np.argsort(order)))


def content_keys(pool: Vectors, tick: Callable[[int], None] | None = None) -> NDArray[np.uint64]:
    """Two independent multilinear hashes of each row's values, shape (n, 2).

    Equal values give equal keys in every floating type that holds them; -0.0 counts as 0.0. `tick` is told how many
    rows were read. Cost: one pass.
    """
    rng = np.random.default_rng(0x7A5C)
    multipliers = rng.integers(1, 2**63, size=(2, 2 * pool.dim), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    out = np.empty((len(pool), 2), dtype=np.uint64)
    spans = pool.spans(max(1, pool.block_rows // 8))

    def hash_rows(span: Span) -> None:
        raw = pool.raw(span)
        with np.errstate(over="ignore"):
            values = raw.astype(np.float32) + np.float32(0)
        _hash(values, multipliers, out[span[0] : span[1]])
        if raw.dtype.kind != "f" or raw.dtype.itemsize > 4:
            wide = np.flatnonzero((values != raw).any(axis=1))
            if len(wide):  # rows that float32 does not hold
                keys = np.empty((len(wide), 2), dtype=np.uint64)
                _hash(raw[wide].astype(np.float64) + 0.0, multipliers, keys)
                out[span[0] + wide] = keys

    for span, _ in zip(spans, share(hash_rows, spans), strict=True):
        if tick:
            tick(span[1] - span[0])
    return out


def _hash(values: NDArray[Any], multipliers: NDArray[np.uint64], out: NDArray[np.uint64]) -> None:
    # The high halves of such sums are the well-mixed ones, and 32-bit words keep their products from overlapping.
    words = np.ascontiguousarray(values).view(np.uint32).astype(np.uint64)
    for k, multiplier in enumerate(multipliers):
        np.einsum("ij,j->i", words, multiplier[: words.shape[1]], out=out[:, k])


def collapse(pool: Vectors, order: Int | None = None, tick: Callable[[int], None] | None = None) -> Groups:
    """Group the rows of equal values.

    Parameters
    ----------
    pool : Vectors (n, d)
    order : int64 (n,), optional
        The rank of every row in tie order (the order of row ids). Without it ties break by the rows' content.
    tick : callable, optional
        Called with the number of rows just read.

    Notes
    -----
    Rows are grouped by a 128-bit hash and then compared value by value, so a collision cannot merge different rows.
    Cost: one pass, a sort of n keys, and a second look at the rows that have copies.
    """
    n = len(pool)
    keys = content_keys(pool, tick)
    by_key = np.lexsort((np.arange(n) if order is None else order, keys[:, 1], keys[:, 0]))
    sorted_keys = keys[by_key]
    first = np.ones(n, dtype=bool)
    first[1:] = (sorted_keys[1:] != sorted_keys[:-1]).any(axis=1)
    _split_collisions(pool, by_key, first)
    bucket = np.cumsum(first) - 1
    heads = by_key[first]
    # Without ids the buckets already stand in the order of their content.
    place = np.arange(len(heads)) if order is None else np.argsort(np.argsort(order[heads]))
    of_row = np.empty(n, dtype=np.int64)
    of_row[by_key] = place[bucket]
    representative = np.empty(len(heads), dtype=np.int64)
    representative[place] = heads
    return Groups(representative, np.bincount(of_row, minlength=len(heads)).astype(np.int64), of_row)


def _split_collisions(pool: Vectors, by_key: Int, first: NDArray[np.bool_]) -> None:
    """Within each run of equal keys, bring equal rows together and mark where a different one starts."""
    starts = np.flatnonzero(first)
    ends = np.append(starts[1:], len(first))
    shared = ends - starts > 1
    step = pool.block_rows
    plain = Vectors(pool.shards)
    for start, end in zip(starts[shared], ends[shared], strict=True):
        head = plain.take(by_key[start : start + 1])
        equal = all(
            bool((plain.take(by_key[at : min(at + step, end)]) == head).all()) for at in range(start + 1, end, step)
        )
        if not equal:
            members = by_key[start:end]
            _, label = np.unique(plain.take(members), axis=0, return_inverse=True)
            arranged = np.lexsort((np.arange(len(members)), label.ravel()))
            by_key[start:end] = members[arranged]
            first[start + 1 : end] = np.diff(label.ravel()[arranged]) > 0
