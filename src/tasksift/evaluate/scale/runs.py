"""Whole selections from parts of a sample: what grows with the pool, and how far lists and densities reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasksift.config import RunConfig
from tasksift.evaluate.scale.recording import Clock, Recorder
from tasksift.pipeline import run
from tasksift.selection import Selection

LEAST_BUDGET = 4
"""Rows that are selected from a part of the sample at least, however small their share."""


@dataclass(frozen=True)
class Run:
    """What one selection took.

    Attributes
    ----------
    rows, budget, targets : int
    stages, calls : mapping of str
        Seconds of each stage, and how often it came.
    planned : int
        Rows that the plan mentions.
    densities, reach : int
        Rows that got a density; neighbours of a target that the answer needs, at most. 0 where there are none.
    listed : int
        Neighbours of all targets that were searched in the end.
    sigma : float
    written : int
        Bytes of the training file and of the run's folder.
    tokens : int
        Of all rows; 0 where nothing is known of them.
    large : bool
        Whether the pool was the sample several times over.
    """

    rows: int
    budget: int
    targets: int
    stages: Mapping[str, float]
    calls: Mapping[str, int]
    planned: int
    densities: int
    reach: int
    listed: int
    sigma: float
    written: int
    tokens: int
    large: bool = False

    @property
    def units(self) -> dict[str, float]:
        """What stages without a law of their own are measured by."""
        return {
            "rows": self.rows, "selected": self.budget, "planned": self.planned, "listed": self.listed,
            "densities": self.densities,
        }  # fmt: skip


def select_once(
    config: RunConfig, budget: int, folder: Path, suffix: str, clock: Clock, changes: Mapping[str, Any]
) -> Run:
    """Run the configuration with some changes and another budget, and write what it selects into `folder`."""
    folder.mkdir(parents=True)
    recorder = Recorder(clock)
    settled = RunConfig.create(**{**config.model_dump(), **changes, "budget": str(budget)})
    selection = run(settled, out=folder / f"picked{suffix}", progress=recorder.progress)
    recorder.finish()
    written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return _facts(selection, budget, recorder, written)


def _facts(selection: Selection, budget: int, recorder: Recorder, written: int) -> Run:
    plan, info = selection.plan, selection.plan.info
    reach = 0
    if plan.links is not None and plan.kind == "mass" and len(plan.links.target):
        reach = int(np.bincount(plan.links.target).max())
    about = selection.manifest["pool"]
    listed = len(selection.targets) * int(info.get("prefetch", 0))
    densities, sigma = int(info.get("densities_computed", 0)), float(info.get("sigma", 0.0))
    return Run(
        about["rows"], budget, len(selection.targets), recorder.stages(), recorder.calls(), len(plan.ids),
        densities, reach, listed, sigma, written, about["tokens"] or 0,
    )  # fmt: skip
