"""BM25: rows by the words that they share with the targets, rare words counting more.

Robertson, Walker, Jones, Hancock-Beaulieu, Gatford 1994 (Okapi at TREC-3); as a baseline of data selection: Yin, Rush
2024 (arXiv 2410.16208).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tasksift.errors import InputError
from tasksift.plan import Links, Plan
from tasksift.progress import Progress, silent
from tasksift.represent.words import TOKEN, Vocabulary
from tasksift.selectors.contract import Context, Planner, Selector
from tasksift.selectors.parameter import Parameter
from tasksift.selectors.turns import pick_from_growing

Int = NDArray[np.int64]
Float = NDArray[np.float64]
Aggregate = Literal["mean", "max", "turns"]

TABLE_ENTRIES = 4 * 2**20
"""Entries of one table of scores (rows of a block × targets)."""


@dataclass(frozen=True, eq=False)
class Index:
    """The words of the targets, counted in every row of the pool.

    Attributes
    ----------
    counts : list of csr_matrix, float32
        How often each row holds each word, a batch of rows at a time.
    lengths : list of int64 arrays
        All words of each row.
    idf : float64 (v,)
    queries : csc_matrix, float64 (v, m)
        How often each target holds each word.
    order : int64 (n,)
    k1, b : float
    lists : list of (rows, scores)
        Each target's best rows, as far as they were asked for.
    """

    counts: list[sparse.csr_matrix]
    lengths: list[Int]
    idf: Float
    queries: sparse.csc_matrix
    order: Int
    k1: float
    b: float
    lists: list[tuple[Int, Float]] = field(default_factory=list)

    def plan(self, aggregate: Aggregate, budget: int) -> Plan:
        """See `fit`."""
        if aggregate == "turns":
            return self._turns(budget)
        rows = np.arange(len(self.order))
        if aggregate == "mean":
            mean = np.asarray(self.queries.sum(axis=1)).ravel() / self.queries.shape[1]
            values = np.concatenate([weights @ mean for weights in self._weights()])
            return Plan("score", "bm25", rows, values, info=self._info(aggregate))
        tables = [(table.max(axis=1), table.argmax(axis=1)) for table in self._tables()]
        values, target = (np.concatenate(parts) for parts in zip(*tables, strict=True))
        links = Links(rows, target, np.zeros(len(rows)), -values)
        return Plan("score", "bm25", rows, values, links=links, info=self._info(aggregate))

    def _turns(self, budget: int) -> Plan:
        n, m = len(self.order), self.queries.shape[1]
        picks = pick_from_growing(self._at_least, m, n, budget)
        where = zip(picks.pickers, picks.places, strict=True)
        score = np.array([self.lists[q][1][place] for q, place in where])
        by_row = np.argsort(picks.rows)
        row = picks.rows[by_row]
        return Plan(
            kind="score",
            selector="bm25-turns",
            ids=row,
            values=-picks.turns[by_row].astype(np.float64),
            complete=len(row) == n,
            links=Links(row, picks.pickers[by_row], np.zeros(len(row)), -score[by_row]),
            info=self._info("turns"),
        )

    def _info(self, aggregate: Aggregate) -> dict[str, Any]:
        return {"aggregate": aggregate, "targets": self.queries.shape[1], "words": len(self.idf)}

    def _weights(self) -> Iterator[sparse.csr_matrix]:
        """What each word of each row adds to a target's score, batch by batch."""
        total = sum(int(lengths.sum()) for lengths in self.lengths)
        average = total / len(self.order) or 1.0
        for counts, lengths in zip(self.counts, self.lengths, strict=True):
            length = self.k1 * (1 - self.b + self.b * lengths / average)
            f = counts.data.astype(np.float64)
            data = self.idf[counts.indices] * f * (self.k1 + 1) / (f + np.repeat(length, np.diff(counts.indptr)))
            yield sparse.csr_matrix((data, counts.indices, counts.indptr), shape=counts.shape)

    def _tables(self) -> Iterator[Float]:
        """Scores of some rows for all targets, float64 (rows, m), block by block."""
        queries = self.queries.tocsr()
        step = max(1, TABLE_ENTRIES // self.queries.shape[1])
        for weights in self._weights():
            for start in range(0, weights.shape[0], step):
                yield (weights[start : start + step] @ queries).toarray()

    def _at_least(self, length: int) -> list[Int]:
        if not self.lists or len(self.lists[0][0]) < length:
            self.lists[:] = self._best(length)
        return [rows for rows, _ in self.lists]

    def _best(self, length: int) -> list[tuple[Int, Float]]:
        """The best `length` rows of each target, ties by order."""
        m = self.queries.shape[1]
        best = [(np.empty(0, dtype=np.int64), np.empty(0))] * m
        start = 0
        for table in self._tables():
            for q, (rows, scores) in enumerate(best):
                column = table[:, q]
                new = np.arange(len(column)) if len(rows) < length else np.flatnonzero(column >= scores[-1])
                if len(new):
                    rows, scores = np.append(rows, start + new), np.append(scores, column[new])
                    first = np.lexsort((self.order[rows], -scores))[:length]
                    best[q] = rows[first], scores[first]
            start += len(table)
        return best


def prepare(
    pool: Callable[[], Iterator[list[str]]],
    target: Sequence[str],
    *,
    k1: float = 1.5,
    b: float = 0.75,
    order: Int | None = None,
    progress: Progress = silent,
) -> Index:
    """Read the pool once and count the words of the targets; the returned `Index` serves any budget."""
    words = {word for text in target for word in re.findall(TOKEN, text.lower())}
    if not words:
        raise InputError("the texts of the target hold no words")
    vocabulary = Vocabulary(sorted(words))
    queries = vocabulary.count(vocabulary.encode(target)).T.astype(np.float64).tocsc()
    counts, lengths = [], []
    holding = np.zeros(vocabulary.size, dtype=np.int64)
    with progress("counting words", 0 if order is None else len(order)) as tick:
        for texts in pool():
            found = vocabulary.encode(texts)
            counts.append(vocabulary.count(found))
            lengths.append(found.lengths)
            holding += np.bincount(counts[-1].indices, minlength=vocabulary.size)
            tick(len(texts))
    n = sum(map(len, lengths))
    if not n:
        raise InputError("the pool is empty")
    idf = np.log((n - holding + 0.5) / (holding + 0.5) + 1)
    return Index(counts, lengths, idf, queries, np.arange(n) if order is None else order, k1, b)


def fit(
    pool: Sequence[str],
    target: Sequence[str],
    *,
    aggregate: Aggregate = "mean",
    budget: int | None = None,
    k1: float = 1.5,
    b: float = 0.75,
    order: Int | None = None,
    progress: Progress = silent,
) -> Plan:
    """Score every row by its words.

    The score of row x for target q is Σ idf(t) f (k1 + 1) / (f + k1 (1 - b + b |x| / avg|x|)) over the words t of q,
    each as often as it occurs there, with f its count in x and idf(t) = log((N - df + 1/2) / (df + 1/2) + 1), which is
    never negative.

    Parameters
    ----------
    pool, target : sequence of n and of m str
        Words are those of `tasksift.represent.words`, in lower case, symbols among them.
    aggregate : {"mean", "max", "turns"}
        A row's mean score over all targets; its best; or targets take turns, each picking its best row that is free.
    budget : int, optional
        Rows to pick, needed by "turns"; at most n.
    k1 : float
        How slowly repeated words saturate; 0: not at all counted twice.
    b : float
        How far long rows are discounted, 0 to 1.
    order : int64 (n,), optional
        Rank of every pool row for breaking ties between scores.

    Returns
    -------
    Plan of kind "score" over all n rows, or over the picked rows: minus the turn at which each was picked. For "max"
    and "turns" links name the target of each row; their distance is minus the score.

    Raises
    ------
    InputError
        If the target holds no words, or the pool is empty.

    Notes
    -----
    One pass over the texts. Memory: 8 bytes for each distinct word of each row that a target holds too. Cost: one
    multiplication for each of these words ("mean"), or one for each of them and each target that holds it.
    """
    if aggregate not in ("mean", "max", "turns"):
        raise InputError(f"aggregate {aggregate!r} does not exist; use 'mean', 'max' or 'turns'")
    if aggregate == "turns" and budget is None:
        raise InputError("aggregate 'turns' needs a budget")
    index = prepare(lambda: iter([list(pool)]), target, k1=k1, b=b, order=order, progress=progress)
    return index.plan(aggregate, budget or 0)


def _prepare(context: Context, parameters: Mapping[str, Any]) -> Planner:
    if context.texts is None:
        raise ValueError("this selector needs texts")
    options = dict(parameters)
    aggregate = options.pop("aggregate")
    texts = context.texts
    index = prepare(texts.pool, texts.target, order=context.order, progress=context.progress, **options)
    return lambda budget: index.plan(aggregate, budget)


SELECTOR = Selector(
    _prepare,
    "score",
    {
        "aggregate": Parameter(
            "mean", "mean score over all targets, the best, or targets take turns", ("mean", "max", "turns")
        ),
        "k1": Parameter(1.5, "how slowly repeated words saturate", low=0),
        "b": Parameter(0.75, "how far long rows are discounted", low=0, high=1),
    },
    needs=frozenset({"target", "texts"}),
    flops=lambda size: 2.0 * size.rows * size.tokens,
    meaning="BM25 score",
)
