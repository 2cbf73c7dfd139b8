"""What a cell's selection and training cost in floating-point operations, counted from what was done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasksift.config import RunConfig
from tasksift.costs import ENCODER_PARAMETERS, estimate
from tasksift.evaluate.arms import Arm, as_method
from tasksift.selectors import SELECTORS
from tasksift.selectors.contract import Size


def selection_flops(
    arm: Arm, config: RunConfig, manifest: Mapping[str, Any], *, parameters: int, tokens: int, budget: int
) -> tuple[float, float]:
    """Return the operations of the pool's features, which others share, and those of the selection itself.

    Parameters
    ----------
    config : RunConfig
        Settled, of the arm.
    manifest : mapping
        Of the selection.
    parameters : int
        Of the language model.
    tokens : int
        Of a row, mean over the pool, no longer than the model sees them.
    budget : int
        Rows taken.

    Notes
    -----
    By the counts of `tasksift.costs`. The targets' vectors are a share of the pool's, by rows.
    """
    method = as_method(arm, config)
    rows, targets = int(manifest["pool"]["rows"]), int(manifest["target"]["rows"]) if manifest.get("target") else 0
    about = manifest.get("representation") or {}
    size = Size(
        rows=rows,
        targets=targets,
        tokens=max(1, tokens),
        dim=int(about.get("dim") or 0),
        parameters=float(parameters),
        trained=float(about.get("parameters") or parameters),
        checkpoints=max(1, len(about.get("checkpoints") or [])),
        budget=budget,
    )
    encoder = model_parameters(config.model) if config.representation == "encoder" else None
    own = SELECTORS[arm.preset.selector].flops(size)
    shared = estimate(method, size, encoder_parameters=encoder or ENCODER_PARAMETERS).flops - own
    return shared, own + shared * targets / max(1, rows)


def training_flops(parameters: int, tokens: int, epochs: int) -> float:
    """Return 6 operations a parameter and token, for adapters too: the base is gone through forwards and backwards."""
    return 6.0 * parameters * tokens * epochs


def model_parameters(folder: str | None) -> int | None:
    """Return the parameters of a model in a local folder, from the headers of its safetensors; None without any."""
    files = list(Path(folder).rglob("*.safetensors")) if folder is not None and Path(folder).is_dir() else []
    if not files:
        return None
    from safetensors import safe_open

    count = 0
    for file in files:
        with safe_open(file, framework="np") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                size = 1
                for length in tensors.get_slice(name).get_shape():
                    size *= length
                count += size
    return count
