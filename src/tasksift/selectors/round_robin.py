"""Round-robin: the targets take turns, each picking its nearest row that is still free.

Ivison, Zhang, Brahman, Koh, Dasigi 2025 (arXiv 2503.01807), Algorithm 1 ("next"); their released code differs ("skip").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.neighbors.backends import check_backend
from tasksift.neighbors.groups import Groups, singletons
from tasksift.neighbors.search import Neighbours, nearest
from tasksift.plan import Links, Plan
from tasksift.progress import Progress, silent
from tasksift.selectors.contract import Context, Parameter, Planner, Selector
from tasksift.selectors.inputs import check_pair
from tasksift.selectors.turns import Tie, take_turns
from tasksift.vectors import Vectors, VectorsLike


def fit(
    pool: VectorsLike,
    target: VectorsLike,
    *,
    budget: int,
    tie: Tie = "next",
    order: NDArray[np.int64] | None = None,
    progress: Progress = silent,
) -> Plan:
    """Let the targets pick `budget` rows in turn.

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
    order : int64 (n,), optional
        Rank of every pool row for breaking ties in distance.

    Returns
    -------
    Plan of kind "score" over the picked rows: minus the turn at which each was picked.

    Notes
    -----
    Nearness is the L2 distance, which for unit vectors is the order of the cosine. Exact copies are separate rows.
    Cost: 2·m·n·d operations a search; lists start at a few budgets' share and double when a target runs out.
    """
    return prepare(pool, target, tie=tie, order=order, progress=progress).plan(budget)


def prepare(
    pool: VectorsLike,
    target: VectorsLike,
    *,
    tie: Tie = "next",
    order: NDArray[np.int64] | None = None,
    backend: str = "numpy",
    progress: Progress = silent,
) -> Turns:
    """Set the table; the returned `Turns` serves any budget and keeps its neighbour lists. Parameters as in `fit`."""
    if tie not in ("next", "skip"):
        raise InputError(f"tie {tie!r} does not exist; use 'next' or 'skip'")
    check_backend(backend)
    vectors, targets = check_pair(pool, target)
    return Turns(vectors, targets, singletons(vectors, order), tie, backend, progress)


@dataclass
class Turns:
    """Targets around a table, with their lists of nearest rows."""

    pool: Vectors
    targets: NDArray[np.float64]
    groups: Groups
    tie: Tie
    backend: str = "numpy"
    progress: Progress = silent
    found: list[Neighbours] = field(default_factory=list)

    def plan(self, budget: int) -> Plan:
        """Pick `budget` rows (fewer only when the pool is smaller)."""
        n, m = len(self.groups), len(self.targets)
        length = max(len(self.found[0].ids) if self.found else 0, min(n, 2 * -(-budget // m) + 64))
        while True:
            if not self.found or len(self.found[0].ids) < length:
                with self.progress(f"searching {length} neighbours", len(self.pool)) as tick:
                    self.found = nearest(self.pool, self.groups, self.targets, length, tick, backend=self.backend)
            picks = take_turns([each.ids for each in self.found], n, min(budget, n), self.tie)
            if picks is not None:
                break
            length = min(n, 2 * length)
        row = self.groups.representative[picks.rows]
        where = zip(picks.pickers, picks.places, strict=True)
        distance = np.array([self.found[q].distances[place] for q, place in where])
        by_row = np.argsort(row)
        return Plan(
            kind="score",
            selector="round-robin",
            ids=row[by_row],
            values=-picks.turns[by_row].astype(np.float64),
            complete=len(row) == n,
            links=Links(row[by_row], picks.pickers[by_row], np.zeros(len(row)), distance[by_row]),
            info={"tie": self.tie, "targets": m},
        )


def _prepare(context: Context, parameters: Mapping[str, Any]) -> Planner:
    return prepare(
        *context.pair(), **parameters, order=context.order, backend=context.backend, progress=context.progress
    ).plan


SELECTOR = Selector(
    _prepare,
    "score",
    {"tie": Parameter("next", "a target whose row is taken goes on to its next, or loses its turn", ("next", "skip"))},
)
