"""How the vectors of a representation are compared: by their directions, or as standardised numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.config import RunConfig
from tasksift.represent import REPRESENTATIONS, Embedder
from tasksift.represent.gradient import unit_blocks
from tasksift.vectors import Vectors

CLIP = 4.0
"""Standardised scalars beyond so many deviations count as that many."""

ROUNDING = 1e-6
"""A column of scalars that deviates by less than this share of its mean is a constant."""


def geometry(
    config: RunConfig, embedder: Embedder, pool: Vectors, target: NDArray[np.generic], work: Path
) -> tuple[Vectors, Vectors]:
    """Return pool and targets as selectors compare them.

    Directions are scaled to unit length as they are read. Scalars are standardised, every column by the pool's mean and
    deviation, clipped at `CLIP`, or 0 where it is a constant; centred gradients lose the pool's mean. Both are written
    to `work`.
    """
    assert config.representation is not None
    if REPRESENTATIONS[config.representation].kind == "direction":
        if config.representation == "gradient" and config.optimizer == "adam" and config.momentum == "centred":
            pool = _derived(pool, work / "centred.npy", _centred(pool, config, embedder))
        return Vectors(pool, normalize=True, name="features"), Vectors(target, normalize=True, name="target")
    mean = _mean(pool)
    variance = np.zeros(pool.dim)
    for span in pool.spans():
        variance += np.square(pool.raw(span) - mean).sum(axis=0) / len(pool)
    # A column that varies by its rounding only is a constant.
    constant = variance <= np.square(ROUNDING * mean)
    deviation = np.where(constant, 1.0, np.sqrt(variance))

    def standard(rows: NDArray[Any]) -> NDArray[Any]:
        return np.where(constant, 0.0, np.clip((rows - mean) / deviation, -CLIP, CLIP))

    pool = _derived(pool, work / "standardised.npy", standard)
    return pool, Vectors(standard(target).astype(np.float32), name="target")


def _centred(pool: Vectors, config: RunConfig, embedder: Embedder) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """What takes the mean gradient of the pool away and scales each checkpoint; rows without a gradient stay."""
    gradients = len(pool) - sum(float(pool.raw(span)[:, -1].sum(dtype=np.float64)) for span in pool.spans())
    mean = _mean(pool) * (len(pool) / max(1.0, gradients))
    mean[-1] = 0
    weights = embedder.weights if config.combine == "concat" else np.ones(1)  # type: ignore[attr-defined]

    def centred(rows: NDArray[Any]) -> NDArray[Any]:
        return unit_blocks(np.where(rows[:, -1:] > 0, rows, rows - mean), weights)

    return centred


def _mean(pool: Vectors) -> NDArray[np.float64]:
    total = np.zeros(pool.dim)
    for span in pool.spans():
        total += pool.raw(span).sum(axis=0, dtype=np.float64)
    mean: NDArray[np.float64] = total / len(pool)
    return mean


def _derived(pool: Vectors, path: Path, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Vectors:
    """Write changed rows to a file, block by block, and map it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(len(pool), pool.dim))
    for span in pool.spans():
        out[span[0] : span[1]] = change(pool.raw(span))
    out.flush()
    return Vectors(out, name="features")
