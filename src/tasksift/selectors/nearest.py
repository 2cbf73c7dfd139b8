"""Nearest rows: the largest similarity to any target, or the largest mean similarity to all of them.

The baseline of most comparisons. It knows neither duplicates nor balance between targets: copies of a near row all
come in, and one target may take the whole budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasksift.engines.current import spread
from tasksift.errors import InputError
from tasksift.neighbors.distances import Points, squared_distances
from tasksift.numbering import numbers
from tasksift.plan import Links, Plan
from tasksift.progress import Progress, silent
from tasksift.scratch import large
from tasksift.selectors.contract import Context, Planner, Selector
from tasksift.selectors.inputs import check_pair
from tasksift.selectors.parameter import Parameter
from tasksift.vectors import Span, Vectors, VectorsLike

Int = NDArray[np.int64]
Float = NDArray[np.float64]

TABLE_ENTRIES = 2**20
"""Entries of one table of bounds (targets × rows of a block)."""


def fit(
    pool: VectorsLike,
    target: VectorsLike,
    *,
    aggregate: Literal["max", "mean"] = "max",
    progress: Progress = silent,
) -> Plan:
    """Score every row by its similarity to the targets.

    Parameters
    ----------
    pool : array (n, d), memory map, list of shards, or Vectors
    target : array (m, d)
    aggregate : {"max", "mean"}
        Similarity to the nearest target, or the mean over all targets.

    Returns
    -------
    Plan of kind "score" over all n rows. Similarity is 1 - ||x - q||²/2, which for unit vectors is the cosine.

    Notes
    -----
    Values are computed by direct subtraction in float64, so they do not depend on blocks or threads. Cost: 2·m·n·d
    operations for "max", n·d for "mean".
    """
    if aggregate not in ("max", "mean"):
        raise InputError(f"aggregate {aggregate!r} does not exist; use 'max' or 'mean'")
    vectors, targets = check_pair(pool, target)
    n = len(vectors)
    nearest_target, distance, similarity = large(n, np.int64), large(n, np.float64), large(n, np.float64)
    spans = vectors.spans(max(1, min(vectors.block_rows, TABLE_ENTRIES // len(targets))))
    found = spread(measure, (vectors, targets, aggregate), spans)
    with progress("measuring similarity", len(vectors)) as tick:
        for span, (apart, which) in zip(spans, found, strict=True):
            here = slice(*span)
            nearest_target[here], distance[here], similarity[here] = which, np.sqrt(apart), 1.0 - apart / 2
            tick(span[1] - span[0])
    links, rows = None, numbers(n)
    if aggregate == "max":
        links = Links(rows, nearest_target, np.broadcast_to(0.0, n), distance)
    name = "nearest" if aggregate == "max" else "nearest-mean"
    return Plan(kind="score", selector=name, ids=rows, values=similarity, links=links)


def measure(vectors: Vectors, targets: Float, aggregate: str, span: Span) -> tuple[Float, Int]:
    """Measure the rows of a span.

    Returns
    -------
    (float64 (b,), int64 (b,)) : squared distance and place of the nearest target, the first of several; or the mean
    squared distance to all of them, and 0.
    """
    raw = vectors.raw(span)
    exact = vectors.exact(raw)
    if aggregate == "mean":
        centre = targets.mean(axis=0)
        scatter = float(squared_distances(targets, centre).mean())
        return squared_distances(exact, centre) + scatter, np.zeros(len(raw), dtype=np.int64)
    every_target, every_row = np.ix_(range(len(targets)), range(len(raw)))
    lower, upper = Points(targets).table(vectors.narrow(raw)).bounds(every_target, every_row)
    q, x = np.nonzero(lower <= upper.min(axis=0))
    found = squared_distances(exact[x], targets[q])
    # The smallest distance of each row, ties to the first target.
    order = np.lexsort((q, found, x))
    first = order[np.searchsorted(x[order], np.arange(len(raw)))]
    return found[first], q[first]


def _prepare(context: Context, parameters: Mapping[str, Any]) -> Planner:
    plan = fit(*context.pair(), **parameters, progress=context.progress)
    return lambda budget: plan


SELECTOR = Selector(
    _prepare,
    "score",
    {"aggregate": Parameter("max", "similarity to the nearest target, or the mean over all", ("max", "mean"))},
    plans_all_rows=True,
    meaning="similarity",
)
