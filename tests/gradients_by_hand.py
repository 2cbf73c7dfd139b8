"""Gradients of single examples by autograd, and checkpoints in memory, for tests of gradients of many at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from small_models import make_tokenizer  # noqa: E402

from tasksift.represent.chat import ChatTokens  # noqa: E402
from tasksift.represent.forward import batches  # noqa: E402
from tasksift.represent.models import CausalModel  # noqa: E402

LENGTH = 48


class Saved:
    """A checkpoint in memory: what `Checkpoint` offers, without files."""

    def __init__(self, model, seed: int, learning_rate: float) -> None:
        generator = torch.Generator().manual_seed(seed)

        def noise(scale):
            return {
                name: scale * torch.randn(value.shape, generator=generator) for name, value in model.named_parameters()
            }

        self._weights = {name: value + noise(0.02)[name] for name, value in model.named_parameters()}
        self._first, self._second = noise(1e-3), {name: value.square() for name, value in noise(1e-3).items()}
        self.folder, self.step, self.learning_rate = Path("saved"), 7, learning_rate
        self.digest = self.moments_digest = str(seed)
        self.parameters = tuple(self._weights)

    def weights(self):
        return self._weights

    def moments(self):
        return self._first, self._second


def causal(model) -> CausalModel:
    return CausalModel(model.requires_grad_(False), make_tokenizer(), {"digest": "small"})


def loop(model, names, example, objective):
    """The gradient of one example by autograd, flattened by sorted name."""
    tokens = ChatTokens(make_tokenizer(), LENGTH).encode(example)
    [batch] = batches([tokens])
    parameters = dict(model.named_parameters())
    for name in names:
        parameters[name].requires_grad_()
    with torch.enable_grad():
        found = torch.autograd.grad(objective(model, batch).sum(), [parameters[name] for name in names])
    model.requires_grad_(False)
    return dict(zip(names, found, strict=True))


def flat(grads) -> np.ndarray:
    return torch.cat([grads[name].flatten() for name in sorted(grads)]).numpy()
