"""The cells of a comparison by task, arm, budget and seed, and the differences of any two arms that are in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasksift.errors import InputError
from tasksift.evaluate.cells import Cell
from tasksift.evaluate.names import HIGHER_IS_BETTER
from tasksift.evaluate.statistics import Difference, Pair, over_tasks

Tasks = tuple[str, ...]
Runs = dict[int | None, list[Cell]]


class Grid:
    """The cells, complete or not.

    Parameters
    ----------
    cells : sequence of Cell
    confidence : float
        Of all intervals.
    seed : int
        Of the draws behind them.

    Raises
    ------
    InputError
        If there is no cell, a cell is there twice, or cells of a task were scored on different numbers of rows.
    """

    def __init__(self, cells: Sequence[Cell], confidence: float = 0.95, seed: int = 0) -> None:
        if not cells:
            raise InputError("the comparison has no finished cell")
        self._confidence, self._seed = confidence, seed
        self._runs: dict[tuple[str, str, str | None], dict[int | None, Cell]] = {}
        rows: dict[tuple[str, str], int] = {}
        for cell in cells:
            runs = self._runs.setdefault((cell.task, cell.arm, cell.budget), {})
            if cell.seed in runs:
                raise InputError(f"{named(cell)} is there twice; remove one of its files in cells/")
            runs[cell.seed] = cell
            for metric, scores in cell.scores.items():
                there = rows.setdefault((cell.task, metric), len(scores))
                if there != len(scores):
                    raise InputError(
                        f"{named(cell)}: {metric} of {len(scores)} held-out rows, but other cells of the task have "
                        f"{there}; remove the cells of one of the two"
                    )
        self._rows = rows
        self.tasks: Tasks = tuple(dict.fromkeys(cell.task for cell in cells))
        self.arms = tuple(dict.fromkeys(cell.arm for cell in cells))
        self.seeds = sorted({cell.seed for cell in cells if cell.seed is not None})
        sizes: dict[str, list[float]] = {}
        for cell in cells:
            if cell.budget is not None:
                sizes.setdefault(cell.budget, []).append(cell.fraction)
        self.budgets = tuple(sorted(sizes, key=lambda budget: float(np.mean(sizes[budget]))))

    def metrics(self, task: str) -> list[str]:
        """The metrics of a task."""
        return [metric for metric in HIGHER_IS_BETTER if (task, metric) in self._rows]

    def held_out(self, tasks: Tasks, metric: str) -> int:
        """Held-out rows, of all tasks together."""
        return sum(self._rows[task, metric] for task in tasks)

    def has(self, task: str, arm: str, budget: str | None) -> bool:
        """Whether the arm was given this budget on the task, for any seed."""
        return (task, arm, budget) in self._runs

    def runs(self, tasks: Tasks, arm: str, budget: str | None, metric: str) -> Runs:
        """The cells of an arm by seed, one per task, for the seeds whose scores are all there and finite.

        An arm that takes no budget is found under any.
        """
        found = [self._runs.get((t, arm, budget)) or self._runs.get((t, arm, None)) or {} for t in tasks]
        common = [s for s in found[0] if all(s in each and _finite(each[s], metric) for each in found)]
        return {s: [each[s] for each in found] for s in sorted(common, key=lambda s: -1 if s is None else s)}

    def absent(self, task: str, arm: str, budget: str | None) -> list[int | None]:
        """The seeds for which the arm is missing; [None] where it is missing altogether."""
        there = self._runs.get((task, arm, budget))
        if there is None:
            return [None]
        return [] if None in there else [seed for seed in self.seeds if seed not in there]

    def broken(self) -> list[tuple[Cell, str]]:
        """The cells of which a score is not finite, with the metric."""
        cells = [cell for runs in self._runs.values() for cell in runs.values()]
        return [(cell, metric) for cell in cells for metric in cell.scores if not _finite(cell, metric)]

    def difference(self, a: Runs, b: Runs, metric: str) -> Difference | None:
        """How much better one arm is than another, on the seeds that both have; None where they share none."""
        both = [s for s in a if s in b]
        first, second = (list(a), list(b)) if None in a or None in b else (both, both)
        if not (first and second):
            return None
        pairs = []
        for at in range(len(a[first[0]])):
            x, y = ([each[s][at] for s in seeds] for each, seeds in ((a, first), (b, second)))
            scores = [np.stack([cell.scores[metric] for cell in cells]) for cells in (x, y)]
            pairs.append(Pair(scores[0], scores[1], x[0].weights.get(metric)))
        return over_tasks(
            pairs, higher_is_better=HIGHER_IS_BETTER[metric], confidence=self._confidence, seed=self._seed
        )

    def interval(self, runs: Runs, metric: str) -> Difference:
        """The score of an arm itself, with an interval."""
        pairs = []
        for cells in zip(*runs.values(), strict=True):
            scores = np.stack([cell.scores[metric] for cell in cells])
            pairs.append(Pair(scores, np.zeros_like(scores[:1]), cells[0].weights.get(metric)))
        return over_tasks(pairs, higher_is_better=True, confidence=self._confidence, seed=self._seed, replicates=1000)


def named(cell: Cell) -> str:
    """A cell in words."""
    of = "" if cell.budget is None else f" at {cell.budget}"
    return f"{cell.arm}{of} on {cell.task}" + ("" if cell.seed is None else f", seed {cell.seed}")


def _finite(cell: Cell, metric: str) -> bool:
    return metric in cell.scores and bool(np.isfinite(cell.scores[metric]).all())
