"""Random projections of per-example gradients: many numbers become few, and inner products stay what they are.

For every kind the expectation of <out, out'> over seeds is <g, g'>; no factor is left to the reader. The error of a
projected cosine is about (1 - cos^2) / sqrt(dim), however many parameters there are. All randomness is drawn on the
CPU and keyed by seed and parameter name: the order of parameters, device and number of threads change nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError, MissingExtraError
from tasksift.represent.signs import raw, sign_matrix, signs

Kind = Literal["count-sketch", "rademacher", "factored", "none"]

CACHE_BYTES = 2**28
"""A dense projection is kept when it is no larger; a larger one is drawn again for every batch."""

CHUNK_BYTES = 2**21
"""Gradients that are made from outer products, at a time: they are read again while the cache holds them."""

DEVICE_BYTES = 2**28
"""The same where a kernel costs more to start than to run."""

Shape = tuple[int, ...]


class Projection:
    """A linear map from gradients to `dim` numbers, applied parameter by parameter; see `make_projection`.

    Attributes
    ----------
    dim : int
        Numbers that come out.
    identity : dict
        Type, seed, dimensions, number of parameters, and a digest of their names and shapes; as JSON.
    """

    kind: Kind

    def __init__(self, layout: Mapping[str, Shape], dim: int, seed: int, device: Any) -> None:
        self.layout = {name: tuple(layout[name]) for name in sorted(layout)}
        self.dim, self.seed, self.device = dim, seed, device

    @property
    def identity(self) -> dict[str, Any]:
        """What decides about the numbers, as JSON."""
        digest = blake2b(repr(self._facts()).encode(), digest_size=16).hexdigest()
        parameters = sum(map(prod, self.layout.values()))
        return {"type": self.kind, "seed": self.seed, "dim": self.dim, "parameters": parameters, "digest": digest}

    def _facts(self) -> list[Any]:
        return list(self.layout.items())

    def add(self, out: Any, name: str, grads: Any, row: int = 0) -> None:
        """Add the projection of gradients of one parameter to `out`, float32 (b, dim), in place.

        Parameters
        ----------
        out : float32 tensor (b, dim)
        name : str
        grads : tensor (b, n, *shape[1:])
            All of the gradients, or rows of them from `row` on.
        """
        self._add(out, name, grads.reshape(len(grads), -1), row * prod(self.layout[name][1:]))

    def add_outer(self, out: Any, name: str, left: Any, right: Any) -> None:
        """Add the projection of the gradients sum_t left_t right_t^T, which are held in small pieces only.

        Parameters
        ----------
        out : float32 tensor (b, dim)
            Changed in place.
        name : str
            A parameter of shape (r, c).
        left, right : tensors (b, t, r) and (b, t, c)
            Zero at padding.
        """
        rows, columns = self.layout[name]
        budget = CHUNK_BYTES if out.device.type == "cpu" else DEVICE_BYTES
        step = max(1, budget // (len(out) * columns * out.element_size()))
        left, right = left.to(out.dtype).mT, right.to(out.dtype)
        for row in range(0, rows, step):
            self._add(out, name, (left[:, row : row + step] @ right).flatten(1), row * columns)

    def _add(self, out: Any, name: str, flat: Any, start: int) -> None:
        """Add (b, n) coordinates of a parameter, the first of them its coordinate `start`."""
        raise NotImplementedError


class CountSketch(Projection):
    """Every coordinate goes to one of `dim` buckets with a random sign: O(p) instead of O(p dim), as accurate.

    Charikar, Chen and Farach-Colton, "Finding frequent items in data streams", ICALP 2002; Weinberger et al., "Feature
    hashing for large scale multitask learning", ICML 2009. Blocks of `dim` coordinates are added under a random cyclic
    shift each, so that memory is read in order. Two coordinates of a block never meet, two of different blocks do with
    probability 1/dim. As signs are independent, mean and variance of an inner product depend on these pairwise
    probabilities only: it is unbiased, and its variance at most (|g|^2 |g'|^2 + <g, g'>^2) / dim, as with independent
    buckets, and lower where a parameter has few blocks.

    Memory: one byte for each parameter. The order of additions does not depend on the number of threads.
    """

    kind: Kind = "count-sketch"

    def __init__(self, layout: Mapping[str, Shape], dim: int, seed: int, device: Any) -> None:
        super().__init__(layout, dim, seed, device)
        self._drawn: dict[str, tuple[Any, NDArray[np.int64]]] = {}

    def drawn(self, name: str) -> tuple[Any, NDArray[np.int64]]:
        """Return the signs of a parameter, int8 (p,), and the shift of each of its blocks, int64; drawn once."""
        import torch

        if name not in self._drawn:
            size = prod(self.layout[name])
            shifts = raw(-(-size // self.dim), self.seed, name, "shifts") % np.uint64(self.dim)
            drawn = torch.from_numpy(signs(size, self.seed, name, "signs")).to(self.device)
            self._drawn[name] = drawn, shifts.astype(np.int64)
        return self._drawn[name]

    def add(self, out: Any, name: str, grads: Any, row: int = 0) -> None:
        """Add the projection of gradients, as `Projection.add`."""
        wide = self._wide(out, prod(grads.shape[1:]))
        super().add(wide, name, grads, row)
        self._fold(out, wide)

    def add_outer(self, out: Any, name: str, left: Any, right: Any) -> None:
        """Add the projection of sum_t left_t right_t^T, as `Projection.add_outer`."""
        wide = self._wide(out, prod(self.layout[name]))
        super().add_outer(wide, name, left, right)
        self._fold(out, wide)

    def _wide(self, out: Any, coordinates: int) -> Any:
        """Where there are blocks enough to pay for it: twice the buckets, so that no shift cuts a block in two."""
        if out.device.type != "cpu" or coordinates < 8 * self.dim:
            return out
        return out.new_zeros(len(out), 2 * self.dim)

    def _fold(self, out: Any, wide: Any) -> None:
        if wide is not out:
            out += wide[:, : self.dim]
            out += wide[:, self.dim :]

    def _add(self, out: Any, name: str, flat: Any, start: int) -> None:
        sign, shifts = self.drawn(name)
        if out.device.type != "cpu":
            self._add_gathered(out, flat, start, sign, shifts)
            return
        at, end, buckets = start, start + flat.shape[1], out.shape[1]
        sign = sign[start:end].to(out.dtype)
        while at < end:
            block, offset = divmod(at, self.dim)
            bucket = (offset + int(shifts[block])) % buckets
            # As far as the block, the buckets and the coordinates go.
            width = min(self.dim - offset, buckets - bucket, end - at)
            part = flat.narrow(1, at - start, width).to(out.dtype)
            out.narrow(1, bucket, width).addcmul_(part, sign.narrow(0, at - start, width))
            at += width

    def _add_gathered(self, out: Any, flat: Any, start: int, sign: Any, shifts: NDArray[np.int64]) -> None:
        """The same in few large operations, without atomic additions, whose order is left to chance."""
        import torch

        end = start + flat.shape[1]
        step = max(1, DEVICE_BYTES // (len(out) * self.dim * out.element_size()))
        buckets = torch.arange(self.dim, device=out.device)
        for block in range(start // self.dim, -(-end // self.dim), step):
            shift = torch.from_numpy(shifts[block : block + step]).to(out.device)
            low, high = max(start, block * self.dim), min(end, (block + step) * self.dim)
            signed = flat[:, low - start : high - start].to(out.dtype) * sign[low:high]
            pad = (low - block * self.dim, (block + len(shift)) * self.dim - high)
            signed = torch.nn.functional.pad(signed, pad).view(len(out), len(shift), self.dim)
            source = (buckets - shift[:, None]) % self.dim
            out += signed.gather(2, source.expand(len(out), -1, -1)).sum(1)


class Rademacher(Projection):
    """A dense matrix of +-1/sqrt(dim), drawn in tiles and kept where it is small. Cost: O(p dim) for each example."""

    kind: Kind = "rademacher"

    def __init__(self, layout: Mapping[str, Shape], dim: int, seed: int, device: Any) -> None:
        super().__init__(layout, dim, seed, device)
        self._rows = max(1, 2**22 // dim)
        self._keep = 4 * dim * sum(map(prod, self.layout.values())) <= CACHE_BYTES
        self._tiles: dict[tuple[str, int], Any] = {}

    def _tile(self, name: str, tile: int) -> Any:
        """Rows of the matrix, float32 (rows, dim)."""
        if (name, tile) in self._tiles:
            return self._tiles[name, tile]
        rows = min(self._rows, prod(self.layout[name]) - tile * self._rows)
        drawn = sign_matrix(rows, self.dim, self.dim, self.device, self.seed, name, f"tile {tile}")
        if self._keep:
            self._tiles[name, tile] = drawn
        return drawn

    def _add(self, out: Any, name: str, flat: Any, start: int) -> None:
        at, end = start, start + flat.shape[1]
        while at < end:
            tile, offset = divmod(at, self._rows)
            width = min(self._rows - offset, end - at)
            part = flat[:, at - start : at - start + width].to(out.dtype)
            out.addmm_(part, self._tile(name, tile)[offset : offset + width].to(out.dtype))
            at += width


class Whole(Projection):
    """No projection: the parameters one after the other, by name. For few parameters, and to check the others."""

    kind: Kind = "none"

    def __init__(self, layout: Mapping[str, Shape], dim: int, seed: int, device: Any) -> None:
        super().__init__(layout, dim, seed, device)
        self._starts: dict[str, int] = {}
        self.dim = 0
        for name, shape in self.layout.items():
            self._starts[name] = self.dim
            self.dim += prod(shape)

    def _add(self, out: Any, name: str, flat: Any, start: int) -> None:
        start += self._starts[name]
        out[:, start : start + flat.shape[1]] += flat


def make_projection(kind: str, layout: Mapping[str, Shape], dim: int, seed: int, device: Any = "cpu") -> Projection:
    """Make a random projection of gradients.

    Parameters
    ----------
    kind : str
        ``count-sketch``, ``rademacher`` (dense), ``factored`` (both sides of a matrix) or ``none``.
    layout : mapping of str to tuple of int
        Parameters and their shapes, in any order.
    dim : int
        Numbers that come out; ``factored`` comes near it, ``none`` keeps every parameter.
    seed : int
    device : torch device or str
        Where the gradients are.

    Raises
    ------
    InputError
        If there is no such kind, nothing to project, or `dim` is less than 1.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtraError("torch", "models", "a projection of gradients") from None
    from tasksift.represent.factored import Factored

    kinds = {each.kind: each for each in (CountSketch, Rademacher, Factored, Whole)}
    if kind not in kinds:
        raise InputError(f"--projection {kind} is none of {', '.join(kinds)}")
    if dim < 1:
        raise InputError(f"--dim {dim}: a projection needs at least 1 dimension")
    if not sum(map(prod, layout.values())):
        raise InputError("there is no trainable parameter to take gradients of; name parameters that the model has")
    return kinds[kind](layout, dim, seed, torch.device(device))
