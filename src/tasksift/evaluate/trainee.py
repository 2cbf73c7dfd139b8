"""What a comparison trains: a causal language model, or an encoder with a classification head."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.evaluate.held_out import HeldOut
from tasksift.rows.example import Example
from tasksift.tune.settings import Settings

Float = NDArray[np.float64]


class Fitted(NamedTuple):
    """A trained model, and the tokens of one pass over what it was trained on."""

    model: Any
    tokens: int


class Trainee(Protocol):
    """What is trained from the same beginning for every cell, and scored on held-out rows.

    Attributes
    ----------
    parameters : int
        Of the model, those that are not trained included.
    identity : dict
        As JSON, whatever decides about scores besides the training rows and the seed.
    untrained : object
        The model as it is before any training.
    """

    parameters: int
    identity: dict[str, Any]
    untrained: Any

    def fit(self, examples: Iterable[Example], seed: int) -> Fitted:
        """Train on examples, from the beginning."""
        ...

    def scores(self, model: Any, held_out: HeldOut) -> tuple[dict[str, Float], dict[str, Float]]:
        """Return by metric a number of each held-out row, and the rows' weights, see `Cell`."""
        ...


@dataclass(frozen=True)
class Training:
    """How a comparison trains, as plain data that goes to worker processes.

    Attributes
    ----------
    model : str
        A folder or a name on the hub.
    head : str
        ``none`` for a causal language model, ``classes`` for an encoder with a classification head.
    settings : Settings
        Its seed is not used, as each cell has its own; nor are adapters, of an encoder.
    choices : bool
        Whether rows with options are judged by these as well.
    exact_match : bool
        Whether answers are generated as well, and compared with the row's.
    new_tokens : int
        Tokens of a generated answer at most.
    revision, device, dtype, trust_remote_code
        As in `load_causal`; ``bfloat16`` multiplies in that type while what is trained stays in float32.
    """

    model: str
    head: str = "none"
    settings: Settings = field(default_factory=Settings)
    choices: bool = True
    exact_match: bool = False
    new_tokens: int = 64
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"
    trust_remote_code: bool = False

    @property
    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON."""
        values = {**asdict(self), "settings": self.settings.as_json}
        del values["settings"]["seed"]
        return values


def load_trainee(training: Training, classes: Sequence[str] = ()) -> Trainee:
    """Load what is to be trained; `classes` are those of a classification head."""
    return CausalTrainee(training) if training.head == "none" else EncoderTrainee(training, classes)


class CausalTrainee:
    """A causal language model, trained by `tasksift.tune`."""

    def __init__(self, training: Training) -> None:
        from tasksift.represent.chat import ChatTokens
        from tasksift.represent.models import check_device, load_causal

        self.training, self.settings = training, training.settings
        self._autocast = training.dtype == "bfloat16"
        self._device = check_device(training.device)
        loaded = load_causal(
            training.model, revision=training.revision, device=training.device,
            trust_remote_code=training.trust_remote_code,
        )  # fmt: skip
        self.untrained = loaded.model
        self.parameters = sum(each.numel() for each in loaded.model.parameters())
        self._coder = ChatTokens(loaded.tokenizer, self.settings.max_length, score=self.settings.score)
        # Held-out rows are judged by their answers, whatever is trained on.
        self._judge = ChatTokens(loaded.tokenizer, self.settings.max_length, score="response")
        made = {name: value for name, value in training.as_json.items() if name not in ("model", "device")}
        self.identity = {**made, "model": loaded.identity.get("digest"), "tokens": self._coder.identity}

    def fit(self, examples: Iterable[Example], seed: int) -> Fitted:
        """Train a copy of the model by `tasksift.tune.finetune`."""
        from tasksift.tune.data import trainable
        from tasksift.tune.training import finetune

        tokens = trainable(examples, self._coder, lambda line: None)
        trained = finetune(
            copy.deepcopy(self.untrained), tokens, replace(self.settings, seed=seed), device=self._device,
            autocast=self._autocast,
        )  # fmt: skip
        return Fitted(trained.model, sum(len(each.ids) for each in tokens))

    def scores(self, model: Any, held_out: HeldOut) -> tuple[dict[str, Float], dict[str, Float]]:
        """Return the loss per response token; the accuracy where there are options; exact matches where asked for."""
        from tasksift.evaluate.causal import choice_accuracy, exact_match, row_losses

        loss, tokens = row_losses(model, self._judge, held_out.examples, autocast=self._autocast)
        if not tokens.any():
            raise InputError(f"{held_out.examples[0].where}: no held-out row has an answer within --max-length")
        found = {"loss": loss}
        if held_out.options is not None and self.training.choices:
            found["accuracy"] = choice_accuracy(model, self._judge, held_out, autocast=self._autocast)
        if self.training.exact_match:
            found["exact-match"] = exact_match(
                model, self._judge, held_out.examples, max_new_tokens=self.training.new_tokens, autocast=self._autocast
            )
        return found, {"loss": tokens}


class EncoderTrainee:
    """An encoder with a classification head, all of it trained.

    Parameters
    ----------
    training : Training
    labels : sequence of str
        The classes: the answers in pool, targets and held-out rows.
    """

    def __init__(self, training: Training, labels: Sequence[str]) -> None:
        from tasksift.evaluate.encoder_head import load_classifier

        self.settings, self._autocast = training.settings, training.dtype == "bfloat16"
        self._numbers = {label: k for k, label in enumerate(labels)}
        self.untrained = load_classifier(
            training.model, len(labels), max_length=self.settings.max_length, device=training.device,
            revision=training.revision, trust_remote_code=training.trust_remote_code,
        )  # fmt: skip
        self.parameters = self.untrained.parameters
        made = {name: value for name, value in training.as_json.items() if name not in ("model", "device")}
        self.identity = {**made, "model": self.untrained.identity.get("digest"), "labels": list(labels)}

    def fit(self, examples: Iterable[Example], seed: int) -> Fitted:
        """Train a copy of the encoder, and a head that begins with the random numbers of the seed."""
        from tasksift.evaluate.classifier import train_classifier

        texts, labels = self._labelled(examples)
        fresh = self.untrained.fresh(seed)
        made = train_classifier(fresh, texts, labels, replace(self.settings, seed=seed), autocast=self._autocast)
        return Fitted(made, sum(len(each.ids) for each in made.encode(texts)))

    def scores(self, model: Any, held_out: HeldOut) -> tuple[dict[str, Float], dict[str, Float]]:
        """Return cross-entropy, in nats, and accuracy among the classes of the held-out rows."""
        from tasksift.evaluate.classifier import score_classifier

        texts, labels = self._labelled(held_out.examples)
        loss, right = score_classifier(model, texts, labels, sorted(set(labels)), autocast=self._autocast)
        return {"loss": loss, "accuracy": right}, {}

    def _labelled(self, examples: Iterable[Example]) -> tuple[list[str], list[int]]:
        rows = list(examples)
        return [each.prompt for each in rows], [self._numbers[each.response.strip()] for each in rows]
