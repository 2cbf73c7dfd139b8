"""The data of the report of a comparison: every method's scores beside random's, curves, prices and advice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasksift import __version__
from tasksift.errors import InputError
from tasksift.evaluate.cells import Cell
from tasksift.evaluate.folder import CELLS, asked_cells, read_cells
from tasksift.evaluate.names import BASELINES
from tasksift.evaluate.plan_cells import advice, frontier_of
from tasksift.evaluate.summary import looked_at, summarize
from tasksift.report.findings import Table, findings
from tasksift.report.showable import counted, cut, showable

CONFIG = 20_000
"""Characters of the configuration that are shown."""

FAILED = 20
"""What could not be compared and is named."""

LINES = 4000
"""Lines of tables that are shown, one for each arm; more would make a file that no browser opens at once."""

PARTS = ("tables", "curves", "losers", "ties", "notes")
"""What a summary has."""


def comparison_data(folder: Path) -> dict[str, Any]:
    """Return what the page shows of a comparison, finished or not.

    Parameters
    ----------
    folder : Path
        What `tasksift compare` wrote: ``manifest.json``, ``config.yaml`` and ``cells/``.

    Returns
    -------
    dict
        Plain JSON: ``glance``, ``summary`` (see `tasksift.evaluate.summary.summarize`), ``frontier``, ``advice``,
        ``manifest`` and ``config``.

    Raises
    ------
    InputError
        If a file of the folder cannot be read or is damaged.

    Notes
    -----
    Where ``summary.json`` is not of just these cells, the cost is that of `tasksift.evaluate.summary.summarize`.
    """
    manifest = _read_manifest(folder / "manifest.json")
    config = folder / "config.yaml"
    try:
        text = config.read_text(encoding="utf-8", errors="replace") if config.is_file() else ""
    except OSError as error:
        raise InputError(f"cannot read {config}: {error.strerror}") from None
    cells = asked_cells(read_cells(folder / CELLS, manifest["cells"].get("files")), manifest)
    return data_of_cells(cells, manifest, text, _read_summary(folder / "summary.json", manifest, len(cells)))


def data_of_cells(
    cells: Sequence[Cell], manifest: Mapping[str, Any], config: str, summary: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the same from cells in memory, those that `asked_cells` gives; `summary`, if there is none, is made."""
    if summary is None:
        summary = summarize(cells, representations=looked_at(manifest)) if cells else {name: [] for name in PARTS}
    tables, notes = summary["tables"], list(summary["notes"])
    shown = _shortened(tables)
    if len(shown) < len(tables):
        notes.append(f"{len(tables) - len(shown)} more tables are in summary.json; a page holds {LINES:,} lines.")
    failed = manifest.get("failed") or {}
    notes += [f"{name} could not be compared: {why}" for name, why in sorted(failed.items())[:FAILED]]
    notes += [f"{len(failed) - FAILED} more could not be compared."] if len(failed) > FAILED else []
    try:
        advised = advice(cells)
    except InputError as error:
        advised = None
        notes.append(f"There is no advice: {error}.")
    about, methods = manifest["tasks"], [arm for arm in manifest["arms"] if arm not in BASELINES]
    data: dict[str, Any] = showable(
        {
            "format": 1,
            "kind": "comparison",
            "title": f"Comparison of {counted(len(methods), 'method')} on {counted(len(about), 'task')}",
            "version": __version__,
            "glance": {
                "sentence": "",
                "tasks": [task["name"] for task in about],
                "held_out_rows": {task["name"]: task.get("held_out") for task in about},
                "targets": {task["name"]: task.get("targets") for task in about},
                "pool_rows": manifest["pool"].get("rows"),
                "model": manifest["model"].get("name"),
                "parameters": manifest["model"].get("parameters"),
                "arms": methods,
                **{name: manifest[name] for name in ("seeds", "budgets")},
            },
            "summary": {**summary, "tables": shown, "notes": notes},
            "frontier": frontier_of(cells),
            "advice": advised,
            "manifest": {**manifest, "cells": {name: manifest["cells"].get(name) for name in ("done", "asked")}},
        }
    )
    data["glance"]["sentence"] = findings(tables, len(cells), manifest["cells"]["asked"])
    data["config"] = cut(config, CONFIG)
    return data


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_bytes())
        parts = [manifest[name] for name in ("pool", "model", "cells")]
        lists = [manifest[name] for name in ("tasks", "arms", "budgets", "seeds")]
        names = [*manifest["arms"], *manifest["budgets"], *(task["name"] for task in manifest["tasks"])]
        names += [*(manifest["cells"].get("files") or []), *(manifest.get("failed") or {}).values()]
        kind, asked = manifest["kind"], manifest["cells"]["asked"]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise _damaged(path) from None
    kinds = (dict, parts), (list, lists), (str, names), (int, [asked])
    if kind != "comparison" or not all(isinstance(each, of) for of, values in kinds for each in values):
        raise _damaged(path)
    return dict(manifest)


def _read_summary(path: Path, manifest: Mapping[str, Any], count: int) -> dict[str, Any] | None:
    """The summary that compare wrote, if this version did and no cell has come since: its intervals take long."""
    if (manifest["cells"].get("done"), manifest.get("version")) != (count, __version__):
        return None
    try:
        summary = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    known = isinstance(summary, dict) and all(isinstance(summary.get(name), list) for name in PARTS)
    return summary if known else None


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is damaged or not of tasksift compare; the same comparison run again mends it")


def _shortened(tables: Sequence[Table]) -> list[Table]:
    """The tables that together have at most `LINES` lines; the means over the tasks come first."""
    order = sorted(range(len(tables)), key=lambda k: (tables[k]["task"] is not None, k))
    kept, lines = [], 0
    for k in order:
        lines += len(tables[k]["rows"])
        if lines <= LINES:
            kept.append(k)
    return [tables[k] for k in sorted(kept)]
