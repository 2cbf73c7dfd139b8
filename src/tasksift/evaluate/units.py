"""The trainings of a comparison: which there are, in which order, and which share a plan."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from tasksift.evaluate.arms import Arm
from tasksift.evaluate.config import CompareConfig
from tasksift.evaluate.names import FULL, ZERO_SHOT
from tasksift.evaluate.tasks import Task


@dataclass(frozen=True)
class Unit:
    """One training.

    Attributes
    ----------
    arm : str
    budget : str or None
    seed : int or None
    task : str or None
        The task that is selected for; None where the arm looks at no target, and is judged on every task.
    """

    arm: str
    budget: str | None
    seed: int | None
    task: str | None

    def __str__(self) -> str:
        parts = (self.arm, self.budget, None if self.seed is None else f"seed {self.seed}", self.task)
        return ", ".join(part for part in parts if part is not None)


def units_of(config: CompareConfig, tasks: Sequence[Task], arms: Sequence[Arm]) -> list[Unit]:
    """Every training of a comparison; budget by budget and with all seeds of a selection in a row.

    So whatever there is time for can be compared, and a plan serves all seeds of its draw.
    """
    units = [Unit(ZERO_SHOT, None, None, None)]
    for budget in config.budgets:
        for arm in arms:
            for name in [task.name for task in tasks] if arm.looks_at_targets else [None]:
                units += [Unit(arm.label, budget, seed, name) for seed in config.seeds]
    if FULL not in config.without:
        units += [Unit(FULL, None, seed, None) for seed in config.seeds]
    return units


def in_time(units: Sequence[Unit], begun: float, hours: float | None) -> Iterator[list[Unit]]:
    """Yield units that share a plan together, until the time is up; a training of everything shares nothing."""
    for _, some in groupby(units, lambda unit: unit if unit.arm == FULL else replace(unit, seed=None)):
        if hours is not None and time.monotonic() - begun > 3600 * hours:
            return
        yield list(some)
