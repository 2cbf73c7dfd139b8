"""What gradients are taken of: losses per example of a causal language model, each of shape (b,)."""

from __future__ import annotations

from typing import Any

from tasksift.represent.forward import Batch, Predictions, per_example, predict


def sft(model: Any, batch: Batch, mean: bool = True) -> Any:
    """Cross-entropy of the scored tokens in nats, their mean or sum; 0 for an example without any."""
    seen = predict(model, batch)
    return per_example(_surprise(seen), seen.owner, len(batch.rows), mean=mean)


def sequence_logprob(model: Any, batch: Batch) -> Any:
    """Log-probability of the scored tokens given what precedes them, summed."""
    return -sft(model, batch, mean=False)


def probability(model: Any, batch: Batch) -> Any:
    """Probability of the correct token, the mean over the scored tokens."""
    seen = predict(model, batch)
    return per_example((-_surprise(seen)).exp(), seen.owner, len(batch.rows), mean=True)


def margin(model: Any, batch: Batch) -> Any:
    """Margin log(p / (1 - p)) of the correct token, the mean over the scored tokens; higher is better.

    Computed as logit_y - logsumexp(logits without y), so that p near 1 costs no precision. The cross-entropy is
    log(1 + exp(-margin)). Source: Park et al. 2023 (TRAK), arXiv 2303.14186, section 3.
    """
    import torch

    seen = predict(model, batch)
    logits, labels = _wide(seen.logits), seen.labels[:, None]
    others = logits.scatter(1, labels, -torch.inf)
    values = logits.gather(1, labels)[:, 0] - others.logsumexp(1)
    return per_example(values, seen.owner, len(batch.rows), mean=True)


def dpo(
    model: Any, chosen: Batch, rejected: Batch, reference_chosen: Any, reference_rejected: Any, beta: float = 0.1
) -> Any:
    """Preference loss -log sigmoid(delta) of pairs, from two forward passes.

    delta = beta ((log pi(chosen) - log ref(chosen)) - (log pi(rejected) - log ref(rejected))), log-probabilities summed
    over the scored tokens. Source: Rafailov et al. 2023, arXiv 2305.18290, equation 7.

    Parameters
    ----------
    chosen, rejected : Batch
        Row k of both is the same pair.
    reference_chosen, reference_rejected : tensors (b,)
        `sequence_logprob` under the frozen reference model.
    beta : float
        How strongly the reference holds.
    """
    import torch

    if list(chosen.rows) != list(rejected.rows):
        raise ValueError("chosen and rejected answers are not of the same pairs")
    gain = sequence_logprob(model, chosen) - reference_chosen
    loss = sequence_logprob(model, rejected) - reference_rejected
    return -torch.nn.functional.logsigmoid(beta * (gain - loss))


def owners(*batches: Batch) -> list[Any]:
    """Return the example of each scored token, one tensor per batch, as `PerExample.accumulate` wants it."""
    return [batch.scored[:, 1:].nonzero()[:, 0] for batch in batches]


def _surprise(seen: Predictions) -> Any:
    import torch

    return torch.nn.functional.cross_entropy(_wide(seen.logits), seen.labels, reduction="none")


def _wide(logits: Any) -> Any:
    import torch

    return logits.to(torch.promote_types(logits.dtype, torch.float32))
