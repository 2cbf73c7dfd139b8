"""What layers give to per-example gradients: rules from inputs and output gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tasksift.represent.gradient_sinks import Sink, wide

Rule = Callable[[Any, dict[str, str], Any, Any, Sink], None]
"""What a module, its names, its input (b, t, c) and its output gradient (b, t, r) give to a sink."""


def rule_of(module: Any) -> Rule | None:
    """Return the rule of a module; None where parameters are taken to work elementwise.

    A subclass with a `forward` of its own computes something else; only of linear layers the same is hoped, and checked
    by `PerExample.verify`.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    rules: dict[Any, Rule] = {
        nn.Linear.forward: _linear,
        Conv1D.forward: _transposed,
        nn.Embedding.forward: _embedding,
        nn.LayerNorm.forward: _norm,
        nn.RMSNorm.forward: _norm,
    }
    return rules.get(type(module).forward, _linear if isinstance(module, nn.Linear) else None)


def _linear(module: Any, names: dict[str, str], seen: Any, grad: Any, sink: Sink) -> None:
    if "weight" in names:
        sink.outer(names["weight"], grad, seen)
    if "bias" in names:
        sink.add(names["bias"], grad.sum(1, dtype=wide(grad)))


def _transposed(module: Any, names: dict[str, str], seen: Any, grad: Any, sink: Sink) -> None:
    if "weight" in names:
        sink.outer(names["weight"], seen, grad)
    if "bias" in names:
        sink.add(names["bias"], grad.sum(1, dtype=wide(grad)))


def _norm(module: Any, names: dict[str, str], seen: Any, grad: Any, sink: Sink) -> None:
    from torch import nn

    normalise = nn.functional.rms_norm if isinstance(module, nn.RMSNorm) else nn.functional.layer_norm
    shape = module.normalized_shape
    grad = grad.to(wide(grad)).reshape(len(grad), -1, *shape)
    if "weight" in names:
        seen = seen.to(wide(seen)).reshape(len(seen), -1, *shape)
        sink.add(names["weight"], (grad * normalise(seen, shape, eps=module.eps)).sum(1))
    if "bias" in names:
        sink.add(names["bias"], grad.sum(1))


def _embedding(module: Any, names: dict[str, str], seen: Any, grad: Any, sink: Sink) -> None:
    import torch

    count, rows = len(seen), module.num_embeddings
    where = (seen[..., 0] + rows * torch.arange(count, device=seen.device)[:, None]).flatten()
    total = torch.zeros(count * rows, grad.shape[-1], dtype=wide(grad), device=grad.device)
    total.index_add_(0, where, grad.flatten(0, 1).to(total.dtype))
    total = total.view(count, rows, -1)
    if module.padding_idx is not None:
        total[:, module.padding_idx] = 0
    sink.add(names["weight"], total)


def by_example(values: Any, count: int, owner: Any) -> Any:
    """Values by example, (count, t, width); where tokens came as (1, n, width), short examples are filled up with 0."""
    import torch

    if owner is None:
        return values.reshape(count, -1, values.shape[-1])
    lengths = torch.bincount(owner, minlength=count)
    place = torch.arange(len(owner), device=owner.device) - (lengths.cumsum(0) - lengths)[owner]
    rows = values.new_zeros(count, int(lengths.max()), values.shape[-1])
    rows[owner, place] = values[0]
    return rows
