"""The plan: every stage of a selection from a larger pool, on this machine or a cluster, as one record."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tasksift.config import RunConfig
from tasksift.draw import Budget
from tasksift.errors import InputError
from tasksift.evaluate.scale.advice import advice, problems
from tasksift.evaluate.scale.cluster import SHARED, Cluster
from tasksift.evaluate.scale.forecast import Forecast, sum_of
from tasksift.evaluate.scale.laws import Range
from tasksift.evaluate.scale.measure import Measured, measure
from tasksift.evaluate.scale.recording import Clock
from tasksift.evaluate.scale.sizes import Sizes, held_already, memory, stage_bytes
from tasksift.presets import get_preset
from tasksift.represent.vectors_file import load_vectors
from tasksift.request import check_inputs, selector_parameters, settle
from tasksift.rows import expand
from tasksift.selectors import SELECTORS
from tasksift.selectors.contract import Size
from tasksift.warm_up import warms_up

FORMAT = 1

MOST_ROWS = 1e12

ORDER = (
    "start", "targets", "check", "read", "fit", "embed", "hash", "rank", "copies", "search", "densities", "plan",
    "similarity", "report", "write",
)  # fmt: skip
"""Of the stages; others come after planning."""


@dataclass(frozen=True)
class Stage:
    """One line of a plan.

    Attributes
    ----------
    name, where : str
        ``where`` is ``workers`` or ``driver``.
    here, time : Range
        Seconds on this machine, and as planned.
    read, written, held, sent : float
        Bytes.
    bound : str
        What its time goes by: ``compute`` or ``network``.
    law : str
    """

    name: str
    where: str
    here: Range
    time: Range
    read: float
    written: float
    held: float
    sent: float
    bound: str
    law: str

    def record(self) -> dict[str, Any]:
        """As JSON."""
        ranges = {"here": self.here.record(), "time": self.time.record()}
        return {**{name: value for name, value in vars(self).items() if name not in ranges}, **ranges}


def prepare(config: RunConfig, rows: float) -> RunConfig:
    """Check, before anything is measured, that a selection with this configuration can be planned.

    Raises
    ------
    InputError
    """
    if rows != int(rows) or not 1 <= rows <= MOST_ROWS:
        raise InputError(f"--scale {rows:g}: it should be a whole number of rows, from 1 to {MOST_ROWS:g}")
    if config.vectors is not None and config.pool:
        raise InputError("give POOL or --vectors, not both: how long reading takes is seen in rows alone")
    if not config.budget:
        raise InputError("there is no --budget: give 1000 (rows), 1% (of the rows) or 250000tok (tokens)")
    selector = SELECTORS[get_preset(config.preset).selector]
    settled = settle(config)
    selector_parameters(settled)
    if warms_up(settled):
        raise InputError(
            f"--preset {config.preset} tunes a model before it selects, which is not planned here; run tasksift tune, "
            "and plan with --checkpoints"
        )
    if "margins" in selector.needs or (get_preset(config.preset).scores is not None and config.score_column is None):
        raise InputError(f"--preset {config.preset} computes more than one kind of features, which is not planned here")
    if settled.budget == "auto":
        raise InputError("--budget auto is not known before the run; give rows, percent or tokens")
    asked = Budget.parse(settled.budget)
    if asked.unit == "rows" and asked.amount > rows:
        raise InputError(f"--budget {asked} is more than --scale {rows:,.0f} rows; lower the budget")
    return settled


def plan_scale(
    config: RunConfig,
    rows: int,
    cluster: Callable[..., Cluster],
    *,
    seconds: float,
    clock: Clock = time.perf_counter,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure a pool on this machine and plan a selection from `rows` rows like its own.

    Parameters
    ----------
    config : RunConfig
        Of the selection from the pool that there is.
    cluster : callable
        ``cluster(cores, by_model=..., on_gpu=...)`` makes what is planned for; see `cluster_of`.
    seconds : float
        How long to measure, about.

    Returns
    -------
    dict
        As JSON: ``stages``, ``total``, ``memory``, ``problems``, ``advice``, ``notes``, and all that was ``measured``.
    """
    settled = prepare(config, rows)
    files = expand(settled.pool, "pool") if settled.pool else []
    targets = expand(settled.target, "target") if settled.target else []
    check_inputs(settled, files, targets)
    from tasksift.engines import worker_count

    by_model = settled.vectors is None and settled.representation not in (None, "tfidf")
    on_gpu = settled.device.startswith("cuda")
    machines = cluster(worker_count(), by_model=by_model, on_gpu=on_gpu)
    vectors = None
    if settled.vectors is not None:
        vectors = load_vectors(settled.vectors, normalize=settled.normalize, what="--vectors")
    measured = measure(settled, vectors, files, targets, rows, seconds=seconds, clock=clock, say=say)
    return assemble(settled, measured, rows, machines)


