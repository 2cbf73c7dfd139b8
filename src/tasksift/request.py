"""What a request must satisfy before anything costly starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tasksift.checked import option_name
from tasksift.config import AUTO, RunConfig
from tasksift.draw import Budget
from tasksift.draw.budget import parse_limit
from tasksift.draw.limits import check_limits
from tasksift.errors import InputError
from tasksift.feature_config import FeatureConfig
from tasksift.model_features import stored_options
from tasksift.neighbors.backends import check_backend
from tasksift.places import is_url
from tasksift.plan import LEGAL_DRAWS
from tasksift.presets import get_preset
from tasksift.represent.opening import READING, resolve
from tasksift.represent.vectors_file import versions
from tasksift.rows import PoolFile
from tasksift.rows.index import PoolIndex
from tasksift.scores import COLUMN, OPTIONS, scored
from tasksift.selectors import SELECTORS
from tasksift.several import joined_kind
from tasksift.warm_up import FOLDER, warms_up

KNOBS = ("alpha", "scale", "breadth", "sigma")
"""Fields of a configuration that are parameters of some selectors only."""


def settle(config: RunConfig) -> RunConfig:
    """Fill in what the preset, or the features that are there already, say about the representation.

    The user's word counts most, then what the preset's method is about, then the folder of features.

    Raises
    ------
    InputError
        If options do not fit the representation.
    """
    preset = get_preset(config.preset)
    default = preset.representation
    more = OPTIONS if scored(config) else frozenset[str]()
    if default is None or config.vectors is not None:
        other = "--vectors" if default else f"--preset {config.preset}"
        for field, info in FeatureConfig.model_fields.items():
            if field not in READING | more | {"dim"} and getattr(config, field) != info.default:
                raise InputError(f"{option_name(field)} does not apply to {other}; leave it out")
        return config
    own = config.model_dump(include=config.model_fields_set & set(FeatureConfig.model_fields))
    stored = stored_options(config.features)
    if own.get("representation") not in (None, stored.get("representation")):
        stored = {}
    name = own.get("representation") or stored.get("representation") or default
    method = dict(preset.options) if name == default else {}
    # How many numbers are kept is nothing of the method.
    size = {field: method.pop(field) for field in ("dim",) if field in method}
    merged = RunConfig.create(**{**config.model_dump(), **size, **stored, **method, **own})
    # Checkpoints that the run itself will make count as given.
    given = merged.model_copy(update={"checkpoints": FOLDER}) if warms_up(merged) else merged
    return RunConfig.create(**{**merged.model_dump(), **resolve(given, default, more)})


def selector_parameters(config: RunConfig) -> dict[str, Any]:
    """The selector's parameters: its defaults, the preset's, the user's; whatever does not fit is an error."""
    preset = get_preset(config.preset)
    selector = SELECTORS[preset.selector]
    kind = selector.kind if config.task_weights is None else joined_kind(selector.kind)
    if config.budget != AUTO:
        Budget.parse(config.budget)
    elif not selector.sizes_itself or config.task_weights is not None:
        raise InputError(
            f"--budget {AUTO}: --preset {config.preset} does not estimate how many rows to take; give rows, percent or "
            "tokens"
        )
    if config.draw is not None and config.draw not in LEGAL_DRAWS[kind]:
        raise InputError(
            f"--draw {config.draw} does not fit --preset {config.preset}, which makes a {kind} plan; "
            f"use {' or '.join(LEGAL_DRAWS[kind])}"
        )
    knobs: dict[str, Any] = {}
    for name in KNOBS:
        value = getattr(config, name)
        if value is None or value == RunConfig.model_fields[name].default:
            continue
        if name not in selector.parameters:
            raise InputError(f"{option_name(name)} does not apply to --preset {config.preset}; leave it out")
        knobs[name] = value
    if config.score_column is not None and preset.scores is not None:
        # The column takes the place of the model's numbers.
        knobs |= {each: COLUMN for each in ("metric", "scorers") if each in selector.parameters}
    found = selector.settle({**preset.parameters, **knobs, **config.parameters}, config.preset)
    if found.get("alpha") is not None and found.get("breadth", "auto") != "auto":
        raise InputError("--alpha and --breadth are two names of one knob; give one of them")
    return found


def check_inputs(config: RunConfig, files: list[PoolFile], targets: list[PoolFile]) -> None:
    """Say what is missing before anything is read."""
    check_backend(config.backend)
    if is_url(config.tokenizer):
        raise InputError(f"--tokenizer {config.tokenizer} is a URL; copy the file to this machine and name the copy")
    if not files and config.vectors is None:
        raise InputError("there is no pool: name files, folders or hf:NAME, or give --vectors")
    for field in ("id_column", "source_column", "group_column", "score_column", "text_template"):
        if not files and getattr(config, field) is not None:
            raise InputError(f"{option_name(field)} needs rows, and there are only vectors; name the pool's files")
    selector, name = SELECTORS[get_preset(config.preset).selector], f"--preset {config.preset}"
    if config.vectors is not None and config.target_vectors is None and {"vectors", "target"} <= selector.needs:
        raise InputError("--vectors needs --target-vectors, made by the same model")
    if "target" in selector.needs and not targets and config.target_vectors is None:
        raise InputError("there is no target: give --target FILE with a few examples of the task")
    if "texts" in selector.needs and not (files and targets):
        raise InputError(f"{name} reads texts, and there are only vectors; name the files of pool and target")
    if "margins" in selector.needs and (config.representation, config.combine) != ("gradient", "separate"):
        raise InputError(f"{name} needs gradients of margins; leave out --representation, --combine and --vectors")
    if "lengths" in selector.needs and (config.representation, config.combine) == ("gradient", "concat"):
        raise InputError(f"{name} needs gradients at their own lengths; use --combine mean")
    if "scores" in selector.needs and not files:
        raise InputError(f"{name} needs a number of each row, and there are only vectors; name the pool's files")
    if "scores" in selector.needs and config.score_column is None and not scored(config):
        raise InputError(f"{name} needs --score-column: {RunConfig.help_of('score_column')}")
    if config.task_weights is not None and "target" not in selector.needs:
        raise InputError(f"--task-weights does not apply to {name}, which looks at no target; leave it out")
    for field in ("task_weights", "task_column"):
        if not targets and getattr(config, field) is not None:
            raise InputError(f"{option_name(field)} needs rows of the targets; give --target FILE")
    for field, used in (("group_column", selector.takes_groups), ("score_column", "scores" in selector.needs)):
        if getattr(config, field) is not None and not used:
            raise InputError(f"{option_name(field)} does not apply to {name}; leave it out")
    for field in ("score_model", "scores"):
        if getattr(config, field) is not None and not scored(config):
            raise InputError(f"{option_name(field)} does not apply to {name} without a model's numbers; leave it out")
    if config.dedup is not None and not selector.needs_features:
        raise InputError(f"--dedup compares vectors, and {name} has none; leave it out")
    if (config.test or config.decontaminate) and not files:
        raise InputError("--decontaminate compares texts, and there are only vectors; name the pool's files")


def check_budget(config: RunConfig, index: PoolIndex) -> None:
    """Refuse what no plan of this pool could serve."""
    if config.budget == AUTO:
        return
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
    if is_url(path):
        return [[url, found.size, found.changed] for url, found in versions(path).items()]
    files = sorted(Path(path).glob("*.npy")) if Path(path).is_dir() else [Path(path)]
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.exists()]
