"""What every array-level selector checks before it starts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.vectors import Vectors, VectorsLike


def check_pair(pool: VectorsLike, target: VectorsLike) -> tuple[Vectors, NDArray[np.float64]]:
    """Return the pool as `Vectors` and the targets as float64 (m, d), or say what does not fit.

    Raises
    ------
    InputError
        For an empty pool or target, different dimensions, or values that are not finite.
    """
    vectors = pool if isinstance(pool, Vectors) else Vectors(pool, name="pool")
    targets = target if isinstance(target, Vectors) else Vectors(target, name="target")
    for of in (vectors, targets):
        if len(of) == 0:
            raise InputError(f"{of.name}: there are no rows")
        of.check_finite()
    if vectors.dim != targets.dim:
        raise InputError(
            f"{vectors.name} has {vectors.dim} dimensions and {targets.name} has {targets.dim}; "
            f"embed both with the same model"
        )
    return vectors, targets.take(np.arange(len(targets)))
