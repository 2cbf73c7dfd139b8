"""Adapt-∞: clusters share the budget, each sampled over the range of the score that spreads it most.

Maharana, Yoon, Chen, Bansal 2025 (arXiv 2410.10636). Written for one pool; `tasksift.lifelong` carries a pool through
time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.plan import Plan
from tasksift.progress import Progress, silent
from tasksift.selectors.clustering import Clusters, cluster
from tasksift.selectors.contract import Context, Planner, Selector
from tasksift.selectors.coverage_sampling import EDGE, in_coverage_order
from tasksift.selectors.inputs import check_pool
from tasksift.selectors.parameter import Parameter
from tasksift.vectors import VectorsLike

Int = NDArray[np.int64]
Float = NDArray[np.float64]

MOST_CLUSTERS, ROWS_OF_A_CLUSTER = 100, 100
"""Unless asked otherwise there is a cluster for so many rows, and at most so many."""

REACH = 4.0
"""The histograms reach so many deviations to each side of a score's mean; what lies beyond counts in the last bins."""

ALL = "all"


@dataclass(frozen=True)
class Ranked:
    """All rows of a pool in the order in which a growing budget takes them.

    Attributes
    ----------
    rows : int64 (n,)
    clusters : Clusters
    names : tuple of s str
        The scores.
    scorer : int64 (k,)
        The score by which each cluster is sampled, into `names`; -1 where every score is a constant.
    entropies : float64 (k, s)
        Of the histogram of each score in each cluster, in nats; -inf for a score that is a constant.
    """

    rows: Int
    clusters: Clusters
    names: tuple[str, ...]
    scorer: Int
    entropies: Float

    def name_of(self, k: int) -> str | None:
        """The score by which cluster `k` is sampled."""
        return self.names[self.scorer[k]] if self.scorer[k] >= 0 else None

    def plan(self, budget: int) -> Plan:
        """Take `budget` rows, at most all."""
        n = len(self.rows)
        if not 0 < budget <= n:
            raise InputError(f"the budget is {budget} rows and the pool has {n}; give a budget from 1 to {n}")
        rows = self.rows[:budget]
        k = len(self.entropies)
        sizes = np.bincount(self.clusters.labels, minlength=k)
        budgets = np.bincount(self.clusters.labels[rows], minlength=k)
        facts = [
            {
                "rows": int(sizes[c]),
                "budget": int(budgets[c]),
                "scorer": self.name_of(c),
                "entropy": {
                    name: float(h) if np.isfinite(h) else None
                    for name, h in zip(self.names, self.entropies[c], strict=True)
                },
            }
            for c in range(k)
        ]
        return Plan.ranked(
            "adapt-infinity", rows, complete=budget == n, info={"scorers": list(self.names), "clusters": facts}
        )


