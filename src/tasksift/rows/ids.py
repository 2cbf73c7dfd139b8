"""Ids of rows: made of content digests, or the user's own; and the order of ids, by which all ties break."""

from __future__ import annotations

from array import array
from binascii import hexlify
from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasksift.buckets import BUCKET_ROWS, buckets
from tasksift.errors import InputError
from tasksift.scratch import chunks, large

Int = NDArray[np.int64]
Keys = NDArray[np.uint64]

DIGEST_BYTES = 16

CHUNK_ROWS = 2**20
"""Ids of one chunk: far from the 2 GB of text at which Arrow's offsets end."""


class ContentDigest:
    """The digest of a pool: of the digests of all its rows, in their order."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=DIGEST_BYTES)

    def add(self, digests: bytes | memoryview) -> None:
        """See the next rows, `DIGEST_BYTES` each."""
        self._hash.update(digests)

    def hex(self) -> str:
        """Return the digest of the rows seen so far."""
        return self._hash.hexdigest()


def rank_keys(keys: Keys, limit: int = BUCKET_ROWS) -> tuple[Int, NDArray[np.int32] | None]:
    """Rank rows by the ids that `make_ids` gives them, without making one.

    Parameters
    ----------
    keys : uint64 (n, 2)
        The 16 bytes of each row's digest, as they lie in memory.
    limit : int
        Rows that are sorted at a time, see `tasksift.buckets`.

    Returns
    -------
    order : int64 (n,)
        The rank of every row among the sorted ids.
    nth : int32 (n,) or None
        How many equal rows come before each; None when no two are equal.

    Notes
    -----
    Time: two seconds for ten million rows. Memory: some 100 MB for a bucket; the results, of 8 to 12 bytes a row, and
    24 more meanwhile are scratch (`tasksift.scratch`).
    """
    order = large(len(keys), np.int64)
    nth: NDArray[np.int32] | None = None
    at = 0
    for bucket, some in buckets(keys, _as_number, limit):
        for rows, counts, place in _copies(bucket) if len(bucket) > limit else [_sorted(bucket, some)]:
            order[rows] = at + place
            if counts.any():
                nth = large(len(keys), np.int32, fill=0) if nth is None else nth
                nth[rows] = counts
        at += len(bucket)
    return order, nth


def make_ids(keys: Keys, nth: NDArray[np.int32] | None, rows: Int | None = None) -> pa.ChunkedArray:
    """Return a unique id for each of some rows of a pool.

    The id is the digest in hexadecimal. Of equal rows the first has it alone, the others get ``-1``, ``-2`` ... in the
    order of their position; so ids do not change when rows are appended, and permuting the pool permutes the ids
    of its distinct contents.

    Parameters
    ----------
    keys, nth : uint64 (n, 2), int32 (n,) or None
        Digests and numbers, as in `rank_keys`.
    rows : int64 (k,), optional
        The rows that get ids, by default all.
    """
    n, width = len(keys) if rows is None else len(rows), 2 * DIGEST_BYTES
    longest = width if nth is None else width + len(f"-{nth.max(initial=0)}")
    all_text, all_ends = large(n * longest, np.uint8), large(n + n // CHUNK_ROWS + 1, np.int32)
    found, at = [], 0
    for k, start in enumerate(range(0, n, CHUNK_ROWS)):
        some = slice(start, start + CHUNK_ROWS) if rows is None else rows[start : start + CHUNK_ROWS]
        part = np.ascontiguousarray(keys[some])
        equal = pa.py_buffer(np.arange(0, width * (len(part) + 1), width, dtype=np.int32))
        ids = pa.StringArray.from_buffers(len(part), equal, pa.py_buffer(hexlify(part.data)))
        if nth is not None:
            count = pa.array(nth[some])
            dash = pc.if_else(pc.greater(count, 0), "-", "")
            number = pc.if_else(pc.greater(count, 0), pc.cast(count, pa.string()), "")
            ids = pc.binary_join_element_wise(ids, dash, number, "")
        ends = all_ends[start + k : start + k + len(part) + 1]
        ends[:] = np.frombuffer(ids.buffers()[1], dtype=np.int32, count=len(ends))
        text = all_text[at : at + ends[-1]]
        text[:] = np.frombuffer(ids.buffers()[2], dtype=np.uint8, count=len(text))
        at += len(text)
        found.append(pa.StringArray.from_buffers(len(part), pa.py_buffer(ends), pa.py_buffer(text)))
    return pa.chunked_array(found, pa.string())


def rank_names(names: pa.ChunkedArray) -> Int:
    """Return the rank of every row among the sorted names, int64 (n,)."""
    order = np.empty(len(names), dtype=np.int64)
    order[pc.sort_indices(names).to_numpy()] = np.arange(len(names))
    return order


def check_user_ids(ids: pa.ChunkedArray) -> None:
    """Raise an `InputError` that names the rows (of the whole pool, from 0) of an empty id or of two equal ones."""
    # Only ids whose hash comes again are compared, so that nothing but numbers is kept of the others.
    hashes = array("q")
    for chunk in ids.chunks:
        hashes.extend(map(hash, chunk.to_pylist()))
    values = np.frombuffer(hashes, dtype=np.int64)
    ordered = np.sort(values)
    again = ordered[1:][ordered[1:] == ordered[:-1]]
    seen: dict[str, int] = {}
    for row in np.flatnonzero(np.isin(values, [*np.unique(again), hash("")])).tolist():
        name = ids[row].as_py()
        if not name:
            raise InputError(f"row {row} of the pool has an empty id; fill it, or leave out --id-column")
        if seen.setdefault(name, row) != row:
            raise InputError(
                f"rows {seen[name]} and {row} of the pool both have the id {name!r}; make ids unique, or leave out "
                "--id-column"
            )


def _as_number(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Words of digests as numbers whose order is that of their bytes."""
    return words.view(">u8").astype(np.uint64)


