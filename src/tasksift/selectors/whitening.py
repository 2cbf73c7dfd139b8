"""Joint whitening: pool and targets turned and scaled so that together they spread alike in every direction.

As in TAROT (arXiv 2412.00420): the cosine of whitened gradients does not change when all gradients go through one
invertible linear map, so no direction counts for more because it is merely long.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cholesky, solve_triangular
from threadpoolctl import threadpool_limits

from tasksift.engines import worker_count
from tasksift.engines.local import share
from tasksift.errors import InputError
from tasksift.progress import Progress, silent
from tasksift.selectors.inputs import check_pair
from tasksift.vectors import Vectors, VectorsLike

Int = NDArray[np.int64]
Float = NDArray[np.float64]

BLOCK_ROWS = 1024
"""Rows multiplied at a time: always so many, in the order of ranks, so that sums round the same however rows come."""

TABLES_BYTES = 2**31
"""Memory for the partial covariances of all threads together."""

IN_MEMORY = 2**30
"""Bytes of whitened vectors up to which `store` keeps them in memory."""

LEAST_VARIANCE = 1e-25
"""Below this, as a share of the largest value squared, rows differ by rounding only."""


@dataclass(frozen=True)
class Whitening:
    """The map from a row x to L^-1 (x - mean), with L L^T the covariance.

    Attributes
    ----------
    mean : float64 (d,)
    inverse : float64 (d, d)
        L^-1, lower triangular.
    info : dict
        Rows counted, rows of zeros left out, the ridge, and a note where there are too few rows for so many dimensions.
    """

    mean: Float
    inverse: Float
    info: dict[str, Any]

    def apply(self, rows: Float) -> Float:
        """Whiten rows (b, d); rows of zeros stay zero. Cost: 2·b·d² operations."""
        # Vectors are rows, so L^-1 stands on the right and transposed.
        out: Float = (rows - self.mean) @ self.inverse.T
        out[~rows.any(axis=1)] = 0.0
        return out

    def blocks(self, pool: Vectors, ranked: Int) -> Iterator[tuple[Int, Float]]:
        """Yield some rows of the pool and their whitened vectors, (b,) and (b, d), until all `ranked` rows are through.

        A row's vector hangs on its place in `ranked` alone, not on shards or threads.
        """
        parts = _parts(ranked)
        yield from zip(parts, share(lambda rows: self.apply(pool.take(rows)), parts), strict=True)


def fit(
    pool: VectorsLike,
    target: VectorsLike,
    *,
    ridge: float = 1e-5,
    order: Int | None = None,
    progress: Progress = silent,
) -> Whitening:
    """Measure mean and covariance of pool and targets together and factor the covariance.

    Σ = Σ_i (x_i - mean)(x_i - mean)^T / (n + m) + ridge · tr(Σ)/d · I = L L^T, over the rows that are not zero.

    Parameters
    ----------
    pool : array (n, d), memory map, list of shards, or Vectors
        At their own lengths. A row of zeros is an example that has nothing to say; it counts for nothing.
    target : array (m, d)
    ridge : float
        As a share of the mean variance, so that multiplying all features by a number changes nothing.
    order : int64 (n,), optional
        Rank of every pool row; sums go by it, so that the order of the pool changes no bit.

    Returns
    -------
    Whitening

    Raises
    ------
    InputError
        If all rows are the same, or the covariance has no inverse (ridge 0).

    Notes
    -----
    The whitened covariance differs from I by exactly the ridge times Σ^-1. In float64. Cost: two passes over the
    vectors, 2·(n + m)·d² operations; 8·d² bytes for each table, up to `TABLES_BYTES` for several threads.
    """
    vectors, targets = check_pair(pool, target)
    d = vectors.dim
    ranked = np.arange(len(vectors)) if order is None else np.argsort(order, kind="stable")
    ours, theirs = _parts(ranked), _parts(np.arange(len(targets)))
    parts = [*((vectors, rows) for rows in ours), *((Vectors(targets), rows) for rows in theirs)]
    everything = len(vectors) + len(targets)
    mean, largest, count = np.zeros(d), 0.0, 0
    covariance = np.zeros((d, d))

    def total(part: tuple[Vectors, Int]) -> tuple[Float, float, int]:
        block = part[0].take(part[1])
        return block.sum(axis=0), float(np.abs(block).max()), int(block.any(axis=1).sum())

    def products(part: tuple[Vectors, Int]) -> Float:
        block = part[0].take(part[1])
        # The squares of very long or short rows would leave the range of numbers.
        block = (block[block.any(axis=1)] - mean) / largest
        table: Float = block.T @ block
        return table

    with progress("measuring the covariance", 2 * everything) as tick:
        for part, (sums, most, some) in zip(parts, share(total, parts), strict=True):
            mean, largest, count = mean + sums, max(largest, most), count + some
            tick(len(part[1]))
        mean /= max(1, count)
        largest = largest or 1.0
        workers = max(1, min(worker_count(), TABLES_BYTES // (24 * d * d)))
        for part, table in zip(parts, share(products, parts, workers), strict=True):
            covariance += table
            tick(len(part[1]))
    covariance /= max(1, count)
    variance = float(np.trace(covariance)) / d
    if variance <= LEAST_VARIANCE:
        raise InputError(f"{vectors.name}: all rows of pool and targets are the same; there is nothing to whiten")
    covariance /= variance
    covariance[np.diag_indices(d)] += ridge
    with threadpool_limits(1, user_api="blas"):
        try:
            factor = cholesky(covariance, lower=True, check_finite=False)
        except LinAlgError:
            raise InputError(f"ridge {ridge:g}: the covariance of the features has no inverse; raise it") from None
        inverse = solve_triangular(factor, np.eye(d), lower=True, check_finite=False)
    inverse /= np.sqrt(variance) * largest
    info: dict[str, Any] = {"ridge": ridge, "dimensions": d, "rows": count, "rows_of_zeros": everything - count}
    if d >= count:
        info["note"] = f"{d} dimensions and {count} rows: the ridge decides; use fewer dimensions or more rows"
    elif 5 * d > count:
        info["note"] = f"{d} dimensions and {count} rows: whitening amplifies noise; have five rows for a dimension"
    return Whitening(mean, inverse, info)


def whiten(
    pool: VectorsLike,
    target: VectorsLike,
    ridge: float = 1e-5,
    *,
    order: Int | None = None,
) -> tuple[Float, Float]:
    """Whiten pool and targets together, in memory. Parameters as in `fit`.

    Returns
    -------
    (pool, target) : float64 (n, d) and (m, d)
        In the order in which they came; rows of zeros stay zero.
    """
    vectors, targets = check_pair(pool, target)
    found = fit(vectors, targets, ridge=ridge, order=order)
    out = np.empty((len(vectors), vectors.dim))
    ranked = np.arange(len(vectors)) if order is None else np.argsort(order, kind="stable")
    for rows, block in found.blocks(vectors, ranked):
        out[rows] = block
    blocks = found.blocks(Vectors(targets), np.arange(len(targets)))
    return out, np.concatenate([block for _, block in blocks])


def store(
    pool: Vectors, ranked: Int, found: Whitening, *, progress: Progress = silent
) -> tuple[Vectors, NDArray[np.bool_]]:
    """Whiten a pool and keep it in float32, compared by direction.

    Parameters
    ----------
    pool : Vectors (n, d)
    ranked : int64 (n,)
        The row of each rank.
    found : Whitening

    Returns
    -------
    (vectors, answered) : Vectors (n, d) in the order of ranks, and bool (n,), whether each is not zero
        In memory up to `IN_MEMORY`, otherwise in a temporary file that goes with them.

    Raises
    ------
    InputError
        If the temporary folder is full.
    """
    n, d = len(pool), pool.dim
    in_memory = 4 * n * d <= IN_MEMORY
    held = np.empty((n, d) if in_memory else (0, d), dtype=np.float32)
    answered = np.empty(n, dtype=bool)
    at = 0
    with tempfile.TemporaryFile(prefix="tasksift-") as file, progress("whitening", n) as tick:
        for rows, block in found.blocks(pool, ranked):
            narrow = block.astype(np.float32)
            answered[at : at + len(rows)] = narrow.any(axis=1)
            if in_memory:
                held[at : at + len(rows)] = narrow
            else:
                try:
                    file.write(narrow.data)
                except OSError as error:
                    folder = tempfile.gettempdir()
                    raise InputError(
                        f"{folder}: no room for {4 * n * d / 2**30:.0f} GiB of whitened vectors ({error.strerror}); "
                        f"set TMPDIR to a folder that has it"
                    ) from None
            at += len(rows)
            tick(len(rows))
        if not in_memory:
            file.flush()
            held = np.memmap(file, np.float32, "r", shape=(n, d))
    return Vectors(held, normalize=True, name="whitened features"), answered


def _parts(ranked: Int) -> list[Int]:
    return [ranked[at : at + BLOCK_ROWS] for at in range(0, len(ranked), BLOCK_ROWS)]
