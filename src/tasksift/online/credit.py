"""The loss of every example of a training batch, from what the model was given and what it returned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tasksift.errors import InputError
from tasksift.represent.token_scores import EL2N, measure
from tasksift.tune.data import IGNORED

_TOLERANCE = 0.02
"""By how much, relatively, the losses of examples may miss the model's own: it may have computed in bfloat16."""

_MEAN = 1
"""How PyTorch's loss says that it is a mean."""

_DEPTH = 5
"""Operations between a loss and its softmax at most: the sum, a division, changes of type."""


class Credit(NamedTuple):
    """What the examples of a batch gave, as tensors on the model's device.

    Attributes
    ----------
    values : float32 (b,)
        Mean over the scored tokens of each example; one for the whole batch if it was not taken apart.
    tokens : float32 (b,)
        Scored tokens of each.
    """

    values: Any
    tokens: Any


def whole_batch(inputs: Mapping[str, Any], output: Any, *, causal: bool = True) -> Credit:
    """Return the model's own loss for a batch whose examples are all of one domain.

    Where the trainer had the model divide by the tokens of all batches of a step, the mean is restored.
    """
    loss, labels = _part(output, "loss"), _labels(inputs, causal)
    if loss is None:
        raise InputError(
            "the model returns no loss to mix by: it was not given the labels; do without label smoothing, "
            "compute_loss_func and, outside SFTTrainer, WeightedLoss"
        )
    loss = loss.detach().float().reshape(1)
    tokens = loss.new_ones(1) if labels is None else (labels != IGNORED).sum().float().reshape(1)
    nll = _behind(_part(output, "loss"), "NllLossBackward0")
    # Some models are given that number and take the mean over their own batch all the same.
    divisor = None if getattr(nll, "_saved_reduction", None) == _MEAN else inputs.get("num_items_in_batch")
    return Credit(loss if divisor is None else loss * divisor / tokens.clamp(min=1), tokens)


def by_example(
    inputs: Mapping[str, Any], output: Any, *, causal: bool = True, norms: bool = False, check: bool = False
) -> Credit:
    """Return the loss of every example of a batch.

    Parameters
    ----------
    inputs : mapping
        What the model was called with: ``labels`` (b, t) of tokens, or (b,) of a classifier.
    output : mapping
        What it returned: ``logits``, or ``log_probs`` and ``label_mask`` of TRL's fused output layer.
    causal : bool
        Whether the label of a token is predicted at the one before it.
    norms : bool
        Instead of losses, the lengths of their gradients with respect to the logits, a mean over tokens; they bound
        the gradient of all parameters (Katharopoulos and Fleuret 2018, arXiv 1803.00942, eq. 20).
    check : bool
        Compare with the model's own loss.

    Raises
    ------
    InputError
        If the losses cannot be told apart by example, or do not add up to the model's.

    Notes
    -----
    Where the softmax behind the model's loss is found it is read, and costs nothing; otherwise there is one more pass
    over the logits.
    """
    fused = _part(output, "log_probs")
    if fused is not None and not norms:
        mask, values = output["label_mask"], -fused.detach().float()
    else:
        labels, logits = _labels(inputs, causal), _part(output, "logits")
        if labels is None:
            raise InputError(
                "the model has no labels to tell the losses of examples apart by; do without label smoothing, "
                "compute_loss_func and, outside SFTTrainer, WeightedLoss"
            )
        if logits is None:
            raise InputError(
                "the model has no logits to tell the losses of examples apart by; do without fused losses, or use "
                "OnlineSampler(batches='single')"
            )
        logits = logits.detach() if labels.ndim == 2 else logits.detach()[:, None]
        labels = labels if labels.ndim == 2 else labels[:, None]
        if logits.shape[0] != labels.shape[0] or logits.shape[1] - labels.shape[1] not in (0, 1):
            raise InputError(
                f"labels of shape {tuple(labels.shape)} do not fit logits of shape {tuple(logits.shape)}; "
                "use OnlineSampler(batches='single')"
            )
        mask = labels != IGNORED
        values = logits.new_zeros(labels.shape, dtype=logits.float().dtype)
        if norms:
            values[mask] = measure(logits[:, : labels.shape[1]][mask], labels[mask])[:, EL2N]
        else:
            softmax = _softmax(_part(output, "loss"), logits)
            values = _nll(logits, labels, mask) if softmax is None else _picked(softmax, labels, mask)
    tokens = mask.sum(1).float()
    credit = Credit((values * mask).sum(1) / tokens.clamp(min=1), tokens)
    if check and not norms:
        _check(credit, whole_batch(inputs, output, causal=causal))
    return credit


def shifts_labels(model: Any) -> bool | None:
    """Say whether a model's loss compares each position with the next label; None if its loss is not a known one."""
    from transformers.loss import loss_utils as known
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    base = model.get_base_model() if hasattr(model, "get_base_model") else model  # inside adapters of peft
    losses: dict[Any, Any] = known.LOSS_MAPPING
    fallback = known.ForCausalLMLoss if type(base).__name__ in CAUSAL.values() else None
    loss = losses.get(getattr(base, "loss_type", None), fallback)
    if loss is known.ForCausalLMLoss:
        return not getattr(getattr(base, "config", None), "is_encoder_decoder", False)
    if loss in (known.ForMaskedLMLoss, known.ForTokenClassification, known.ForSequenceClassificationLoss):
        return False
    return None


def _part(output: Any, name: str) -> Any:
    return output.get(name) if isinstance(output, Mapping) else None


def _labels(inputs: Mapping[str, Any], causal: bool) -> Any:
    """The label that is predicted at each position."""
    labels = inputs.get("labels")
    if inputs.get("shift_labels") is not None:
        return inputs["shift_labels"]
    return labels[:, 1:] if labels is not None and labels.ndim == 2 and causal else labels


def _softmax(loss: Any, logits: Any) -> Any:
    """Find the logarithm of the softmax that a loss was computed from, as autograd keeps it; None where it does not."""
    node = _behind(loss, "LogSoftmaxBackward0")
    if node is None or node._saved_result.numel() != logits.numel():
        return None
    return node._saved_result.detach().view(logits.shape)


def _behind(loss: Any, name: str) -> Any:
    """Find the operation of this name that a loss was computed by, if any."""
    node = None if loss is None else loss.grad_fn
    for _ in range(_DEPTH):
        if node is None or node.name() == name:
            return node
        node = node.next_functions[0][0] if node.next_functions else None
    return None


def _picked(log_p: Any, labels: Any, mask: Any) -> Any:
    return -log_p[:, : labels.shape[1]].gather(2, (labels * mask)[..., None])[..., 0].float()


def _nll(logits: Any, labels: Any, mask: Any) -> Any:
    import torch

    lines = []
    # One example at a time, so that nothing of the size of all logits is made.
    for some, gold in zip(logits[:, : labels.shape[1]], labels * mask, strict=True):
        wide = some.float()
        lines.append(torch.logsumexp(wide, 1) - wide.gather(1, gold[:, None])[:, 0])
    return torch.stack(lines)


def _check(credit: Credit, whole: Credit) -> None:
    ours = float((credit.values * credit.tokens).sum() / credit.tokens.sum().clamp(min=1))
    theirs = float(whole.values)
    if abs(ours - theirs) > _TOLERANCE * max(1.0, abs(theirs)):
        raise InputError(
            f"the losses of the examples average to {ours:.4g} and the model's loss is {theirs:.4g}, so it has other "
            "parts; use OnlineSampler(batches='single'), which takes the loss of whole batches"
        )
