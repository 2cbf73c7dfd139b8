"""Weights in training: a collator and a mixin that make `weight` count, and copies for trainers that take none."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasksift.draw.sample import systematic, whole_and_rest
from tasksift.errors import InputError
from tasksift.online.checks import whole
from tasksift.online.weighing import LOST, check_rows, check_trainer, scaled, weighing


@dataclass(frozen=True)
class WeightedCollator:
    """A collator that hands on the weight of every example beside what another collator makes of the rest.

    Attributes
    ----------
    collator : callable
        From a list of examples to a batch, without the column of weights.
    column : str
        Where an example has its weight.
    """

    collator: Callable[[list[dict[str, Any]]], Any]
    column: str = "weight"

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> Any:
        """Make a batch of b examples.

        Returns
        -------
        the other collator's batch, and in it ``weight``, a float32 tensor (b,). If no example has a weight, as in
        evaluation, there is none; `WeightedLoss` takes no such batch for training.

        Raises
        ------
        InputError
            If a weight is missing, negative or not a finite number, or the other collator joins examples into one row.
        """
        import torch

        batch = self.collator([{k: v for k, v in example.items() if k != self.column} for example in examples])
        if not any(self.column in example for example in examples):
            return batch
        weights = [_number(example.get(self.column), self.column, k) for k, example in enumerate(examples)]
        for name in ("labels", "input_ids"):
            if name in batch:
                check_rows(len(batch[name]), len(weights))
        batch["weight"] = torch.tensor(weights, dtype=torch.float32)
        return batch


class WeightedLoss:
    """Makes `weight` count: ``class WeightedTrainer(WeightedLoss, Trainer)``, or with TRL's ``SFTTrainer``.

    The loss of a step is ``sum_i w_i sum_t l_it / sum_i w_i n_i`` over the examples i of all its batches, on all
    ranks, with the losses l_it of the n_i tokens of an example that are trained on. So a weight of two is two copies,
    a weight of 0 is absence, weights in the same proportions are the same, and with equal weights it is the loss of
    the plain trainer. Evaluation does not look at weights.

    The trainer goes on counting ``num_items_in_batch`` as it does. The weights of a step are scaled to a mean of 1
    over its tokens (`get_batch_samples`), and token losses are multiplied by them: in ``SFTTrainer`` as they leave the
    model, by a hook; else by a ``compute_loss_func`` that is set while the loss is computed. All else is the trainer's
    own code. A collator that is no `WeightedCollator` is put into one.

    Raises
    ------
    InputError
        When it is made, if the trainer's arguments leave no place for weights; at the first step, if the batches hold
        no weights, or it is not known how the model or the trainer computes its loss.
    """

    model: Any
    data_collator: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_trainer(self)
        if not isinstance(self.data_collator, WeightedCollator):
            self.data_collator = WeightedCollator(self.data_collator)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Any]:
        """Return the batches of a step, with weights whose mean over its tokens is 1, and the trainer's own count."""
        parent: Any = super()
        batches, items = parent.get_batch_samples(*args, **kwargs)
        return (scaled(self, batches) if batches else batches), items

    def compute_loss(
        self, model: Any, inputs: Mapping[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the trainer's loss, in training with the tokens of every example times its weight."""
        parent: Any = super()
        inputs, weight = _apart(inputs)
        options = {"return_outputs": return_outputs, "num_items_in_batch": num_items_in_batch}
        if not model.training:
            return parent.compute_loss(model, inputs, **options)
        if weight is None:
            raise InputError(f"a training batch has no weights; {LOST}")
        config = getattr(self.model, "config", None)
        if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" not in inputs:
            raise InputError("batches lack decoder_input_ids; give DataCollatorForSeq2Seq the model, which makes them")
        with weighing(self, model, weight) as done:
            loss = parent.compute_loss(model, inputs, **options)
        if not done:
            raise InputError(
                f"{type(self).__name__} computes its loss by itself, out of reach of weights; WeightedLoss is for "
                "transformers.Trainer and trl.SFTTrainer"
            )
        return loss

    def prediction_step(self, model: Any, inputs: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Evaluate a batch as if it had no weights."""
        parent: Any = super()
        return parent.prediction_step(model, _apart(inputs)[0], *args, **kwargs)


def resample(weights: ArrayLike, rows: int, seed: int = 0) -> NDArray[np.int64]:
    """Turn weights into copies: each row's number of copies is ``rows * w_i / sum(w)``, rounded down or up by lot.

    The lot is systematic (`tasksift.draw.sample.systematic`), so the copies expected of a row are exactly that.

    Parameters
    ----------
    weights : float (n,)
        Finite, >= 0, not all 0.
    rows : int
        How many copies together, at least 1.
    seed : int
        The same seed gives the same copies.

    Returns
    -------
    int64 (rows,)
        Positions in `weights`, ascending, copies side by side: shuffle them, as trainers do. Cost: O(n log n).

    Raises
    ------
    InputError
        If the weights, the number of rows or the seed are none.
    """
    whole("rows", rows, 1)
    whole("seed", seed, 0)
    try:
        w = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"weights {weights!r} are no numbers; give one for each row") from None
    if w.ndim != 1 or not len(w):
        raise InputError(f"weights are a list of at least one number, not an array of shape {w.shape}")
    bad = np.flatnonzero(~(np.isfinite(w) & (w >= 0)))
    if len(bad):
        raise InputError(f"row {bad[0]} has weight {w[bad[0]]}; weights are finite numbers from 0")
    if not w.any():
        raise InputError("all weights are 0, so there is no row to copy; give at least one a positive weight")
    w = w / w.max()  # their sum stays finite
    counts, rest = whole_and_rest(rows * (w / w.sum()))
    counts[systematic(rest, np.random.default_rng(seed))] += 1
    return np.repeat(np.arange(len(w)), counts)


def _number(value: Any, column: str, k: int) -> float:
    try:
        weight = math.nan if value is None else float(value)
    except (TypeError, ValueError):
        weight = math.nan
    if not (math.isfinite(weight) and weight >= 0):
        raise InputError(f"example {k} of a batch has {column} {value!r}; weights are finite numbers from 0")
    return weight


def _apart(inputs: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """A batch without its weights, and the weights."""
    return {name: value for name, value in inputs.items() if name != "weight"}, inputs.get("weight")
