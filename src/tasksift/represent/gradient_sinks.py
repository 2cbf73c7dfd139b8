"""What receives per-example gradients while a backward pass runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
    """A sink that passes on the whole gradient of each parameter as soon as it is complete.

    Parameters
    ----------
    layout : mapping
        Shapes by name, of `PerExample`.
    count : int
        Examples of the batch.
    pass_on : callable
        Gets the name and the gradients (count, *shape), float32 or wider, once per parameter; 0 if it was never used.
    device : str or torch.device
        Where gradients of parameters that were never used are made.
    """

    def __init__(
        self,
        layout: Mapping[str, tuple[int, ...]],
        count: int,
        pass_on: Callable[[str, Any], None],
        device: Any = "cpu",
    ) -> None:
        self._layout, self._count, self._pass_on, self._device = layout, count, pass_on, device
        self._held: dict[str, Any] = {}

    def outer(self, name: str, left: Any, right: Any) -> None:
        """Multiply out the gradients of a matrix; cost r x c x t per example."""
        left, right = left.to(wide(left)).transpose(1, 2), right.to(wide(right))
        if name in self._held:
            self._held[name].baddbmm_(left, right)
        else:
            self._held[name] = left.bmm(right)

    def add(self, name: str, grads: Any) -> None:
        """Add gradients to what is held of the parameter."""
        if name in self._held:
            self._held[name] += grads
        else:
            self._held[name] = grads

    def done(self, name: str) -> None:
        """Pass the parameter on and forget it."""
        import torch

        grads = self._held.pop(name, None)
        if grads is None:
            grads = torch.zeros(self._count, *self._layout[name], device=self._device)
        self._pass_on(name, grads)


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
