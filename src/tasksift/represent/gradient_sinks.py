"""What receives per-example gradients while a backward pass runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol


class Sink(Protocol):
    """Where per-example gradients go, parameter by parameter, while the backward pass runs.

    A parameter that is used several times (tied embeddings, a shared layer) comes as several calls, to be summed.
    """

    def outer(self, name: str, left: Any, right: Any) -> None:
        """Take the factors (b, t, r) and (b, t, c) of gradients sum_t left_t right_t^T; they are only to be read."""
        ...

    def add(self, name: str, grads: Any) -> None:
        """Take gradients (b, *shape), float32 or wider; they are the sink's to keep."""
        ...

    def done(self, name: str) -> None:
        """Know that no more comes for this parameter; called once for each, also for one that was never used."""
        ...


class Materialised:
    """A sink that passes on the gradients of each parameter as soon as they are complete, some rows at a time.

    Parameters
    ----------
    layout : mapping
        Shapes by name, of `PerExample`.
    count : int
        Examples of the batch.
    pass_on : callable
        Gets the name, gradients (count, n, *shape[1:]) of n rows of the parameter, float32 or wider, and the first of
        these rows; they are its to keep. A parameter that was never used has 0.
    device : str or torch.device
        Where gradients of parameters that were never used are made.
    numbers : int, optional
        Gradients that are passed on at a time at most, or one row's. None: those of all rows.
    """

    def __init__(
        self,
        layout: Mapping[str, tuple[int, ...]],
        count: int,
        pass_on: Callable[[str, Any, int], None],
        device: Any = "cpu",
        numbers: int | None = None,
    ) -> None:
        self._layout, self._count, self._pass_on, self._device, self._numbers = layout, count, pass_on, device, numbers
        self._factors: dict[str, list[tuple[Any, Any]]] = {}
        self._held: dict[str, Any] = {}

    def outer(self, name: str, left: Any, right: Any) -> None:
        """Hold the factors until the parameter is complete; multiplied then, at r x c x t per example."""
        self._factors.setdefault(name, []).append((left.to(wide(left)).mT, right.to(wide(right))))

    def add(self, name: str, grads: Any) -> None:
        """Add gradients to what is held of the parameter."""
        if name in self._held:
            self._held[name] += grads
        else:
            self._held[name] = grads

    def done(self, name: str) -> None:
        """Pass the parameter on and forget it."""
        import torch

        rows, *rest = self._layout[name]
        factors, held = self._factors.pop(name, []), self._held.pop(name, None)
        if held is None and not factors:
            held = torch.zeros(self._count, rows, *rest, device=self._device)
        step = rows if self._numbers is None else max(1, self._numbers // (self._count * prod(rest)))
        for row in range(0, rows, step):
            part = None if held is None else held[:, row : row + step]
            for left, right in factors:
                left = left[:, row : row + step]
                part = left.bmm(right) if part is None else part.baddbmm_(left, right)
            self._pass_on(name, part, row)


@dataclass
class Weighted:
    """A sink that keeps the weighted sum of the gradients alone."""

    weights: Any
    total: dict[str, Any] = field(default_factory=dict)

    def outer(self, name: str, left: Any, right: Any) -> None:
        """Add the weighted sum over examples and tokens."""
        left = left.to(wide(left))
        left = left * self.weights.to(left)[:, None, None]
        self._add(name, left.flatten(0, 1).T @ right.to(wide(right)).flatten(0, 1))

    def add(self, name: str, grads: Any) -> None:
        """Add the weighted sum over examples."""
        self._add(name, (self.weights.to(grads) @ grads.flatten(1)).view(grads.shape[1:]))

    def done(self, name: str) -> None:
        """Need nothing more."""

    def _add(self, name: str, part: Any) -> None:
        self.total[name] = part if name not in self.total else self.total[name] + part


def wide(values: Any) -> Any:
    """The dtype that sums over tokens are taken in."""
    import torch

    return torch.promote_types(values.dtype, torch.float32)
