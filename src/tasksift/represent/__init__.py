"""Representations: what is computed for an example before anything is selected.

A representation turns texts into rows of numbers whose distances mean something; selectors never ask which one it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tasksift.rows.example import Example


class Embedder(Protocol):
    """What turns examples into rows of numbers.

    Attributes
    ----------
    dim : int
        Numbers of a row.
    identity : mapping
        As JSON, whatever decides about the numbers: equal identities, equal vectors.
    """

    dim: int
    identity: Mapping[str, Any]

    def transform(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """Return float32 (len(examples), dim); a row depends on its own example only."""
        ...


REPRESENTATIONS: dict[str, str] = {
    "tfidf": "TF-IDF of words and word pairs, reduced by a truncated SVD fitted on a sample of the pool; no download",
    "vectors": "vectors of your own: a .npy file or a folder of .npy shards, one row per example",
}
"""The representations that exist, and what each is."""

__all__ = ["REPRESENTATIONS", "Embedder"]
