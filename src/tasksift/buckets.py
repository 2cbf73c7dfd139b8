"""Rows dealt into buckets by the leading bits of their keys, so that a sort of any length goes bucket by bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from tasksift.numbering import numbers
from tasksift.scratch import chunks, large

Int = NDArray[np.int64]
Keys = NDArray[np.uint64]

BUCKET_ROWS = 2**20
"""Rows of a bucket, of which some 100 bytes each are held while they are sorted."""

BITS = 16
"""Bits of a key that rows are dealt by at a time."""


def buckets(keys: Keys, number: Callable[[Keys], Keys], limit: int = BUCKET_ROWS) -> Iterator[tuple[Int, Keys]]:
    """Yield the rows bucket by bucket: every key of a bucket is below those of the next one, and no key is in two.

    Parameters
    ----------
    keys : uint64 (n, 2)
    number : callable
        Turns words of keys into numbers whose order is that to sort by.
    limit : int
        Rows of a bucket. Only a bucket of equal keys may hold more.

    Yields
    ------
    int64 (k,), uint64 (k, 2)
        The bucket's rows, ascending, and their keys as they are.

    Notes
    -----
    As long as keys are spread evenly, as digests are, this takes two passes over them and 24 bytes a row of scratch;
    keys that many rows share in part are dealt again by their next bits. A pool of one bucket is not touched at all.
    """
    return _dealt(None, keys, 0, number, limit)


def _dealt(
    rows: Int | None, keys: Keys, level: int, number: Callable[[Keys], Keys], limit: int
) -> Iterator[tuple[Int, Keys]]:
    n = len(keys)
    if n <= limit or all((keys[some] == keys[0]).all() for some in chunks(n)):
        yield numbers(n) if rows is None else rows, keys
        return
    word, shift = divmod(level * BITS, 64)

    def digits(some: slice) -> NDArray[np.uint16]:
        return (number(keys[some, word]) >> np.uint64(64 - BITS - shift)).astype(np.uint16)

    counts = np.zeros(2**BITS, dtype=np.int64)
    for some in chunks(n):
        counts += np.bincount(digits(some), minlength=len(counts))
    if counts.max() == n:
        yield from _dealt(rows, keys, level + 1, number, limit)
        return
    # Half a limit of digits with few rows, and one of them that reaches over it; digits of many rows have their own.
    many = counts > limit // 2
    part = (np.cumsum(counts) - counts) // max(1, limit // 2)
    begin = np.append(False, np.diff(part).astype(bool) | many[1:] | many[:-1])
    bucket = np.cumsum(begin).astype(np.uint16)
    sizes = np.bincount(bucket, weights=counts).astype(np.int64)
    ends = np.cumsum(sizes)
    dealt_rows, dealt_keys = large(n, np.int64), large((n, 2), np.uint64)
    begins = ends - sizes
    for some in chunks(n):
        to = bucket[digits(some)]
        by = np.argsort(to, kind="stable")
        cuts = np.cumsum(np.bincount(to, minlength=len(sizes)))
        moved_rows, moved_keys = by + some.start if rows is None else rows[some][by], keys[some].take(by, axis=0)
        for k in np.unique(to).tolist():
            here = slice(cuts[k - 1] if k else 0, cuts[k])
            there = slice(begins[k], begins[k] + here.stop - here.start)
            dealt_rows[there], dealt_keys[there] = moved_rows[here], moved_keys[here]
            begins[k] = there.stop
    for start, end in zip((ends - sizes).tolist(), ends.tolist(), strict=True):
        if end > start:
            yield from _dealt(dealt_rows[start:end], dealt_keys[start:end], level + 1, number, limit)
