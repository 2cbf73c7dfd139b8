"""Comparing selectors on the user's own data: select, train, judge, cell by cell."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tasksift import __version__
from tasksift.engines.processes import in_processes
from tasksift.errors import InputError
from tasksift.evaluate.arms import Arm, parse_arms, random_arm
from tasksift.evaluate.cells import BALANCED, FULL, RANDOM, ZERO_SHOT, Cell
from tasksift.evaluate.config import SEEDS, CompareConfig
from tasksift.evaluate.outcome import write_outcome
from tasksift.evaluate.selecting import Inputs, choose
from tasksift.evaluate.tasks import Task, read_tasks
from tasksift.evaluate.work import Bench, Setup, Unit, work
from tasksift.progress import Progress, silent
from tasksift.represent.store import differences, replace_json
from tasksift.rows import PoolFile, TextReader, check_outside, expand, fingerprint, iter_examples

REQUEST = "request.json"
"""What a folder's cells have in common: the pool, the tasks' rows and the training."""


@dataclass(frozen=True)
class Comparison:
    """What came out.

    Attributes
    ----------
    folder : Path
    cells : list of Cell
        Those that are done, in the order of the request.
    summary : dict
        Scores, differences and ties, see `tasksift.evaluate.summary`.
    failed : dict of str to str
        Units that could not be served, and why.
    left : int
        Units that there was no time for.
    """

    folder: Path
    cells: list[Cell]
    summary: dict[str, Any]
    failed: dict[str, str]
    left: int


def compare(
    pool: Any,
    target: Any,
    held_out: Any = (),
    *,
    out: str | Path,
    force: bool = False,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> Comparison:
    """Compare methods by what training on their selections is worth for held-out rows of the tasks.

    Parameters
    ----------
    pool
        Rows in any layout that `select` takes.
    target, held_out
        The few examples of a task and the rows it is judged on, or lists of them, one for each task.
    out : path
        The folder to write. Cells that it holds already are kept and not computed again.
    force : bool
        Drop the cells of another pool, task or training instead of refusing them.
    progress, say : callable
        Where bars and notes go.
    **options
        The other fields of `CompareConfig`: ``model``, ``presets``, ``budgets``, ``seeds`` and so on.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        For anything in the request or the data that cannot be served, in one line.

    Notes
    -----
    Cost: for every method, budget, seed and task one selection, one training and one pass over the held-out rows;
    methods that look at no target are trained once for all tasks. Features are computed once.
    """
    given = [list(each) if isinstance(each, list | tuple) else [each] for each in (target, held_out)]
    config = CompareConfig.create(
        pool=[file.path for file in expand(pool, "pool")],
        target=[_shown(each) for each in given[0]],
        held_out=[_shown(each) for each in given[1]],
        **options,
    )
    return run(config, pool, *given, out=out, force=force, progress=progress, say=say)


def run(
    config: CompareConfig,
    pool: Any = None,
    target: Sequence[Any] | None = None,
    held_out: Sequence[Any] | None = None,
    *,
    out: str | Path,
    force: bool = False,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Run a configuration; parameters, result and errors as in `compare`."""
    folder = Path(out)
    files = expand(config.pool if pool is None else pool, "pool")
    check_outside(folder, pool if pool is not None else config.pool)
    tasks = read_tasks(
        config.target if target is None else target,
        config.held_out if held_out is None else held_out,
        names=config.task_names,
        share=config.hold_out,
    )
    training, arms = config.training(), _arms(config)
    tests = _tests(tasks) if config.decontaminate is not None else ()
    request = {
        "pool": fingerprint(files),
        "tasks": {task.name: [fingerprint(list(task.target)), fingerprint(list(task.held_out))] for task in tasks},
        "training": training.as_json,
        "selection": config.selection_base(),
        "max_held_out": config.max_held_out,
    }
    _prepare_folder(folder, request, force, say)
    classes = _classes(files, tasks, config, progress) if config.head == "classes" else ()
    inputs = Inputs(tuple(files), tests, folder / "work" / "index")
    setup = Setup(
        folder, inputs, tuple(tasks), {arm.label: arm for arm in arms}, config.selection_base(), training, classes,
        config.max_held_out, str(request["pool"]),
    )  # fmt: skip
    bench = Bench(setup)
    (folder / "config.yaml").write_text(config.dump(), encoding="utf-8")
    begun = time.monotonic()
    units = units_of(config, tasks, arms)
    left = [unit for unit in units if not bench.is_done(unit)]
    say(f"{len(units):,} trainings, {len(units) - len(left):,} done; {bench.trainee.parameters:,} parameters")
    if len(config.seeds) < SEEDS:
        say(f"{len(config.seeds)} seeds give no verdict; give at least {SEEDS}")
    failed = _prepare_arms(bench, config, left, progress, say)
    left = [unit for unit in left if unit.arm not in failed]
    done = 0
    with progress("comparing", len(left)) as tick:
        for unit, fault in _worked(bench, setup, _in_time(left, begun, config.hours), config.workers, progress):
            done += 1
            tick(1)
            if fault is not None:
                failed[str(unit)] = fault
                say(f"{unit}: {fault}")
    shutil.rmtree(folder / "work", ignore_errors=True)
    cells = [
        Cell.read(path) for unit in units for task in bench.tasks_of(unit) if (path := bench.path(unit, task)).exists()
    ]
    manifest = _manifest(config, bench, arms, cells, units)
    if not cells:
        raise InputError(f"no training could be served: {next(iter(failed.values()), 'there was no time for any')}")
    summary = write_outcome(folder, cells, {**manifest, "failed": failed, "left": len(left) - done})
    return Comparison(folder, cells, summary, failed, len(left) - done)


