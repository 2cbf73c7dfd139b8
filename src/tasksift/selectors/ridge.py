"""Ridge regressions on many sets of rows that overlap, such as windows of one order, multiplying each row once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from tasksift.engines.local import share
from tasksift.errors import InputError
from tasksift.progress import Progress, silent
from tasksift.vectors import Vectors

Floats = NDArray[np.float64]
Int = NDArray[np.int64]

BLOCK_BYTES = 64 * 2**20
"""Features that are multiplied at a time, in float64."""

GRAM_BYTES = 2**30
"""Products F'F that are kept at a time."""


class Sets(NamedTuple):
    """Sets of rows; row i belongs to those from ``begin[i]`` to ``end[i]`` - 1.

    Attributes
    ----------
    rows : int64 (n,)
        Rows of the features, in an order that does not depend on how the pool is ordered; results are sums in it.
    begin, end : int64 (n,)
    number, width : int
        How many sets there are, and how many rows each has.
    """

    rows: Int
    begin: Int
    end: Int
    number: int
    width: int

    def members(self, k: int) -> Int:
        """The rows of one set."""
        return self.rows[(self.begin <= k) & (k < self.end)]


@dataclass(frozen=True)
class Regression:
    """What is regressed on the features F (k, d) of a set, A = F'F + ridge·I.

    With `targets`, each target q on the rows, min over c of ||q - F'c||² + ridge·||c||²; what is left of it is
    ridge·A⁻¹q. Otherwise one-hot labels on the features and a constant 1, with the weights A⁻¹F'Y.

    Attributes
    ----------
    features : Vectors (n, d)
    ridge : float
    code : int64 (n,)
        Class of every row, from 0.
    targets : float64 (m, d) or None
    by_rows : bool or None
        Whether systems are of the size of a set, in FF' + ridge·I, and not of the dimensions; both give the same.
        By default the smaller one.
    """

    features: Vectors
    ridge: float
    code: Int
    targets: Floats | None = None
    by_rows: bool | None = None

    @property
    def dim(self) -> int:
        """Columns of F."""
        return self.features.dim + (self.targets is None)

    @property
    def classes(self) -> int:
        """How many there are."""
        return int(self.code.max()) + 1

    def design(self, rows: Int) -> Floats:
        """Return F for some rows."""
        taken = self.features.take(rows)
        return taken if self.targets is not None else np.hstack([taken, np.ones((len(rows), 1))])

    def labels(self, rows: Int) -> Floats:
        """Return one-hot labels of some rows, (len(rows), classes)."""
        return np.eye(self.classes)[self.code[rows]]

    def blocks(self, rows: Int) -> list[Int]:
        """Cut rows, in their order, into as many as are multiplied at a time."""
        step = max(64, BLOCK_BYTES // (8 * self.dim))
        return [rows[at : at + step] for at in range(0, len(rows), step)]

    def solve(self, sets: Sets, progress: Progress = silent) -> Iterator[Floats]:
        """Yield for each set what is left of the targets, (d, m), or the weights, (d + 1, classes).

        Cost: n·d² operations, again for each `GRAM_BYTES` of products; by rows number·k²·d.
        """
        if sets.width < self.dim if self.by_rows is None else self.by_rows:
            with progress("judging windows", sets.number) as tick:
                for found in share(lambda k: self._by_rows(sets.members(k)), range(sets.number)):
                    tick(1)
                    yield found
            return
        lot = max(1, GRAM_BYTES // (8 * self.dim**2))
        for at in range(0, sets.number, lot):
            systems = self._systems(sets, at, min(at + lot, sets.number), progress)
            yield from share(lambda each: self._by_dims(*each), systems)

    def _by_rows(self, rows: Int) -> Floats:
        design = self.design(rows)
        table = design @ design.T
        if self.targets is None:
            return design.T @ self._solve(table, self.labels(rows))
        left: Floats = self.targets.T - design.T @ self._solve(table, design @ self.targets.T)
        return left

    def _by_dims(self, gram: Floats, right: Floats) -> Floats:
        found = self._solve(gram, right)
        return found if self.targets is None else self.ridge * found

    def _solve(self, table: Floats, right: Floats) -> Floats:
        table[np.diag_indices(len(table))] += self.ridge
        try:
            found: Floats = cho_solve(cho_factor(table, lower=True, overwrite_a=True), right)
        except LinAlgError:
            raise InputError(f"--set ridge={self.ridge:g} vanishes beside the features; give a larger one") from None
        return found

    def _systems(self, sets: Sets, low: int, high: int, progress: Progress) -> list[tuple[Floats, Floats]]:
        """F'F and the right-hand side of the sets from `low` to `high` - 1."""
        grams = np.zeros((high - low, self.dim, self.dim))
        rights = np.zeros((high - low, self.dim, self.classes))
        begin, end = np.clip(sets.begin, low, high), np.clip(sets.end, low, high)
        used = np.flatnonzero(end > begin)
        key = sets.begin[used] * (sets.number + 1) + sets.end[used]
        by_key = used[np.argsort(key, kind="stable")]
        slices = np.split(by_key, 1 + np.flatnonzero(np.diff(np.sort(key))))
        pieces = [block for each in slices for block in self.blocks(each)]

        def multiply(piece: Int) -> tuple[Floats, Floats | None]:
            design = self.design(sets.rows[piece])
            right = None if self.targets is not None else design.T @ self.labels(sets.rows[piece])
            return design.T @ design, right

        with progress("multiplying windows", len(used)) as tick:
            for piece, (gram, right) in zip(pieces, share(multiply, pieces), strict=True):
                holds = slice(begin[piece[0]] - low, end[piece[0]] - low)
                grams[holds] += gram
                if right is not None:
                    rights[holds] += right
                tick(len(piece))
        return [
            (gram, right if self.targets is None else self.targets.T) for gram, right in zip(grams, rights, strict=True)
        ]


def rest(regression: Regression, sets: Sets, progress: Progress = silent) -> Floats:
    """Return for each set the mean squared length of what is left of the targets, float64 (number,)."""
    return np.array([float((left**2).sum(axis=0).mean()) for left in regression.solve(sets, progress)])


def accuracy(regression: Regression, sets: Sets, judged: Int, progress: Progress = silent) -> Floats:
    """Return for each set the share of the judged rows whose class has the largest prediction, float64 (number,).

    Cost: 2·number·rows·d·classes operations.
    """
    weights = list(regression.solve(sets, progress))
    blocks = regression.blocks(judged)

    def right(rows: Int) -> list[int]:
        design = regression.design(rows)
        return [int(((design @ each).argmax(axis=1) == regression.code[rows]).sum()) for each in weights]

    total = np.zeros(sets.number)
    with progress("judging windows", len(judged)) as tick:
        for rows, found in zip(blocks, share(right, blocks), strict=True):
            total += found
            tick(len(rows))
    return total / len(judged)
