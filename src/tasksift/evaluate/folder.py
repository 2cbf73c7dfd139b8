"""The folder of a comparison: what its cells have in common, how it is begun, and the cells that it holds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasksift.errors import InputError
from tasksift.evaluate.cells import Cell
from tasksift.represent.store import differences, replace_json

REQUEST = "request.json"
"""What a folder's cells have in common: the pool, the tasks' rows and the training."""

CELLS, FEATURES, WORK = "cells", "features", "work"
"""Folders for a file of each cell, for what is computed of the pool's rows, and for what goes when all is done."""


def check_folder(folder: Path, request: Mapping[str, Any], force: bool) -> bool:
    """Return whether the folder holds cells of another comparison, which `force` allows to drop.

    A task more or less is another grid; the rows of a task that stays must be the same.

    Raises
    ------
    InputError
        If the folder is something else, or of another pool, task or training and not `force`; the difference is named.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"cannot write {folder}: it is a file; name a folder")
    there = folder / REQUEST
    if not there.exists():
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(f"{folder} exists and is no comparison; name another folder")
        return False
    try:
        before = json.loads(there.read_bytes())
        tasks = dict(before["tasks"])
    except (ValueError, TypeError, KeyError, RecursionError):
        if force:
            return True
        raise InputError(f"{there} is damaged; name another folder, or give --force to drop the cells") from None
    asked = json.loads(json.dumps(request))
    stay = asked["tasks"].keys() & tasks.keys()
    kept = {**before, "tasks": {name: tasks[name] for name in stay}}
    asked["tasks"] = {name: asked["tasks"][name] for name in stay}
    if kept == asked or force:
        return bool(kept != asked)
    named = "; ".join(differences(kept, asked).values())
    raise InputError(
        f"{folder} holds the cells of another comparison ({named}); name another folder, or give --force to drop them"
    )


def begin_folder(folder: Path, request: Mapping[str, Any], drop: bool) -> None:
    """Make the folder, or go on in it; `drop` removes what it holds of another comparison."""
    if drop:
        for name in (CELLS, FEATURES, WORK):
            shutil.rmtree(folder / name, ignore_errors=True)
    (folder / CELLS).mkdir(parents=True, exist_ok=True)
    for part in (folder / CELLS).glob("*.part"):  # of a comparison that was killed while it wrote a cell
        part.unlink(missing_ok=True)
    replace_json(folder / REQUEST, dict(request))


def undo_folder(folder: Path, stood: bool) -> None:
    """Remove a folder that a request which could not be served has begun; if it `stood` there, empty, it stays."""
    if not stood:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for item in folder.iterdir():
        shutil.rmtree(item) if item.is_dir() else item.unlink()


def read_cells(folder: Path, names: Sequence[str] | None = None) -> list[Cell]:
    """Read the cells of these names, in their order; by default all that are in the folder."""
    cells = []
    for path in sorted(folder.glob("*.json")) if names is None else [folder / name for name in names]:
        try:
            cells.append(Cell.read(path))
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}; run the same tasksift compare again") from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise InputError(f"{path} is damaged; remove it, and the same tasksift compare makes it again") from None
    return cells


def asked_cells(cells: Sequence[Cell], manifest: Mapping[str, Any]) -> list[Cell]:
    """The cells that the comparison is of, in the order of the request; a folder keeps those of other arms, too."""
    tasks = {task["name"]: k for k, task in enumerate(manifest["tasks"])}
    arms, budgets = ({name: k for k, name in enumerate(manifest[part])} for part in ("arms", "budgets"))
    seeds = [None, *manifest["seeds"]]
    asked = [
        cell
        for cell in cells
        if cell.task in tasks and cell.arm in arms and cell.budget in (None, *budgets) and cell.seed in seeds
    ]
    return sorted(
        asked, key=lambda c: (tasks[c.task], arms[c.arm], budgets.get(c.budget or "", -1), seeds.index(c.seed))
    )
