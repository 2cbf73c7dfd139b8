"""What multiplies in search and densities: NumPy, or PyTorch on the CPU's matrix units or on a GPU.

A backend only bounds distances (`Measure.near`), rigorously; what reaches an answer is measured in float64 by the same
code whatever the backend, so the answers are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.neighbors.distances import Points

Int = NDArray[np.int64]
Float = NDArray[np.float64]

BACKENDS = ("numpy", "torch", "cuda")
DEVICES = {"torch": "cpu", "cuda": "cuda"}


class Measure(Protocol):
    """Points to measure from."""

    def near(self, block: NDArray[Any], limits: Float | float) -> tuple[Int, Int, Float, Float]:
        """See `tasksift.neighbors.distances.Points.near`."""


def points_for(backend: str) -> Callable[[Float], Measure]:
    """Return what makes the points of a backend from a float64 (m, d) array."""
    check_backend(backend)
    if backend == "numpy":
        return Points
    from tasksift.neighbors.torch_backend import TorchPoints

    return partial(TorchPoints, device=DEVICES[backend], products="bfloat16" if backend == "torch" else "float32")


def check_backend(backend: str) -> None:
    """Raise an `InputError` for a backend that does not exist, or that is not installed."""
    if backend not in BACKENDS:
        raise InputError(f"backend {backend!r} does not exist; use one of {', '.join(BACKENDS)}")
    if backend != "numpy":
        from tasksift.neighbors.torch_backend import load_torch

        load_torch(DEVICES[backend])