def units_of(config: CompareConfig, tasks: Sequence[Task], arms: Sequence[Arm]) -> list[Unit]:
    """Every training of a comparison; seed by seed, so that whatever there is time for can be compared."""
    units = [Unit(ZERO_SHOT, None, None, None)]
    for seed in config.seeds:
        for budget in config.budgets:
            for arm in arms:
                names = [task.name for task in tasks] if arm.looks_at_targets else [None]
                units += [Unit(arm.label, budget, seed, name) for name in names]
        if FULL not in config.without:
            units.append(Unit(FULL, None, seed, None))
    return units


def _arms(config: CompareConfig) -> list[Arm]:
    """The baselines that select, then the arms that the user names."""
    baselines = [random_arm(name) for name in (RANDOM, BALANCED) if name not in config.without]
    language: dict[str, Any] = {"max_length": config.max_length, "device": config.device}
    language |= {"revision": config.revision} if config.selection_model is None and config.revision else {}
    language |= {"trust_remote_code": True} if config.trust_remote_code else {}
    causal = config.selection_model or (config.model if config.head == "none" else None)
    encoder = config.encoder or (config.model if config.head == "classes" else None)
    return baselines + parse_arms(
        config.presets,
        config.arm,
        model={**language, "model": causal} if causal else {},
        encoder={"model": encoder, "device": config.device} if encoder else {},
    )


def _tests(tasks: Sequence[Task]) -> tuple[PoolFile, ...]:
    """All rows that nothing may resemble: those of every task, so that all arms choose from the same rows."""
    return tuple(file for task in tasks for file in (*task.target, *task.held_out))


