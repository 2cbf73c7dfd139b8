"""The tasks of a comparison: for each its few examples, and the held-out rows that it is judged on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tasksift.errors import InputError
from tasksift.rows import PoolFile, expand, read

LEAST_HELD_OUT = 10
"""Held-out rows below which a task cannot be judged."""


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes
    ----------
    name : str
    target, held_out : tuple of PoolFile
        The few examples, and the rows that nothing is selected or trained by.
    """

    name: str
    target: tuple[PoolFile, ...]
    held_out: tuple[PoolFile, ...]


def read_tasks(
    targets: Sequence[Any], held_out: Sequence[Any], *, names: Sequence[str] = (), share: float = 0.5, seed: int = 0
) -> list[Task]:
    """Pair targets with held-out rows; without the latter, a share of the target rows is held out, drawn by `seed`.

    Parameters
    ----------
    targets, held_out : sequence of inputs as `expand` takes them
        One of each for every task, in one order; or no held-out rows at all.
    names : sequence of str
        Of the tasks; by default the beginning of the target's file name.

    Raises
    ------
    InputError
        If they do not pair, or a task has next to nothing to be judged by.
    """
    if not targets:
        raise InputError("there is no target: give --target FILE with a few examples of the task")
    if held_out and len(held_out) != len(targets):
        raise InputError(
            f"there are {len(targets)} --target and {len(held_out)} --held-out files; give one of each for every task, "
            "in one order"
        )
    if names and len(names) != len(targets):
        raise InputError(f"there are {len(targets)} --target files and {len(names)} --task-names; give one for each")
    if not 0 < share < 1:
        raise InputError(f"--hold-out {share:g} is out of range; it is a share of the target rows, such as 0.5")
    tasks: list[Task] = []
    for k, given in enumerate(targets):
        files = tuple(expand(given, "--target"))
        name = names[k] if names else _name(files, [task.name for task in tasks])
        if held_out:
            tasks.append(Task(name, files, tuple(expand(held_out[k], "--held-out"))))
        else:
            tasks.append(Task(name, *_split(name, files, share, seed)))
    if len({task.name for task in tasks}) < len(tasks):
        raise InputError("two tasks have one name; give each its own by --task-names")
    return tasks


def by_task(given: Any) -> list[Any]:
    """Return what is given as one input for each task; a list of dicts is the rows of one."""
    if given is None:
        return []
    several = isinstance(given, list | tuple) and not any(isinstance(each, Mapping) for each in given)
    return list(given) if several else [given]


def spelled(given: Any) -> str:
    """Return how an input of a task is written into the configuration."""
    return str(given) if isinstance(given, str | Path) else "<rows in memory>"


def _name(files: Sequence[PoolFile], taken: Sequence[str]) -> str:
    first = files[0].name.split(".")[0] or "task"
    return first if first not in taken else f"{first}-{len(taken) + 1}"


def _split(
    name: str, files: Sequence[PoolFile], share: float, seed: int
) -> tuple[tuple[PoolFile, ...], tuple[PoolFile, ...]]:
    """Cut the rows of a target in two."""
    rows = list(_rows(files))
    out = round(share * len(rows))
    if out < LEAST_HELD_OUT or len(rows) - out < 1:
        raise InputError(
            f"{name}: {out} of {len(rows)} target rows would be held out, and a verdict needs at least "
            f"{LEAST_HELD_OUT}; give --held-out FILE"
        )
    mine = np.zeros(len(rows), dtype=bool)
    mine[np.random.default_rng([seed, len(rows)]).permutation(len(rows))[:out]] = True
    parts = ([rows[k] for k in np.flatnonzero(mine == wanted)] for wanted in (False, True))
    kept, held = (tuple(replace(file, path=files[0].path) for file in expand(part, "--target")) for part in parts)
    return kept, held


def _rows(files: Sequence[PoolFile]) -> Iterator[dict[str, Any]]:
    for file in files:
        for batch in read(file):
            yield from batch.records
