"""Checkpoints of a tune: weights and moments by parameter name, put one after the other into one loaded model.

A tune is a folder: ``tune.json`` says what it was made of, and ``epoch-1``, ``epoch-2``, ... hold the adapter or the
model as `save_pretrained` writes them, the tokenizer, and ``moments.safetensors`` with Adam's two moments of every
trained parameter. Nothing is read but JSON and safetensors.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tasksift.errors import InputError, MissingExtraError
from tasksift.represent.checkpoint_files import (
    FIRST,
    FORMAT,
    MOMENTS,
    RECORD,
    SECOND,
    saved_name,
    weight_digest,
    weight_files,
)
from tasksift.represent.models import CausalModel, Precision, load_causal
from tasksift.represent.store import file_digest


@dataclass
class Checkpoint:
    """A model as it was at the end of an epoch.

    Attributes
    ----------
    folder : Path
        Where it lies.
    epoch, step : int
        Epochs, from 1, and optimizer steps behind it.
    learning_rate : float
        Mean over the steps of this epoch: the weight of this checkpoint in LESS.
    loss : float
        Mean training loss over the steps of this epoch.
    digest, moments_digest : str
        Of the weights and of the moments.
    parameters : tuple of str
        What was trained, by the names of `named_parameters`.
    """

    folder: Path
    epoch: int
    step: int
    learning_rate: float
    loss: float
    digest: str
    moments_digest: str
    parameters: tuple[str, ...] = field(repr=False)
    _intact: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def weights(self) -> dict[str, Any]:
        """Return the trained parameters by name, on the CPU, as they were saved.

        Cost: one read of the files, and at the first call another one that checks their digest.

        Raises
        ------
        InputError
            If a file is missing or is not what the tune wrote.
        """
        self._check("weights", self.digest, weight_digest)
        found = {name: tensor for path in weight_files(self.folder) for name, tensor in _load(path).items()}
        return {name: _take(found, saved_name(name), self.folder) for name in self.parameters}

    def moments(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return Adam's first and second moments by parameter name, on the CPU, without bias correction.

        Cost and errors as for `weights`.
        """
        self._check("moments", self.moments_digest, lambda folder: file_digest(folder / MOMENTS))
        found = _load(self.folder / MOMENTS)
        first, second = (
            {name: _take(found, prefix + name, self.folder) for name in self.parameters} for prefix in (FIRST, SECOND)
        )
        return first, second

    def _check(self, what: str, digest: str, digest_of: Any) -> None:
        if what in self._intact:
            return
        try:
            there = digest_of(self.folder)
        except OSError as error:
            raise InputError(f"the {what} of {self.folder} cannot be read ({error.strerror}); tune again") from None
        if there != digest:
            raise InputError(f"the {what} of {self.folder} are damaged or of another tune; tune again")
        self._intact.add(what)


@dataclass
class Tuned:
    """A finished tune.

    Attributes
    ----------
    folder : Path
    record : dict
        What ``tune.json`` holds: model, token identity, settings, digest of the data, rows, checkpoints.
    checkpoints : tuple of Checkpoint
        One per epoch, in order.
    """

    folder: Path
    record: dict[str, Any]
    checkpoints: tuple[Checkpoint, ...]

    @property
    def losses(self) -> tuple[float, ...]:
        """Mean training loss of every epoch."""
        return tuple(each.loss for each in self.checkpoints)

    @property
    def is_adapter(self) -> bool:
        """Whether the checkpoints are adapters of a base model."""
        return bool(self.record["settings"]["method"] == "lora")


def read_tuned(folder: str | Path) -> Tuned:
    """Open a finished tune; weights and moments are read, and checked, when they are asked for.

    Raises
    ------
    InputError
        If the folder is missing, unfinished, damaged, or nothing that a tune wrote.
    """
    folder = Path(folder)
    path = folder / RECORD
    try:
        record = json.loads(path.read_bytes())
    except OSError:
        what = "is not there" if not folder.exists() else f"holds no {RECORD}"
        raise InputError(f"{folder} {what}, so it is no finished tune; run tasksift tune") from None
    except ValueError:
        raise InputError(f"{path} is damaged; tune again") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise InputError(f"{path} is not of the format {FORMAT!r}; tune again with this version of tasksift")
    try:
        checkpoints = tuple(_checkpoints(folder, record))
        complete = bool(checkpoints) and isinstance(record["model"], dict) and "method" in record["settings"]
    except (KeyError, TypeError, ValueError):
        complete = False
    if not complete:
        raise InputError(f"{path} is damaged; tune again")
    for each in checkpoints:
        if not each.folder.is_dir():
            raise InputError(f"{each.folder} is missing; tune again")
    return Tuned(folder, record, checkpoints)