def _arrange(keys: Keys, rows: Int) -> tuple[Int, NDArray[np.int32]]:
    """Sort rows, which come by the first half of their keys and by position, by key and position.

    Returns them, and how many equal ones come before each.
    """
    first, second = keys[rows, 0], _as_number(keys[rows, 1])
    begins = np.append(True, first[1:] != first[:-1])
    # As a rule, rows that share one half are copies and stand right.
    if not (begins[1:] | (second[1:] == second[:-1])).all():
        arranged = np.lexsort((second, np.cumsum(begins)))
        rows, second = rows[arranged], second[arranged]
        begins[1:] |= second[1:] != second[:-1]
    places = np.arange(len(rows), dtype=np.int32)
    return rows, places - np.maximum.accumulate(np.where(begins, places, np.int32(0)))


def _sorted(rows: Int, keys: Keys) -> tuple[Int, NDArray[np.int32], Int]:
    """Sort ascending rows by their keys (k, 2), equal ones by position.

    Returns the rows sorted so, how many equal ones come before each, and the places of their ids among all of these.
    """
    first = _as_number(keys[:, 0])
    by = np.argsort(first, kind="stable")
    first = first[by]
    repeats = first[1:] == first[:-1]
    del first
    counts, place = np.zeros(len(by), dtype=np.int32), np.arange(len(by))
    if repeats.any():
        tied = np.flatnonzero(np.append(repeats, False) | np.append(False, repeats))
        by[tied], counts[tied] = _arrange(keys, by[tied])
        if counts.max() > 9:
            begins = np.flatnonzero(counts == 0)
            sizes = np.diff(begins, append=len(counts))
            place = np.repeat(begins, sizes) + _spelled(counts, np.repeat(sizes - 1, sizes))
    return rows[by], counts, place


def _copies(rows: Int) -> Iterator[tuple[Int, NDArray[np.int32], Int]]:
    """As `_sorted`, part by part, for rows whose keys are all equal."""
    for some in chunks(len(rows)):
        counts = np.arange(some.start, some.stop, dtype=np.int32)
        yield rows[some], counts, _spelled(counts, np.int64(len(rows) - 1))


def _spelled(counts: NDArray[np.int32], last: Int | np.int64) -> Int:
    """The place of each of the ids "", "-1", "-2" ... up to `last` where they are sorted as text: -10 before -2."""
    tens = 10 ** np.arange(11)
    digits = np.searchsorted(tens, counts, side="right")
    place = np.minimum(counts, 1).astype(np.int64)
    for length in range(1, len(str(int(np.max(last, initial=0)))) + 1):
        # Numbers of this length come before one of another length as they do before its beginning, or its end in zeros.
        head = counts // tens[np.maximum(digits - length, 0)] * tens[np.maximum(length - digits, 0)]
        place += np.maximum(np.minimum(head + (digits > length), last + 1) - tens[length - 1], 0)
    return np.where(counts > 0, place, 0)
