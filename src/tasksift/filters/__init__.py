"""Filters: rows that are left out before anything is selected, each with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Int = NDArray[np.int64]


@dataclass(frozen=True)
class LeftOut:
    """Rows that a filter leaves out, and why.

    Attributes
    ----------
    rows : int64 (r,)
        Positions in the pool, ascending.
    reasons : list of r str
        A few fixed words each, to be counted.
    because_of : list of r str
        What each row resembles, for people: a row of the pool, or a reference and what is shared with it.
    """

    rows: Int
    reasons: list[str]
    because_of: list[str]

    def keep(self, n: int) -> NDArray[np.bool_]:
        """Which of n rows stay, bool (n,)."""
        stays = np.ones(n, dtype=bool)
        stays[self.rows] = False
        return stays

    def counts(self) -> dict[str, int]:
        """How many rows are out for each reason, by name."""
        return dict(sorted(Counter(self.reasons).items()))

    def table(self) -> pa.Table:
        """Columns ``row``, ``reason`` (as a dictionary) and ``because_of``."""
        return pa.table(
            {
                "row": pa.array(self.rows, pa.int64()),
                "reason": pa.array(self.reasons, pa.string()).dictionary_encode(),
                "because_of": pa.array(self.because_of, pa.string()),
            }
        )


def merge(parts: Sequence[LeftOut]) -> LeftOut:
    """Put what several filters leave out together; a row that several name keeps the reason of the first."""
    rows, first = np.unique(np.concatenate([np.empty(0, np.int64), *(each.rows for each in parts)]), return_index=True)
    reasons = [reason for each in parts for reason in each.reasons]
    because_of = [cause for each in parts for cause in each.because_of]
    return LeftOut(rows, [reasons[k] for k in first], [because_of[k] for k in first])
