"""What a report of a selection is made from: the selection, and what only a run that is under way has at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.rows.index import PoolIndex
from tasksift.scratch import chunks, large
from tasksift.vectors import Vectors

Int = NDArray[np.int64]


@dataclass(frozen=True)
class Basis:
    """A run under way, as its report sees it.

    Attributes
    ----------
    index : PoolIndex
    kept : int64 (k,) or None
        The rows that a selector was told of, ascending; None: all of them.
    order : int64 (k,)
        Their ranks in the order of row ids.
    pool, target : Vectors or None
        Features of these rows, (k, d), and of the targets, (m, d), if the selector looked at any.
    keys : uint64 (k, 2) or None
        Content keys of the features, if they are known already.
    texts : list of m str
        The targets; empty where they are vectors only.
    parameters : mapping
        Of the selector.
    seed : int
        Of whatever is sampled.
    """

    index: PoolIndex
    kept: Int | None
    order: Int
    pool: Vectors | None
    target: Vectors | None
    keys: NDArray[np.uint64] | None = None
    texts: list[str] = field(default_factory=list)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def rows(self, places: Int) -> Int:
        """Positions in the input of some of the kept rows."""
        return places if self.kept is None else self.kept[places]

    def places(self, rows: Int) -> Int:
        """Where kept rows, given by their positions in the input, are among the kept rows."""
        return rows if self.kept is None else np.searchsorted(self.kept, rows)

    @cached_property
    def pair(self) -> tuple[Vectors, Vectors] | None:
        """Features of pool and targets, where there are both."""
        return None if self.pool is None or self.target is None else (self.pool, self.target)

    def sample(self, most: int, purpose: int) -> Int:
        """At most `most` places of kept rows, by rank; the same rows however the pool is ordered."""
        n = len(self.order)
        if n <= most:
            return np.argsort(self.order)
        wanted = large(n, np.bool_, fill=False)
        wanted[np.random.default_rng([self.seed, purpose]).choice(n, most, replace=False, shuffle=False)] = True
        found = np.concatenate([some.start + np.flatnonzero(wanted[self.order[some]]) for some in chunks(n)])
        by_rank: Int = found[np.argsort(self.order[found])]
        return by_rank
