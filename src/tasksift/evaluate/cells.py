"""Cells of a comparison, a file each: what a training on a selection scored on a task, and what it cost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasksift.evaluate.names import HIGHER_IS_BETTER
from tasksift.represent.store import replace_json

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Costs:
    """What a cell took; seconds are wall time, operations are counted, not measured.

    Attributes
    ----------
    feature_seconds, feature_flops : float
        The pool's features and a warm-up, which other budgets, seeds and tasks share.
    select_seconds, select_flops : float
        The targets' features and the selection itself.
    train_seconds, train_flops : float
    evaluate_seconds : float
    reusable : float
        Which part of `feature_flops` another target would not pay again, 0 to 1.
    """

    feature_seconds: float = 0.0
    feature_flops: float = 0.0
    select_seconds: float = 0.0
    select_flops: float = 0.0
    train_seconds: float = 0.0
    train_flops: float = 0.0
    evaluate_seconds: float = 0.0
    reusable: float = 1.0


@dataclass(frozen=True)
class Cell:
    """One training and its scores on the held-out rows of one task.

    Attributes
    ----------
    task, arm : str
    budget : str or None
        As it was asked for, such as ``1%``; None for `ZERO_SHOT` and `FULL`.
    seed : int or None
        Of draw and training; None for `ZERO_SHOT`.
    preset : str or None
        The method of the arm; None for `ZERO_SHOT` and `FULL`.
    rows, distinct, tokens, epochs : int
        What was trained on: rows with their copies, without them, tokens of one pass, passes.
    pool_rows : int
    scores : mapping of str to float64 (held-out rows,)
        By metric, a number of each held-out row, in their order.
    weights : mapping of str to float64 (held-out rows,)
        By metric, how much each row counts: for ``loss`` its scored tokens. Where a metric is missing, all count alike.
    costs : Costs
    """

    task: str
    arm: str
    budget: str | None
    seed: int | None
    preset: str | None
    rows: int
    distinct: int
    tokens: int
    epochs: int
    pool_rows: int
    scores: Mapping[str, Float]
    weights: Mapping[str, Float] = field(default_factory=dict)
    costs: Costs = field(default_factory=Costs)

    def score(self, metric: str) -> float:
        """Return the weighted mean over the held-out rows; for ``loss`` that is the loss per response token."""
        return float(np.average(self.scores[metric], weights=self.weights.get(metric)))

    @property
    def fraction(self) -> float:
        """Rows over rows of the pool; above 1 where copies make it so."""
        return self.rows / self.pool_rows

    def write(self, path: Path) -> None:
        """Write the cell at once or not at all."""
        values = asdict(self)
        for name in ("scores", "weights"):
            values[name] = {metric: array.tolist() for metric, array in values[name].items()}
        replace_json(path, values)

    @classmethod
    def read(cls, path: Path) -> Cell:
        """Read what `write` wrote."""
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for name in ("scores", "weights"):
            values[name] = {metric: np.array(each, dtype=np.float64) for metric, each in values[name].items()}
        return cls(**{**values, "costs": Costs(**values["costs"])})


def cell_table(cells: Iterable[Cell]) -> pa.Table:
    """One line per cell: what was trained, each metric's score (null where a task has none), and the costs."""
    lines = [
        {
            **{name: getattr(cell, name) for name in ("task", "arm", "preset", "budget", "seed", "rows", "distinct")},
            **{name: getattr(cell, name) for name in ("tokens", "epochs", "pool_rows", "fraction")},
            **{metric.replace("-", "_"): None for metric in HIGHER_IS_BETTER},
            **{metric.replace("-", "_"): cell.score(metric) for metric in cell.scores},
            **asdict(cell.costs),
        }
        for cell in cells
    ]
    return pa.Table.from_pylist(lines, schema=_SCHEMA)


def row_table(cells: Iterable[Cell]) -> pa.Table:
    """One line per cell, metric and held-out row: ``task, arm, budget, seed, metric, row, score, weight``."""
    parts = []
    for cell in cells:
        for metric, scores in cell.scores.items():
            n = len(scores)
            weights = cell.weights.get(metric, np.ones(n))
            same = [pa.repeat(pa.scalar(each, kind), n) for each, kind in _keys(cell, metric)]
            columns = [*same, pa.array(np.arange(n)), pa.array(scores), pa.array(weights)]
            parts.append(pa.table(columns, names=_ROW_COLUMNS))
    return pa.concat_tables(parts)


def _keys(cell: Cell, metric: str) -> list[tuple[Any, pa.DataType]]:
    text, whole = pa.string(), pa.int64()
    return [(cell.task, text), (cell.arm, text), (cell.budget, text), (cell.seed, whole), (metric, text)]


_ROW_COLUMNS = ["task", "arm", "budget", "seed", "metric", "row", "score", "weight"]

_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("task", "arm", "preset", "budget")]
    + [(name, pa.int64()) for name in ("seed", "rows", "distinct", "tokens", "epochs", "pool_rows")]
    + [("fraction", pa.float64())]
    + [(metric.replace("-", "_"), pa.float64()) for metric in HIGHER_IS_BETTER]
    + [(name, pa.float64()) for name in Costs.__dataclass_fields__]
)
