"""Exact duplicates as one weighted point (specs: collapse before the search, so that a list counts distinct rows)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.engines.local import share
from tasksift.vectors import Span, Vectors, widen

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
    ranked = np.argsort(collapse(pool).of_row, kind="stable") if order is None else np.argsort(order)
    return Groups(ranked, np.ones(len(pool), dtype=np.int64), _inverse(ranked, len(pool)))


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
            values = widen(raw).astype(np.float32, copy=False) + np.float32(0)
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


def collapse(
    pool: Vectors,
    order: Int | None = None,
    tick: Callable[[int], None] | None = None,
    *,
    keys: NDArray[np.uint64] | None = None,
) -> Groups:
    """Group the rows of equal values.

    Parameters
    ----------
    pool : Vectors (n, d)
    order : int64 (n,), optional
        The rank of every row in tie order (the order of row ids). Without it ties break by the rows' content.
    tick : callable, optional
        Called with the number of rows just read.
    keys : uint64 (n, 2), optional
        What `content_keys` returned for this pool, if it is known already.

    Notes
    -----
    Rows are grouped by a 128-bit hash and then compared value by value, so a collision cannot merge different rows.
    Cost: one pass unless `keys` are given, two sorts of n numbers, and a second look at the rows that have copies.
    Memory: 24 bytes a row for the result, up to 50 on the way where there are many copies; keys take 16 more.
    """
    n = len(pool)
    if keys is None:
        keys = content_keys(pool, tick)
    by_key = np.argsort(keys[:, 0], kind="stable")
    begins = _changes(keys[by_key, 0])
    tied = ~begins | np.append(~begins[1:], False)
    rows, begins = by_key[tied], begins[tied]
    first = begins | _changes(keys[rows, 1])
    # As a rule, rows that share one half of the key are copies and stand right.
    if not np.array_equal(first, begins):
        rows = rows[np.lexsort((keys[rows, 1], keys[rows, 0]))]
        first = _changes(keys[rows, 0]) | _changes(keys[rows, 1])
    del keys, begins
    _split_collisions(pool, rows, first)
    if order is None:
        by_key[tied] = rows
    del tied
    ranked = by_key if order is None else np.argsort(order)
    del by_key
    if not len(rows):
        return Groups(ranked, np.ones(n, dtype=np.int64), _inverse(ranked, n))
    starts = np.flatnonzero(first)
    heads = ranked[np.minimum.reduceat(_inverse(ranked, n)[rows], starts)]
    distinct = np.ones(n, dtype=bool)
    distinct[rows] = False
    distinct[heads] = True
    representative = ranked[distinct[ranked]]
    del ranked
    of_row = _inverse(representative, n)
    of_row[rows] = np.repeat(of_row[heads], np.diff(starts, append=len(rows)))
    return Groups(representative, np.bincount(of_row).astype(np.int64, copy=False), of_row)


def _inverse(rows: Int, n: int) -> Int:
    """The place of each of n rows in `rows`; whatever for those that are not there."""
    place = np.empty(n, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    return place


def _changes(values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether each value differs from the one before it."""
    changes = np.ones(len(values), dtype=bool)
    changes[1:] = values[1:] != values[:-1]
    return changes


def _split_collisions(pool: Vectors, by_key: Int, first: NDArray[np.bool_]) -> None:
    """Within each run of equal keys, bring equal rows together and mark where a different one starts."""
    plain = Vectors(pool.shards)
    starts = np.append(np.flatnonzero(first), len(first))
    step = pool.block_rows

    def mixed(at: int) -> Int:
        rows = by_key[at : at + step]
        run = np.searchsorted(starts, np.arange(at, at + len(rows)), side="right") - 1
        same = plain.rows(rows) == plain.rows(by_key[starts[run]])
        return np.asarray(run[~same.all(axis=1)])

    found = list(share(mixed, range(0, len(by_key), step)))
    for k in np.unique(np.concatenate(found)) if found else ():
        start, end = starts[k], starts[k + 1]
        members = by_key[start:end]
        _, label = np.unique(plain.take(members), axis=0, return_inverse=True)
        arranged = np.argsort(label.ravel(), kind="stable")
        by_key[start:end] = members[arranged]
        first[start + 1 : end] = np.diff(label.ravel()[arranged]) > 0
