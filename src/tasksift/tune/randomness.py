"""The global generators of Python, NumPy and PyTorch, which libraries draw from and which are not ours."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


@contextmanager
def own_randomness(torch: Any, place: Any) -> Iterator[None]:
    """Put the global generators back as they were; those of PyTorch are the CPU's and that of the device `place`."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    current = torch.cuda.current_device() if place.type == "cuda" else None
    devices = [place.index if place.index is not None else current] if place.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        if current is not None:
            torch.cuda.set_device(current)
