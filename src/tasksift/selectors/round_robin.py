"""Round-robin: the targets, or tasks of several targets, take turns, each picking its nearest row that is still free.

Ivison, Zhang, Brahman, Koh, Dasigi 2025 (arXiv 2503.01807), Algorithm 1 ("next"); their released code differs ("skip").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.neighbors.backends import check_backend
from tasksift.neighbors.groups import Groups, singletons
from tasksift.neighbors.search import Neighbours, nearest
from tasksift.plan import Links, Plan
from tasksift.progress import Progress, silent
from tasksift.selectors.contract import Context, Planner, Selector
from tasksift.selectors.inputs import check_pair
from tasksift.selectors.parameter import Parameter
from tasksift.selectors.turns import Tie, pick_from_growing
from tasksift.vectors import Vectors, VectorsLike


def fit(
    pool: VectorsLike,
    target: VectorsLike,
    *,
    budget: int,
    tie: Tie = "next",
    tasks: NDArray[np.int64] | None = None,
    order: NDArray[np.int64] | None = None,
    progress: Progress = silent,
) -> Plan:
    """Let the targets, or the tasks, pick `budget` rows in turn.

    Parameters
    ----------
    pool : array (n, d), memory map, list of shards, or Vectors
    target : array (m, d)
        The turns go through the targets in this order.
    budget : int
        Rows to pick; at most n.
    tie : {"next", "skip"}
        What a target does when the row it looks at is taken: go on to its next free one (the paper), or lose the turn
        (the released code).
    tasks : int64 (m,), optional
        The task of each target. The tasks then take the turns, in the order of their codes; a row is as near to a task
        as to the nearest of its targets. Targets of one task only take turns themselves.
    order : int64 (n,), optional
        Rank of every pool row for breaking ties in distance.

    Returns
    -------
    Plan of kind "score" over the picked rows: minus the turn at which each was picked.

    Notes
    -----
    Nearness is the L2 distance, which for unit vectors is the order of the cosine. Exact copies are separate rows.
    Cost: 2·m·n·d operations a search; lists start at a few budgets' share and double when one runs out.
    """
    return prepare(pool, target, tie=tie, tasks=tasks, order=order, progress=progress).plan(budget)


def prepare(
    pool: VectorsLike,
    target: VectorsLike,
    *,
    tie: Tie = "next",
    tasks: NDArray[np.int64] | None = None,
    order: NDArray[np.int64] | None = None,
    backend: str = "numpy",
    progress: Progress = silent,
) -> Turns:
    """Set the table; the returned `Turns` serves any budget and keeps its neighbour lists. Parameters as in `fit`."""
    if tie not in ("next", "skip"):
        raise InputError(f"tie {tie!r} does not exist; use 'next' or 'skip'")
    check_backend(backend)
    vectors, targets = check_pair(pool, target)
    members = [np.array([q]) for q in range(len(targets))]
    if tasks is not None:
        if np.shape(tasks) != (len(targets),):
            raise InputError(f"tasks has shape {np.shape(tasks)}; give one task for each of the {len(targets)} targets")
        codes = np.unique(tasks)
        if len(codes) > 1:
            members = [np.flatnonzero(tasks == code) for code in codes]
    return Turns(vectors, targets, members, singletons(vectors, order), tie, backend, progress)


@dataclass(frozen=True)
class Wanted:
    """The rows that one task wants, nearest first: groups, distances, and the target nearest to each."""

    ids: NDArray[np.int64]
    distances: NDArray[np.float64]
    targets: NDArray[np.int64]


@dataclass
class Turns:
    """Targets, or tasks, around a table, with their lists of nearest rows."""

    pool: Vectors
    targets: NDArray[np.float64]
    members: list[NDArray[np.int64]]
    """The targets of each who takes a turn."""
    groups: Groups
    tie: Tie
    backend: str = "numpy"
    progress: Progress = silent
    length: int = 0
    """Of the lists of the single targets."""
    wanted: Sequence[Wanted] = ()

    def plan(self, budget: int) -> Plan:
        """Pick `budget` rows (fewer only when the pool is smaller)."""
        n, m = len(self.groups), len(self.members)
        picks = pick_from_growing(self._at_least, m, n, budget, self.tie)
        row = self.groups.representative[picks.rows]
        where = list(zip(picks.pickers, picks.places, strict=True))
        distance = np.array([self.wanted[q].distances[place] for q, place in where])
        nearest_target = np.array([self.wanted[q].targets[place] for q, place in where], dtype=np.int64)
        by_row = np.argsort(row)
        info: dict[str, Any] = {"tie": self.tie, "targets": len(self.targets)}
        if m < len(self.targets):
            info["tasks"] = m
        return Plan(
            kind="score",
            selector="round-robin",
            ids=row[by_row],
            values=-picks.turns[by_row].astype(np.float64),
            complete=len(row) == n,
            links=Links(row[by_row], nearest_target[by_row], np.zeros(len(row)), distance[by_row]),
            info=info,
        )

    def _at_least(self, length: int) -> list[NDArray[np.int64]]:
        if self.length < length:
            with self.progress(f"searching {length} neighbours", len(self.pool)) as tick:
                found = nearest(self.pool, self.groups, self.targets, length, tick, backend=self.backend)
            whole = length >= len(self.groups)
            self.wanted = [_merge([found[q] for q in each], each, whole) for each in self.members]
            self.length = length
        return [each.ids for each in self.wanted]


def _merge(lists: list[Neighbours], targets: NDArray[np.int64], whole: bool) -> Wanted:
    """The rows nearest to any of the targets, as far as no list could still hold a nearer one.

    Cost: a sort of the lists.
    """
    ids = np.concatenate([each.ids for each in lists])
    distances = np.concatenate([each.distances for each in lists])
    owner = np.repeat(targets, [len(each.ids) for each in lists])
    if len(lists) == 1:
        return Wanted(ids, distances, owner)
    order = np.lexsort((owner, ids, distances))
    if not whole:
        # What a list leaves out comes after its last row, in distance and, where that is equal, in group.
        distance, last = min((each.distances[-1], each.ids[-1]) for each in lists)
        sure = (distances < distance) | ((distances == distance) & (ids <= last))
        order = order[sure[order]]
    _, first = np.unique(ids[order], return_index=True)
    order = order[np.sort(first)]
    return Wanted(ids[order], distances[order], owner[order])


def _prepare(context: Context, parameters: Mapping[str, Any]) -> Planner:
    tasks = context.tasks if parameters["turns"] == "tasks" else None
    return prepare(
        *context.pair(),
        tie=parameters["tie"],
        tasks=tasks,
        order=context.order,
        backend=context.backend,
        progress=context.progress,
    ).plan


SELECTOR = Selector(
    _prepare,
    "score",
    {
        "tie": Parameter("next", "who finds its row taken goes on to its next, or loses its turn", ("next", "skip")),
        "turns": Parameter(
            "targets", "who takes turns: every target, or the tasks where there are several", ("targets", "tasks")
        ),
    },
)
