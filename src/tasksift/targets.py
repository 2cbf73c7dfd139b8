"""The target rows, the task that each belongs to, and each task's share of the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.rows import Example, PoolFile, TextReader
from tasksift.rows.read import read
from tasksift.rows.text import to_string

LEAST_WEIGHT = 1e-9
"""Of a task, the largest being 1: shares below are lost in rounding."""


@dataclass(frozen=True)
class Targets:
    """What the few examples show.

    Attributes
    ----------
    examples : list of m Example
    tasks : int64 (m,)
        Task of every row, into `names`, numbered in the order in which they come.
    names : tuple of str
    shares : float64 (t,) or None
        Share of each task in the budget, where tasks are selected for one by one.
    """

    examples: list[Example]
    tasks: NDArray[np.int64]
    names: tuple[str, ...]
    shares: NDArray[np.float64] | None = None


def read_targets(config: RunConfig, files: Sequence[PoolFile]) -> Targets:
    """Read every target row; one without text could stand for anything and is an error.

    Tasks are those of ``--task-column``, or the files.
    """
    reader = TextReader(config.text_template)
    if config.target_template is not None:
        reader = TextReader(config.target_template, option="--target-template")
    examples: list[Example] = []
    codes: dict[str, int] = {}
    tasks: list[int] = []
    for k, file in enumerate(files):
        of_file = f"{file.name} ({k + 1})" if file.name in codes else file.name
        for batch in read(file, 512):
            for i, record in enumerate(batch.records):
                example = reader.example(record, batch.where(i))
                if not example.text.strip():
                    raise InputError(f"{example.where}: the target has no text; remove it or check the template")
                name = of_file
                if config.task_column is not None:
                    if config.task_column not in record:
                        columns = ", ".join(list(record)[:20])
                        raise InputError(
                            f"{example.where}: there is no column {config.task_column!r} (columns: {columns}); correct "
                            "--task-column"
                        )
                    name = to_string(record[config.task_column])
                examples.append(example)
                tasks.append(codes.setdefault(name, len(codes)))
    names = tuple(codes)
    shares = None if config.task_weights is None else parse_weights(config.task_weights, names)
    return Targets(examples, np.array(tasks, dtype=np.int64), names, shares)


def unnamed(count: int) -> Targets:
    """Targets of which nothing is known but their vectors: one task."""
    return Targets([], np.zeros(count, dtype=np.int64), ("target",) if count else ())


def parse_weights(text: str, names: Sequence[str]) -> NDArray[np.float64]:
    """Read ``3,1`` in the order of `names`, or ``math=3,code=1``; the shares that are returned sum to 1."""
    tasks = ", ".join(names)
    how = f"give one number above 0 for each of the {len(names)} tasks ({tasks}), such as 3,1 or NAME=3,NAME=1"
    found: dict[str, float] = {}
    parts = [part.strip() for part in text.split(",")]
    for k, part in enumerate(parts):
        name, sign, number = part.rpartition("=")
        name = name.strip() if sign else (names[k] if k < len(names) else "")
        try:
            weight = float(number)
        except ValueError:
            weight = 0.0
        if name not in names or name in found or not 0 < weight < float("inf"):
            raise InputError(f"--task-weights {text}: {part!r} does not fit; {how}")
        found[name] = weight
    if len(found) != len(names):
        raise InputError(f"--task-weights {text} weighs {len(found)} of {len(names)} tasks; {how}")
    weights = np.array([found[name] for name in names])
    weights /= weights.max()  # whose sum is finite
    if weights.min() < LEAST_WEIGHT:
        name = names[int(weights.argmin())]
        raise InputError(
            f"--task-weights {text}: that of {name} is less than {LEAST_WEIGHT:g} of the largest, so it gets no row; "
            f"raise it, or leave the targets of {name} out"
        )
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares
