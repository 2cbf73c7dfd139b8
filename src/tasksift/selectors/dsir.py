"""DSIR: rows by how much likelier their n-grams are in the targets than in the pool, n-grams hashed into buckets.

Xie, Santurkar, Ma, Liang 2023 (arXiv 2302.03169), section 3: log w(x) = Σ log(p_target / p_pool) over the n-grams of x.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasksift.draw.sample import apportion
from tasksift.errors import InputError
from tasksift.plan import Plan
from tasksift.progress import Progress, silent
from tasksift.selectors.contract import Context, Planner, Selector
from tasksift.selectors.ngrams import TOKENIZERS, Hashed
from tasksift.selectors.parameter import Parameter

Int = NDArray[np.int64]
Float = NDArray[np.float64]
Pass = Callable[[], Iterator[list[str]]]
Normalize = Literal["sum", "mean", "equal"]

HASHES = 200e6
"""Bytes of the words and n-grams whose buckets are remembered."""

FLOOR = 1e-8
"""Added to both probabilities where smoothing is by a number, as published."""


def log_ratio(target: Int, pool: Int, smoothing: float | Literal["scaled"] = "scaled") -> Float:
    """Return log(p_target / p_pool) of every bucket.

    Parameters
    ----------
    target, pool : int64 (B,)
        Counts of n-grams.
    smoothing : "scaled" or float
        Probabilities of the targets. "scaled": ``(c + T p_pool) / (N + T)`` for counts c that sum to N over T buckets,
        the estimate of Witten and Bell 1991, in which T / (N + T) is the chance that the next n-gram is a new one and
        new ones are spread as in the pool. So no n-gram costs more than log((N + T) / T), and targets distributed
        like the pool give 0 everywhere. A number a: ``(c + a) / (N + a B)``, and 1e-8 added to both probabilities (as
        published; there a = 0 by default).

    Returns
    -------
    float64 (B,)
    """
    total = float(target.sum())
    p = pool / max(1.0, float(pool.sum()))
    if smoothing == "scaled":
        new = np.count_nonzero(target) / (total + np.count_nonzero(target))
        ratio = np.divide(target / total, p, out=np.zeros(len(p)), where=pool > 0)
        shifted: Float = np.log((1 - new) * ratio + new)
        return shifted
    smoothed = (target + smoothing) / (total + smoothing * len(target))
    published: Float = np.log(smoothed + FLOOR) - np.log(p + FLOOR)
    return published


@dataclass(frozen=True, eq=False)
class Weights:
    """Log-weights of the rows that may be drawn, for each task.

    Attributes
    ----------
    ids : int64 (e,)
        Pool rows, ascending.
    values : float64 (T, e)
        For each task, or for all targets together.
    counts : int64 (T,)
        N-grams of each task's targets.
    ranks : int64 (e,)
        Of the rows, in tie order.
    seed : int
    info : mapping
    """

    ids: Int
    values: Float
    counts: Int
    ranks: Int
    seed: int
    info: Mapping[str, Any]

    def plan(self, budget: int) -> Plan:
        """All rows for one task; for several the `budget` rows that they took one after the other."""
        if len(self.values) == 1:
            return Plan("logprob", "dsir", self.ids, self.values[0], info=dict(self.info))
        budget = min(budget, len(self.ids))
        quota = apportion(budget * (self.counts / self.counts.sum()), budget)
        rng = np.random.default_rng(self.seed)
        value = np.empty(len(self.ids))
        free = np.ones(len(self.ids), dtype=bool)
        by_rank = np.argsort(self.ranks, kind="stable")
        for weights, rows in zip(self.values, quota.tolist(), strict=True):
            noisy = weights.copy()
            noisy[by_rank] += rng.gumbel(size=len(noisy))
            left = np.flatnonzero(free)
            took = left[np.lexsort((self.ranks[left], -noisy[left]))[:rows]]
            value[took], free[took] = weights[took], False
        taken = np.flatnonzero(~free)
        info = {**self.info, "rows_of_tasks": quota.tolist()}
        return Plan("logprob", "dsir", self.ids[taken], value[taken], complete=len(taken) == len(free), info=info)


def prepare(
    pool: Pass,
    targets: Sequence[Sequence[str]],
    *,
    order: Int | None = None,
    buckets: int = 10_000,
    ngrams: int = 2,
    tokenizer: str = "wordpunct",
    smoothing: float | Literal["scaled"] = "scaled",
    normalize: Normalize = "sum",
    temperature: float = 1.0,
    min_length: int = 1,
    seed: int = 0,
    progress: Progress = silent,
) -> Weights:
    """Weigh the rows for several tasks; `targets` holds the texts of each. Parameters otherwise as in `fit`."""
    if tokenizer not in TOKENIZERS:
        raise InputError(f"tokenizer {tokenizer!r} does not exist; use one of {', '.join(TOKENIZERS)}")
    if normalize not in ("sum", "mean", "equal"):
        raise InputError(f"normalize {normalize!r} does not exist; use 'sum', 'mean' or 'equal'")
    if not temperature > 0:
        raise InputError(f"the temperature is {temperature}; it should be above 0")
    hashed = Hashed(buckets, ngrams, tokenizer)
    wanted = np.stack([hashed.count(texts) for texts in targets])
    if not wanted.any(axis=1).all():
        raise InputError(f"the texts of {'the target' if len(targets) == 1 else 'a task of the target'} hold no words")
    seen = np.zeros(buckets, dtype=np.int64)
    n = 0
    with progress("counting n-grams", 0 if order is None else len(order)) as tick:
        for texts in pool():
            seen += hashed.count(texts)
            n += len(texts)
            tick(len(texts))
    delta = np.stack([log_ratio(counts, seen, smoothing) for counts in wanted])
    values, grams, words = np.empty((len(targets), n)), np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    with progress("weighing rows", n) as tick:
        row = 0
        for texts in pool():
            for text in texts:
                found, words[row] = hashed.read(text)
                # Every row is summed by itself, so that its neighbours do not touch its last bits.
                values[:, row] = np.take(delta, found, axis=1).sum(axis=1)
                grams[row] = len(found)
                row += 1
            tick(len(texts))
    ids = np.flatnonzero(words >= max(1, min_length))
    if not len(ids):
        raise InputError(f"no row of the pool has min_length={min_length} words or more; lower it")
    values, grams = values[:, ids], grams[ids]
    if normalize != "sum":
        values /= grams
    if normalize == "equal":
        values *= int(grams.sum()) / len(grams)
    values /= temperature
    info = {"eligible": len(ids), "too_short": n - len(ids), "target_ngrams": wanted.sum(axis=1).tolist()}
    ranks = ids if order is None else order[ids]
    return Weights(ids, values, wanted.sum(axis=1), ranks, seed, info)


def fit(
    pool: Sequence[str],
    target: Sequence[str],
    *,
    buckets: int = 10_000,
    ngrams: int = 2,
    tokenizer: str = "wordpunct",
    smoothing: float | Literal["scaled"] = "scaled",
    normalize: Normalize = "sum",
    temperature: float = 1.0,
    min_length: int = 1,
    progress: Progress = silent,
) -> Plan:
    """Weigh every row by the likelihood ratio of its n-grams.

    Parameters
    ----------
    pool, target : sequence of n and of m str
    buckets : int
        N-grams are hashed into so many.
    ngrams : int
        Words in the longest n-gram; all shorter ones count too.
    tokenizer : {"wordpunct", "words"}
        See `TOKENIZERS`.
    smoothing : "scaled" or float
        See `log_ratio`.
    normalize : {"sum", "mean", "equal"}
        The log-weight is the sum over a row's n-grams (as published: length decides much of it), their mean, or their
        mean times the mean number of n-grams of a row, as if all rows were of one length.
    temperature : float
        Divides the log-weights; higher is closer to drawing at random.
    min_length : int
        Rows with fewer words cannot be drawn, nor can rows without any.

    Returns
    -------
    Plan of kind "logprob" over the rows that can be drawn: drawn by Gumbel noise, a row comes next with a chance in
    proportion to its weight. ``info``: rows ``eligible`` and ``too_short``, n-grams of the target.

    Raises
    ------
    InputError
        If the target holds no words, or no row of the pool enough.

    Notes
    -----
    Both distributions are fitted on all texts. Cost: two passes over the texts, each n-gram looked up once a pass;
    memory of 32 bytes a row and some 150 MB for hashes.
    """
    return prepare(
        lambda: iter([list(pool)]),
        [target],
        buckets=buckets,
        ngrams=ngrams,
        tokenizer=tokenizer,
        smoothing=smoothing,
        normalize=normalize,
        temperature=temperature,
        min_length=min_length,
        progress=progress,
    ).plan(0)


def _prepare(context: Context, parameters: Mapping[str, Any]) -> Planner:
    if context.texts is None:
        raise ValueError("this selector needs texts")
    options = dict(parameters)
    targets = [context.texts.target]
    if options.pop("separate"):
        if context.tasks is None:
            raise InputError("--set separate=true: the target rows name no tasks; give --task-column")
        rows = [np.flatnonzero(context.tasks == task).tolist() for task in range(len(context.task_names))]
        targets = [[context.texts.target[row] for row in some] for some in rows]
    return prepare(
        context.texts.pool, targets, order=context.order, seed=context.seed, progress=context.progress, **options
    ).plan


SELECTOR = Selector(
    _prepare,
    "logprob",
    {
        "normalize": Parameter(
            "sum", "a row's log-weight: sum over n-grams, mean, or as if of equal length", ("sum", "mean", "equal")
        ),
        "smoothing": Parameter(
            "scaled",
            "pseudo-counts of the targets: spread as the pool is, or a number for every bucket",
            ("scaled",),
            kind=float,
            low=0,
        ),
        "temperature": Parameter(1.0, "divides the log-weights", low=1e-9),
        "min_length": Parameter(1, "words that a row must have", low=1),
        "ngrams": Parameter(2, "words of the longest n-grams", low=1, high=5),
        "buckets": Parameter(10_000, "into which n-grams are hashed", low=2, high=2**24),
        "tokenizer": Parameter("wordpunct", "what counts as a word", tuple(TOKENIZERS)),
        "separate": Parameter(False, "each task takes its share, by the n-grams of its targets, one after the other"),
    },
    needs=frozenset({"target", "texts"}),
    seeded=True,
    memory=lambda size: HASHES + 32.0 * size.rows,
    meaning="log-weight",
    flops=lambda size: 4.0 * size.rows * size.tokens,
)
