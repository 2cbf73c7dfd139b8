"""A part of a pool with what is known of its rows, so that whoever computes on it needs nothing of the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasksift.neighbors.groups import Groups
from tasksift.vectors import Span

Int = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Consecutive rows of a pool.

    Attributes
    ----------
    span : (int, int)
        The rows.
    ids : int64 (b,)
        The group of each row that represents one, -1 for other copies.
    sizes : int64 (b,)
        How many equal rows the group holds; of no meaning where there is none.
    """

    span: Span
    ids: Int
    sizes: Int


def parts(groups: Groups, spans: Sequence[Span]) -> Iterator[Part]:
    """Yield the parts that lie in some spans of a pool."""
    for span in spans:
        ids = np.asarray(groups.rank[slice(*span)])
        yield Part(span, ids, groups.size[ids])
