"""What every array-level selector checks before it starts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.vectors import Vectors, VectorsLike


def check_pool(pool: VectorsLike, name: str = "pool") -> Vectors:
    """Return the pool as `Vectors`, which has rows and dimensions, and finite values only.

    Raises
    ------
    InputError
        If it is empty, or a value is not finite.
    """
    vectors = pool if isinstance(pool, Vectors) else Vectors(pool, name=name)
    if len(vectors) == 0:
        raise InputError(f"{vectors.name}: there are no rows")
    if vectors.dim == 0:
        raise InputError(f"{vectors.name}: the rows have no dimensions; embed them again")
    vectors.check_finite()
    return vectors


def check_pair(pool: VectorsLike, target: VectorsLike) -> tuple[Vectors, NDArray[np.float64]]:
    """Return the pool as `Vectors` and the targets as float64 (m, d), or say what does not fit.

    Raises
    ------
    InputError
        For an empty pool or target, different dimensions, or values that are not finite.
    """
    vectors, targets = check_pool(pool), check_pool(target, "target")
    if vectors.dim != targets.dim:
        raise InputError(
            f"{vectors.name} has {vectors.dim} dimensions and {targets.name} has {targets.dim}; "
            f"embed both with the same model"
        )
    return vectors, targets.take(np.arange(len(targets)))


def not_zero(vectors: Vectors) -> NDArray[np.bool_]:
    """Tell which rows have a value that is not zero, bool (n,): a row of zeros has no direction."""
    return np.concatenate([vectors.raw(span).any(axis=1) for span in vectors.spans()])