def tuned_folders(names: str) -> list[str]:
    """Return the folders that ``--checkpoints`` names: one, or several by commas."""
    return [names] if Path(names).is_dir() else [name.strip() for name in names.split(",")]


def read_all(names: str) -> Tuned:
    """Open the tunes that ``--checkpoints`` names as one, with the checkpoints of all; each as `read_tuned` does.

    Raises
    ------
    InputError
        If they are of different models, or trained different parameters.
    """
    found = [read_tuned(folder) for folder in tuned_folders(names)]
    first = found[0]
    for other in found[1:]:
        for what, ours, theirs in (
            ("models", first.record["model"]["digest"], other.record["model"]["digest"]),
            ("methods", first.record["settings"]["method"], other.record["settings"]["method"]),
            ("parameters", first.checkpoints[0].parameters, other.checkpoints[0].parameters),
        ):
            if ours != theirs:
                raise InputError(f"--checkpoints: {first.folder} and {other.folder} are tunes of different {what}")
    return replace(first, checkpoints=tuple(each for tuned in found for each in tuned.checkpoints))


def _checkpoints(folder: Path, record: dict[str, Any]) -> Iterator[Checkpoint]:
    parameters = tuple(str(name) for name in record["parameters"])
    for each in record["checkpoints"]:
        if re.fullmatch(r"epoch-\d+", each["folder"]) is None:  # never out of the folder
            raise ValueError(each["folder"])
        numbers = int(each["epoch"]), int(each["step"]), float(each["learning_rate"]), float(each["loss"])
        yield Checkpoint(folder / each["folder"], *numbers, str(each["weights"]), str(each["moments"]), parameters)


def load_tuned(
    tuned: Tuned,
    *,
    base: str | Path | None = None,
    device: str = "cpu",
    dtype: Precision = "float32",
    trust_remote_code: bool = False,
) -> CausalModel:
    """Load the model of a tune once, with its last checkpoint in it; `apply` puts others in.

    Parameters
    ----------
    tuned : Tuned
    base : str or Path, optional
        Where the base model of an adapter lies now, if it was moved.
    device, dtype, trust_remote_code
        As in `load_causal`. Adapters stay in float32, as they were trained.

    Returns
    -------
    CausalModel
        In evaluation mode, nothing asks for gradients. Its parameters have the names that weights and moments go by;
        its identity is that of the base.

    Raises
    ------
    InputError
        If the base model is not there or has changed since, or a checkpoint is damaged.
    """
    last = tuned.checkpoints[-1]
    if not tuned.is_adapter:
        loaded = load_causal(last.folder, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
    else:
        facts = tuned.record["model"]
        place, revision = (base, None) if base is not None else (facts["path"] or facts["name"], facts["revision"])
        loaded = load_causal(place, revision=revision, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
        if loaded.identity["digest"] != facts["digest"]:
            raise InputError(
                f"{place} is not the model that {tuned.folder} was tuned on (digest {facts['digest'][:12]} then, "
                f"{loaded.identity['digest'][:12]} now); bring that model back or tune again"
            )
        try:
            import peft
        except ImportError:
            raise MissingExtraError("peft", "models", "a LoRA checkpoint") from None
        last.weights()  # so that a damaged file is named in our words
        with quiet_peft():
            loaded.model = peft.PeftModel.from_pretrained(
                loaded.model, last.folder, torch_device=str(loaded.model.device), is_trainable=False
            )
    loaded.identity = {key: value for key, value in tuned.record["model"].items() if key != "path"}
    loaded.model.eval().requires_grad_(False)
    apply(loaded.model, last)
    return loaded


def apply(model: Any, checkpoint: Checkpoint) -> None:
    """Copy the weights of a checkpoint into a model that `load_tuned` made, cast to its dtype.

    Raises
    ------
    InputError
        If the model lacks a parameter of the checkpoint or has it in another shape, or the checkpoint is damaged.
    """
    import torch

    own = dict(model.named_parameters())
    weights = checkpoint.weights()
    for name, tensor in weights.items():
        if name not in own or own[name].shape != tensor.shape:
            raise InputError(f"{checkpoint.folder} does not fit the model: {name} is missing or of another shape")
    with torch.no_grad():
        for name, tensor in weights.items():
            own[name].copy_(tensor)


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Keep from the user what peft does by itself: call what transformers means to give up, see transposed weights."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        yield


def _load(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    loaded: dict[str, Any] = load_file(path)
    return loaded


def _take(found: dict[str, Any], name: str, folder: Path) -> Any:
    try:
        return found[name]
    except KeyError:
        raise InputError(f"{folder} lacks {name}; tune again") from None
