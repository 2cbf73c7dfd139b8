"""Comparing selectors on the user's own data: select, train, judge, cell by cell."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from tasksift.engines.current import current, engine_report, require, using
from tasksift.engines.processes import in_processes
from tasksift.errors import InputError, UnfinishedError
from tasksift.evaluate.arms import Arm, parse_arms, random_arm
from tasksift.evaluate.cells import Cell
from tasksift.evaluate.config import CompareConfig
from tasksift.evaluate.folder import CELLS, WORK, begin_folder, check_folder, read_cells, undo_folder
from tasksift.evaluate.names import BALANCED, RANDOM, SEEDS
from tasksift.evaluate.outcome import manifest_of, write_outcome
from tasksift.evaluate.selecting import Inputs, choose
from tasksift.evaluate.tasks import Task, by_task, read_tasks, spelled
from tasksift.evaluate.units import Unit, in_time, units_of
from tasksift.evaluate.work import Bench, Setup, work
from tasksift.progress import Progress, silent
from tasksift.rows import PoolFile, TextReader, check_outside, expand, fingerprint, iter_examples, writing


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
    engine: str | None = None,
    ray_address: str | None = None,
    **options: Any,
) -> Comparison:
    """Compare methods by what training on their selections is worth for held-out rows of the tasks.

    Parameters
    ----------
    pool
        Rows in any layout that `select` takes.
    target, held_out
        The few examples of a task and the rows it is judged on, or lists of these, one for each task. A list of dicts
        is the rows of one task.
    out : path
        The folder to write. Cells that it holds already are kept and not computed again.
    force : bool
        Drop the cells of another pool, task or training instead of refusing them.
    progress, say : callable
        Where bars and notes go.
    engine, ray_address : str
        What computes, as for `select`.
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
    Cost: for every method, budget and task one plan, or one for each seed where plans depend on it; for every seed one
    draw, one training and one pass over the held-out rows. Methods that look at no target are trained once for all
    tasks. Features are computed once.
    """
    given = [by_task(each) for each in (target, held_out)]
    config = CompareConfig.create(
        pool=[file.path for file in expand(pool, "pool")],
        target=[spelled(each) for each in given[0]],
        held_out=[spelled(each) for each in given[1]],
        **options,
    )
    with using(engine, ray_address):
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
    """Run a configuration on the current engine; parameters, result and errors as in `compare`."""
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
    classes = _classes(files, tasks, config, progress) if config.head == "classes" else ()
    setup = Setup(
        folder, Inputs(tuple(files), tests, folder / WORK / "index"), tuple(tasks), {arm.label: arm for arm in arms},
        config.selection_base(), training, classes, config.max_held_out, fingerprint(files, contents=True),
    )  # fmt: skip
    bench = Bench(setup)
    bench.check()
    request = {
        "pool": setup.pool,
        "tasks": bench.digests,
        "model": bench.trainee.identity["model"],
        "training": {name: value for name, value in training.as_json.items() if name != "device"},
        "selection": config.selection_base(),
        "max_held_out": config.max_held_out,
    }
    drop = check_folder(folder, request, force)
    stood, new = folder.is_dir(), drop or not (folder / CELLS).is_dir()
    with writing(folder):
        try:
            begin_folder(folder, request, drop)
            require(folder, *(file.path for file in files if file.on_disk))
            (folder / "config.yaml").write_text(config.dump(), encoding="utf-8")
            return _compared(config, bench, tasks, arms, progress, say)
        except InputError as error:
            if new and not isinstance(error, UnfinishedError) and not any((folder / CELLS).glob("*.json")):
                undo_folder(folder, stood)
            raise


def _compared(
    config: CompareConfig,
    bench: Bench,
    tasks: Sequence[Task],
    arms: Sequence[Arm],
    progress: Progress,
    say: Callable[[str], None],
) -> Comparison:
    """Work on whatever is not done yet, and write what came out."""
    begun = time.monotonic()
    folder, units = bench.setup.folder, units_of(config, tasks, arms)
    left = [unit for unit in units if not bench.is_done(unit)]
    say(f"{len(units):,} trainings, {len(units) - len(left):,} done; {bench.trainee.parameters:,} parameters")
    if len(config.seeds) < SEEDS:
        say(f"{len(config.seeds)} {'seeds give' if len(config.seeds) > 1 else 'seed gives'} no verdict; give {SEEDS}")
    failed = _prepare_arms(bench, units, left, progress, say) if left else {}
    left = [unit for unit in left if unit.arm not in failed]
    done = 0
    with progress("comparing", len(left)) as tick:
        for unit, fault in _worked(bench, in_time(left, begun, config.hours), config.workers):
            done += 1
            tick(1)
            if fault is not None:
                failed[str(unit)] = fault
                say(f"{unit}: {fault}")
    paths = [path for unit in units for task in bench.tasks_of(unit) if (path := bench.path(unit, task)).exists()]
    if not paths and done < len(left):
        raise UnfinishedError("there was no time to begin a training; features are kept, and the same command goes on")
    if not paths:
        raise InputError(f"no training could be served: {next(iter(failed.values()))}")
    shutil.rmtree(folder / WORK, ignore_errors=True)
    files = [path.name for path in paths]
    cells = read_cells(folder / CELLS, files)
    manifest = {**manifest_of(config, bench, arms, cells, files, units), **engine_report(say)}
    summary = write_outcome(folder, cells, {**manifest, "failed": failed, "left": len(left) - done})
    return Comparison(folder, cells, summary, failed, len(left) - done)


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


def _classes(
    files: list[PoolFile], tasks: Sequence[Task], config: CompareConfig, progress: Progress
) -> tuple[str, ...]:
    """The classes: every answer in pool, targets and held-out rows; what only the latter have is never trained."""
    from tasksift.evaluate.labels import label_set

    reader = TextReader(config.text_template)
    with progress("reading the classes", 0):
        of_pool = (example.response for some in iter_examples(files, reader) for example in some)
        shown = [file for task in tasks for file in (*task.target, *task.held_out)]
        of_tasks = (example.response for some in iter_examples(shown, reader) for example in some)
        return tuple(label_set(of_pool, of_tasks))


def _prepare_arms(
    bench: Bench, units: Sequence[Unit], left: Sequence[Unit], progress: Progress, say: Callable[[str], None]
) -> dict[str, str]:
    """Compute the features of every arm that is still asked for; return those that cannot be served, and why.

    An arm that cannot serve one budget or task may serve another: it is given up when there is none that it serves.
    """
    choose(bench.settled(random_arm(RANDOM), None, "1", 0), bench.setup.inputs, (), progress)  # leaves the index
    served = {unit.arm for unit in set(units).difference(left)}
    failed: dict[str, str] = {}
    for label in dict.fromkeys(unit.arm for unit in left if unit.arm in bench.setup.arms):
        faults = []
        for unit in {(unit.budget, unit.task): unit for unit in reversed(left) if unit.arm == label}.values():
            try:
                bench.prepare(unit, progress)
            except InputError as error:
                faults.append(str(error))
            else:
                break
        else:
            if label not in served:
                failed[label] = faults[-1]
                say(f"{label} cannot be compared: {faults[-1]}")
    return failed


def _worked(bench: Bench, units: Iterator[list[Unit]], workers: int) -> Iterator[tuple[Unit, str | None]]:
    """Work on units here, or by worker processes."""
    engine, load = current(), partial(Bench, bench.setup)
    if engine is not None:
        done = engine.stream(work, load, units, gpu=True)
    elif workers > 1:
        done = in_processes(work, load, units, workers)
    else:
        done = (work(bench, [unit]) for unit in chain.from_iterable(units))
    yield from chain.from_iterable(done)
