"""Neighbour lists that grow, and densities that are computed only as far as a sweep reaches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.neighbors.backends import check_backend
from tasksift.neighbors.density import densities, prefetched_densities
from tasksift.neighbors.frame import Survey
from tasksift.neighbors.groups import Groups
from tasksift.neighbors.search import Neighbours, nearest
from tasksift.progress import Progress, silent
from tasksift.scratch import chunks, large
from tasksift.transport.sweep import Lists
from tasksift.vectors import Vectors

Search = Callable[..., list[Neighbours]]

SMALL_POOL = 2048
"""Pools of at most this many distinct rows are listed whole at once."""

FIRST_DEPTH = 32
"""Neighbours per target that get a density before the first sweep."""

GUESSED_FROM = 64
"""Neighbours of which the mean weight stands for that of those farther away, until it is known."""

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
    backend : str
        What multiplies, see `tasksift.neighbors.backends`.
    progress : callable
    """

    def __init__(
        self,
        pool: Vectors,
        targets: NDArray[np.float64],
        groups: Groups,
        *,
        prefetch: int | None = None,
        search: Search | None = None,
        backend: str = "numpy",
        progress: Progress = silent,
    ) -> None:
        check_backend(backend)
        self.pool, self.targets, self.groups = pool, targets, groups
        self.search = search or partial(nearest, backend=backend)
        self.backend, self.progress = backend, progress
        size = len(groups)
        self.length = min(size, prefetch or (size if size <= SMALL_POOL else 512))
        self.found: list[Neighbours] = self._fetch(self.length)
        self.depth = np.array([min(FIRST_DEPTH, len(found.ids)) for found in self.found])
        self.survey = Survey(pool, groups)
        self.sigma = 0.0
        self.density: NDArray[np.float64] = large(size, np.float64, fill=np.nan)

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

    def known(self) -> int:
        """How many groups have a density."""
        return sum(int(np.isfinite(self.density[some]).sum()) for some in chunks(len(self.density)))

    def all_weights(self) -> NDArray[np.float64]:
        """Weight of every group of the pool: the fully spread answer needs no lists."""
        self._weigh_ids(np.arange(len(self.groups)))
        return self.weight(np.arange(len(self.groups)))

    def deepen(self, lists: Lists, solve: Callable[[Lists], float | None]) -> bool:
        """Look further along the lists that end the path; False when there is nothing further to see.

        Parameters
        ----------
        lists : Lists
            What `lists` returned.
        solve : callable
            The breadth that some lists lead to, or None when it lies beyond them. On lists whose unknown weights are
            guessed it tells how far to look, so that few rows get a density that no answer needs.
        """
        if lists.whole:
            return False
        ends = np.array([total[-1] for total in lists.cumulative])
        first = int(np.argmin(ends))
        guessed = self.guessed()
        breadth = solve(guessed)
        if self.depth[first] == len(self.found[first].ids):
            shorter = self.length
            self._grow(lists)
            if self.length == shorter or len(self.found[first].ids) == self.depth[first]:
                return False
            guessed = self.guessed()
            breadth = solve(guessed)
        have = np.array([len(found.ids) for found in self.found])
        goal = guessed.limit if breadth is None else breadth
        wanted = np.array([int(np.searchsorted(total, goal)) + 2 for total in guessed.cumulative])
        # Whatever the guess, the lists that end first get on by a share of what they have.
        wanted[first] = max(wanted[first], self.depth[first] * 9 // 8 + 8)
        if breadth is None and guessed.whole:
            wanted = have
        self.depth = np.maximum(self.depth, np.minimum(wanted, have))
        self._weigh()
        return True

    def guessed(self) -> Lists:
        """The lists as far as they were searched; a weight that is not known yet is guessed from the last known."""
        weights = []
        for found, depth in zip(self.found, self.depth, strict=True):
            weight = self.weight(found.ids)
            unknown = np.isnan(weight)
            weight[unknown] = weight[max(0, depth - GUESSED_FROM) : depth].mean()
            weights.append(weight)
        ids, distances = [found.ids for found in self.found], [found.distances for found in self.found]
        return Lists(ids, distances, weights, whole=all(len(of) == len(self.groups) for of in ids))

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
                self.density[missing] = densities(
                    self.pool, self.groups, missing, self.sigma, tick, survey=self.survey, backend=self.backend
                )
