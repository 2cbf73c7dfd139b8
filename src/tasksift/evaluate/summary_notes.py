"""Sentences on what a comparison can and cannot show, and on what is missing in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasksift.evaluate.names import FULL, RANDOM, SEEDS, ZERO_SHOT
from tasksift.evaluate.summary_grid import Grid, named

FEW_ROWS = 100
"""Held-out rows of a task below which that is said."""

MOST = 20
"""Sentences on single cells; the rest are counted."""


def notes(grid: Grid, tables: Sequence[Mapping[str, Any]], confidence: float) -> list[str]:
    """Return the notes of a summary.

    Parameters
    ----------
    grid : Grid
    tables : sequence of mapping
        Those of `tasksift.evaluate.summary.summarize`.
    confidence : float
        Of the intervals.
    """
    rows = [row for table in tables for row in table["rows"] if row["arm"] not in (ZERO_SHOT, FULL)]
    found = [row["versus_random"]["verdict"] for row in rows if row["versus_random"]]
    judged = [verdict for verdict in found if verdict in ("better", "worse", "tie")]
    said = []
    if judged:
        chance, different = (1 - confidence) * len(judged), sum(verdict != "tie" for verdict in judged)
        said.append(
            f"{len(judged):,} differences of selections to random were judged and {different:,} named better or "
            f"worse; if none differed from random, chance alone would name about {chance:.1f}."
        )
    if not found:
        said.append(f"No arm stands beside {RANDOM}, so nothing says whether a selection was worth its cost.")
    if len(grid.seeds) < SEEDS:
        have = "is 1 seed" if len(grid.seeds) == 1 else f"are {len(grid.seeds)} seeds"
        said.append(
            f"There {have}; at least {SEEDS} are needed to tell a method from a lucky draw, so no verdict is given."
        )
    said.append(
        f"Intervals at {confidence:.0%} stand for other held-out rows and other seeds"
        + ("; a mean over tasks is about these tasks only." if len(grid.tasks) > 1 else ", of this task only.")
    )
    for task in grid.tasks:
        count = max((grid.held_out((task,), metric) for metric in grid.metrics(task)), default=0)
        if count < FEW_ROWS:
            said.append(f"{task} has {count} held-out rows; with so few, only large differences can be seen.")
    single = [*_broken(grid), *_missing(grid), *_left_out(grid, tables)]
    said += single[:MOST]
    return [*said, f"{len(single) - MOST:,} more cells are missing or broken."] if len(single) > MOST else said


def _broken(grid: Grid) -> list[str]:
    return [
        f"{named(cell)}: the {metric} is not finite, as after a training that diverged; this cell is left out."
        for cell, metric in grid.broken()
    ]


def _missing(grid: Grid) -> list[str]:
    said = []
    for task in grid.tasks:
        for arm in grid.arms:
            for budget in (None,) if arm in (ZERO_SHOT, FULL) else grid.budgets:
                absent = grid.absent(task, arm, budget)
                if absent:
                    at = "" if budget is None else f" at {budget}"
                    what = "is missing" if absent == [None] else f"lacks seed {', '.join(map(str, absent))}"
                    said.append(f"{arm}{at} on {task} {what}; arms are compared on the seeds that both have.")
    return said


def _left_out(grid: Grid, tables: Sequence[Mapping[str, Any]]) -> list[str]:
    means = [table for table in tables if table["task"] is None]
    said = []
    for table in means:
        there = {row["arm"] for row in table["rows"]}
        tasks = [task for task in grid.tasks if table["metric"] in grid.metrics(task)]
        for arm in grid.arms:
            some = [task for task in tasks if grid.runs((task,), arm, table["budget"], table["metric"])]
            if some and arm not in there:
                said.append(
                    f"{arm} at {table['budget']} has no seed with {table['metric']} on all of the tasks and is left "
                    "out of their mean."
                )
    return said
