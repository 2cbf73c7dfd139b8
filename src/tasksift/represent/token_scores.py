"""Loss, entropy and error of a causal model at every scored token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.represent.chat import Tokens
from tasksift.represent.forward import BATCH_TOKENS, LOGIT_BYTES, Batch, batches, predict

NLL, ENTROPY, EL2N, CORRECT = range(4)
"""The columns of `token_scores`."""

_CHUNK = 2**22
"""Logits that are worked on at once, so that copies in float32 stay small."""


def token_scores(
    model: Any, tokens: Sequence[Tokens], *, width: int, stride: int | None = None, batch_tokens: int = BATCH_TOKENS
) -> list[NDArray[np.float32]]:
    """Return for each example float32 (scored tokens, 4), one line per scored token in order.

    Columns: the negative log-likelihood and the entropy of the prediction, in nats; the length of prediction minus
    one-hot label; 1 where the label is the model's first choice. Softmax and sums are in float32 whatever the model's
    precision. Cost: one forward pass over the windows that have a scored token.

    Parameters
    ----------
    width, stride : int
        Windows of examples longer than `width`, as `windows` cuts them; without a stride there must be none.
    """
    import torch

    cut = [windows(each, width, stride or width) for each in tokens]
    pieces = [piece for each in cut for piece in each]
    found = [np.zeros((0, 4), dtype=np.float32) for _ in pieces]
    some = [k for k, piece in enumerate(pieces) if piece.scored.any()]
    for batch in batches([pieces[k] for k in some], device=model.device, batch_tokens=batch_tokens):
        for part in _parts(batch, 4 * model.config.get_text_config().vocab_size):
            with torch.no_grad():
                predictions = predict(model, part)
                scores = measure(predictions.logits, predictions.labels).cpu().numpy()
            ends = np.cumsum(np.bincount(predictions.owner.cpu().numpy(), minlength=len(part.rows)))
            for row, lines in zip(part.rows, np.split(scores, ends[:-1]), strict=True):
                found[some[row]] = lines
    each_found = iter(found)
    return [np.concatenate([next(each_found) for _ in each]) for each in cut]


def windows(tokens: Tokens, width: int, stride: int) -> list[Tokens]:
    """Cut an example into windows of `width` tokens, `stride` apart; a token is scored in the first that holds it."""
    cut, seen = [], 0
    for begin in range(0, max(1, len(tokens.ids)), stride):
        scored = tokens.scored[begin : begin + width].copy()
        scored[: seen - begin] = False
        cut.append(Tokens(tokens.ids[begin : begin + width], scored))
        seen = begin + width
        if seen >= len(tokens.ids):
            break
    return cut


def _parts(batch: Batch, token_bytes: int) -> Iterator[Batch]:
    """Cut a batch so that no part has more logits than `LOGIT_BYTES`, unless one example has."""
    begin, held = 0, 0
    sizes = (batch.scored.sum(1) * token_bytes).tolist()
    for k, size in enumerate([*sizes, LOGIT_BYTES + 1]):
        if k > begin and held + size > LOGIT_BYTES:
            yield Batch(batch.rows[begin:k], batch.ids[begin:k], batch.mask[begin:k], batch.scored[begin:k])
            begin, held = k, 0
        held += size


def measure(logits: Any, labels: Any) -> Any:
    """Return float32 (n, 4), the columns of `token_scores`, for logits (n, vocabulary) and labels (n,)."""
    import torch

    lines = []
    step = max(1, _CHUNK // logits.shape[1])
    for some, label in zip(logits.split(step), labels[:, None].split(step), strict=True):
        log_p = torch.log_softmax(some.float(), dim=1)
        gold = log_p.gather(1, label)
        p = log_p.exp()
        entropy = torch.special.entr(p).sum(1)
        p.scatter_(1, label, torch.expm1(gold))  # p - 1
        error = torch.linalg.vector_norm(p, dim=1)
        correct = (some.argmax(1) == label[:, 0]).float()
        lines.append(torch.stack([-gold[:, 0], entropy, error, correct], dim=1))
    return torch.cat(lines)
