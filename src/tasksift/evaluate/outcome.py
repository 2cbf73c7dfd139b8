"""What a comparison writes besides its cells: tables, summary, manifest and report, all of them made from the cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from tasksift import __version__
from tasksift.evaluate.cells import Cell, cell_table, row_table
from tasksift.evaluate.names import FULL, ZERO_SHOT
from tasksift.represent.store import replace_json
from tasksift.rows import iter_examples

if TYPE_CHECKING:
    from tasksift.evaluate.arms import Arm
    from tasksift.evaluate.config import CompareConfig
    from tasksift.evaluate.units import Unit
    from tasksift.evaluate.work import Bench


def write_outcome(folder: Path, cells: Sequence[Cell], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``cells.parquet``, ``rows.parquet``, ``summary.json``, ``manifest.json`` and ``report.html``.

    Returns
    -------
    dict
        The summary.
    """
    from tasksift.evaluate.summary import looked_at, summarize
    from tasksift.report.rebuild import rebuild

    summary = summarize(cells, representations=looked_at(manifest))
    for name, table in (("cells", cell_table(cells)), ("rows", row_table(cells))):
        part = folder / f"{name}.parquet.part"
        pq.write_table(table, part, compression="zstd")
        part.replace(folder / f"{name}.parquet")
    replace_json(folder / "summary.json", summary)
    replace_json(folder / "manifest.json", dict(manifest))
    rebuild(folder)
    return summary


def manifest_of(
    config: CompareConfig,
    bench: Bench,
    arms: Sequence[Arm],
    cells: Sequence[Cell],
    files: Sequence[str],
    units: Sequence[Unit],
) -> dict[str, Any]:
    """Return what was compared, as JSON, for `write_outcome`; `files` are the names of the cells' files."""
    tasks = [
        {
            "name": task.name,
            "targets": sum(len(some) for some in iter_examples(list(task.target), bench.reader)),
            "held_out": len(bench.held_out[task.name].examples),
            "metrics": sorted({metric for cell in cells if cell.task == task.name for metric in cell.scores}),
        }
        for task in bench.setup.tasks
    ]
    return {
        "kind": "comparison",
        "version": __version__,
        "pool": {"files": config.pool, "rows": cells[0].pool_rows, "digest": bench.setup.pool},
        "tasks": tasks,
        "model": {"name": config.model, "parameters": bench.trainee.parameters},
        "arms": [ZERO_SHOT, *(arm.label for arm in arms), *([] if FULL in config.without else [FULL])],
        "representations": {arm.label: bench.representation(arm) for arm in arms},
        "budgets": config.budgets,
        "seeds": config.seeds,
        "cells": {
            "done": len(cells),
            "asked": sum(len(bench.tasks_of(unit)) for unit in units),
            "files": list(files),
        },
        "training": bench.setup.training.as_json,
    }
