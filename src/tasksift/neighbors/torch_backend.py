"""Search and densities by PyTorch: bfloat16 products on a CPU that has units for them, or a CUDA device.

The same code runs on both, so the tests on a CPU cover what a GPU does. Everything that reaches an answer is rounded in
one way only (distances in float64 by NumPy, kernels to whole units), so the answers are those of the NumPy backend.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError, MissingExtraError
from tasksift.neighbors.balls import Candidates
from tasksift.neighbors.distances import LARGEST, Points, scratch, true_pairs
from tasksift.neighbors.kernel import EXACT, UNIT, Rows, pair_units, product_error, tile_units
from tasksift.neighbors.parts import Part
from tasksift.vectors import Vectors

Int = NDArray[np.int64]
Float = NDArray[np.float64]

BFLOAT16, FLOAT32 = 2.0**-8, 2.0**-23
"""Distance of 1 from the next larger number."""

TINY = 1e-30
"""More than what products of tiny numbers lose when they underflow."""

TILE_ROWS, TILE_COLUMNS = 4096, 16_384
"""Candidates and rows of one table of kernels: 512 MB on the device, three times."""


def load_torch(device: str) -> Any:
    """Return the module, if it is installed and has the device."""
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", "torch", f"the backend {'torch' if device == 'cpu' else device}") from error
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--backend cuda: PyTorch finds no CUDA device here; use numpy or torch")
    return torch


class TorchPoints:
    """Points to measure from, see `tasksift.neighbors.distances.Points`.

    Parameters
    ----------
    points : float64 (m, d)
    device : {"cpu", "cuda"}
    products : {"bfloat16", "float32"}
        The one is for CPUs with units for it, and leaves comparing to NumPy; the other for GPUs, where all is done.
    """

    def __init__(self, points: Float, device: str, products: str) -> None:
        self.torch = load_torch(device)
        self.device, self.products = device, products
        self.threads = self.torch.get_num_threads()
        # Vectors too long for float32 are left to NumPy, and so are the bounds of the pairs that come out.
        self.plain = Points(points)
        self.length = float(np.sqrt(self.plain.squares.max(initial=0)))
        if self.plain.narrow is not None:
            self.left = self._round(self.torch.from_numpy(self.plain.narrow).to(device))

    def _round(self, rows: Any) -> Any:
        return rows.bfloat16() if self.products == "bfloat16" else rows

    def near(self, block: NDArray[Any], limits: Float | float) -> tuple[Int, Int, Float, Float]:
        """Find the pairs that may be within these squared distances; as `Points.near`."""
        if self.plain.narrow is None or block.dtype != np.float32:
            return self.plain.near(block, limits)
        dim, squares = block.shape[1], np.einsum("ij,ij->i", block, block)
        if not squares.max(initial=0) < LARGEST**2:
            return self.plain.near(block, limits)
        # Both factors and the result are rounded, and d products are summed in float32; lengths bound all of it.
        share = (1.6 * BFLOAT16 if self.products == "bfloat16" else 0.0) + 4 * (dim + 32) * FLOAT32
        column = squares * np.float32(0.5 - 2 * dim * FLOAT32)
        column -= np.float32(1.01 * self.length) * (np.float32(share) * np.sqrt(squares) + TINY) + TINY
        least = (self.plain.squares - limits) / 2
        least -= 4 * dim * FLOAT32 * (np.abs(least) + self.plain.squares)
        i, j = self._at_least(block, column, least.astype(np.float32)[:, None])
        lower, upper = self.plain.bounds(block, i, j)
        near = lower <= np.broadcast_to(limits, len(self.plain.points))[i]
        return i[near], j[near], lower[near], upper[near]

    def _at_least(self, block: NDArray[Any], column: NDArray[Any], least: NDArray[Any]) -> tuple[Int, Int]:
        """Where the products of points and rows of the block, less `column`, are no less than `least`."""
        torch = self.torch
        if not block.flags.writeable:
            # PyTorch does not take arrays that it must not write to, such as memory maps.
            copy = scratch(block.shape, block.dtype)
            np.copyto(copy, block)
            block = copy
        with _settings(torch, self.device, self.threads):
            rows = torch.from_numpy(block).to(self.device)
            table = (self.left @ self._round(rows).T).float()
            if self.products == "bfloat16":
                table = table.numpy()
                table -= column
                return true_pairs(table >= least)
            reach = table - torch.from_numpy(column).to(self.device) >= torch.from_numpy(least).to(self.device)
            i, j = (index.cpu().numpy() for index in reach.nonzero(as_tuple=True))
            return i, j


def device_units(pool: Vectors, candidates: Candidates, sigma: float, part: Part, device: str = "cuda") -> Int:
    """Kernel sums of the candidates over one part of the pool, as `tasksift.neighbors.density.span_units` has them.

    All pairs are measured, by products in float64: a GPU does that in less time than it takes to rule pairs out.
    """
    torch = load_torch(device)
    total = np.zeros(len(candidates.ids), dtype=np.int64)
    kept = part.ids >= 0
    raw, names, sizes = pool.raw(part.span)[kept], part.ids[kept], part.sizes[kept]
    theirs = pool.exact(raw)
    most = float(np.einsum("ij,ij->i", theirs, theirs).max(initial=0.0))
    there, there_squares = _on(torch, device, theirs)
    weights, there_names = (torch.from_numpy(column).to(device) for column in (sizes, names))
    exact_sums = UNIT * float(sizes.sum()) < EXACT
    for at in range(0, len(total), TILE_ROWS):
        ours, ids = pool.exact(candidates.raw[at : at + TILE_ROWS]), candidates.ids[at : at + TILE_ROWS]
        error = product_error(ours.shape[1], most + float(np.einsum("ij,ij->i", ours, ours).max()), sigma)
        if error is None:
            i, j, _, _ = Points(ours).near(pool.narrow(raw), sigma * sigma)
            total[at : at + TILE_ROWS] += tile_units(
                ours, ids, Rows(pool, raw, names, sizes), i, j, sigma, refine=False
            )
            continue
        here, here_squares = _on(torch, device, ours)
        here_names = torch.from_numpy(ids).to(device)
        for start in range(0, len(raw), TILE_COLUMNS):
            columns = slice(start, start + TILE_COLUMNS)
            table = here @ there[columns].T
            table.mul_(2.0).sub_(here_squares[:, None]).sub_(there_squares[columns])
            table.mul_(UNIT / (sigma * sigma)).add_(UNIT).clamp_(min=0.0)
            units = table.round()
            same = here_names[:, None] == there_names[columns]
            unsure = ((table - units).abs() > 0.5 - error) & ~same
            units[unsure | same] = 0
            weight = weights[columns]
            sums = (units @ weight.double()).long() if exact_sums else (units.long() * weight).sum(dim=1)
            total[at : at + TILE_ROWS] += sums.cpu().numpy()
            i, j = (index.cpu().numpy() for index in unsure.nonzero(as_tuple=True))
            np.add.at(total, at + i, pair_units(ours[i], theirs[start + j], sigma) * sizes[start + j])
    return total


@contextmanager
def _settings(torch: Any, device: str, threads: int) -> Iterator[None]:
    """Compute float32 products in float32, which a user's program may have loosened, and by this thread alone."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        if device == "cpu":
            torch.set_num_threads(threads)


def _on(torch: Any, device: str, rows: Float) -> tuple[Any, Any]:
    there = torch.from_numpy(rows).to(device)
    return there, torch.linalg.vecdot(there, there)
