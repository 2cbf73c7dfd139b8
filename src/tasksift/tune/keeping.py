"""What happens during a training: progress, the ends of epochs, and the checkpoints that a killed one goes on from."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tasksift.errors import InputError
from tasksift.progress import Tick

COMPLETE = "complete"
"""The file that is written into a checkpoint of the Trainer last."""


class Step(NamedTuple):
    """A step of the optimizer: its number from 1, its loss per scored token, the learning rate it was made with."""

    step: int
    loss: float
    learning_rate: float


AtEpoch = Callable[[int, int, Any, Any, list[Step]], None]
"""Called at the end of an epoch: epoch, step, model, optimizer, every step so far."""


def last_complete(folder: Path) -> Path | None:
    """Return the last checkpoint in the Trainer's folder that was written to its end."""
    found = [path for path in folder.glob("checkpoint-*") if (path / COMPLETE).exists()]
    return max(found, key=lambda path: int(path.name.split("-")[1]), default=None)


def keeper(transformers: Any, tick: Tick, save_every: int, at_epoch: AtEpoch | None) -> Any:
    """Make the callback that shows progress, reports epochs and has the Trainer save; `save_every` 0: never."""

    class Keeper(transformers.TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            tick(state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            tick(1)
            control.should_save = bool(save_every) and state.global_step % save_every == 0

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if not math.isfinite((logs or {}).get("loss", 0.0)):
                raise InputError(f"the loss is no number at step {state.global_step}; lower --learning-rate")

        def on_epoch_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if at_epoch is not None:
                at_epoch(math.ceil(state.epoch), state.global_step, more["model"], more["optimizer"], steps_of(state))
            saved = (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).exists()
            control.should_save = bool(save_every) and not saved

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            new = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (new / COMPLETE).touch()
            for old in Path(args.output_dir).glob("checkpoint-*"):
                if old != new:
                    shutil.rmtree(old)

    return Keeper()


def steps_of(state: Any) -> list[Step]:
    """Return the steps that the state of a Trainer tells of."""
    return [
        Step(int(entry["step"]), float(entry["loss"]), float(entry["learning_rate"]))
        for entry in state.log_history
        if "loss" in entry
    ]
