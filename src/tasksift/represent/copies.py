"""Rows of a pool that are copies of earlier ones, found as the pool streams by.

A model gives a copy the same vector but for its last bits, which depend on the batch. Copies that share one vector bit
for bit are known as copies by every selector, and are computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from tasksift.buckets import BUCKET_ROWS, buckets
from tasksift.rows.example import Example
from tasksift.scratch import chunks, large

RECENT = 2**14
"""Rows that are held in a dictionary before they are sorted in among the others."""


class Copies:
    """For every row the first one with the same conversation.

    Notes
    -----
    Memory: 17 bytes for each distinct row, twice that for a moment. Rows are told apart by 12 bytes of BLAKE2.
    """

    def __init__(self) -> None:
        self._count = 0
        self._recent: dict[bytes, int] = {}
        self._digests: NDArray[np.bytes_] = np.zeros(0, dtype="S13")
        self._rows = np.zeros(0, dtype=np.int32)

    def add(self, examples: Sequence[Example]) -> NDArray[np.int64]:
        """Return for each of the next rows of the pool the first row equal to it: itself, if it is new."""
        # NumPy's byte strings lose zeros at their end, so another byte stands there.
        digests = [conversation(example)[:12] + b"." for example in examples]
        found = self._old(digests)
        for k, digest in enumerate(digests):
            if found[k] < 0:
                found[k] = self._recent.setdefault(digest, self._count + k)
        self._count += len(digests)
        if len(self._recent) >= RECENT:
            self._sort_in()
        return found

    def _old(self, digests: list[bytes]) -> NDArray[np.int64]:
        """The rows among the sorted ones, -1 where there is none."""
        found = np.full(len(digests), -1, dtype=np.int64)
        if len(self._rows) and digests:
            asked = np.array(digests, dtype="S13")
            place = np.minimum(np.searchsorted(self._digests, asked), len(self._rows) - 1)
            same = self._digests[place] == asked
            found[same] = self._rows[place[same]]
        return found

    def _sort_in(self) -> None:
        digests = np.array(sorted(self._recent), dtype="S13")
        rows = np.array([self._recent[digest] for digest in sorted(self._recent)], dtype=np.int32)
        places = np.searchsorted(self._digests, digests)
        self._digests, self._rows = np.insert(self._digests, places, digests), np.insert(self._rows, places, rows)
        self._recent = {}


def conversation(example: Example) -> bytes:
    """Return 16 bytes that stand for a conversation: who says what."""
    digest = blake2b(digest_size=16)
    for role, text in example.turns:
        content = text.encode("utf-8", "surrogatepass")
        digest.update(b"%s %d " % (role.encode(), len(content)) + content)
    return digest.digest()


def first_rows(conversations: NDArray[np.uint64], limit: int | None = None) -> NDArray[np.int64]:
    """Return for every row of a pool the first one with the same conversation, int64 (n,), as `Copies` finds it.

    Parameters
    ----------
    conversations : uint64 (n, 2)
        What `conversation` gives for each row, as it lies in memory.
    limit : int, optional
        Rows that are sorted at a time, see `tasksift.buckets`.

    Notes
    -----
    Memory: some 100 MB for a bucket; the result and 24 bytes a row meanwhile are scratch (`tasksift.scratch`).
    """
    firsts: NDArray[np.int64] = large(len(conversations), np.int64)
    limit = BUCKET_ROWS if limit is None else limit
    for rows, some in buckets(conversations, lambda words: words, limit):
        if len(rows) > limit:  # all of them are equal
            for part in chunks(len(rows)):
                firsts[rows[part]] = rows[0]
            continue
        order = np.lexsort((some[:, 1], some[:, 0]))  # stable, so that equal ones stay in the order of rows
        ordered = some[order]
        begins = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))
        first = rows[order[np.flatnonzero(begins)]]
        firsts[rows[order]] = first[np.cumsum(begins) - 1]
    return firsts