def assemble(config: RunConfig, measured: Measured, rows: int, cluster: Cluster) -> dict[str, Any]:
    """Put a plan together from what was measured."""
    forecast = Forecast(measured)
    lexical = bool(measured.dim) and config.vectors is None and config.representation in (None, "tfidf")
    by_model = bool(measured.dim) and config.vectors is None and not lexical
    asked = Budget.parse(config.budget)
    selected = asked.rows(rows) if asked.unit != "tokens" else max(1.0, asked.amount / max(1.0, measured.tokens))
    amount = {name: _at(getattr(forecast, name), rows, selected) for name in ("candidates", "planned")}
    sizes = Sizes(
        rows, selected, max(amount["planned"], min(selected, rows)), amount["candidates"],
        forecast.lists(rows, selected), max(1, forecast.calls),
    )  # fmt: skip
    written = forecast.written.at({"selected": selected}).value
    stages = list(_stages(forecast, sizes, cluster, written, config, by_model=by_model))
    total = sum_of([stage.time for stage in stages])
    selector = SELECTORS[get_preset(config.preset).selector]
    more = selector.memory(Size(rows=rows, targets=measured.targets, dim=measured.dim))
    driver, worker = memory(sizes, measured, cluster, lexical=lexical, model=measured.model_memory, more=more)
    held = held_already(sizes, measured, given=config.vectors is not None)
    wrong = problems(sizes, measured, cluster, stages, total, driver, worker)
    return {
        "format": FORMAT,
        "rows": rows,
        "budget": config.budget,
        "selected": round(selected),
        "preset": config.preset,
        "representation": config.representation if config.vectors is None else "vectors",
        "machine": {"cores": measured.cores, "system": platform.platform(), "cpus": os.cpu_count()},
        "cluster": cluster.record(),
        "sizes": {**vars(sizes), "lists": list(sizes.lists)},
        "stages": [stage.record() for stage in stages],
        "total": total.record(),
        "bytes": {
            "read": sum(stage.read for stage in stages), "written": sum(stage.written for stage in stages),
            "held": held + sum(stage.held for stage in stages), "sent": sum(stage.sent for stage in stages),
        },
        "memory": {"driver": driver, "worker": worker},
        "problems": wrong,
        "advice": advice(stages, total, sizes, cluster, wrong),
        "notes": list(_notes(forecast, measured, cluster, rows, by_model)),
        "measured": measured.record(),
    }  # fmt: skip


def _stages(
    forecast: Forecast, sizes: Sizes, cluster: Cluster, written: float, config: RunConfig, *, by_model: bool
) -> Iterator[Stage]:
    measured = forecast.measured
    late = [stage for stage in forecast.points if stage not in ORDER]
    for name in (*ORDER[:-3], *late, *ORDER[-3:]):
        # Vectors that a run computes are not checked again.
        if name not in forecast.points or (name == "check" and config.vectors is None):
            continue
        here = forecast.seconds(name, sizes.rows, sizes.selected)
        cores = {"read": 1, "embed": measured.cores if by_model else measured.processes}.get(name, measured.cores)
        faster = cluster.faster(name, cores, by_model=by_model, on_gpu=config.device.startswith("cuda"))
        # What does not grow with the pool, such as the start of a process, is not shared either.
        fixed = min(forecast.fixed(name), here.value)
        time = (
            here if faster == 1 else Range(*(fixed + max(0.0, each - fixed) / faster for each in vars(here).values()))
        )
        size = stage_bytes(name, sizes, measured, cluster, written)
        transfer = cluster.transfer(size.sent, name)
        bound = "network" if transfer > time.value else "compute"
        time = Range(*(max(transfer, each) for each in vars(time).values()))
        where = "workers" if name in SHARED else "driver"
        yield Stage(name, where, here, time, size.read, size.written, size.held, size.sent, bound, forecast.words(name))


def _at(power: Any, rows: float, selected: float) -> float:
    return 0.0 if power is None else min(float(rows), power.at(rows, selected).value)


def _notes(forecast: Forecast, measured: Measured, cluster: Cluster, rows: int, by_model: bool) -> Iterator[str]:
    yield (
        f"Measured on {measured.rows:,} rows and {measured.cores} workers in {measured.seconds:.0f} s; "
        f"{rows / max(1, measured.rows):,.0f} times as many rows are taken to be like these."
    )
    if forecast.candidates is not None:
        law = forecast.candidates
        yield f"Rows that get a density: about rows^{law.rows:.2f} · selected^{law.other:.2f}, from whole selections."
    if not cluster.local:
        yield (
            "Workers count as cores of this machine, and work is taken to divide evenly among them; nothing of the "
            "cluster was measured."
        )
        if cluster.network is None:
            yield "Bytes that are sent take no time in this plan; --network says how many a machine takes in a second."
    elif measured.dim and rows * measured.dim * measured.itemsize > _memory_here():
        yield (
            "The vectors are larger than this machine's memory: every pass over them reads the disk, and takes no less "
            "time than that."
        )
    if by_model and cluster.gpus and cluster.speed_up is not None:
        yield f"That a GPU embeds {cluster.speed_up:g} times as fast as this machine was given, not measured."


def _memory_here() -> float:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        return float("inf")
