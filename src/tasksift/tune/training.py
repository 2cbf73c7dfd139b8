"""The training itself, on `transformers.Trainer`: a model in memory, tokens in, a trained model out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tasksift.errors import InputError, MissingExtraError
from tasksift.progress import Progress, silent
from tasksift.represent.chat import Tokens
from tasksift.represent.checkpoints import quiet_peft
from tasksift.represent.models import quiet_loading
from tasksift.tune.data import collate
from tasksift.tune.keeping import AtEpoch, Step, keeper, last_complete, steps_of
from tasksift.tune.randomness import own_randomness
from tasksift.tune.settings import BETAS, EPSILON, Settings

SAVE_EVERY = 200
"""Steps between the checkpoints that a killed training goes on from, besides those at the ends of epochs."""


@dataclass
class Trained:
    """A trained model, in evaluation mode and with its adapters if it has them, and the steps behind it."""

    model: Any
    steps: list[Step]


def total_steps(rows: int, settings: Settings) -> int:
    """Return how many steps a training on `rows` rows takes; the last of an epoch may have fewer rows than others."""
    steps = settings.epochs * math.ceil(rows / settings.batch_size)
    return steps if settings.max_steps is None else min(steps, settings.max_steps)


def finetune(
    model: Any,
    tokens: Sequence[Tokens],
    settings: Settings,
    *,
    device: Any = "cpu",
    autocast: bool = False,
    folder: Path | None = None,
    save_every: int = SAVE_EVERY,
    at_epoch: AtEpoch | None = None,
    callbacks: Sequence[Any] = (),
    progress: Progress = silent,
) -> Trained:
    """Train a causal model on tokens by AdamW; the loss is the mean over the scored tokens of a step.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        It is changed: adapters are put into it, or its own parameters are trained.
    tokens : sequence of Tokens
        Each with at least one scored token.
    settings : Settings
    device : torch.device or str
        Where to train; one device.
    autocast : bool
        Multiply in bfloat16 while the parameters are float32.
    folder : Path, optional
        Where the Trainer keeps what it needs to go on after a kill. A training that finds complete checkpoints there
        goes on from the last, and ends with the bytes of one that was never stopped (same machine, same arguments).
    save_every : int
        Steps between these checkpoints, besides those at the ends of epochs.
    at_epoch : callable, optional
        Called at the end of every epoch.
    callbacks : sequence of transformers.TrainerCallback
        More to be called.
    progress : callable
        How steps are shown.

    Raises
    ------
    InputError
        If no layer fits `settings.modules`, or the loss is no longer a number.

    Notes
    -----
    The Trainer and dropout draw from the global generators of Python, NumPy and PyTorch. They are seeded for the time
    of the call and put back after it.
    """
    try:
        import accelerate  # noqa: F401
        import peft
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtraError(error.name or "transformers", "models", "tuning a model") from None
    place = torch.device(device)
    total = total_steps(len(tokens), settings)
    with (
        own_randomness(torch, place),
        TemporaryDirectory() as spare,
        _quiet(transformers),
        progress("tuning", total) as tick,
    ):
        transformers.set_seed(settings.seed)
        if settings.method == "lora":
            model = _with_adapters(peft, model, settings)
        else:
            model.requires_grad_(True)
        arguments = _arguments(transformers, settings, place, total, str(folder or spare), autocast)
        kept = keeper(transformers, tick, save_every if folder is not None else 0, at_epoch)
        cached = model.config.use_cache
        trainer = transformers.Trainer(
            model=model,
            args=arguments,
            train_dataset=tokens,
            data_collator=collate,
            callbacks=[kept, *callbacks],
        )
        trainer.remove_callback(transformers.PrinterCallback)
        model.config.use_cache = cached  # the Trainer turns it off, and the saved model would stay slow
        begun = last_complete(folder) if folder is not None else None
        trainer.train(resume_from_checkpoint=str(begun) if begun else None)
        model.eval()
        return Trained(model, steps_of(trainer.state))


def _with_adapters(peft: Any, model: Any, settings: Settings) -> Any:
    modules = settings.modules if isinstance(settings.modules, str) else list(settings.modules)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=modules,
        bias="none",
    )
    try:
        with quiet_peft():
            adapted = peft.get_peft_model(model, config)
    except ValueError as error:
        raise InputError(f"--modules {settings.modules}: {' '.join(str(error).split())[:200]}") from None
    # A set so far, which is written in another order by every process.
    adapted.peft_config["default"].target_modules = sorted(adapted.peft_config["default"].target_modules)
    return adapted


def _arguments(transformers: Any, settings: Settings, place: Any, total: int, folder: str, autocast: bool) -> Any:
    micro = settings.micro_batch or settings.batch_size
    arguments = transformers.TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=settings.batch_size // micro,
        max_steps=total,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant_with_warmup" if settings.schedule == "constant" else settings.schedule,
        warmup_steps=math.ceil(settings.warmup_ratio * total),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch",
        adam_beta1=BETAS[0],
        adam_beta2=BETAS[1],
        adam_epsilon=EPSILON,
        bf16=autocast,
        seed=settings.seed,
        data_seed=settings.seed,
        use_cpu=place.type == "cpu",
        save_strategy="no",  # when to save is decided in the callback
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=place.type == "cuda",
    )
    if place.type == "cuda":
        import torch

        # Without this the Trainer takes the first GPU, and spreads a batch over all of them.
        arguments.__dict__["_setup_devices"] = place
        arguments._n_gpu = 1
        torch.cuda.set_device(place)
    return arguments


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep bars and remarks of transformers off the terminal; what matters is said in our own words."""
    logging = transformers.logging
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with quiet_loading():
            yield
    finally:
        logging.set_verbosity(level)
