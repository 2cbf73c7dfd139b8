"""Round-robin: the targets take turns, each picking its nearest row that is still free.

Ivison, Zhang, Brahman, Koh, Dasigi 2025 (arXiv 2503.01807), Algorithm 1 ("next"); their released code differs ("skip").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.neighbors.backends import check_backend
from tasksift.neighbors.groups import Groups, singletons
from tasksift.neighbors.search import Neighbours, nearest
from tasksift.plan import Links, Plan
from tasksift.progress import Progress, silent
from tasksift.selectors.inputs import check_pair
from tasksift.vectors import Vectors, VectorsLike

Tie = Literal["next", "skip"]


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
            picks = self._pick(min(budget, n))
            if picks is not None:
                break
            length = min(n, 2 * length)
        row, target, turn, distance = picks
        by_row = np.argsort(row)
        return Plan(
            kind="score",
            selector="round-robin",
            ids=row[by_row],
            values=-turn[by_row].astype(np.float64),
            complete=len(row) == n,
            links=Links(row[by_row], target[by_row], np.zeros(len(row)), distance[by_row]),
            info={"tie": self.tie, "targets": m},
        )

    def _pick(
        self, budget: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]] | None:
        """Play until `budget` rows are picked; None when a list ends before the pool does."""
        m = len(self.targets)
        taken = np.zeros(len(self.groups), dtype=bool)
        at = [0] * m
        groups: list[int] = []
        picker: list[int] = []
        turns: list[int] = []
        distances: list[float] = []
        turn = -1
        while len(groups) < budget:
            turn += 1
            q = turn % m
            ids = self.found[q].ids
            while self.tie == "next" and at[q] < len(ids) and taken[ids[at[q]]]:
                at[q] += 1
            if at[q] == len(ids):
                if len(ids) < len(self.groups):
                    return None
                continue
            group = int(ids[at[q]])
            at[q] += 1
            if not taken[group]:
                taken[group] = True
                groups.append(group)
                picker.append(q)
                turns.append(turn)
                distances.append(float(self.found[q].distances[at[q] - 1]))
        return self.groups.representative[groups], np.array(picker), np.array(turns), np.array(distances)
