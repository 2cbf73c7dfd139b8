"""The sources that a report names: those with the most selected rows, and the others together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Int = NDArray[np.int64]

MOST = 40
"""Sources that are named."""


@dataclass(frozen=True)
class Sources:
    """Names, and rows of the pool and of the selection.

    Attributes
    ----------
    names : list of (str or None)
        By selected rows, then by rows of the pool, then by name; None: all others together, at the end.
    pool, selected : list of int
    code_of : dict of str to int
        The place in `names` of every source.
    """

    names: list[str | None]
    pool: list[int]
    selected: list[int]
    code_of: dict[str, int]

    @classmethod
    def of(cls, pool: Mapping[str, int], selected: Mapping[str, int]) -> Sources:
        """Take the counts of a manifest."""
        ranked = sorted(pool, key=lambda name: (-selected.get(name, 0), -pool[name], name))
        kept = ranked if len(ranked) <= MOST else ranked[: MOST - 1]
        names: list[str | None] = [*kept]
        before, after = [pool[name] for name in kept], [selected.get(name, 0) for name in kept]
        if len(kept) < len(ranked):
            names.append(None)
            before.append(sum(pool.values()) - sum(before))
            after.append(sum(selected.values()) - sum(after))
        place = {name: min(k, len(names) - 1) for k, name in enumerate(ranked)}
        return cls(names, before, after, place)

    def codes(self, names: Sequence[str]) -> Int:
        """The places of some sources."""
        return np.array([self.code_of[name] for name in names], dtype=np.int64)

    def codes_of(self, column: pa.ChunkedArray) -> Int:
        """The places of a column of sources, text or dictionary."""
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        parts = [self.codes(chunk.dictionary.to_pylist())[chunk.indices.to_numpy()] for chunk in column.chunks]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def table(self) -> list[dict[str, Any]]:
        """One entry for each name."""
        return [
            {"name": name, "pool": before, "selected": after}
            for name, before, after in zip(self.names, self.pool, self.selected, strict=True)
        ]
