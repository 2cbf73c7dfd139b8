"""A model moved along a projection: θ* + P w, its distance from θ*, and the true margins of examples there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.represent import objectives
from tasksift.represent.chat import ChatTokens
from tasksift.represent.forward import BATCH_TOKENS, batches, fitting
from tasksift.represent.models import CausalModel
from tasksift.represent.projection import Projection
from tasksift.rows.example import Example

Float = NDArray[np.float64]

TABLE_BYTES = 2**28
"""How much of a dense projection may be held at a time."""


class Displacement:
    """Moves a model by P w, reads the margins of examples there, and puts it back.

    Parameters
    ----------
    causal : CausalModel
        In evaluation mode, at θ* whenever this is called.
    projection : Projection
        What the gradients were projected by, g̃ = Pᵀg; its layout names the parameters that move.
    tokens : ChatTokens
        As for the gradients.
    examples : sequence of m Example
    batch_tokens : int
        As in `batches`.
    """

    def __init__(
        self,
        causal: CausalModel,
        projection: Projection,
        tokens: ChatTokens,
        examples: Sequence[Example],
        *,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        self.model, self.projection = causal.model, projection
        self.batch_tokens = fitting(causal.model, batch_tokens)
        self._tokens = [tokens.encode(example) for example in examples]

    def __call__(self, weights: Float) -> tuple[float, Float]:
        """Return ||P w|| / ||θ*|| over the parameters that move, and the margins at θ* + P w.

        Parameters
        ----------
        weights : float64 (d,)

        Returns
        -------
        distance : float
        margins : float64 (m,)
            Mean log(p / (1 - p)) of the scored tokens; 0 for an example without any.

        Notes
        -----
        Cost: one forward pass over the examples, and P w, which costs what the projection of one gradient does.
        """
        with self.moved(weights) as distance:
            return distance, self._margins()

    @contextmanager
    def moved(self, weights: Float) -> Iterator[float]:
        """Hold the model at θ* + P w and give the distance; afterwards its parameters are what they were, bit by bit.

        A model in bfloat16 rounds what is added to it.
        """
        import torch

        own = dict(self.model.named_parameters())
        kept: dict[str, Any] = {}
        moved = start = 0.0
        try:
            for name in self.projection.layout:
                change = transposed(self.projection, name, weights)
                parameter = own[name]
                kept[name] = parameter.detach().clone()
                moved += float(change.double().square().sum())
                start += float(kept[name].double().square().sum())
                with torch.no_grad():
                    parameter.copy_(kept[name].to(change.dtype) + change.to(parameter.device))
            yield sqrt(moved / start) if start else 0.0
        finally:
            with torch.no_grad():
                for name, value in kept.items():
                    own[name].copy_(value)

    def _margins(self) -> Float:
        import torch

        found = np.zeros(len(self._tokens))
        with torch.no_grad():
            for batch in batches(self._tokens, device=self.model.device, batch_tokens=self.batch_tokens):
                found[batch.rows] = objectives.margin(self.model, batch).double().cpu().numpy()
        return found


def transposed(projection: Projection, name: str, weights: Float) -> Any:
    """Return the part of P w that belongs to one parameter, a float32 tensor of its shape.

    P is the transpose of what the projection does to a gradient, <Pᵀg, w> = <g, P w>, so it is had by differentiating
    <Pᵀg, w> by g, for every kind of projection, a few rows of the parameter at a time.
    """
    import torch

    shape = projection.layout[name]
    rows = shape[0] if shape else 1
    wide = torch.from_numpy(np.ascontiguousarray(weights, dtype=np.float32)).to(projection.device)
    change = torch.empty(rows, *shape[1:], device=projection.device)
    step = max(1, TABLE_BYTES // (4 * projection.dim * max(1, prod(shape[1:]))))
    for row in range(0, rows, step):
        unknown = torch.zeros(1, *change[row : row + step].shape, device=projection.device, requires_grad=True)
        with torch.enable_grad():
            out = torch.zeros(1, projection.dim, device=projection.device)
            projection.add(out, name, unknown, row)
            change[row : row + step] = torch.autograd.grad((out[0] * wide).sum(), unknown)[0][0]
    return change.reshape(shape)
