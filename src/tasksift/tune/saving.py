"""Writing the checkpoints of a tune; `tasksift.represent.checkpoints` reads them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from tasksift.errors import InputError
from tasksift.represent.checkpoint_files import FIRST, MOMENTS, SECOND, saved_name, weight_digest, weight_files
from tasksift.represent.store import file_digest
from tasksift.tune.keeping import Step


def write_checkpoint(folder: Path, model: Any, tokenizer: Any, optimizer: Any, step: int) -> None:
    """Write the adapter or the model, its tokenizer, and Adam's moments by parameter name; all at once or not at all.

    Parameters
    ----------
    folder : Path
        Replaced if it is there.
    model : transformers.PreTrainedModel or peft.PeftModel
    tokenizer : transformers tokenizer
    optimizer : torch.optim.Optimizer
        AdamW over the parameters of `model` that ask for gradients; one it has never seen a gradient of has zeros.
    step : int
        Steps that the optimizer has taken.

    Raises
    ------
    InputError
        If transformers saves the model's weights under other names than it trains them.
    """
    from safetensors.torch import save_file

    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    # With "auto", peft asks the hub whether the vocabulary has grown.
    adapter = {"save_embedding_layers": False} if hasattr(model, "peft_config") else {}
    model.save_pretrained(part, **adapter)
    (part / "README.md").unlink(missing_ok=True)  # an empty form that peft leaves
    tokenizer.save_pretrained(part)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    _check_names(part, trained)
    moments = {}
    for name, parameter in trained.items():
        state = optimizer.state.get(parameter, {})
        for prefix in (FIRST, SECOND):
            moment = state.get(prefix.removesuffix("."))
            moments[prefix + name] = parameter.new_zeros(parameter.shape) if moment is None else moment.contiguous()
    # One entry only: safetensors writes several in an order of chance.
    save_file(moments, part / MOMENTS, metadata={"step": str(step)})
    if folder.exists():
        shutil.rmtree(folder)
    part.rename(folder)


def describe(tune: Path, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Return what the record says of the checkpoints ``epoch-1``, ``epoch-2``, ... of a folder, given all its steps."""
    made: list[dict[str, Any]] = []
    begin = -1
    while (folder := tune / f"epoch-{len(made) + 1}").exists():
        end = _saved_step(folder)
        own = [step for step in steps if begin < step.step <= end]
        made.append(
            {
                "folder": folder.name,
                "epoch": len(made) + 1,
                "step": end,
                "learning_rate": fmean(step.learning_rate for step in own),
                "loss": fmean(step.loss for step in own),
                "weights": weight_digest(folder),
                "moments": file_digest(folder / MOMENTS),
            }
        )
        begin = end
    return made


def _saved_step(folder: Path) -> int:
    from safetensors import safe_open

    with safe_open(folder / MOMENTS, framework="pt") as file:
        return int(file.metadata()["step"])


def _check_names(folder: Path, names: Any) -> None:
    from safetensors import safe_open

    there: set[str] = set()
    for path in weight_files(folder):
        with safe_open(path, framework="pt") as file:
            there.update(file.keys())
    lost = next((name for name in names if saved_name(name) not in there), None)
    if lost is not None:
        raise InputError(f"transformers saves this model without a weight called {lost}; use --method lora")
