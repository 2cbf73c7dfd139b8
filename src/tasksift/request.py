"""What a request must satisfy before anything costly starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tasksift.config import RunConfig, option_name
from tasksift.draw import Budget
from tasksift.draw.budget import parse_limit
from tasksift.draw.limits import check_limits
from tasksift.errors import InputError
from tasksift.feature_config import FeatureConfig
from tasksift.model_features import stored_options
from tasksift.neighbors.backends import check_backend
from tasksift.plan import LEGAL_DRAWS
from tasksift.presets import get_preset
from tasksift.represent.opening import READING, resolve
from tasksift.rows import PoolFile
from tasksift.rows.index import PoolIndex
from tasksift.selectors import SELECTORS

KNOBS = ("alpha", "scale", "breadth", "sigma")
"""Fields of a configuration that are parameters of some selectors only."""


def settle(config: RunConfig) -> RunConfig:
    """Fill in what the preset, or the features that are there already, say about the representation.

    Raises
    ------
    InputError
        If options do not fit the representation.
    """
    default = get_preset(config.preset).representation
    if default is None or config.vectors is not None:
        other = "--vectors" if default else f"--preset {config.preset}"
        for field, info in FeatureConfig.model_fields.items():
            if field not in READING and field != "dim" and getattr(config, field) != info.default:
                raise InputError(f"{option_name(field)} does not apply to {other}; leave it out")
        return config
    own = config.model_dump(include=config.model_fields_set & set(FeatureConfig.model_fields))
    stored = stored_options(config.features)
    if own.get("representation") not in (None, stored.get("representation")):
        stored = {}
    merged = RunConfig.create(**{**config.model_dump(), **stored, **own})
    return RunConfig.create(**{**merged.model_dump(), **resolve(merged, default)})


def selector_parameters(config: RunConfig) -> dict[str, Any]:
    """The selector's parameters: its defaults, the preset's, the user's; whatever does not fit is an error."""
    preset = get_preset(config.preset)
    selector = SELECTORS[preset.selector]
    Budget.parse(config.budget)
    if config.draw is not None and config.draw not in LEGAL_DRAWS[selector.kind]:
        raise InputError(
            f"--draw {config.draw} does not fit --preset {config.preset}, which makes a {selector.kind} plan; "
            f"use {' or '.join(LEGAL_DRAWS[selector.kind])}"
        )
    parameters = selector.settle(preset.parameters, config.preset)
    for name in KNOBS:
        value = getattr(config, name)
        if value is None or value == RunConfig.model_fields[name].default:
            continue
        if name not in parameters:
            raise InputError(f"{option_name(name)} does not apply to --preset {config.preset}; leave it out")
        parameters[name] = value
    if parameters.get("alpha") is not None:
        parameters["breadth"] = None
    return parameters


def check_inputs(config: RunConfig, files: list[PoolFile], targets: list[PoolFile]) -> None:
    """Say what is missing before anything is read."""
    check_backend(config.backend)
    if not files and config.vectors is None:
        raise InputError("there is no pool: name files, folders or hf:NAME, or give --vectors")
    for name in ("id_column", "source_column", "text_template"):
        if not files and getattr(config, name) is not None:
            raise InputError(f"{option_name(name)} needs rows, and there are only vectors; name the pool's files")
    if SELECTORS[get_preset(config.preset).selector].needs_features and not targets and config.target_vectors is None:
        raise InputError("there is no target: give --target FILE with a few examples of the task")


def check_budget(config: RunConfig, index: PoolIndex) -> None:
    """Refuse what no plan of this pool could serve."""
    budget = Budget.parse(config.budget)
    if budget.unit == "tokens":
        if index.tokens is None:
            raise InputError(f"--budget {budget} counts tokens, but vectors alone have none; name the pool's files")
        there = int(index.tokens.sum())
        if budget.amount > there:
            raise InputError(
                f"the budget is {budget} and the pool has {there} tokens; lower the budget or add to the pool"
            )
        return
    rows = budget.rows(len(index))
    low = parse_limit(config.min_per_source, rows, "--min-per-source")
    high = parse_limit(config.max_per_source, rows, "--max-per-source")
    if low is not None or high is not None:
        counts = index.source_counts
        if config.draw == "multinomial":  # one row is enough for any count
            counts = np.where(counts > 0, rows, 0)
        check_limits(counts, rows, low, high, index.source_names)


def stamp(path: str | None) -> list[Any] | None:
    """What tells whether vectors on disk have changed."""
    if path is None:
        return None
    files = sorted(Path(path).glob("*.npy")) if Path(path).is_dir() else [Path(path)]
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.exists()]
