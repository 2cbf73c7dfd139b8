"""Passes over vectors, and sorts of keys, timed on pools that are larger than the sample.

The sample's vectors stand several times in a row there, without copies of them, and all count as distinct rows.
Whatever passes over a pool then sees what a larger draw from the same rows would show it.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasksift.evaluate.scale.laws import Point
from tasksift.evaluate.scale.recording import Clock, repeated
from tasksift.neighbors.density import densities
from tasksift.neighbors.groups import Groups, collapse, content_keys, singletons
from tasksift.neighbors.search import SAMPLE_ROWS, SAMPLE_SHARE, nearest
from tasksift.rows.index import PoolIndex
from tasksift.vectors import Vectors

SMALL_BYTES, LARGE_BYTES = 100e6, 400e6
"""Vectors that are passed over, in two sizes; at least those of the sample and twice as many."""

SORTED_ROWS = (2**18, 2**20)
"""Keys that are sorted."""

FIRST_LISTS, LONGER_LISTS = 512, 2048
"""Neighbours of each target, as the lists grow."""

PARTS = (4, 2, 1)
"""Densities are timed in every so many-th row of the sample."""

LEAST = 2
"""Repeats at least."""


def pass_units(rows: float, targets: int, lists: Sequence[int]) -> dict[str, float]:
    """What searching neighbours of each target works on, pass by pass: passes, rows of all of them, and what is found.

    More than a list's length is found, as its end is guessed from a sample; see `tasksift.neighbors.search`.
    """
    step = max(SAMPLE_SHARE, rows / SAMPLE_ROWS)
    found = sum(min(rows, length + 5 * math.sqrt(length * step) + 5 * step) for length in lists)
    return {"passes": len(lists), "rows": rows, "rows·passes": rows * len(lists), "found": targets * found}


class Passes:
    """The vectors of a sample, and pools made of them.

    Parameters
    ----------
    vectors : Vectors (n, d)
    targets : float64 (m, d)
    clock : callable
    seconds : float
        For all that is timed, about.
    """

    def __init__(self, vectors: Vectors, targets: NDArray[np.float64], clock: Clock, seconds: float) -> None:
        self.vectors, self.targets, self.clock = vectors, targets, clock
        self.seconds = seconds / 8
        row = vectors.dim * vectors.shards[0].dtype.itemsize
        few = max(1, round(SMALL_BYTES / row / len(vectors)))
        self.copies = few, max(2 * few, round(LARGE_BYTES / row / len(vectors)))

    def hash(self) -> list[Point]:
        """The keys of content."""
        pools = [self._pool(copies) for copies in self.copies]
        return [Point({"rows": len(pool)}, self._time(lambda pool=pool: content_keys(pool))) for pool in pools]

    def search(self, backend: str) -> list[Point]:
        """Neighbours of all targets: two pools, and two lengths of lists."""
        found = []
        for copies, k in ((self.copies[0], FIRST_LISTS), (self.copies[1], FIRST_LISTS), (self.copies[1], LONGER_LISTS)):
            pool = self._pool(copies)
            groups = singletons(pool, self._order(len(pool)))
            groups.rank  # noqa: B018
            took = self._time(lambda: nearest(pool, groups, self.targets, k, backend=backend))  # noqa: B023
            found.append(Point(pass_units(len(pool), len(self.targets), [k]), took))
        return found

    def densities(self, sigma: float, share: float, backend: str) -> list[Point]:
        """Densities of the same share of the rows, those nearest to the targets, in parts of the sample.

        Parameters
        ----------
        share : float
            Of the pool that the answer reaches.
        """
        found = []
        for step in PARTS:
            part = self.vectors.rows(np.arange(0, len(self.vectors), step))
            pool = Vectors(part, normalize=self.vectors.normalize)
            groups = singletons(pool, self._order(len(pool)))
            groups.rank  # noqa: B018
            ids = self._nearest_ids(pool, groups, max(1, round(share * len(pool))), backend)
            took = self._time(lambda: densities(pool, groups, ids, sigma, backend=backend))  # noqa: B023
            found.append(Point({"rows": len(pool), "densities": float(len(ids))}, took))
        return found

    def _nearest_ids(self, pool: Vectors, groups: Groups, rows: int, backend: str) -> NDArray[np.int64]:
        """So many groups, those nearest to any target."""
        depth = min(len(pool), FIRST_LISTS)
        while True:
            lists = nearest(pool, groups, self.targets, depth, backend=backend)
            ids, distances = (np.concatenate([getattr(each, name) for each in lists]) for name in ("ids", "distances"))
            found = list(dict.fromkeys(ids[np.argsort(distances, kind="stable")].tolist()))[:rows]
            if len(found) == min(rows, len(pool)) or depth == len(pool):
                return np.sort(np.array(found, dtype=np.int64))
            depth = min(len(pool), 4 * depth)

    def _pool(self, copies: int) -> Vectors:
        return Vectors(self.vectors.shards * copies, normalize=self.vectors.normalize)

    def _order(self, rows: int) -> NDArray[np.int64]:
        return np.random.default_rng(rows).permutation(rows)

    def _time(self, work: object) -> tuple[float, ...]:
        assert callable(work)
        return repeated(work, least=LEAST, seconds=self.seconds, clock=self.clock)


def sorts(vectors: Vectors | None, kept: bool, clock: Clock, seconds: float) -> dict[str, list[Point]]:
    """Ranking rows by their ids and, where there are vectors, grouping the copies among them, by keys like any pool's.

    Parameters
    ----------
    kept : bool
        Whether the index goes to disk and back, as that of rows does.
    """
    found: dict[str, list[Point]] = {}
    for rows in SORTED_ROWS:
        keys = np.random.default_rng(rows).integers(0, 2**64, size=(rows, 2), dtype=np.uint64)
        units = {"rows": float(rows), "rows·log2(rows)": rows * math.log2(rows)}
        order: list[NDArray[np.int64]] = []

        def rank(keys: NDArray[np.uint64] = keys, order: list[NDArray[np.int64]] = order) -> None:
            index = PoolIndex(keys, "", [("pool", len(keys))], ["pool"])
            if kept:
                with tempfile.TemporaryDirectory(prefix="tasksift-") as folder:
                    index.save(Path(folder) / "rows.parquet")
                    index = PoolIndex.load(Path(folder) / "rows.parquet")
            order[:] = [index.order]

        took = repeated(rank, least=LEAST, seconds=seconds / 8, clock=clock)
        found.setdefault("rank", []).append(Point(units, took))
        if vectors is not None:
            # No two keys are equal, so no row is ever looked at.
            pool = Vectors(np.broadcast_to(vectors.shards[0][:1], (rows, vectors.dim)))
            took = repeated(
                lambda: collapse(pool, order[0], keys=keys),  # noqa: B023
                least=LEAST, seconds=seconds / 8, clock=clock,
            )  # fmt: skip
            found.setdefault("copies", []).append(Point(units, took))
    return found
