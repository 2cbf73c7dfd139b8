"""Per-example gradients as whole tensors, and the same by a loop over examples."""

from __future__ import annotations

import pytest

from tasksift.represent import objectives
from tasksift.represent.chat import Tokens
from tasksift.represent.forward import batches
from tasksift.represent.gradient_sinks import Materialised
from tasksift.represent.per_example import PerExample

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


def random_tokens(n=9, longest=24, seed=0, vocabulary=400):
    """Examples of mixed lengths, of which the last part is scored."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, longest, (n,), generator=generator).tolist()
    ids = [torch.randint(1, vocabulary, (length,), generator=generator).numpy() for length in lengths]
    return [Tokens(each, torch.arange(len(each)).numpy() >= max(1, len(each) // 3)) for each in ids]


def keep_in(grads):
    """What puts whole gradients into a dict."""
    return lambda name, whole, row: grads.update({name: whole})


def per_example(model, names, losses, count, owners=()):
    """All gradients (count, *shape) by name."""
    grads = {}
    engine = PerExample(model, names)
    engine.accumulate(losses, count, Materialised(engine.layout, count, keep_in(grads)), owners)
    return grads


def by_batches(model, names, tokens, objective=objectives.sft, most=64):
    """The same, rows in the order of the examples."""
    grads = {name: torch.zeros(len(tokens), *shape) for name, shape in PerExample(model, names).layout.items()}
    for batch in batches(tokens, most=most):
        part = per_example(
            model, names, lambda batch=batch: objective(model, batch), len(batch.rows), objectives.owners(batch)
        )
        for name, values in part.items():
            grads[name][batch.rows] = values.to(grads[name])
    return grads


def by_loop(model, names, losses):
    """Ordinary autograd, one loss at a time; `losses` are callables."""
    parameters = dict(model.named_parameters())
    model.requires_grad_(True)
    rows = [
        torch.autograd.grad(loss(), [parameters[name] for name in names], allow_unused=True, materialize_grads=True)
        for loss in losses
    ]
    model.requires_grad_(False)
    return {name: torch.stack([row[k] for row in rows]) for k, name in enumerate(names)}


def loop_of(model, names, tokens, objective=objectives.sft):
    alone = [next(batches([each])) for each in tokens]
    return by_loop(model, names, [lambda batch=batch: objective(model, batch)[0] for batch in alone])


def assert_same(grads, expected, most=1e-5):
    assert set(grads) == set(expected)
    for name, right in expected.items():
        scale = max(right.flatten(1).norm(dim=1).max(), 1e-3)
        assert (grads[name] - right).flatten(1).norm(dim=1).max() <= most * scale, name


def everything(model):
    return [name for name, _ in model.named_parameters()]
