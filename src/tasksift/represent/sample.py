"""A seeded uniform sample of the distinct texts of a pool that is only seen once, in any order."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from heapq import nsmallest

DIGEST_BYTES = 16
"""Long enough that two texts of a pool never share a digest."""


class BottomK:
    """The `size` distinct texts with the smallest keyed hash: a uniform sample without replacement.

    The sample is a function of the *set* of texts and the seed. The order of the texts, the batches they come in, the
    number of copies of each and the way parts are merged change nothing (bottom-k sketch: Cohen and Kaplan,
    "Summarizing data using bottom-k sketches", PODC 2007).

    Parameters
    ----------
    size : int
        How many distinct texts are kept, at least 1. All of them if the pool has fewer.
    seed : int
        The key of the hash.
    share : float
        Look only at texts whose hash is in the lowest part of its range, of this size: what a part of a pool sends to
        be merged with others. If the whole then has fewer than `size` texts, a larger share is needed.

    Notes
    -----
    At most ``2 * size`` texts are held at a time. A text costs one hash; once the sample is full, few texts cost more.
    """

    def __init__(self, size: int, seed: int, share: float = 1.0) -> None:
        if size < 1:
            raise ValueError(f"a sample holds at least 1 text, not {size}")
        self.size = size
        self.seed = seed
        self._key = str(seed).encode()
        self._kept: dict[bytes, str] = {}
        # No digest reaches the bound of all, so every text enters until the sample is full.
        self._bound = b"\xff" * (DIGEST_BYTES + 1)
        if share < 1:
            self._bound = int(share * 2**64).to_bytes(8, "big")

    def add(self, texts: Iterable[str]) -> None:
        """Show a batch of texts to the sample."""
        kept, bound, key = self._kept, self._bound, self._key
        for text in texts:
            # Texts read from JSON may hold lone surrogates, which plain UTF-8 refuses.
            digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES, key=key).digest()
            if digest < bound:
                kept[digest] = text
                if len(kept) >= 2 * self.size:
                    self._prune()
                    kept, bound = self._kept, self._bound

    def merge(self, other: BottomK) -> None:
        """Take in the sample of another part of the pool, of the same size and seed."""
        if (self.size, self.seed) != (other.size, other.seed):
            raise ValueError(
                f"samples of size {self.size} (seed {self.seed}) and {other.size} (seed {other.seed}) do not merge"
            )
        self._kept.update(other._kept)
        self._prune()

    def texts(self) -> list[str]:
        """Return the sample, sorted by hash; at most `size` texts."""
        self._prune()
        return list(self._kept.values())

    def _prune(self) -> None:
        digests = nsmallest(self.size, self._kept)
        self._kept = {digest: self._kept[digest] for digest in digests}
        if len(digests) == self.size:
            self._bound = digests[-1]
