"""Batches of examples by length, and the predictions of a causal model at the tokens that are scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.represent.chat import Tokens

BATCH_TOKENS = 2048
"""Tokens of a batch, padding included: enough to keep the cores busy."""

LOGIT_BYTES = 2**28
"""Logits of a batch at most, in bytes."""


@dataclass
class Batch:
    """Examples of similar length, padded on the right.

    Attributes
    ----------
    rows : int64 (b,)
        Which of the examples these are.
    ids, mask : int64 tensors (b, t)
        Token ids and attention mask.
    scored : bool tensor (b, t)
        Tokens whose loss counts.
    """

    rows: NDArray[np.int64]
    ids: Any
    mask: Any
    scored: Any


@dataclass
class Predictions:
    """What a model predicts at the scored tokens of a batch, example by example.

    Attributes
    ----------
    hidden : tensor (n, d)
        The vectors that enter the output layer.
    logits : tensor (n, vocabulary)
        As the model gives them, capping and scaling included.
    labels : int64 tensor (n,)
        The tokens that stand there.
    owner : int64 tensor (n,)
        The example of each, from 0 to b - 1, ascending.
    """

    hidden: Any
    logits: Any
    labels: Any
    owner: Any


def batches(
    tokens: Sequence[Tokens], *, device: Any = "cpu", batch_tokens: int = BATCH_TOKENS, most: int = 64
) -> Iterator[Batch]:
    """Cut examples into batches, longest first, so that a batch that is too large for memory is met at once.

    Parameters
    ----------
    tokens : sequence of Tokens
        Examples without any token are in no batch.
    batch_tokens, most : int
        Tokens (padding included) and examples of a batch at most; one example is always a batch.
    """
    lengths = np.array([len(each.ids) for each in tokens], dtype=np.int64)
    some = np.flatnonzero(lengths)
    for rows in by_length(lengths[some], batch_tokens, most):
        yield collate([tokens[row] for row in some[rows]], some[rows], device)


def by_length(lengths: NDArray[np.int64], batch_tokens: int, most: int) -> Iterator[NDArray[np.int64]]:
    """Cut rows into batches of like lengths, longest first; see `batches`."""
    order = np.argsort(-lengths, kind="stable")
    at = 0
    while at < len(order):
        rows = order[at : at + max(1, min(most, batch_tokens // max(1, int(lengths[order[at]]))))]
        at += len(rows)
        yield rows


def collate(tokens: Sequence[Tokens], rows: NDArray[np.int64], device: Any = "cpu") -> Batch:
    """Pad examples to one batch; `rows` says which they are."""
    import torch

    ids = np.zeros((len(tokens), max(len(each.ids) for each in tokens)), dtype=np.int64)
    mask, scored = np.zeros_like(ids), np.zeros(ids.shape, dtype=bool)
    for k, each in enumerate(tokens):
        length = len(each.ids)
        ids[k, :length], mask[k, :length], scored[k, :length] = each.ids, 1, each.scored
    return Batch(rows, *(torch.from_numpy(array).to(device) for array in (ids, mask, scored)))


def fitting(model: Any, batch_tokens: int) -> int:
    """Return how many tokens a batch may have so that the logits of all of them stay within `LOGIT_BYTES`."""
    vocabulary = int(model.get_output_embeddings().weight.shape[0])
    return min(batch_tokens, max(1, LOGIT_BYTES // (4 * vocabulary)))


def predict(model: Any, batch: Batch) -> Predictions:
    """Run a causal model and keep what it says at the scored tokens; gradients flow through where they are on.

    The output layer sees these tokens only: its input is narrowed on the way, so it costs what it must.
    """
    head = model.get_output_embeddings()
    owner, place = batch.scored[:, 1:].nonzero(as_tuple=True)
    seen: list[Any] = []

    def narrow(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        seen.append(inputs[0][owner, place])
        return (seen[-1][None], *inputs[1:])

    handle = head.register_forward_pre_hook(narrow)
    try:
        out = model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
    finally:
        handle.remove()
    return Predictions(seen[0], out.logits[0], batch.ids[owner, place + 1], owner)


def per_example(values: Any, owner: Any, count: int, *, mean: bool) -> Any:
    """Sum, or average, the values (n,) of tokens over the examples that own them; 0 where none is.

    Shape (count,), float32 or wider.
    """
    import torch

    values = values.to(torch.promote_types(values.dtype, torch.float32))
    total = torch.zeros(count, dtype=values.dtype, device=values.device).index_add(0, owner, values)
    if not mean:
        return total
    return total / torch.bincount(owner, minlength=count).clamp(min=1).to(values.dtype)
