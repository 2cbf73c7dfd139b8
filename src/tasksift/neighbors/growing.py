"""Neighbour lists that grow, and densities that are computed only as far as a sweep reaches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.neighbors.density import densities, prefetched_densities
from tasksift.neighbors.groups import Groups
from tasksift.neighbors.search import Neighbours, nearest
from tasksift.progress import Progress, silent
from tasksift.transport.sweep import Lists
from tasksift.vectors import Vectors

Search = Callable[..., list[Neighbours]]

SMALL_POOL = 2048
"""Pools of at most this many distinct rows are listed whole at once."""

FIRST_DEPTH = 32
"""Neighbours per target that get a density before the first sweep."""

LIST_BYTES = 6 * 2**30
"""Neighbour lists may take this much memory (16 bytes an entry) before a run gives up."""


class GrowingLists:
    """The neighbour lists of all targets, searched and weighted on demand.

    Parameters
    ----------
    pool : Vectors (n, d)
    targets : float64 (m, d)
    groups : Groups
    prefetch : int, optional
        Neighbours to fetch per target at first; by default a few hundred, or a small pool whole.
    search : callable
        ``search(pool, groups, targets, k, tick)``; it may return fewer than k neighbours, which then means that its
        lists end there. Exact search by default.
    progress : callable
    """

    def __init__(
        self,
        pool: Vectors,
        targets: NDArray[np.float64],
        groups: Groups,
        *,
        prefetch: int | None = None,
        search: Search = nearest,
        progress: Progress = silent,
    ) -> None:
        self.pool, self.targets, self.groups = pool, targets, groups
        self.search, self.progress = search, progress
        size = len(groups)
        self.length = min(size, prefetch or (size if size <= SMALL_POOL else 512))
        self.found: list[Neighbours] = self._fetch(self.length)
        self.depth = np.array([min(FIRST_DEPTH, len(found.ids)) for found in self.found])
        self.sigma = 0.0
        self.density = np.full(size, np.nan)

    def use_bandwidth(self, sigma: float) -> None:
        """Set the kernel's bandwidth and weigh the first neighbours."""
        self.sigma = sigma
        self.density[:] = np.nan
        self._weigh()

    def use_prefetched_densities(self, sigma: float, max_neighbors: int | None) -> None:
        """Weigh all lists by the densities among themselves, as the published code does; the lists grow no more."""
        self.sigma = sigma
        self.depth = np.array([len(found.ids) for found in self.found])
        union = np.unique(np.concatenate([found.ids for found in self.found]))
        self.density[union] = prefetched_densities(self.pool, self.groups, union, sigma, max_neighbors)

    def lists(self) -> Lists:
        """The neighbours whose weight is known. A weight is copies/density; 1 when nothing is smoothed (sigma 0)."""
        ids = [found.ids[:depth] for found, depth in zip(self.found, self.depth, strict=True)]
        weights = [self.weight(of) for of in ids]
        distances = [found.distances[:depth] for found, depth in zip(self.found, self.depth, strict=True)]
        return Lists(ids, distances, weights, whole=bool((self.depth == len(self.groups)).all()))

    def weight(self, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Weight of the given groups: their copies over their density."""
        weight: NDArray[np.float64] = self.groups.size[ids] / self.density[ids]
        return weight

    def all_weights(self) -> NDArray[np.float64]:
        """Weight of every group of the pool: the fully spread answer needs no lists."""
        self._weigh_ids(np.arange(len(self.groups)))
        return self.weight(np.arange(len(self.groups)))

    def deepen(self, lists: Lists) -> bool:
        """Look further along the lists that end the path; False when there is nothing further to see."""
        if lists.whole:
            return False
        ends = np.array([total[-1] for total in lists.cumulative])
        short = np.flatnonzero((ends <= 2 * lists.limit) & (self.depth < len(self.groups)))
        wanted = np.minimum(2 * self.depth[short], len(self.groups))
        have = np.array([len(self.found[i].ids) for i in short])
        if (wanted > have).any():
            # Lists that must grow may soon be joined by the rest, and one pass over the pool serves them all.
            self._grow(lists)
            have = np.array([len(self.found[i].ids) for i in short])
        deeper = np.minimum(wanted, have)
        if not (deeper > self.depth[short])[np.argsort(ends[short], kind="stable")[:1]].all():
            return False
        self.depth[short] = deeper
        self._weigh()
        return True

    def _grow(self, lists: Lists) -> None:
        length = min(len(self.groups), 4 * self.length)
        if 16 * length * len(self.targets) > LIST_BYTES:
            raise InputError(
                f"breadth {lists.limit:.1f} needs more than {self.length} neighbours for each of {len(self.targets)} "
                f"targets, and longer lists would exceed {LIST_BYTES / 2**30:.0f} GB; use a larger alpha, a smaller "
                f"breadth or budget, or fewer targets"
            )
        self.length = length
        self.found = self._fetch(length)

    def _fetch(self, k: int) -> list[Neighbours]:
        with self.progress(f"searching {k} neighbours", len(self.pool)) as tick:
            return self.search(self.pool, self.groups, self.targets, k, tick)

    def _weigh(self) -> None:
        self._weigh_ids(
            np.unique(np.concatenate([found.ids[:depth] for found, depth in zip(self.found, self.depth, strict=True)]))
        )

    def _weigh_ids(self, ids: NDArray[np.int64]) -> None:
        missing = ids[np.isnan(self.density[ids])]
        if len(missing):
            with self.progress(f"densities of {len(missing)} rows", len(missing) * len(self.pool)) as tick:
                self.density[missing] = densities(self.pool, self.groups, missing, self.sigma, tick)
