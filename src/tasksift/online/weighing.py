"""How the loss of an ordinary trainer is weighed example by example, and which trainers leave no place for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tasksift.errors import InputError
from tasksift.online.credit import shifts_labels
from tasksift.tune.data import IGNORED

LOST = (
    "set remove_unused_columns=False, since the Trainer drops the columns that the model does not take, "
    "and give every row a weight"
)


def check_rows(rows: int, weights: int) -> None:
    """Refuse a batch whose rows are no longer its examples."""
    if rows != weights:
        raise InputError(
            f"the collator made {rows} rows of {weights} examples, so no weight belongs to a row; "
            "set padding_free=False and packing=False, or take a collator that pads"
        )


def _is_sft(trainer: Any) -> bool:
    return any(kind.__name__ == "SFTTrainer" for kind in type(trainer).__mro__)


def check_trainer(trainer: Any) -> None:
    """Refuse arguments under which weights would be lost or would mean nothing."""
    args = trainer.args
    parallel = getattr(trainer.accelerator, "parallelism_config", None)
    for wrong, problem in (
        (args.remove_unused_columns, f"remove_unused_columns is True; {LOST}"),
        (
            getattr(args, "packing", False) or getattr(args, "padding_free", False),
            "packing and padding_free join examples into one row, to which no weight belongs; set both to False",
        ),
        (
            trainer.compute_loss_func is not None,
            "a compute_loss_func gives one loss for all examples; leave it out, or weigh in it",
        ),
        (
            _is_sft(trainer) and (args.loss_type != "nll" or args.label_smoothing_factor),
            "SFTTrainer is weighed with loss_type='nll' and without label smoothing; set these",
        ),
        (
            args.train_batch_size * args.gradient_accumulation_steps * args.world_size == 1,
            "a step has one example, and weights count among the examples of a step; raise per_device_train_batch_size "
            "or gradient_accumulation_steps",
        ),
        (
            args.n_gpu > 1,
            "one process with several GPUs splits batches from their weights; start it with accelerate launch or "
            "torchrun, or show it one GPU by CUDA_VISIBLE_DEVICES",
        ),
        (
            getattr(parallel, "cp_enabled", False) or getattr(parallel, "sp_enabled", False),
            "context and sequence parallelism split examples, and weights need whole ones; switch them off",
        ),
    ):
        if wrong:
            raise InputError(problem)


def scaled(trainer: Any, batches: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Scale the weights of the batches of a step, on all ranks, to a mean of 1 over the tokens trained on."""
    import torch

    # Tokens are counted as the Trainer counts them, which is by one too many a row for some models.
    first = int(getattr(trainer, "_loss_shifts_labels", False))
    sums = torch.zeros(2, device=trainer.args.device)
    for batch in batches:
        weight, labels = batch.get("weight"), batch.get("labels")
        if weight is None:
            raise InputError(f"a training batch has no weights; {LOST}")
        if labels is None or not torch.is_tensor(labels):
            raise InputError("a training batch has no tensor of labels, so there is no loss to weigh")
        check_rows(len(labels), len(weight))
        counted = labels.reshape(len(weight), -1)[:, first:].ne(IGNORED).sum(1)
        sums += torch.stack([weight @ counted.to(weight), counted.sum()]).to(sums.device)
    if trainer.args.average_tokens_across_devices and trainer.args.world_size > 1:
        sums = trainer.accelerator.gather(sums).reshape(-1, 2).sum(0)
    weighted, tokens = sums.unbind()
    scale = torch.where(weighted > 0, tokens / weighted, 0)
    return [{**batch, "weight": batch["weight"] * scale.to(batch["weight"].device)} for batch in batches]


@contextmanager
def weighing(trainer: Any, model: Any, weight: Any) -> Iterator[list[bool]]:
    """Have losses weighed in the block; the list is empty as long as nothing was."""
    done: list[bool] = []
    shifted = shifts_labels(trainer.model)
    if shifted is None:
        raise InputError(
            f"the loss of {type(trainer.model).__name__} is not known to WeightedLoss, which weighs language models "
            "and classifiers of tokens or sequences, as transformers has them"
        )

    def on_forward(module: Any, args: Any, outputs: Any) -> Any:
        if getattr(outputs, "log_probs", None) is not None:
            outputs.log_probs = outputs.log_probs * weight.to(outputs.log_probs.device)[:, None]
            done.append(True)
        return outputs

    def on_outputs(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
        done.append(True)
        smoothing = trainer.args.label_smoothing_factor
        return _weighted_mean(outputs, labels, weight, num_items_in_batch, shifted, smoothing)

    if _is_sft(trainer):
        handle = model.register_forward_hook(on_forward)
        try:
            yield done
        finally:
            handle.remove()
    else:
        trainer.compute_loss_func = on_outputs
        try:
            yield done
        finally:
            trainer.compute_loss_func = None


def _weighted_mean(outputs: Any, labels: Any, weight: Any, items: Any, shifted: bool, smoothing: float) -> Any:
    """Weighted cross entropy over `items`, or over the tokens of this batch.

    Parameters
    ----------
    outputs : with ``logits`` (b, ..., classes)
    labels : int64 (b, ...)
    weight : float32 (b,)
    items : number or tensor or None
    shifted : bool
        Whether a position is compared with the next label.
    smoothing : float
        Label smoothing, as in the Trainer.
    """
    import torch.nn.functional as fn

    logits = outputs["logits"] if isinstance(outputs, dict) else outputs[0]
    labels = labels.to(logits.device)
    if labels.is_floating_point() or logits.shape[-1] == 1 or logits.shape[:-1] != labels.shape:
        raise InputError(
            f"logits of shape {tuple(logits.shape)} and {labels.dtype} labels of shape {tuple(labels.shape)} are not "
            "one class for each row or token, the only loss that is weighed"
        )
    if getattr(outputs, "aux_loss", None) is not None:
        raise InputError(
            "the model adds a loss of its routers, which would be left out; set output_router_logits=False"
        )
    if shifted:
        labels = fn.pad(labels, (0, 1), value=IGNORED)[..., 1:]
    losses = fn.cross_entropy(
        logits.float().flatten(0, -2),
        labels.flatten(),
        ignore_index=IGNORED,
        reduction="none",
        label_smoothing=smoothing,
    )
    total = weight.to(losses.device) @ losses.reshape(len(weight), -1).sum(1)
    return total / (labels.ne(IGNORED).sum() if items is None else items)
