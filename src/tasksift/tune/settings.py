"""What a tune is asked to do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from tasksift.errors import InputError
from tasksift.represent.chat import Score

Method = Literal["lora", "full"]
Schedule = Literal["linear", "cosine", "constant"]

BETAS = (0.9, 0.999)
EPSILON = 1e-8
"""Adam's, as `transformers.Trainer` has them and as the preconditioner of gradients expects them."""


@dataclass(frozen=True)
class Settings:
    """How a model is trained. The defaults are those of LESS (ICML 2024), but for the modules.

    Attributes
    ----------
    method : str
        ``lora`` trains adapters, ``full`` every parameter.
    rank, alpha, dropout : int, float, float
        Of the adapters; what they add to a layer is scaled by ``alpha / rank``.
    modules : str or sequence of str
        Which layers get adapters: ``all-linear``, every linear layer but the output layer, whatever a model calls them
        (peft); or ends of names. LESS itself has ``q_proj, k_proj, v_proj, o_proj``.
    epochs : int
        Passes over the data.
    learning_rate : float
        The highest one.
    batch_size : int
        Examples of a step.
    micro_batch : int, optional
        Examples in memory at a time, a divisor of `batch_size`, which is the default. It changes no number but by
        rounding: the loss is the mean over the scored tokens of the whole step.
    max_length : int
        Tokens of an example.
    score : str
        What is trained on, as in `ChatTokens`.
    schedule : str
        What the learning rate does after the warm-up: falls to 0 in a line or as a cosine, or stays.
    warmup_ratio : float
        Share of the steps during which the learning rate rises from 0 in a line.
    weight_decay, max_grad_norm : float
        As in AdamW, and the norm to which gradients are cut (0: not cut).
    max_steps : int, optional
        Stop after so many steps; the schedule ends there too.
    seed : int
        Of the adapters' beginnings, the order of the rows and the dropout.
    """

    method: Method = "lora"
    rank: int = 128
    alpha: float = 512
    dropout: float = 0.1
    modules: str | Sequence[str] = "all-linear"
    epochs: int = 4
    learning_rate: float = 2e-5
    batch_size: int = 128
    micro_batch: int | None = None
    max_length: int = 2048
    score: Score = "response"
    schedule: Schedule = "linear"
    warmup_ratio: float = 0.03
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    max_steps: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, kind in (("method", Method), ("schedule", Schedule), ("score", Score)):
            if getattr(self, name) not in get_args(kind):
                raise InputError(f"{_option(name)} {getattr(self, name)} is not one of {', '.join(get_args(kind))}")
        for name in ("rank", "epochs", "batch_size", "micro_batch", "max_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{_option(name)} {value} must be at least 1")
        for name in ("alpha", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{_option(name)} {getattr(self, name)} must be above 0")
        for name in ("dropout", "warmup_ratio"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{_option(name)} {getattr(self, name)} must be at least 0 and below 1")
        for name in ("weight_decay", "max_grad_norm"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{_option(name)} {getattr(self, name)} must be at least 0")
        if self.batch_size % (self.micro_batch or 1):
            raise InputError(f"--micro-batch {self.micro_batch} does not divide --batch-size {self.batch_size}")
        if not isinstance(self.modules, str):
            object.__setattr__(self, "modules", tuple(self.modules))

    @property
    def as_json(self) -> dict[str, Any]:
        """Every setting that decides about the outcome, and the constants of Adam, as JSON."""
        values: dict[str, Any] = {**asdict(self), "betas": list(BETAS), "epsilon": EPSILON}
        values["modules"] = self.modules if isinstance(self.modules, str) else list(self.modules)
        if self.method == "full":
            for name in ("rank", "alpha", "dropout", "modules"):
                del values[name]
        return values


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
