"""Exact duplicates as one weighted point (specs: collapse before the search, so that a list counts distinct rows)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.buckets import BUCKET_ROWS, Keys, buckets
from tasksift.engines.current import spread
from tasksift.engines.local import share
from tasksift.numbering import by_rank, inverse, numbers
from tasksift.scratch import Column, chunks, large
from tasksift.vectors import PART_ROWS, Span, Vectors, widen

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
        return inverse(self.representative, len(self.of_row), -1)


def singletons(pool: Vectors, order: Int | None = None) -> Groups:
    """Every row as a group of its own, for selectors that do not collapse copies; copies follow one another."""
    ranked = _runs(pool, None, content_keys(pool))[0] if order is None else by_rank(order)
    return Groups(ranked, np.broadcast_to(np.int64(1), len(pool)), inverse(ranked, len(pool)))


def content_keys(pool: Vectors, tick: Callable[[int], None] | None = None) -> Keys:
    """Two independent multilinear hashes of each row's values, shape (n, 2).

    Equal values give equal keys in every floating type that holds them; -0.0 counts as 0.0. `tick` is told how many
    rows were read. Cost: one pass.
    """
    rng = np.random.default_rng(0x7A5C)
    multipliers = rng.integers(1, 2**63, size=(2, 2 * pool.dim), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    out = large((len(pool), 2), np.uint64)
    spans = pool.spans(PART_ROWS)
    for span, keys in zip(spans, spread(_hash_rows, (pool, multipliers), spans), strict=True):
        out[slice(*span)] = keys
        if tick:
            tick(span[1] - span[0])
    return out


def _hash_rows(pool: Vectors, multipliers: NDArray[np.uint64], span: Span) -> Keys:
    """The keys of the rows of a span, uint64 (b, 2)."""
    out = np.empty((span[1] - span[0], 2), dtype=np.uint64)
    for start, stop in pool.blocks(span, max(1, pool.block_rows // 8)):
        here = out[start - span[0] : stop - span[0]]
        raw = pool.raw((start, stop))
        with np.errstate(over="ignore"):
            values = widen(raw).astype(np.float32, copy=False) + np.float32(0)
        _hash(values, multipliers, here)
        if raw.dtype.kind != "f" or raw.dtype.itemsize > 4:
            wide = np.flatnonzero((values != raw).any(axis=1))
            if len(wide):  # rows that float32 does not hold
                keys = np.empty((len(wide), 2), dtype=np.uint64)
                _hash(raw[wide].astype(np.float64) + 0.0, multipliers, keys)
                here[wide] = keys
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
    keys: Keys | None = None,
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
    Cost: one pass unless `keys` are given, a sort of n numbers, and a second look at the rows that have copies.
    Memory: some 100 MB for a bucket of rows (`tasksift.buckets`). The result, of 16 to 24 bytes a row, and up to 48
    more meanwhile are scratch (`tasksift.scratch`).
    """
    n = len(pool)
    if keys is None:
        keys = content_keys(pool, tick)
    ranked, order, head = _runs(pool, order, keys)
    if head is None:
        return Groups(ranked, np.broadcast_to(np.int64(1), n), inverse(ranked, n) if order is None else order)
    firsts = Column(np.int64)
    for some in chunks(n):
        rows = ranked[some]
        firsts.extend(rows[head[rows] == rows])
    representative = firsts.done()
    place = inverse(representative, n)
    size = large(len(representative), np.int64, fill=1)
    for some in chunks(n):
        again = head[some] != np.arange(some.start, some.stop)
        head[some] = place[head[some]]
        np.add.at(size, head[some][again], 1)
    return Groups(representative, size, of_row=head)


def _runs(pool: Vectors, order: Int | None, keys: Keys) -> tuple[Int, Int | None, Int | None]:
    """Find equal rows.

    Returns
    -------
    ranked : int64 (n,)
        All rows in tie order; without `order` by content, copies by position.
    order : int64 (n,) or None
        The place of every row in `ranked`, if `order` was given.
    head : int64 (n,) or None
        For every row its copy that is first in tie order; None where no two rows are equal.
    """
    n = len(pool)
    if order is None:
        ranked = large(n, np.int64)
    else:
        ranked = by_rank(order)
        order = inverse(ranked, n)
    head = None
    at = 0
    for rows, some in buckets(keys, np.asarray, BUCKET_ROWS):
        by, tied, first = _by_key(rows, some) if len(rows) <= BUCKET_ROWS else _one_key(rows)
        copies = by[tied]
        if len(copies):
            _split_collisions(pool, copies, first)
        if order is None:
            by[tied] = copies
            ranked[at : at + len(by)] = by
            at += len(by)
        starts = np.flatnonzero(first)
        if len(starts) == len(copies):
            continue
        if head is None:
            head = numbers(n)
        best = copies[starts] if order is None else np.full(len(starts), n)
        if order is not None:
            for part, run in _runs_of(starts, len(copies)):
                np.minimum.at(best, run, order[copies[part]])
            best = ranked[best]
        for part, run in _runs_of(starts, len(copies)):
            head[copies[part]] = best[run]
    return ranked, order, head


def _by_key(rows: Int, keys: Keys) -> tuple[Int, Any, NDArray[np.bool_]]:
    """Sort ascending rows by key and position; which of these have the key of another, and where such keys begin."""
    by = np.argsort(keys[:, 0], kind="stable")
    begins = _changes(keys[by, 0])
    tied = np.flatnonzero(~begins | np.append(~begins[1:], False))
    copies, begins = by[tied], begins[tied]
    first = begins | _changes(keys[copies, 1])
    # As a rule, rows that share one half of the key are copies and stand right.
    if not np.array_equal(first, begins):
        copies = copies[np.lexsort((keys[copies, 1], keys[copies, 0]))]
        first = _changes(keys[copies, 0]) | _changes(keys[copies, 1])
        by[tied] = copies
    return rows[by], tied, first


def _one_key(rows: Int) -> tuple[Int, Any, NDArray[np.bool_]]:
    """As `_by_key`, for rows that all have the same."""
    first = large(len(rows), np.bool_, fill=False)
    first[0] = True
    return rows, slice(None), first


def _runs_of(starts: Int, n: int) -> Iterator[tuple[slice, Int]]:
    """Cut n places into parts, with the number of the run that each place belongs to."""
    for part in chunks(n):
        yield part, np.searchsorted(starts, np.arange(part.start, part.stop), side="right") - 1


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
