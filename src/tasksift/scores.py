"""Numbers of every pool row besides its vector: a language model's losses, or a column of the pool."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.feature_config import FeatureConfig
from tasksift.model_features import model_store, stored_options
from tasksift.presets import get_preset
from tasksift.progress import Progress
from tasksift.represent import REPRESENTATIONS, Embedder
from tasksift.represent.loss import METRICS
from tasksift.represent.opening import resolve
from tasksift.represent.shard_jobs import Remote
from tasksift.represent.shelf import Where, inside, where
from tasksift.rows import PoolFile, TextReader
from tasksift.vectors import Vectors

OPTIONS = REPRESENTATIONS["loss"].options
"""The options that a preset with scores takes, whatever its representation."""

COLUMN = "score"
"""The name of the numbers that are a column of the pool."""


def scored(config: RunConfig) -> bool:
    """Whether a run needs the numbers of a language model."""
    return get_preset(config.preset).scores is not None and config.score_column is None


def score_config(config: RunConfig, metric: str | None) -> RunConfig:
    """Return the configuration of the numbers of a run: the representation ``loss``, of the model that there is.

    Parameters
    ----------
    metric : str or None
        A metric that the selector asks for besides those of the preset.

    Raises
    ------
    InputError
        If there is no language model.
    """
    folder = score_folder(config)
    stored = stored_options(folder) if folder is not None else {}
    shared = set(OPTIONS)
    if config.representation in ("encoder", "endpoint"):
        shared -= {"model", "revision", "max_length"}
    given = {name: getattr(config, name) for name in shared}
    chosen = {name: value for name, value in given.items() if value != FeatureConfig.model_fields[name].default}
    if config.score_model is not None:
        for of_the_other in ("revision", "checkpoints"):
            chosen.pop(of_the_other, None)
        chosen |= {"model": config.score_model}
    wanted = (get_preset(config.preset).scores or "").split(",")
    # One pass gives all of the usual ones, and whoever looks at the folder next may want another.
    usual = FeatureConfig.model_fields["metrics"].default.split(",") if folder is not None else []
    stored.setdefault("metrics", ",".join(dict.fromkeys([*usual, *wanted, *([metric] if metric in METRICS else [])])))
    values = {**stored, **chosen}
    if values.get("model") is None and values.get("checkpoints") is None:
        raise InputError(
            f"--preset {config.preset} needs {', '.join(wanted)} of each row: give --model or --score-model, a causal "
            "language model, --scores, a folder of tasksift embed -r loss, or --score-column"
        )
    values["representation"] = "loss"
    rows = {name: getattr(config, name) for name in ("pool", "text_template", "source_column")}
    made = RunConfig.create(**rows, **{name: value for name, value in values.items() if name not in rows})
    if metric in METRICS and metric not in made.metrics.split(","):
        raise InputError(
            f"--preset {config.preset} looks at {metric}, and there is only {made.metrics}; add it to --metrics, or "
            "name another folder of --scores"
        )
    return RunConfig.create(**{**made.model_dump(), **resolve(made, "loss")})


def score_folder(config: RunConfig) -> Where | None:
    """Where the numbers are kept; None when they go with the run."""
    if config.scores is not None:
        return where(config.scores, "--scores")
    return inside(where(config.features, "--features"), "scores") if config.features is not None else None


def model_scores(
    config: RunConfig,
    folder: Where,
    files: list[PoolFile],
    reader: TextReader,
    keys: NDArray[np.uint64],
    embedder: Embedder,
    progress: Progress,
    *,
    force: bool,
    remote: Remote | None = None,
) -> tuple[Vectors, tuple[str, ...]]:
    """Compute the numbers of a pool, or find them in `folder`; parameters as in `model_store`.

    Parameters
    ----------
    config : RunConfig
        That of `score_config`, of which `embedder` was made.

    Returns
    -------
    Vectors (n, s) and the names of its columns
    """
    store = model_store(config, folder, files, reader, keys, embedder, progress, force=force, remote=remote)
    names: tuple[str, ...] = embedder.names  # type: ignore[attr-defined]
    return store.open(), names
