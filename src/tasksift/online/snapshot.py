"""The model in the middle of its training, written to disk as features are computed from it; it is only read."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tasksift.errors import InputError
from tasksift.represent.checkpoint_files import FORMAT, RECORD, weight_digest
from tasksift.represent.checkpoints import load_tuned, quiet_peft, read_tuned
from tasksift.represent.models import Precision, find_model, folder_digest, quiet_loading
from tasksift.represent.store import replace_json
from tasksift.tune.keeping import Step
from tasksift.tune.saving import describe, write_checkpoint
from tasksift.tune.settings import BETAS, EPSILON

TUNE, PLAIN, BASE = "tune", "plain", "base"


@dataclass(frozen=True)
class Snapshot:
    """A model on disk.

    Attributes
    ----------
    tune : Path or None
        With its one checkpoint and Adam's moments, as `tasksift.represent.checkpoints.read_tuned` reads it.
    plain : Path or None
        By itself, adapters merged into it, as `tasksift.represent.models.load_causal` reads it.
    digest : str
        Of all that was written: weights, moments, configuration and tokenizer.
    """

    tune: Path | None
    plain: Path | None
    digest: str


def is_adapter(model: Any) -> bool:
    """Whether it is a model with adapters of peft around it."""
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")


def check_model(model: Any) -> None:
    """Refuse a model that cannot be written and read again as it is.

    Raises
    ------
    InputError
        If it is no model of transformers or peft, is cut in parts over several devices, holds quantised weights, or has
        adapters other than one of LoRA.
    """
    if not hasattr(model, "save_pretrained"):
        raise InputError(
            f"re-selection writes the model by its save_pretrained, and a {type(model).__name__} has none; give the "
            "model of transformers or peft itself"
        )
    for name, parameter in model.named_parameters():
        if not parameter.numel() or hasattr(parameter, "full_tensor"):
            raise InputError(f"{name} is only in parts in this process (FSDP, ZeRO-3); re-selection needs it whole")
        if not parameter.is_floating_point():
            raise InputError(
                f"{name} is quantised ({parameter.dtype}), which re-selection cannot write; train in bfloat16"
            )
    if not is_adapter(model):
        if getattr(model, "_hf_peft_config_loaded", False):
            raise InputError("the adapters are inside a transformers model; wrap it by peft.get_peft_model instead")
        return
    odd = next((name for name in model.peft_config if name != "default"), None)
    if odd is not None:
        raise InputError(f"the adapter {odd} is not called 'default', so re-selection does not know what counts")
    config = model.peft_config["default"]
    kind = str(getattr(config.peft_type, "value", config.peft_type))
    if kind != "LORA" or getattr(config, "use_dora", False):
        raise InputError(f"the adapters are {'DoRA' if kind == 'LORA' else kind}; re-selection knows plain LoRA only")
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and ".lora_" not in name:
            raise InputError(
                f"{name} is trained beside the adapters; re-selection knows LoRA alone (no modules_to_save, no bias)"
            )


def check_adam(optimizer: Any) -> None:
    """Refuse an optimizer that takes other steps than those that LESS computes.

    Raises
    ------
    InputError
        If it is not Adam with the constants of `transformers.Trainer`, or there is none.
    """
    mend = "train so, or give optimizer='sgd' to compare plain gradients"
    wanted = f"AdamW with betas {BETAS} and epsilon {EPSILON}"
    if optimizer is None:
        raise InputError(f"the features are steps of Adam and there is no optimizer; {mend}")
    for group in optimizer.param_groups:
        if "betas" not in group or "eps" not in group:
            raise InputError(f"the features are steps of {wanted}, and the optimizer is another; {mend}")
        if tuple(group["betas"]) != BETAS or group["eps"] != EPSILON:
            there = f"betas {tuple(group['betas'])} and epsilon {group['eps']}"
            raise InputError(f"the features are steps of {wanted}, and the optimizer has {there}; {mend}")


def write_snapshot(
    folder: Path,
    model: Any,
    tokenizer: Any,
    optimizer: Any,
    *,
    tuned: bool,
    plain: bool,
    base: Callable[[], Path],
    began: str | None,
    dtype: Precision,
) -> Snapshot:
    """Write a model as it is.

    Parameters
    ----------
    folder : Path
        Replaced if it is there.
    model, tokenizer, optimizer
        As `write_checkpoint` takes them; the optimizer may be None where no moments are needed. They stay as they are.
    tuned, plain : bool
        What is needed, see `Snapshot`.
    base : callable
        Where the base of adapters lies, see `write_base`.
    began : str, optional
        Folder or hub name of the model that a training of every parameter began with (the reference of ROSE).
    dtype : str
        In which adapters are merged.

    Notes
    -----
    Cost: one writing of the weights, and for `tuned` of twice as much of moments; merging adapters loads the base on
    the CPU and writes it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    adapter = is_adapter(model)
    with _kept(model), quiet_peft(), quiet_loading():
        if plain and not tuned and not adapter:
            model.save_pretrained(folder / PLAIN)
            tokenizer.save_pretrained(folder / PLAIN)
            return Snapshot(None, folder / PLAIN, folder_digest(folder / PLAIN))
        tune = folder / TUNE
        tune.mkdir()
        own = optimizer if optimizer is not None else SimpleNamespace(state={}, param_groups=[])
        step = steps_taken(own)
        write_checkpoint(tune / "epoch-1", model, tokenizer, own, step)
        if adapter or began is not None:
            place = base() if adapter else Path(str(began))
            facts = find_model(place)[1]
            facts["path"] = str(place.resolve()) if place.is_dir() else None
        else:
            facts = {"name": None, "revision": None, "digest": weight_digest(tune / "epoch-1"), "path": None}
        _write_record(tune, model, facts, step, own)
        merged = tune / "epoch-1"
        if plain and adapter:
            merged = folder / PLAIN
            loaded = load_tuned(read_tuned(tune), dtype=dtype)
            loaded.model.merge_and_unload().save_pretrained(merged)
            tokenizer.save_pretrained(merged)
    return Snapshot(tune, merged if plain else None, folder_digest(folder))


