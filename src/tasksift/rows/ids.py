"""Ids of rows: made of content digests, or the user's own; and the order of ids, by which all ties break."""

from __future__ import annotations

from array import array
from binascii import hexlify
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasksift.errors import InputError

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


def rank_keys(keys: Keys) -> tuple[Int, NDArray[np.int32] | None]:
    """Rank rows by the ids that `make_ids` gives them, without making one.

    Parameters
    ----------
    keys : uint64 (n, 2)
        The 16 bytes of each row's digest, as they lie in memory.

    Returns
    -------
    order : int64 (n,)
        The rank of every row among the sorted ids.
    nth : int32 (n,) or None
        How many equal rows come before each; None when no two are equal.

    Notes
    -----
    Time: two seconds for ten million rows. Memory: 24 bytes a row besides the results' 8 to 12; rows that share their
    first eight bytes with another, hence copies, cost 24 more.
    """
    n = len(keys)
    first = _as_number(keys[:, 0])
    by = np.argsort(first, kind="stable")
    first = first[by]
    repeats = first[1:] == first[:-1]
    del first
    nth = None
    if repeats.any():
        tied = np.flatnonzero(np.append(repeats, False) | np.append(False, repeats))
        del repeats
        by[tied], counts = _arrange(keys, by[tied])
        if counts.any():
            nth = np.zeros(n, dtype=np.int32)
            nth[by[tied]] = counts
            if counts.max() > 9:
                by[tied] = _by_spelling(by[tied], counts)
    order = np.empty(n, dtype=np.int64)
    order[by] = np.arange(n)
    return order, nth


def make_ids(keys: Keys, nth: NDArray[np.int32] | None) -> pa.ChunkedArray:
    """Return a unique id for each of some rows of a pool.

    The id is the digest in hexadecimal. Of equal rows the first has it alone, the others get ``-1``, ``-2`` ... in the
    order of their position; so ids do not change when rows are appended, and permuting the pool permutes the ids
    of its distinct contents.

    Parameters
    ----------
    keys, nth : uint64 (k, 2), int32 (k,) or None
        Digests and numbers of these rows, as in `rank_keys`.
    """
    width = 2 * DIGEST_BYTES
    chunks = []
    for start in range(0, len(keys), CHUNK_ROWS):
        some = np.ascontiguousarray(keys[start : start + CHUNK_ROWS])
        ends = pa.py_buffer(np.arange(0, width * (len(some) + 1), width, dtype=np.int32))
        ids = pa.StringArray.from_buffers(len(some), ends, pa.py_buffer(hexlify(some.data)))
        if nth is not None:
            count = pa.array(nth[start : start + CHUNK_ROWS])
            dash = pc.if_else(pc.greater(count, 0), "-", "")
            text = pc.if_else(pc.greater(count, 0), pc.cast(count, pa.string()), "")
            ids = pc.binary_join_element_wise(ids, dash, text, "")
        chunks.append(ids)
    return pa.chunked_array(chunks, pa.string())


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


def _by_spelling(rows: Int, nth: NDArray[np.int32]) -> Int:
    """Sort each run of equal rows as its ids are spelled: -10 before -2."""
    run = np.cumsum(nth == 0)
    spelled = nth.astype(f"S{len(str(nth.max()))}")
    return rows[np.lexsort((spelled, run))]
