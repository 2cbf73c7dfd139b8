"""A few directions in which a pool varies most: distances along and across them bound the true ones from below."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tasksift.neighbors.groups import Groups
from tasksift.vectors import Vectors

Float = NDArray[np.float64]

DIRECTIONS = (32, 64, 128)
"""Directions of a frame. With more of them fewer pairs survive, and each pair costs more."""

# Nanoseconds of one core of 2024 for a pair in a table, for each of its dimensions, and to subtract one directly. Only
# their ratios matter, and only for speed.
_PAIR, _DIMENSION, _DIRECT = 0.6, 0.02, 300.0

SAMPLE = 1024
"""Rows of the pool by which directions and balls are chosen."""

ROUNDOFF = float(np.finfo(np.float32).eps) / 2


@dataclass(frozen=True)
class Frame:
    """Orthonormal directions in float32, or none: then coordinates are the rows themselves.

    Attributes
    ----------
    basis : float32 (d, p) or None
    error : float
        Coordinates computed in float32 are off by at most this share of the row's length (as vectors, in L2).
    """

    basis: NDArray[np.float32] | None
    error: float

    def coordinates(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the coordinates of `rows` (b, d) along the directions: (b, p), or the rows themselves (b, d)."""
        if self.basis is None:
            return rows
        with np.errstate(over="ignore", invalid="ignore"):
            seen: NDArray[Any] = rows @ self.basis
        return seen if np.isfinite(seen).all() else rows.astype(np.float64) @ self.basis


def plain_frame(dim: int) -> Frame:
    """No directions: rows of `dim` dimensions are their own coordinates."""
    return Frame(None, (dim / 2 + 8) * ROUNDOFF)


class Survey:
    """What is looked at once for all densities of a pool: some of its rows, and the directions in which they differ.

    Parameters
    ----------
    pool : Vectors (n, d)
    groups : Groups
    """

    def __init__(self, pool: Vectors, groups: Groups) -> None:
        some = np.sort(groups.representative[:: max(1, len(groups) // SAMPLE)])
        self.sample: NDArray[Any] = pool.narrow(pool.rows(some))
        self.middle: NDArray[Any] = self.sample.mean(axis=0)
        self.scale = float(np.abs(self.sample - self.middle).max(initial=0.0))

    @cached_property
    def directions(self) -> Float:
        """Principal components, float64 (d, d), those in which the sample differs most first. Cost: O(s·d² + d³)."""
        rows = (self.sample - self.middle).astype(np.float64) / self.scale
        with threadpool_limits(1, user_api="blas"):  # small products: threads would mostly wait for one another
            return np.ascontiguousarray(np.linalg.eigh(rows.T @ rows)[1][:, ::-1])

    def choose_frame(self, points: NDArray[Any], sigma: float) -> Frame:
        """Choose the directions by which `points` (c, d) are compared with the pool at the least cost.

        Where distances along a few of them tell too little, and for rows of few dimensions or beyond float32, there
        are none. Cost: O(c·s·d).
        """
        dim = self.sample.shape[1]
        plain = plain_frame(dim)
        if dim <= DIRECTIONS[0] or self.sample.dtype != np.float32 or self.scale == 0:
            return plain
        rows, others = (
            ((x - self.middle).astype(np.float64) / self.scale) @ self.directions for x in (self.sample, points)
        )
        best, least = plain, _PAIR + _DIMENSION * dim + _DIRECT * _share_near(rows, others, sigma / self.scale)
        for p in DIRECTIONS:
            if p >= dim:
                break
            along = [
                np.column_stack([x[:, :p], np.sqrt(np.einsum("ij,ij->i", x[:, p:], x[:, p:]))]) for x in (rows, others)
            ]
            cost = _PAIR + _DIMENSION * p + _DIRECT * _share_near(along[0], along[1], sigma / self.scale)
            if cost < least:
                best, least = _rounded(self.directions[:, :p]), cost
        return best


def _share_near(rows: Float, others: Float, sigma: float) -> float:
    ours, theirs = np.einsum("ij,ij->i", rows, rows), np.einsum("ij,ij->i", others, others)
    return float((ours + theirs[:, None] - 2 * (others @ rows.T) < sigma * sigma).mean())


def _rounded(basis: Float) -> Frame:
    """The frame of orthonormal directions (d, p), rounded to float32."""
    dim, p = basis.shape
    narrow = np.ascontiguousarray(basis, dtype=np.float32)
    wide = narrow.astype(np.float64)
    # How far the rounded directions are from orthonormal ones.
    skew = float(np.linalg.norm(wide.T @ wide - np.eye(p)))
    # Each coordinate sums d products; scaling rows to unit length is off by (d/2 + 4) roundoffs.
    return Frame(narrow, 1.01 * ((np.sqrt(p) * (dim + 8) + dim + 8) * ROUNDOFF + skew))
