"""Words and pairs of neighbouring words: found in texts, chosen by how many texts hold them, counted."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Int = NDArray[np.int64]

# Jamo, kana, ideographs, hangul and half-width forms: scripts that put no spaces between words.
_UNSPACED = (
    "\u1100-\u11ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
TOKEN = rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]"
"""What counts as a word: a run of letters, digits and underscores; a character of a script that does not separate
words; any other visible character. Symbols count because formats, formulas and code are made of them."""

TOKENS = "words, symbols and their pairs (1)"
"""The name of these rules, part of a model's digest; a change of the rules changes the name."""

BLOCK_TEXTS = 1024
"""How many texts are counted at a time."""

_find = re.compile(TOKEN).findall


@dataclass(frozen=True, eq=False)
class Encoded:
    """Texts as numbers: the code of every word, one text after the other.

    Attributes
    ----------
    codes : int32 (words of all texts,)
        -1 for a word without a code.
    lengths : int64 (n,)
        Words of each text.
    """

    codes: NDArray[np.int32]
    lengths: Int

    def words(self) -> tuple[Int, Int]:
        """Return (code, text) of every word that has a code."""
        known = self.codes >= 0
        return self.codes[known].astype(np.int64), self._text()[known]

    def pairs(self, codes: int) -> tuple[Int, Int]:
        """Return (key, text) of every two neighbours in one text that have codes; key = first * `codes` + second."""
        text = self._text()
        first, second = self.codes[:-1].astype(np.int64), self.codes[1:]
        both = (text[:-1] == text[1:]) & (first >= 0) & (second >= 0)
        return (first * codes + second)[both], text[:-1][both]

    def _text(self) -> Int:
        return np.repeat(np.arange(len(self.lengths)), self.lengths)


def encode(texts: Iterable[str], codes: Callable[[list[str]], Iterable[int]]) -> Encoded:
    """Find the words of `texts`, in lower case, and their codes."""
    words: list[str] = []
    lengths: list[int] = []
    for text in texts:
        found = _find(text.lower())
        words += found
        lengths.append(len(found))
    return Encoded(np.fromiter(codes(words), np.int32, len(words)), np.array(lengths, dtype=np.int64))


class Vocabulary:
    """The words and pairs that count, each a column.

    Parameters
    ----------
    words : sequence of w str
        In the order of their columns; a space, which no word holds, separates the two words of a pair.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.size = len(words)
        parts = [word.split(" ") for word in words]
        # A word that only counts in pairs has a code and no column.
        self.codes = {word: code for code, word in enumerate(dict.fromkeys(chain.from_iterable(parts)))}
        self._column = np.full(len(self.codes), -1)
        keys: dict[int, int] = {}
        for column, part in enumerate(parts):
            code = self.codes[part[0]]
            if len(part) == 1:
                self._column[code] = column
            else:
                keys[code * len(self.codes) + self.codes[part[1]]] = column
        self._keys = np.array(sorted(keys), dtype=np.int64)
        self._key_column = np.array([keys[key] for key in sorted(keys)], dtype=np.int64)

    def encode(self, texts: Iterable[str]) -> Encoded:
        """Return the words of `texts`."""
        return encode(texts, lambda words: map(self.codes.get, words, repeat(-1)))

    def count(self, texts: Encoded) -> sparse.csr_matrix:
        """Return how often each word and pair occurs in each text, float32 (texts, w), columns ascending in a row."""
        n = len(texts.lengths)
        code, row = texts.words()
        column = self._column[code]
        cells = (row * self.size + column)[column >= 0]
        if len(self._keys):
            key, row = texts.pairs(len(self.codes))
            at = np.minimum(np.searchsorted(self._keys, key), len(self._keys) - 1)
            known = self._keys[at] == key
            cells = np.concatenate([cells, row[known] * self.size + self._key_column[at[known]]])
        cells, counts = _tally(cells)
        begins = np.searchsorted(cells, np.arange(n + 1) * self.size)
        columns = cells - np.repeat(np.arange(n) * self.size, np.diff(begins))
        return sparse.csr_matrix((counts.astype(np.float32), columns, begins), shape=(n, self.size))


def frequent(texts: Sequence[str], limit: int) -> tuple[list[str], sparse.csr_matrix]:
    """Choose the words and pairs that occur in the most texts.

    Parameters
    ----------
    texts : sequence of n str
    limit : int
        How many are chosen at most; ties go by spelling.

    Returns
    -------
    list of w str
        Sorted by spelling.
    csr_matrix, float32 (n, w)
        How often each occurs in each text.

    Notes
    -----
    Every text is taken apart once. Memory: 4 bytes for each word of the texts, 16 for each distinct pair of a block.
    """
    codes: defaultdict[str, int] = defaultdict()
    codes.default_factory = codes.__len__  # a word not seen before gets the next code
    blocks = [
        encode(texts[at : at + BLOCK_TEXTS], lambda words: map(codes.__getitem__, words))
        for at in range(0, len(texts), BLOCK_TEXTS)
    ]
    names = list(codes)
    code, in_texts = _frequencies(block.words() for block in blocks)
    key, pair_in_texts = _frequencies(block.pairs(len(names)) for block in blocks)

    def spell(k: int) -> str:
        if k < len(code):
            return names[int(code[k])]
        first, second = divmod(int(key[k - len(code)]), len(names))
        return f"{names[first]} {names[second]}"

    often = np.concatenate([in_texts, pair_in_texts])
    least = np.partition(often, -limit)[-limit] if len(often) > limit else 0
    chosen = [spell(k) for k in np.flatnonzero(often > least).tolist()]
    chosen += nsmallest(limit - len(chosen), (spell(k) for k in np.flatnonzero(often == least).tolist()))
    words = sorted(chosen)
    vocabulary = Vocabulary(words)
    # From codes by first appearance to those of the vocabulary.
    known = np.array([vocabulary.codes.get(name, -1) for name in names], dtype=np.int32)
    counts = [vocabulary.count(Encoded(known[block.codes], block.lengths)) for block in blocks]
    return words, sparse.vstack(counts, format="csr")


def _frequencies(blocks: Iterable[tuple[Int, Int]]) -> tuple[Int, Int]:
    """Return the distinct keys, ascending, and in how many texts each occurs, from (key, text) of every block."""
    keys: list[Int] = []
    counts: list[Int] = []
    for key, text in blocks:
        once, _ = _tally(key * BLOCK_TEXTS + text)
        key, in_texts = _tally(once // BLOCK_TEXTS)
        keys.append(key)
        counts.append(in_texts)
    distinct, at = np.unique(np.concatenate(keys), return_inverse=True)
    return distinct, np.bincount(at, np.concatenate(counts), len(distinct)).astype(np.int64)


def _tally(values: Int) -> tuple[Int, Int]:
    """Return the distinct values, ascending, and how often each occurs; faster than `numpy.unique`."""
    values = np.sort(values)
    begins = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]])[: len(values)])
    return values[begins], np.diff(begins, append=len(values))
