"""Why each row of a step was selected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasksift.rows.ids import make_ids
from tasksift.selectors.adapt import Ranked

Int = NDArray[np.int64]


def record_of(table: pa.Table, keys: NDArray[np.uint64], ranked: Ranked, scores: NDArray[Any], rows: Int) -> pa.Table:
    """Why each row was selected, first to last."""
    clusters = ranked.clusters.labels[rows]
    sizes, budgets = np.bincount(ranked.clusters.labels), np.bincount(clusters)
    scorers = [ranked.name_of(c) for c in clusters]
    values = [
        None if name is None else float(scores[row, ranked.names.index(name)])
        for row, name in zip(rows, scorers, strict=True)
    ]
    reasons = [
        f"one of {budgets[c]} from the {sizes[c]} rows of cluster {c}, "
        + ("at random" if name is None else f"spread over {name} ({value:.4g} here)")
        for c, name, value in zip(clusters, scorers, values, strict=True)
    ]
    there = table.take(pa.array(rows))
    return pa.table(
        {
            "id": make_ids(keys[rows], None),
            "source": there["source"],
            "file": there["file"],
            "row": there["row"],
            "step": there["step"],
            "rank": pa.array(np.arange(1, len(rows) + 1)),
            "cluster": pa.array(clusters),
            "scorer": pa.array(scorers, pa.string()),
            "score": pa.array(values, pa.float64()),
            "reason": reasons,
        }
    )