def fit(
    pool: VectorsLike,
    scores: NDArray[np.floating[Any]],
    *,
    budget: int,
    names: Sequence[str] = (),
    clusters: int | str = "auto",
    bins: int = 50,
    cut: float = 0.05,
    order: Int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Plan:
    """Take rows from all clusters alike, and in each from the whole range of a score.

    Parameters
    ----------
    pool : array (n, d), memory map, list of shards, or Vectors
        What clusters are found in: gradients of one layer in the paper, hidden states or embeddings.
    scores : float (n, s)
        Numbers that say how hard a row is.
    budget : int
        Rows to take, from 1 to n.
    names : sequence of s str
        What the scores are called; by default their numbers.
    clusters : int or "auto"
        Clusters at most; auto: one for every `ROWS_OF_A_CLUSTER` rows, and at most `MOST_CLUSTERS`.
    bins : int
        Of the histograms that choose the score, and of the sampling.
    cut : float
        Share of a cluster's rows at each end of its score that is taken last.
    order : int64 (n,), optional
        Rank of every row for ties and lots.
    seed : int

    Returns
    -------
    Plan of kind "score" with exactly `budget` rows, scored by minus the place at which they are taken. The plan of a
    smaller budget is the beginning of that of a larger one.

    Notes
    -----
    The scorer of cluster C is ``argmax_s H(histogram of (s - mean s) / deviation of s over C)``, mean and deviation
    over the whole pool; so it is the same for a·s + b with a > 0, and a constant is never chosen. The budget is shared
    equally, what small clusters lack goes to the others, and in each the rows are those of `in_coverage_order`. Cost:
    that of `cluster`, and s + 14 sorts of n numbers.
    """
    names = tuple(names) or tuple(map(str, range(scores.shape[1])))
    return prepare(
        pool, scores, names, clusters=clusters, bins=bins, cut=cut, order=order, seed=seed, progress=progress
    ).plan(budget)


def prepare(
    pool: VectorsLike,
    scores: NDArray[np.floating[Any]],
    names: Sequence[str],
    *,
    clusters: int | str = "auto",
    bins: int = 50,
    cut: float = 0.05,
    order: Int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Ranked:
    """Do all that does not depend on the budget; parameters as in `fit`."""
    vectors = check_pool(pool)
    n = len(vectors)
    if scores.shape != (n, len(names)) or not len(names):
        raise InputError(f"the scores have shape {scores.shape}; {n} rows and {len(names)} names belong together")
    if not np.isfinite(scores).all():
        row, column = np.argwhere(~np.isfinite(scores))[0]
        raise InputError(f"row {row} has no finite {names[column]}; remove the row or compute it again")
    order = np.arange(n) if order is None else order
    count = min(MOST_CLUSTERS, max(1, n // ROWS_OF_A_CLUSTER)) if isinstance(clusters, str) else clusters
    found = cluster(vectors, count, order=order, seed=seed, progress=progress)
    entropies = spread(scores, found.labels, bins)
    scorer = np.where(entropies.max(axis=1) > -np.inf, entropies.argmax(axis=1), -1)
    chosen = np.append(np.arange(len(names)), -1)[scorer][found.labels]
    score = np.where(chosen >= 0, scores[np.arange(n), chosen].astype(np.float64), 0.0)
    place = in_coverage_order(score, found.labels, order=order, seed=seed, bins=bins, cut=cut)
    lot = np.random.default_rng([seed, 1]).random(len(entropies))
    return Ranked(np.lexsort((lot[found.labels], place)), found, tuple(names), scorer, entropies)


def spread(scores: NDArray[np.floating[Any]], labels: Int, bins: int = 50) -> Float:
    """Return how widely each score spreads the rows of each cluster.

    Parameters
    ----------
    scores : float (n, s)
    labels : int64 (n,)
        Cluster of every row; k clusters.
    bins : int

    Returns
    -------
    float64 (k, s)
        Entropy in nats of the histogram of the score in the cluster, over `bins` bins of ±`REACH` standard deviations
        around the score's mean in the pool; -inf for a score that deviates by no more than rounding.
    """
    k = int(labels.max()) + 1
    out = np.full((k, scores.shape[1]), -np.inf)
    for j in range(scores.shape[1]):
        z = _standardise(scores[:, j])
        if z is None:
            continue
        bin_of = np.clip(np.floor((z + REACH) * (bins / (2 * REACH)) + EDGE), 0, bins - 1).astype(np.int64)
        # Sorted, so that histograms with the same counts in other bins have the same entropy to the last bit.
        counts = np.sort(np.bincount(labels * bins + bin_of, minlength=k * bins).reshape(k, bins), axis=1)
        p = counts / counts.sum(axis=1, keepdims=True)
        out[:, j] = -(p * np.log(np.where(counts > 0, p, 1.0))).sum(axis=1) + 0.0
    return out


def _standardise(values: NDArray[np.floating[Any]]) -> Float | None:
    """Return (x - mean) / deviation; None if the deviation is within the rounding of the dtype."""
    largest = float(np.abs(values).max())
    # By a power of two, so that no square leaves the range of float64 and no digit changes.
    x = np.ldexp(values.astype(np.float64), -int(np.frexp(largest)[1]))
    ascending = np.sort(x)  # a sum that does not depend on the order of the rows
    mean = ascending.mean()
    deviation = float(np.sqrt(np.square(ascending - mean).mean()))
    if deviation <= 8 * float(np.finfo(values.dtype).eps) * float(np.abs(x).max()):
        return None
    standard: Float = (x - mean) / deviation
    return standard


def scorers(asked: str, there: Sequence[str]) -> tuple[str, ...]:
    """Read the names of the scores to choose from: those that there are, or some of them, by commas."""
    names = tuple(there) if asked == ALL else tuple(name.strip() for name in asked.split(","))
    for name in names:
        if name not in there:
            known = ", ".join(there) or "none"
            raise InputError(f"--set scorers={asked}: there is no {name}; there are {known}; --metrics names others")
    return names


def _prepare(context: Context, parameters: Mapping[str, Any]) -> Planner:
    if context.pool is None or context.scores is None:
        raise ValueError("this selector needs features and scores of the pool")
    options = dict(parameters)
    names = scorers(options.pop("scorers"), context.score_names)
    columns = np.column_stack([context.column(name) for name in names])
    # Their own precision tells what a constant is.
    columns = columns.astype(np.result_type(*context.scores.shards.dtypes, np.float32), copy=False)
    ranked = prepare(
        context.pool, columns, names, order=context.order, seed=context.seed, progress=context.progress, **options
    )
    return lambda budget: ranked.plan(min(budget, len(ranked.rows)))


SELECTOR = Selector(
    _prepare,
    "score",
    {
        "clusters": Parameter("auto", "clusters at most; auto: one for 100 rows, at most 100", ("auto",), int, low=1),
        "scorers": Parameter(ALL, "scores to choose from, by commas; all: those that there are"),
        "bins": Parameter(50, "bins of a score's histogram", low=1, high=1000),
        "cut": Parameter(0.05, "share of a cluster's rows at each end of its score that come last", low=0, high=0.49),
    },
    needs=frozenset({"vectors", "scores"}),
    seeded=True,
    flops=lambda size: 2.0 * size.rows * MOST_CLUSTERS * size.dim,
)