def _prepare_folder(folder: Path, request: dict[str, Any], force: bool, say: Callable[[str], None]) -> None:
    """Make the folder, or find the one of a comparison with the same pool, tasks and training."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"cannot write {folder}: it is a file; name a folder")
    there = folder / REQUEST
    request = json.loads(json.dumps(request))
    if there.exists():
        try:
            before = json.loads(there.read_bytes())
        except ValueError:
            raise InputError(f"{there} is damaged; name another folder, or give --force to drop the cells") from None
        # A task more or less is another grid; the rows of a task that stays must be the same.
        same = {name: rows for name, rows in request["tasks"].items() if name in before.get("tasks", {})}
        grid = {**request, "tasks": same}
        kept = {**before, "tasks": {name: before["tasks"][name] for name in same}} if "tasks" in before else before
        if kept != grid:
            if not force:
                named = "; ".join(differences(kept, grid).values())
                raise InputError(
                    f"{folder} holds the cells of another comparison ({named}); name another folder, or give --force "
                    "to drop them"
                )
            for name in ("cells", "features", "work"):
                shutil.rmtree(folder / name, ignore_errors=True)
    elif folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} exists and is no comparison; name another folder")
    try:
        (folder / "cells").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}") from None
    replace_json(there, request)


def _classes(
    files: list[PoolFile], tasks: Sequence[Task], config: CompareConfig, progress: Progress
) -> tuple[str, ...]:
    """The classes: every answer in pool, targets and held-out rows; what only the latter have is never trained."""
    from tasksift.evaluate.classifier import label_set

    reader = TextReader(config.text_template)
    with progress("reading the classes", 0):
        of_pool = (example.response for some in iter_examples(files, reader) for example in some)
        shown = [file for task in tasks for file in (*task.target, *task.held_out)]
        of_tasks = (example.response for some in iter_examples(shown, reader) for example in some)
        return tuple(label_set(of_pool, of_tasks))


def _prepare_arms(
    bench: Bench, config: CompareConfig, left: Sequence[Unit], progress: Progress, say: Callable[[str], None]
) -> dict[str, str]:
    """Compute the features of every arm that is still asked for; return those that cannot be served, and why."""
    bench.held_out  # noqa: B018 - read now, so that what is wrong with them is said before anything is computed
    choose(bench.settled(random_arm(RANDOM), None, config.budgets[0], 0), bench.setup.inputs, ())  # leaves the index
    failed: dict[str, str] = {}
    for label in dict.fromkeys(unit.arm for unit in left if unit.arm in bench.setup.arms):
        first = next(unit for unit in left if unit.arm == label)
        task = bench.by_name[first.task] if first.task is not None else bench.setup.tasks[0]
        try:
            bench.prepare(bench.setup.arms[label], task, str(first.budget), first.seed or 0, progress)
        except InputError as error:
            failed[label] = str(error)
            say(f"{label} cannot be compared: {error}")
    return failed


def _in_time(units: Sequence[Unit], begun: float, hours: float | None) -> Iterator[Unit]:
    for unit in units:
        if hours is not None and time.monotonic() - begun > 3600 * hours:
            return
        yield unit


def _worked(
    bench: Bench, setup: Setup, units: Iterator[Unit], workers: int, progress: Progress
) -> Iterator[tuple[Unit, str | None]]:
    """Work on units here, or by worker processes."""
    if workers > 1:
        yield from in_processes(work, partial(Bench, setup), units, workers)
        return
    for unit in units:
        yield work(bench, unit)


def _manifest(
    config: CompareConfig, bench: Bench, arms: Sequence[Arm], cells: Sequence[Cell], units: Sequence[Unit]
) -> dict[str, Any]:
    """What was compared, as JSON."""
    tasks = [
        {
            "name": task.name,
            "targets": sum(len(some) for some in iter_examples(list(task.target), bench.reader)),
            "held_out": len(bench.held_out[task.name].examples),
            "metrics": sorted({metric for cell in cells if cell.task == task.name for metric in cell.scores}),
        }
        for task in bench.setup.tasks
    ]
    return {
        "kind": "comparison",
        "version": __version__,
        "pool": {"files": config.pool, "rows": cells[0].pool_rows if cells else None, "digest": bench.setup.pool},
        "tasks": tasks,
        "model": {"name": config.model, "parameters": bench.trainee.parameters},
        "arms": [ZERO_SHOT, *(arm.label for arm in arms), *([] if FULL in config.without else [FULL])],
        "budgets": config.budgets,
        "seeds": config.seeds,
        "cells": {"done": len(cells), "asked": sum(len(bench.tasks_of(unit)) for unit in units)},
        "training": bench.setup.training.as_json,
    }


def _shown(given: Any) -> str:
    """How an input is written into the configuration."""
    return str(given) if isinstance(given, str | Path) else "<rows in memory>"
