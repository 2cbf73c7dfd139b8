"""The training that LESS begins with: a few passes over a small part of the pool, for checkpoints and moments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tasksift.config import RunConfig
from tasksift.memory import estimate_rows
from tasksift.presets import get_preset
from tasksift.progress import Progress
from tasksift.rows import PoolFile

SHARE, ROWS = 5, 100
"""Percent of the pool that is trained on, drawn at random as LESS does, and about how many rows at least."""

FOLDER = "warm-up"
"""Where checkpoints are kept in the folder of the features that are made with them."""


def warms_up(config: RunConfig) -> bool:
    """Whether the method wants a training that the user has not done: there is a model, and no checkpoints of it."""
    return (
        get_preset(config.preset).warm_up
        and config.representation in (None, "gradient")
        and config.optimizer in (None, "adam")
        and config.model is not None
        and config.checkpoints is None
    )


def warm_up(
    config: RunConfig, files: list[PoolFile], folder: Path, progress: Progress, say: Callable[[str], None]
) -> RunConfig:
    """Tune the model as LESS does, or find the tune in `folder`, and return the configuration with its checkpoints.

    Settings are those of `tasksift.tune.Settings`; ``tasksift tune`` offers others. A tune that was killed goes on.
    """
    from tasksift.represent.checkpoints import read_tuned
    from tasksift.represent.models import model_length
    from tasksift.tune import Settings, tune_rows

    assert config.model is not None
    code = {"trust_remote_code": config.trust_remote_code}
    if folder.is_dir():
        read_tuned(folder)
    else:
        sample = f"{min(100, max(SHARE, -(-100 * ROWS // max(1, estimate_rows(files) or 10**9))))}%"
        say(f"warming up on {sample} of the pool, as there are no --checkpoints")
        length = config.max_length or model_length(config.model, config.revision, **code)
        tune_rows(
            [file.path if file.records is None else file.records for file in files],
            folder,
            model=config.model,
            sample=sample,
            text_template=config.text_template,
            settings=Settings(max_length=length, score=config.score, seed=config.seed),
            revision=config.revision,
            device=config.device,
            dtype=config.dtype,
            progress=progress,
            say=say,
            **code,
        )
    return config.model_copy(update={"checkpoints": str(folder), "revision": None})
