"""The rows around targets, layer by layer: first the nearest row of every target, then the second nearest of each."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tasksift.neighbors.groups import Groups
from tasksift.neighbors.search import Neighbours, nearest
from tasksift.progress import Progress, silent
from tasksift.vectors import Vectors

Int = NDArray[np.int64]
Float = NDArray[np.float64]

FIRST_LENGTH = 64
"""Neighbours of each target that are looked for at first, besides those that a budget needs."""


@dataclass
class Surroundings:
    """Targets with their lists of nearest rows, which grow when they are too short.

    Attributes
    ----------
    pool : Vectors (n, d)
        At unit length. Ties break by the number of the row, so rows are in tie order.
    kept : int64
        The rows to look at, ascending.
    targets : float64 (m, d)
        At unit length.
    found : list of m Neighbours
        Numbers in `kept`, nearest first.
    """

    pool: Vectors
    kept: Int
    targets: Float
    backend: str = "numpy"
    progress: Progress = silent
    found: list[Neighbours] = field(default_factory=list)

    def grow(self, k: int, progress: Progress | None = None) -> None:
        """Make the lists at least k long, or whole. Cost: 2·m·n·d operations when they are too short."""
        have = len(self.found[0].ids) if self.found else 0
        if have < min(k, len(self.kept)):
            length = min(len(self.kept), max(k, 2 * have))
            groups = Groups(self.kept, np.ones(len(self.kept), dtype=np.int64), np.arange(len(self.pool)))
            with (progress or self.progress)(f"searching {length} neighbours", len(self.pool)) as tick:
                self.found = nearest(self.pool, groups, self.targets, length, tick, backend=self.backend)

    def layers(self) -> tuple[Int, Int, Float]:
        """All rows in the lists: layer by layer, nearest first, with the target that brings each and its distance."""
        ids = np.concatenate([each.ids for each in self.found])
        distance = np.concatenate([each.distances for each in self.found])
        target, layer = np.divmod(np.arange(len(ids)), len(self.found[0].ids))
        order = np.lexsort((target, ids, distance, layer))
        first = order[np.sort(np.unique(ids[order], return_index=True)[1])]
        return self.kept[ids[first]], target[first], distance[first]

    def first(self, budget: int) -> tuple[Int, Int, Float]:
        """The first `budget` rows of the layers, or all, with their targets and distances."""
        self.grow(-(-budget // len(self.targets)) + FIRST_LENGTH)
        while True:
            rows, target, distance = self.layers()
            length = len(self.found[0].ids)
            if len(rows) >= budget or length == len(self.kept):
                return rows[:budget], target[:budget], distance[:budget]
            self.grow(2 * length)

    def distances(self, rows: Int, targets: Float) -> Float:
        """Distances of some rows from some targets at unit length, (len(rows), len(targets)); on one thread."""
        with threadpool_limits(1, user_api="blas"):
            table: Float = np.sqrt(np.maximum(0.0, 2.0 - 2.0 * (self.pool.take(rows) @ targets.T)))
        return table
