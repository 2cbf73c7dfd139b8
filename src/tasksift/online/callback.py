"""Online mixing in an unmodified `transformers.Trainer`, or one of TRL's, by a callback."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasksift.errors import InputError, MissingExtraError
from tasksift.online.credit import Credit, by_example, shifts_labels, whole_batch
from tasksift.online.history import History
from tasksift.online.layout import Layout
from tasksift.online.ranks import agreed, summed
from tasksift.online.sampler import OnlineSampler

if TYPE_CHECKING:
    from tasksift.online.reselect import Reselect

try:
    from transformers import TrainerCallback
except ImportError:
    raise MissingExtraError("transformers", "models", "online mixing in a Trainer") from None

STATE = "tasksift.OnlineMixing"
"""The name of the sampler's state among the states of callbacks in a checkpoint."""

LOG_FILE = "mixture.jsonl"

SHOWN = 50
"""Domains whose probabilities go to the Trainer's loggers; the file has all."""


class OnlineMixing(TrainerCallback):  # type: ignore[misc]
    """Has a Trainer draw its training rows from an `OnlineSampler`, and tells the sampler what they gave.

    Pass it as ``Trainer(..., callbacks=[OnlineMixing(sampler)])``. The Trainer, the data set and the collator stay as
    they are; the data set needs a length, and its rows are those of ``sampler.domains``. Evaluation is not touched.

    Parameters
    ----------
    sampler : OnlineSampler
        Its batch size, accumulation, ranks and delay are replaced by those of the Trainer.
    trainer : transformers.Trainer, optional
        Has the probabilities reach all its loggers: a callback comes after these, and only goes before them if it knows
        the Trainer. Give it by ``trainer.add_callback(OnlineMixing(sampler, trainer))``. Without it they stand in
        ``trainer.state.log_history`` and in the file.
    log : str, Path or None
        The file of the mixture's history; ``mixture.jsonl`` in the Trainer's output folder by default.
    reselect : Reselect, optional
        Selects the rows to draw from anew, every so many steps.

    Notes
    -----
    Losses of single examples are read off by a forward hook; with ``batches="single"`` the model's own loss is taken.
    The state lies in ``trainer_state.json`` of every checkpoint, and ``resume_from_checkpoint`` goes on with the very
    rows and probabilities of a training that was never stopped.

    Raises
    ------
    InputError
        When training begins, if the Trainer reads its data in a way that a sampler has no part in, or resumes from a
        checkpoint that was written without this callback.
    """

    def __init__(
        self,
        sampler: OnlineSampler,
        trainer: Any = None,
        *,
        log: str | Path | None = None,
        reselect: Reselect | None = None,
    ) -> None:
        self.sampler, self._trainer, self._log, self._reselect = sampler, trainer, log, reselect
        self._hook: Any = None
        self._history: History | None = None
        self._seen: list[Credit] = []
        self._checked, self._causal = False, True

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Put the sampler into the loader, at the step that the training is at."""
        loader, model, sampler = more["train_dataloader"], more["model"], self.sampler
        self._end()
        if self._trainer is not None:
            order = self._trainer.callback_handler.callbacks
            if self not in order:
                raise InputError("OnlineMixing was given another Trainer than the one that it is a callback of")
            order.insert(0, order.pop(order.index(self)))
        sampler.arrange(_layout(args, loader, sampler), args.process_index)
        if self._reselect is not None:
            self._reselect.check(model, more["optimizer"], len(sampler.domains))
        if state.global_step:
            if STATE not in state.stateful_callbacks:
                raise InputError(
                    f"the checkpoint of step {state.global_step} was written without OnlineMixing, so there is nothing "
                    "to go on from; train from the beginning"
                )
            sampler.load_state_dict(state.stateful_callbacks[STATE])
            if sampler.step != state.global_step:
                raise InputError(
                    f"the checkpoint is of step {state.global_step}, and the sampler's state in it of step "
                    f"{sampler.step}; resume from another one"
                )
        elif self._reselect is not None and self._reselect.due(0):
            self._select(0, more)
        loader.set_sampler(sampler)
        if state.is_world_process_zero:
            path = Path(args.output_dir) / LOG_FILE if self._log is None else Path(self._log)
            self._history = History(path, sampler.domains, sampler.about)
            self._history.begin(sampler.step)
        self._checked = False
        # Where the loss is not a known one, the comparison with the model's own tells whether this is right.
        self._causal = shifts_labels(model) is not False
        self._hook = model.register_forward_hook(self._forward, with_kwargs=True)

    def _forward(self, model: Any, args: tuple[Any, ...], inputs: dict[str, Any], output: Any) -> None:
        """Note what the examples of a training batch gave; nothing waits for the device here."""
        import torch

        if not (model.training and torch.is_grad_enabled()):
            return
        try:
            if self.sampler.batches == "single" and not self._norms:
                credit = whole_batch(inputs, output, causal=self._causal)
            else:
                credit = by_example(inputs, output, causal=self._causal, norms=self._norms, check=not self._checked)
                self._checked = True
        except InputError:
            if self.sampler.mixture.adapts:
                raise
            self._end()  # losses are only written down, so there are none in the file
            return
        self._seen.append(credit)

    @property
    def _norms(self) -> bool:
        return self.sampler.mixture.reward == "grad_norm"

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Begin to count the batches of a step."""
        self._seen.clear()

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Tell the sampler what the step gave, and keep its state where the next checkpoint finds it."""
        sampler = self.sampler
        self._observe()
        sampler.update(summed if args.world_size > 1 else None)
        if sampler.step != state.global_step:
            raise InputError(
                f"the Trainer is at step {state.global_step} and the sampler at {sampler.step}; let nothing else call "
                "its update()"
            )
        ends = state.global_step >= state.max_steps
        if self._reselect is not None and not ends and self._reselect.due(state.global_step):
            self._select(state.global_step, more)
        state.stateful_callbacks[STATE] = sampler.state_dict()
        if self._history is not None and (ends or state.global_step % max(1, state.logging_steps) == 0):
            self._history.append(sampler.step, sampler.probabilities(), sampler.losses, sampler.served)

    def _observe(self) -> None:
        import torch

        if not self._seen:
            return
        rows = self.sampler.own(self.sampler.step)
        if len(self._seen) != len(rows):
            raise InputError(
                f"the model was trained on {len(self._seen)} batches in a step of {len(rows)}; online mixing needs one "
                "forward pass for each batch"
            )
        # One transfer for the whole step.
        numbers = torch.cat([torch.stack([each.values, each.tokens]) for each in self._seen], 1).cpu().numpy()
        counts = [len(each.values) for each in self._seen]
        if self.sampler.batches == "single" and len(self._seen[0].values) == 1:
            # The batch was taken as a whole, and any of its rows names its domain.
            rows = rows[:, :1]
        if any(count != rows.shape[1] for count in counts):
            raise InputError(
                f"the model was given batches of {sorted(set(counts))} rows, and {rows.shape[1]} were drawn for each; "
                "online mixing does not go with packing or padding_free"
            )
        self.sampler.observe(rows.ravel(), *numbers)
        self._seen.clear()

    def _select(self, step: int, more: dict[str, Any]) -> None:
        reselect, rows = self._reselect, len(self.sampler.domains)
        assert reselect is not None
        now = more["model"], more["processing_class"], more["optimizer"]
        self.sampler.restrict(agreed(lambda: reselect.rows(step, *now, of=rows)))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **more: Any) -> None:
        """Put the probabilities of the largest domains beside the training loss."""
        if logs is None or "loss" not in logs:
            return
        sampler = self.sampler
        p = sampler.probabilities()
        shown = np.argsort(-sampler.domains.sizes, kind="stable")[:SHOWN]
        mixture = {f"mixture/{sampler.domains.names[domain]}": float(p[domain]) for domain in sorted(shown)}
        logs.update(mixture)
        state.log_history[-1].update(mixture)

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Leave the model as it was."""
        self._end()

    def _end(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        self._seen.clear()


def _layout(args: Any, loader: Any, sampler: OnlineSampler) -> Layout:
    """Read off how a Trainer reads its data, or say what a sampler cannot go with."""
    from accelerate.data_loader import DataLoaderShard

    if not isinstance(loader, DataLoaderShard) or not hasattr(loader.dataset, "__len__"):
        raise InputError(
            "online mixing needs a data set with a length, read by every process for itself (no IterableDataset, no "
            "dispatch_batches)"
        )
    if getattr(args, "packing", False):
        raise InputError("packing makes rows of several domains out of those that were given; train without it")
    if len(loader.dataset) != len(sampler.domains):
        raise InputError(
            f"the training set has {len(loader.dataset)} rows and the sampler {len(sampler.domains)} domains of rows; "
            "row by row they belong together"
        )
    if sampler.epoch_rows is not None:
        raise InputError("epoch_rows does not apply in a Trainer, whose epochs are those of its data; give max_steps")
    if getattr(args, "shuffle_dataset", False):
        raise InputError("shuffle_dataset puts the rows into another order than the domains; shuffle before both")
    if args.n_gpu > 1:
        raise InputError("online mixing does not go with DataParallel; start one process per GPU (torchrun)")
    if args.ignore_data_skip:
        raise InputError("ignore_data_skip is of no use here: online mixing skips what was trained on at no cost")
    strategy = getattr(args, "train_sampling_strategy", "random")
    if strategy != "random" or getattr(args, "group_by_length", False):
        raise InputError(f"train_sampling_strategy {strategy!r} and online mixing are two samplers; use one of them")
    ahead = 1 + args.dataloader_num_workers * (loader.prefetch_factor or 0)
    return Layout(
        batch_size=loader.total_batch_size // args.world_size,
        accumulation=args.gradient_accumulation_steps,
        ranks=args.world_size,
        rounds=len(loader),
        delay=max(sampler.delay, -(-ahead // args.gradient_accumulation_steps)),
    )
