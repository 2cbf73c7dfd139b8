"""The factored projection: gradients of linear layers are projected on both sides and never formed."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt, prod
from typing import Any

from tasksift.represent.projection import CountSketch, Kind, Projection, Shape
from tasksift.represent.signs import sign_matrix


class Factored(Projection):
    """Matrices become L^T G R, so that of sum_t l_t r_t^T only the projected l_t and r_t are multiplied.

    Choe et al., "What is your data worth to GPT?" (LoGra), arXiv 2405.13954, 2024, with +-1/sqrt(k) sides. Every
    matrix has an equal share of `dim`, at least one number; a side that is not longer than its k is kept as it is.
    Vectors share one count-sketch. Unbiased; but the error follows the sides, about 1/sqrt(k), not 1/sqrt(dim).
    """

    kind: Kind = "factored"

    def __init__(self, layout: Mapping[str, Shape], dim: int, seed: int, device: Any) -> None:
        super().__init__(layout, dim, seed, device)
        matrices = {name: (shape[0], prod(shape[1:])) for name, shape in self.layout.items() if len(shape) > 1}
        vectors = {name: shape for name, shape in self.layout.items() if name not in matrices}
        self._sides: dict[str, tuple[int, int]] = {}
        self._starts: dict[str, int] = {}
        self._factors: dict[tuple[str, int], Any] = {}
        self._vectors: CountSketch | None = None
        left, at = dim, 0
        shares = len(matrices) + bool(vectors)
        if vectors:
            at = min(max(1, dim // shares), sum(map(prod, vectors.values())))
            self._vectors = CountSketch(vectors, at, seed, device)
            left, shares = dim - at, shares - 1
        # The smallest first: what they cannot use is for the others.
        for name in sorted(matrices, key=lambda name: (prod(matrices[name]), name)):
            self._sides[name] = _split(*matrices[name], max(1, left // shares))
            self._starts[name] = at
            size = prod(self._sides[name])
            at, left, shares = at + size, left - size, shares - 1
        self.dim = at

    def _facts(self) -> list[Any]:
        return [*super()._facts(), sorted(self._sides.items())]

    def _factor(self, name: str, side: int) -> Any:
        """The matrix (length, k) of one side; None for one that is kept as it is."""
        if (name, side) not in self._factors:
            shape = self.layout[name]
            length, k = (shape[0], prod(shape[1:]))[side], self._sides[name][side]
            self._factors[name, side] = (
                None if k == length else sign_matrix(length, k, k, self.device, self.seed, name, "side", side)
            )
        return self._factors[name, side]

    def add(self, out: Any, name: str, grads: Any, row: int = 0) -> None:
        """Add the projection of gradients, as `Projection.add`."""
        if self._vectors is not None and name in self._vectors.layout:
            self._vectors.add(out[:, : self._vectors.dim], name, grads, row)
            return
        grads = _times(grads.flatten(2).to(out.dtype), self._factor(name, 1))
        factor = self._factor(name, 0)
        if factor is None:
            self._put(out, name, grads, row)
        else:
            self._put(out, name, factor[row : row + grads.shape[1]].to(out.dtype).T @ grads)

    def add_outer(self, out: Any, name: str, left: Any, right: Any) -> None:
        """Add the projection of sum_t left_t right_t^T, as `Projection.add_outer`, but without forming it."""
        left = _times(left.to(out.dtype), self._factor(name, 0))
        self._put(out, name, left.mT @ _times(right.to(out.dtype), self._factor(name, 1)))

    def _put(self, out: Any, name: str, projected: Any, row: int = 0) -> None:
        start = self._starts[name] + row * self._sides[name][1]
        projected = projected.flatten(1)
        out[:, start : start + projected.shape[1]] += projected


def _times(left: Any, right: Any) -> Any:
    return left if right is None else left @ right.to(left.dtype)


def _split(rows: int, columns: int, share: int) -> tuple[int, int]:
    """Sides of a matrix of at most `share` numbers, as equal as its shape allows."""
    short = min(rows, columns, max(1, isqrt(share)))
    long = min(max(rows, columns), share // short)
    return (short, long) if rows <= columns else (long, short)
