"""N-grams of texts, hashed into buckets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.represent.words import TOKEN

Int = NDArray[np.int64]

TOKENIZERS = {"wordpunct": r"\w+|[^\w\s]+", "words": TOKEN}
"""What counts as a word: a run of letters, digits and underscores, or of other signs (as published); or the words of
`tasksift.represent.words`, which also come apart in scripts that put no spaces between them."""

CACHED = 1 << 20
"""N-grams whose buckets are remembered; some 150 MB."""


class Hashed(dict[Any, int]):
    """Texts as buckets of their n-grams. As a mapping: the buckets of the n-grams met so far.

    Parameters
    ----------
    buckets, ngrams : int
        How many buckets there are; the most words in an n-gram.
    tokenizer : str
        One of `TOKENIZERS`.
    """

    def __init__(self, buckets: int = 10_000, ngrams: int = 2, tokenizer: str = "wordpunct") -> None:
        self.buckets, self.ngrams = buckets, ngrams
        self.find = re.compile(TOKENIZERS[tokenizer]).findall
        self.get_or_hash = self.__getitem__

    def __missing__(self, gram: str | tuple[str, ...]) -> int:
        text = gram if isinstance(gram, str) else " ".join(gram)
        bucket = int.from_bytes(sha256(text.encode("utf-8", "surrogatepass")).digest(), "big") % self.buckets
        if len(self) >= CACHED:
            self.clear()
        self[gram] = bucket
        return bucket

    def read(self, text: str) -> tuple[Int, int]:
        """Return the bucket of every n-gram of a text, words first, then pairs and so on; and its number of words."""
        words = self.find(text.lower())
        longer = (zip(*(words[i:] for i in range(size)), strict=False) for size in range(2, self.ngrams + 1))
        return np.fromiter(map(self.get_or_hash, chain(words, *longer)), np.int64), len(words)

    def count(self, texts: Sequence[str]) -> Int:
        """Count n-grams by bucket, int64 (buckets,)."""
        found = [self.read(text)[0] for text in texts]
        return np.bincount(np.concatenate(found), minlength=self.buckets) if found else np.zeros(self.buckets, np.int64)
