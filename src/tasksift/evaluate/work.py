"""One unit of a comparison, in whatever process it runs: select, train, score, and write the cells."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.evaluate.arms import Arm, features_name, random_arm
from tasksift.evaluate.cells import Cell, Costs
from tasksift.evaluate.flops import selection_flops, training_flops
from tasksift.evaluate.folder import CELLS, FEATURES
from tasksift.evaluate.held_out import HeldOut, read_held_out
from tasksift.evaluate.names import FULL, RANDOM, ZERO_SHOT
from tasksift.evaluate.selecting import (
    Chosen,
    Inputs,
    choose,
    chosen_examples,
    keep_seconds,
    kept_seconds,
    pool_examples,
)
from tasksift.evaluate.tasks import Task
from tasksift.evaluate.trainee import Fitted, Trainee, Training, load_trainee
from tasksift.evaluate.units import Unit
from tasksift.progress import Progress, silent
from tasksift.rows import TextReader, fingerprint
from tasksift.selectors import SELECTORS


@dataclass(frozen=True)
class Setup:
    """A comparison as plain data, which goes to worker processes.

    Attributes
    ----------
    folder : Path
        The comparison's.
    inputs : Inputs
    tasks : tuple of Task
    arms : mapping of str to Arm
        Those that select, the random ones among them.
    base : mapping
        Fields of `RunConfig` that all arms share.
    training : Training
    classes : tuple of str
        Of a classification head.
    max_held_out : int, optional
        Held-out rows of a task at most.
    pool : str
        Digest of the pool's rows.
    """

    folder: Path
    inputs: Inputs
    tasks: tuple[Task, ...]
    arms: Mapping[str, Arm]
    base: Mapping[str, Any]
    training: Training
    classes: tuple[str, ...]
    max_held_out: int | None
    pool: str


class Bench:
    """Where units are worked on: the model to train, and the held-out rows."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.by_name = {task.name: task for task in setup.tasks}
        self.reader = TextReader(setup.base.get("text_template"))
        self._last: tuple[Unit, Chosen] | None = None

    @cached_property
    def trainee(self) -> Trainee:
        """The model to train; loaded when first asked for."""
        return load_trainee(self.setup.training, self.setup.classes)

    @cached_property
    def held_out(self) -> dict[str, HeldOut]:
        """The held-out rows of every task."""
        return {
            task.name: read_held_out(
                task.held_out,
                text_template=self.setup.base.get("text_template"),
                most=self.setup.max_held_out,
            )
            for task in self.setup.tasks
        }

    def settled(self, arm: Arm, task: Task | None, budget: str, seed: int) -> RunConfig:
        """The configuration of a unit's selection, with the folder where its features are kept."""
        asked = {
            **self.setup.base,
            "pool": [file.path for file in self.setup.inputs.pool],
            "target": [file.path for file in task.target] if task is not None else [],
            "budget": budget,
            "seed": seed,
        }
        config = arm.config(asked, None)
        if arm.features is not None or not arm.has_features:
            return config
        return arm.config(asked, self.setup.folder / FEATURES / features_name(config))

    def representation(self, arm: Arm) -> str | None:
        """What an arm looks at; None where it looks at no vectors, or cannot be served."""
        try:
            return self.settled(arm, self.setup.tasks[0], "1", 0).representation
        except InputError:
            return None

    def check(self) -> None:
        """Load the model and read the held-out rows, so that what is wrong with them is said before anything else."""
        self.trainee, self.held_out  # noqa: B018

    @cached_property
    def digests(self) -> dict[str, dict[str, str]]:
        """Of each task's rows, ``target`` and ``held_out``."""
        return {
            task.name: {
                "target": fingerprint(task.target, contents=True),
                "held_out": fingerprint(task.held_out, contents=True),
            }
            for task in self.setup.tasks
        }

    @cached_property
    def _tests(self) -> str:
        return fingerprint(self.setup.inputs.tests, contents=True)

    def tasks_of(self, unit: Unit) -> list[Task]:
        """The tasks that a unit is judged on."""
        return [self.by_name[unit.task]] if unit.task is not None else list(self.setup.tasks)

    def path(self, unit: Unit, task: Task) -> Path:
        """Where the cell of a unit and a task is kept: a readable name, and a digest of all that decides about it."""
        arm = self.setup.arms.get(unit.arm)
        digests = self.digests[task.name]
        key: dict[str, Any] = {
            "unit": [unit.arm, unit.budget, unit.seed],
            # Where something is computed decides about nothing but the last bits.
            "arm": None if arm is None else [{**arm.options, "device": None}, arm.features],
            "base": {**self.setup.base},
            "pool": self.setup.pool,
            "task": task.name,
            "target": digests["target"] if unit.task is not None else None,
            "held_out": [digests["held_out"], self.setup.max_held_out],
            "tests": self._tests,
            "training": self.trainee.identity,
        }
        digest = blake2b(json.dumps(key, sort_keys=True, default=str).encode(), digest_size=6).hexdigest()
        parts = (task.name, unit.arm, unit.budget or "all", "-" if unit.seed is None else str(unit.seed))
        return self.setup.folder / CELLS / f"{'.'.join(_plain(part) for part in parts)}.{digest}.json"

    def is_done(self, unit: Unit) -> bool:
        """Whether every cell of a unit is there."""
        return all(self.path(unit, task).exists() for task in self.tasks_of(unit))

    def run(self, unit: Unit, progress: Progress = silent) -> None:
        """Select, train, score, write; a cell that is there stays as it is."""
        rows, distinct, pool_rows, costs, fitted = self._fit(unit, progress)
        for task in [task for task in self.tasks_of(unit) if not self.path(unit, task).exists()]:
            begun = time.perf_counter()
            scores, weights = self.trainee.scores(fitted.model, self.held_out[task.name])
            seconds = time.perf_counter() - begun
            arm = self.setup.arms.get(unit.arm)
            cell = Cell(
                task=task.name, arm=unit.arm, budget=unit.budget, seed=unit.seed,
                preset=arm.name if arm is not None else None, rows=rows, distinct=distinct, tokens=fitted.tokens,
                epochs=self.setup.training.settings.epochs, pool_rows=pool_rows, scores=scores, weights=weights,
                costs=replace(costs, evaluate_seconds=seconds),
            )  # fmt: skip
            cell.write(self.path(unit, task))

    def prepare(self, unit: Unit, progress: Progress) -> None:
        """Compute what an arm's selections share, or find it, and see whether it can serve a request."""
        arm, task = self.setup.arms[unit.arm], self.by_name[unit.task] if unit.task is not None else None
        config = self.settled(arm, task, str(unit.budget), unit.seed or 0)
        chosen = choose(config, self.setup.inputs, task.target if task is not None else (), progress)
        if arm.features is None and arm.has_features:
            keep_seconds(_clock(config), chosen.feature_seconds)

    def _choose(self, unit: Unit, arm: Arm, config: RunConfig, progress: Progress) -> Chosen:
        """Select; or draw again from the plan of the unit before, if that is the same but for the seed of the draw."""
        before, seeded = self._last, SELECTORS[arm.preset.selector].seeded
        if before is not None and not seeded and replace(before[0], seed=unit.seed) == unit:
            return replace(before[1], selection=before[1].selection.redraw(seed=unit.seed or 0))
        target = self.by_name[unit.task].target if unit.task is not None else ()
        chosen = choose(config, self.setup.inputs, target, progress)
        self._last = unit, chosen
        return chosen

    def _fit(self, unit: Unit, progress: Progress) -> tuple[int, int, int, Costs, Fitted]:
        epochs, parameters = self.setup.training.settings.epochs, self.trainee.parameters
        everything = unit.arm in (ZERO_SHOT, FULL)
        arm = random_arm(RANDOM) if everything else self.setup.arms[unit.arm]
        task = self.by_name[unit.task] if unit.task is not None else None
        config = self.settled(arm, task, "1" if everything else str(unit.budget), unit.seed or 0)
        chosen = self._choose(unit, arm, config, progress)
        pool_rows = int(chosen.selection.manifest["pool"]["rows"])
        if unit.arm == ZERO_SHOT:
            return 0, 0, pool_rows, Costs(), Fitted(self.trainee.untrained, 0)
        if unit.arm == FULL:
            examples = list(pool_examples(chosen.selection, self.setup.inputs.pool, self.reader))
            rows = distinct = len(examples)
            costs = Costs()
        else:
            examples = list(chosen_examples(chosen.selection, self.reader))
            rows, distinct = len(chosen.selection), chosen.selection.record.num_rows
            tokens = chosen.selection.manifest["pool"]["tokens"] or 0
            shared, own = selection_flops(
                arm, config, chosen.selection.manifest, parameters=parameters, budget=rows,
                tokens=min(self.setup.training.settings.max_length, tokens // pool_rows),
            )  # fmt: skip
            kept = arm.has_features and arm.features is None
            costs = Costs(
                feature_seconds=kept_seconds(_clock(config)) if kept else 0.0, feature_flops=shared,
                select_seconds=chosen.select_seconds, select_flops=own,
            )  # fmt: skip
        begun = time.perf_counter()
        fitted = self.trainee.fit(examples, unit.seed or 0)
        seconds, flops = time.perf_counter() - begun, training_flops(parameters, fitted.tokens, epochs)
        return rows, distinct, pool_rows, replace(costs, train_seconds=seconds, train_flops=flops), fitted


def work(bench: Bench, units: Sequence[Unit]) -> list[tuple[Unit, str | None]]:
    """Work on units, in a worker process or here; what the user can mend comes back as a line, and others go on."""
    faults: list[tuple[Unit, str | None]] = []
    for unit in units:
        try:
            bench.run(unit)
        except InputError as error:
            faults.append((unit, str(error)))
        else:
            faults.append((unit, None))
    return faults


def _clock(config: RunConfig) -> Path:
    """Where it is kept how long the features of a configuration took."""
    assert config.features is not None or config.scores is not None
    place = Path(str(config.features or config.scores))
    return place.with_name(place.name + ".seconds.json")


def _plain(name: str) -> str:
    """A name with letters that every file system takes."""
    return re.sub(r"[^A-Za-z0-9+_@-]+", "-", name)[:40] or "-"
