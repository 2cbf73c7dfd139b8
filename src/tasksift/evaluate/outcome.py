"""What a comparison writes besides its cells: tables, summary, manifest and report, all of them made from the cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tasksift.evaluate.cells import Cell, cell_table, row_table
from tasksift.represent.store import replace_json


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
