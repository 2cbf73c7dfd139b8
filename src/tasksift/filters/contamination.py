"""Decontamination: rows of the pool that share a long run of words with a target row or a row of a test file.

Runs of 13 words: Brown et al. 2020 (arXiv 2005.14165), appendix C.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.filters import LeftOut
from tasksift.progress import Progress, silent
from tasksift.represent.words import TOKEN

Int = NDArray[np.int64]

WORD = TOKEN.removesuffix(r"|[^\w\s]")
"""What counts as a word here: that of the lexical features, without symbols."""

WORDS = 13
"""Length of a run, as usual in the field."""

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

_find = re.compile(WORD).findall
_find_ascii = re.compile(r"\w+", re.ASCII).findall


@dataclass(frozen=True)
class Reference:
    """What the pool must not hold.

    Attributes
    ----------
    where : str
        What it is called in the record, as a rule file and row.
    text : str
        Prompt and response.
    prompt : str
        The prompt alone, or nothing.
    """

    where: str
    text: str
    prompt: str = ""


@dataclass(frozen=True)
class Overlaps:
    """Rows that share words with a reference.

    Attributes
    ----------
    rows, references : int64 (r,)
        The rows, ascending, and for each the first reference that holds what it shares.
    reasons : list of r str
        ``shared words``, ``same text`` or ``same prompt``.
    shared : list of r str
        The words that they share, in lower case.
    names : list of r str
        What the references are called.
    """

    rows: Int
    references: Int
    reasons: list[str]
    shared: list[str]
    names: list[str]

    def left_out(self) -> LeftOut:
        """Return them for the record."""
        because_of = [f"{name}: {words}" for name, words in zip(self.names, self.shared, strict=True)]
        return LeftOut(self.rows, self.reasons, because_of)


def find_overlaps(
    pool_texts: Iterable[list[str]],
    references: Sequence[Reference],
    *,
    words: int = WORDS,
    pool_prompts: Iterable[list[str]] | None = None,
    progress: Progress = silent,
    rows: int = 0,
) -> Overlaps:
    """Find the rows that hold a run of words of a reference, or are the same but for case, spaces and symbols.

    Parameters
    ----------
    pool_texts : iterable of list of str
        The texts of the pool, a batch of rows at a time.
    references : sequence of Reference
    words : int
        Length of a run. A shorter reference is found only where a row's words are all of its words, and no others.
    pool_prompts : iterable of list of str, optional
        The prompts in the same batches. A row whose prompt has the same words as that of a reference is out, too.
    rows : int
        How many rows there are, for the progress.

    Returns
    -------
    Overlaps
        Of several runs that a row shares, the first in its text.

    Notes
    -----
    Words are runs of letters, digits and underscores, or single characters of a script that does not separate words.
    Runs are found by a hash and then compared word by word, so what is found is shared indeed, and nothing is missed.
    Memory: the words of the references and one batch. Cost: one pass over the texts, most of it to find their words.
    """
    if words < 1:
        raise InputError(f"runs of {words} words: ask for at least 1")
    known = _Known(references, words)
    found: list[tuple[int, int, str, list[str]]] = []
    at = 0
    with progress("looking for words of the references", rows) as tick:
        prompts = repeat(None) if pool_prompts is None else pool_prompts
        for texts, some in zip(pool_texts, prompts, strict=pool_prompts is not None):
            found += [(at + row, *what) for row, what in sorted(known.look(texts, some).items())]
            at += len(texts)
            tick(len(texts))
    return Overlaps(
        np.array([row for row, *_ in found], dtype=np.int64),
        np.array([reference for _, reference, *_ in found], dtype=np.int64),
        [reason for *_, reason, _ in found],
        [" ".join(shared) for *_, shared in found],
        [references[reference].where for _, reference, *_ in found],
    )


def split(text: str) -> list[str]:
    """The words of a text, in lower case."""
    text = text.lower()
    # The same words, twice as fast.
    return _find_ascii(text) if text.isascii() else _find(text)


class _Known:
    """The words of the references, each by a number, and where their runs begin."""

    def __init__(self, references: Sequence[Reference], words: int) -> None:
        self.words = words
        self.numbers: dict[str, int] = {}
        texts = [split(reference.text) for reference in references]
        for word in chain.from_iterable(texts):
            self.numbers.setdefault(word, len(self.numbers))
        self.names = list(self.numbers)
        self.texts: dict[tuple[str, ...], int] = {}
        self.prompts: dict[tuple[str, ...], int] = {}
        for place, (reference, text) in enumerate(zip(references, texts, strict=True)):
            self.texts.setdefault(tuple(text), place)
            self.prompts.setdefault(tuple(split(reference.prompt)), place)
        # What holds no word says nothing.
        self.texts.pop((), None)
        self.prompts.pop((), None)
        self.codes, self.text_of = self._codes(texts)
        begins = self._runs(self.codes, self.text_of)
        keys = self._keys(self.codes, begins)
        by_key = np.argsort(keys, kind="stable")
        self.keys, self.begins = keys[by_key], begins[by_key]

    def look(self, texts: Sequence[str], prompts: Sequence[str] | None) -> dict[int, tuple[int, str, list[str]]]:
        """Find what the texts of one batch share: row of the batch to (reference, reason, words)."""
        found: dict[int, tuple[int, str, list[str]]] = {}
        own = [split(text) for text in texts]
        codes, text_of = self._codes(own)
        begins = self._runs(codes, text_of)
        keys = self._keys(codes, begins)
        low = np.searchsorted(self.keys, keys)
        hit = np.flatnonzero(self.keys[np.minimum(low, len(self.keys) - 1)] == keys) if len(self.keys) else low[:0]
        for begin, first in zip(begins[hit].tolist(), low[hit].tolist(), strict=True):
            row = int(text_of[begin])
            if row in found:
                continue
            run = codes[begin : begin + self.words]
            for place in range(first, int(np.searchsorted(self.keys, self.keys[first], side="right"))):
                there = self.begins[place]
                if np.array_equal(self.codes[there : there + self.words], run):
                    found[row] = int(self.text_of[there]), "shared words", [self.names[code] for code in run]
                    break
        for row, text in enumerate(own):
            if row not in found and (place := self.texts.get(tuple(text), -1)) >= 0:
                found[row] = place, "same text", text
        for row, prompt in enumerate(prompts or ()):
            if row not in found and self.prompts:
                asked = split(prompt)
                if (place := self.prompts.get(tuple(asked), -1)) >= 0:
                    found[row] = place, "same prompt", asked
        return found

    def _codes(self, texts: Sequence[list[str]]) -> tuple[NDArray[np.int32], Int]:
        """The number of every word of every text, -1 for others, and the text it stands in."""
        lengths = np.array([len(text) for text in texts], dtype=np.int64)
        flat = map(self.numbers.get, chain.from_iterable(texts), repeat(-1))
        return np.fromiter(flat, np.int32, int(lengths.sum())), np.repeat(np.arange(len(texts)), lengths)

    def _runs(self, codes: NDArray[np.int32], text_of: Int) -> Int:
        """Where runs of known words begin that lie in one text."""
        last = self.words - 1
        if len(codes) <= last:
            return np.empty(0, dtype=np.int64)
        unknown = np.concatenate([[0], np.cumsum(codes < 0)])
        whole = unknown[self.words :] == unknown[: -self.words]
        return np.flatnonzero(whole & (text_of[last:] == text_of[: len(codes) - last]))

    def _keys(self, codes: NDArray[np.int32], begins: Int) -> NDArray[np.uint64]:
        """A 64-bit hash of each run."""
        keys: NDArray[Any] = np.zeros(len(begins), dtype=np.uint64)
        for k in range(self.words):
            keys = keys * MULTIPLIER + codes[begins + k].astype(np.uint64)
        return keys
