"""How the vectors of a representation are compared: by their directions, or as standardised numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.config import RunConfig
from tasksift.represent import REPRESENTATIONS, Embedder
from tasksift.represent.gradient import split, unit_blocks
from tasksift.vectors import Vectors

CLIP = 4.0
"""Standardised scalars beyond so many deviations count as that many."""

ROUNDING = 1e-6
"""A column of scalars that deviates by less than this share of its mean is a constant."""

Rows = NDArray[Any]


@dataclass(frozen=True)
class Compared:
    """Pool and targets as selectors compare them.

    Attributes
    ----------
    pool, target : Vectors (n, d) and (m, d)
    task_target : Vectors (t, d)
        The mean of each task's target rows, taken before anything is scaled to unit length.
    lengths, target_lengths : Vectors
        Pool and targets before they are scaled to unit length, without the axis of rows that have no direction.
    """

    pool: Vectors
    target: Vectors
    task_target: Vectors
    lengths: Vectors
    target_lengths: Vectors


def geometry(
    config: RunConfig, embedder: Embedder, pool: Vectors, target: Rows, tasks: NDArray[np.int64], work: Path
) -> Compared:
    """Bring pool and targets to the form in which selectors compare them.

    Directions are scaled to unit length as they are read. Scalars are standardised, every column by the pool's mean and
    deviation, clipped at `CLIP`, or 0 where it is a constant; centred gradients lose the pool's mean. Both are written
    to `work`.

    Parameters
    ----------
    pool : Vectors (n, d)
        As the store has them.
    target : (m, d)
        The same; gradients at several checkpoints at their own lengths.
    tasks : int64 (m,)
        The task of each target.
    """
    assert config.representation is not None
    if REPRESENTATIONS[config.representation].kind == "scalars":
        return _scalars(pool, target, tasks, work)
    side: Callable[[Rows], Rows] = np.asarray
    if config.representation == "gradient":
        weights = embedder.weights  # type: ignore[attr-defined]
        if config.combine == "separate":
            kept = pool.dim - 1 - len(weights)
            pool, target = pool.columns(0, kept), target[:, :kept]
        elif config.combine == "concat":
            side = partial(unit_blocks, weights=weights)
        if config.optimizer == "adam" and config.momentum == "centred":
            pool = _derived(pool, work / "centred.npy", _centred(pool, weights if config.combine == "concat" else None))
    last = pool.dim - (config.combine != "separate" or config.representation != "gradient")
    return Compared(
        Vectors(pool, normalize=True, name="features"),
        Vectors(side(target), normalize=True, name="target"),
        Vectors(side(task_means(target, tasks)), normalize=True, name="target"),
        Vectors(pool.columns(0, last), name="features"),
        Vectors(target[:, :last], name="target"),
    )


def task_means(target: Rows, tasks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean of each task's rows, float64 (t, d); tasks are numbered from 0, none is empty."""
    total = np.zeros((int(tasks.max(initial=-1)) + 1, target.shape[1]))
    np.add.at(total, tasks, target.astype(np.float64))
    means: NDArray[np.float64] = total / np.bincount(tasks)[:, None]
    return means


def margins_of(
    pool: Vectors, target: Rows, checkpoints: int, width: int
) -> tuple[list[Vectors], list[Rows], NDArray[np.float64], NDArray[np.float64]]:
    """Return gradients and values of rows made with ``--combine separate``, as `Margins` has them.

    Parameters
    ----------
    checkpoints, width : int
        As in `split`.
    """
    grads = [Vectors(pool.columns(k * width, (k + 1) * width), name="features") for k in range(checkpoints)]
    values = np.concatenate([split(shard, checkpoints, width)[1] for shard in pool.shards]).astype(np.float64).T
    target_grads, target_values = split(target, checkpoints, width)
    return grads, target_grads, values, target_values.astype(np.float64).T


def _scalars(pool: Vectors, target: Rows, tasks: NDArray[np.int64], work: Path) -> Compared:
    mean = _mean(pool)
    variance = np.zeros(pool.dim)
    for span in pool.spans():
        variance += np.square(pool.raw(span) - mean).sum(axis=0) / len(pool)
    # A column that varies by its rounding only is a constant.
    constant = variance <= np.square(ROUNDING * mean)
    deviation = np.where(constant, 1.0, np.sqrt(variance))

    def standard(rows: Rows) -> Rows:
        return np.where(constant, 0.0, np.clip((rows - mean) / deviation, -CLIP, CLIP))

    found = _derived(pool, work / "standardised.npy", standard)
    towards = standard(target).astype(np.float32)
    side = Vectors(towards, name="target")
    return Compared(found, side, Vectors(task_means(towards, tasks), name="target"), found, side)


def _centred(pool: Vectors, weights: NDArray[np.float64] | None) -> Callable[[Rows], Rows]:
    """What takes the mean gradient of the pool away and scales each checkpoint; rows without a gradient stay."""
    gradients = len(pool) - sum(float(pool.raw(span)[:, -1].sum(dtype=np.float64)) for span in pool.spans())
    mean = _mean(pool) * (len(pool) / max(1.0, gradients))
    mean[-1] = 0
    shares = np.ones(1) if weights is None else weights

    def centred(rows: Rows) -> Rows:
        return unit_blocks(np.where(rows[:, -1:] > 0, rows, rows - mean), shares)

    return centred


def _mean(pool: Vectors) -> NDArray[np.float64]:
    total = np.zeros(pool.dim)
    for span in pool.spans():
        total += pool.raw(span).sum(axis=0, dtype=np.float64)
    mean: NDArray[np.float64] = total / len(pool)
    return mean


def _derived(pool: Vectors, path: Path, change: Callable[[Rows], Rows]) -> Vectors:
    """Write changed rows to a file, block by block, and map it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(len(pool), pool.dim))
    for span in pool.spans():
        out[span[0] : span[1]] = change(pool.raw(span))
    out.flush()
    return Vectors(out, name="features")
