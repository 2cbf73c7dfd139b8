"""How the rows of a training step are spread over micro-batches and ranks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasksift.online.checks import whole


@dataclass(frozen=True)
class Layout:
    """The shape of a step: `accumulation` rounds, in each of which every rank trains on `batch_size` rows.

    The rows of a step stand in the order of the rounds, and within a round in that of the ranks, which is how
    `accelerate` deals batches out.

    Attributes
    ----------
    batch_size : int
        Rows of a micro-batch on one rank.
    accumulation : int
        Micro-batches of a step on one rank.
    ranks : int
    rounds : int
        Micro-batches of an epoch on one rank; the last step of an epoch may have fewer than `accumulation`.
    delay : int
        Steps between an update of the probabilities and the first rows that are drawn with it. A loader that reads
        ahead asks for rows before the steps before them are done.
    """

    batch_size: int
    accumulation: int
    ranks: int
    rounds: int
    delay: int = 0

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("accumulation", 1), ("ranks", 1), ("rounds", 1), ("delay", 0)):
            whole(name, getattr(self, name), least)
            object.__setattr__(self, name, int(getattr(self, name)))  # NumPy's would be in no JSON

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return -(-self.rounds // self.accumulation)

    @property
    def round_rows(self) -> int:
        """Rows of one round, all ranks together."""
        return self.batch_size * self.ranks

    def rows_of(self, step: int) -> int:
        """Return the rows of a step, all ranks together, by its place in the epoch."""
        left = self.rounds - step * self.accumulation
        return min(self.accumulation, left) * self.round_rows

    def own(self, rows: NDArray[np.int64], rank: int) -> NDArray[np.int64]:
        """Return one rank's rows of a step, shape (micro-batches, batch_size)."""
        return rows.reshape(-1, self.ranks, self.batch_size)[:, rank]
