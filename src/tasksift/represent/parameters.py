"""The parameters of a model that gradients are taken of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tasksift.errors import InputError


def choose_parameters(model: Any, params: str | None = None) -> list[str]:
    """Return the names of the parameters whose gradients are taken.

    Parameters
    ----------
    model : torch.nn.Module
    params : str, optional
        ``lora``: the adapters; ``linear``: weights of the linear layers inside the transformer blocks; ``all``; or a
        regular expression that is searched for in the names. None: ``lora`` where there are adapters, else ``linear``.

    Raises
    ------
    InputError
        If nothing is chosen; the message shows some of the names.
    """
    names = [name for name, parameter in model.named_parameters() if parameter.is_floating_point()]
    adapters = [name for name in names if ".lora_" in name]
    if params is None:
        params = "lora" if adapters else "linear"
    if params == "lora":
        found = adapters
    elif params == "linear":
        inside = _block_weights(model)
        found = [name for name in names if name in inside]
    elif params == "all":
        found = names
    else:
        try:
            pattern = re.compile(params)
        except re.error as error:
            raise InputError(f"--params {params} is no regular expression ({error}); {some_of(names)}") from None
        found = [name for name in names if pattern.search(name)]
    if not found:
        reason = "the model has no adapters" if params == "lora" else "no parameter of the model fits"
        raise InputError(f"--params {params}: {reason}; {some_of(names)}")
    return found


def _block_weights(model: Any) -> set[str]:
    """Names of the weights of linear layers below a list of modules, adapters and embeddings left out."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    lists = tuple(f"{path}." for path, module in model.named_modules() if isinstance(module, nn.ModuleList))
    edges = [getattr(model, ask)() for ask in ("get_input_embeddings", "get_output_embeddings") if hasattr(model, ask)]
    return {
        f"{path}.weight"
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and path.startswith(lists) and ".lora_" not in path
        if not any(module is edge for edge in edges)
    }


def some_of(names: Sequence[str] | Mapping[str, Any]) -> str:
    """Say how many names there are, and a few of them."""
    shown = list(names)
    step = max(1, len(shown) // 6)
    return f"there are {len(shown)}, as {', '.join(shown[::step][:6])}"