def write_base(folder: Path, model: Any, tokenizer: Any) -> None:
    """Write the base of a model with adapters, as it was before they came.

    Parameters
    ----------
    folder : Path
        Replaced if it is there.
    """
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    inner = model.get_base_model()
    weights = {
        name.replace(".base_layer.", "."): tensor for name, tensor in inner.state_dict().items() if ".lora_" not in name
    }
    with _kept(model), quiet_peft(), quiet_loading():
        inner.save_pretrained(part, state_dict=weights)
    tokenizer.save_pretrained(part)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def steps_taken(optimizer: Any) -> int:
    """Return how many steps an optimizer has taken; those of Adam decide about its bias correction."""
    return max((int(state["step"]) for state in optimizer.state.values() if "step" in state), default=0)


def check_moments(model: Any, optimizer: Any, step: int) -> None:
    """Refuse an optimizer without the moments of `torch.optim.AdamW` after steps of training.

    Raises
    ------
    InputError
    """
    states = [optimizer.state.get(each, {}) for each in model.parameters() if each.requires_grad]
    if step and not any("exp_avg" in state for state in states):
        raise InputError(
            f"after {step} steps the optimizer holds no moments of the model's parameters by the names of "
            "torch.optim.AdamW; train with it, or give optimizer='sgd' to compare plain gradients"
        )


def _write_record(tune: Path, model: Any, facts: dict[str, Any], step: int, optimizer: Any) -> None:
    # With one checkpoint its weight in LESS is 1 whatever the rate, and 0 (a schedule's ends) would leave it none.
    rate = max((float(group["lr"]) for group in optimizer.param_groups), default=0.0) or 1.0
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    method = "lora" if is_adapter(model) else "full"
    record = {"format": FORMAT, "model": facts, "settings": {"method": method}}
    checkpoints = describe(tune, [Step(step, math.nan, rate)])
    replace_json(tune / RECORD, {**record, "parameters": names, "checkpoints": checkpoints})


@contextmanager
def _kept(model: Any) -> Iterator[None]:
    """Put back what saving changes in the configuration of a model and of its adapters; sets are sorted meanwhile."""
    inner = model.get_base_model() if is_adapter(model) else model
    held = [inner.config, *(model.peft_config.values() if is_adapter(model) else ())]
    if getattr(inner, "generation_config", None) is not None:
        held.append(inner.generation_config)
    before = [dict(vars(each)) for each in held]
    try:
        for each, values in zip(held, before, strict=True):
            # peft writes sets, in another order in every process.
            vars(each).update({name: sorted(value) for name, value in values.items() if isinstance(value, set)})
        yield
    finally:
        for each, values in zip(held, before, strict=True):
            vars(each).clear()
            vars(each).update(values)
