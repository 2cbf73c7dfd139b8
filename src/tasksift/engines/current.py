"""The engine of a run: what computes functions over parts of a pool. What is run never asks which one runs it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tasksift.engines import worker_count
from tasksift.engines.local import share
from tasksift.errors import InputError

Part = TypeVar("Part")
Result = TypeVar("Result")

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Done:
    """What was done for one shard, and where.

    Attributes
    ----------
    shard : int
    rows, nbytes : int
        Of the shard as it was written.
    seconds : float
        Of the worker, to embed and to write.
    drops : dict of str to int
        Rows of which nothing counts, by reason.
    worker : str
        Machine and process.
    """

    shard: int
    rows: int
    nbytes: int
    seconds: float
    drops: dict[str, int] = field(default_factory=dict)
    worker: str = ""


class ShardJob(Protocol):
    """How the shards of a feature store are made; plain data that goes to workers."""

    @property
    def gpu(self) -> bool:
        """Whether a worker is faster with a GPU."""

    @property
    def heavy(self) -> bool:
        """Whether what is loaded is worth a process of its own, that stays for all shards."""

    def read(self, unit: Any) -> Iterator[tuple[int, Any]]:
        """Yield each shard of a unit with its rows."""

    def load(self) -> Any:
        """Return what every shard needs, such as a model; once in each worker."""

    def write(self, state: Any, shard: int, rows: Any) -> Done:
        """Embed the rows of a shard and write it, with its completion mark."""


Units = Callable[[Sequence[int]], list[Any]]
"""Cuts shards that are left, ascending, into runs that are read in one go, as plain data.

A unit has an attribute `numbers`: those of its shards, in the order in which they are read.
"""


class Engine(Protocol):
    """Something other than this process that computes."""

    cores: int
    """Parts that it computes at a time."""

    def spread(
        self, work: Callable[..., Result], common: tuple[Any, ...], parts: Iterable[Part], *, gpu: bool = False
    ) -> Generator[Result, None, None]:
        """See `spread`."""

    def fill(self, job: ShardJob, units: Units, left: Sequence[int]) -> Generator[Done, None, None]:
        """Make all shards that are left, in any order, and say of each once that it is there."""

    def stream(
        self, function: Callable[[Any, Any], Result], load: Callable[[], Any], batches: Iterable[Any], *, gpu: bool
    ) -> Generator[Result, None, None]:
        """Yield ``function(load(), batch)`` for every batch, in order; `load` is called once in each worker."""

    def require(self, paths: Iterable[str]) -> None:
        """Raise an `InputError` for a local path that not all machines see."""

    def report(self) -> dict[str, Any]:
        """Return what was done where, as JSON."""


_current: ContextVar[Engine | None] = ContextVar("engine", default=None)


def current() -> Engine | None:
    """The engine of this run; None for the cores of this machine."""
    return _current.get()


@contextmanager
def using(engine: str | None = None, address: str | None = None) -> Iterator[Engine | None]:
    """Run what is within on an engine.

    Parameters
    ----------
    engine : str, optional
        A name in `ENGINES`; by default the one that runs already, else ``local``.
    address : str, optional
        Of a Ray cluster that is there; see `tasksift.engines.ray.RayEngine`.

    Raises
    ------
    InputError
        If there is no such engine, or it does not answer.
    """
    if engine is None and address is None:
        yield current()
        return
    engine = engine or "local"
    if engine not in ENGINES:
        raise InputError(f"--engine {engine!r} does not exist; use one of {', '.join(ENGINES)}")
    if engine == "local":
        if address is not None:
            raise InputError(f"--ray-address {address} is for --engine ray; give both, or neither")
        with _set(None):
            yield None
        return
    from tasksift.engines.ray import RayEngine

    with RayEngine(address) as ray, _set(ray):
        yield ray


@contextmanager
def _set(engine: Engine | None) -> Iterator[None]:
    token = _current.set(engine)
    try:
        yield
    finally:
        _current.reset(token)


def spread(
    work: Callable[..., Result], common: tuple[Any, ...], parts: Iterable[Part], *, gpu: bool = False
) -> Iterator[Result]:
    """Yield ``work(*common, part)`` for every part, in the order of the parts, computed by the engine of this run.

    Parameters
    ----------
    work : callable
        A function that a module defines. It has no side effects: it may run on another machine, and twice.
    common : tuple
        What every part needs; sent to each machine once.
    parts : iterable
        Read a few parts ahead of the result that is yielded.
    gpu : bool
        Whether a part is computed by a GPU: one at a time here.

    Notes
    -----
    Locally threads of this process compute, see `tasksift.engines.local.share`.
    """
    engine = current()
    if engine is None:
        yield from share(lambda part: work(*common, part), parts, 1 if gpu else None)
    else:
        yield from engine.spread(work, common, parts, gpu=gpu)


def require(*paths: str | Path) -> None:
    """Raise an `InputError` for a local path that a machine of the engine does not see."""
    engine = current()
    if engine is not None:
        engine.require([str(path) for path in paths])


def engine_report(say: Callable[[str], None]) -> dict[str, Any]:
    """Return what an engine did, under the key ``engine`` of a manifest; nothing for the cores of this machine.

    What the user should hear of it is said: what was tried again, and what did not fit the object stores.
    """
    engine = current()
    if engine is None:
        return {}
    report = engine.report()
    if report["retried"]:
        say(f"{len(report['retried'])} parts were tried again, such as {report['retried'][0]}")
    if report["spilled_bytes"]:
        say(
            f"{report['spilled_bytes'] / 1e6:,.0f} MB were moved from the cluster's object stores to disk; give them "
            "more room by ray start --object-store-memory"
        )
    return {"engine": report}


def cores() -> int:
    """How many parts are computed at a time."""
    engine = current()
    return worker_count() if engine is None else engine.cores
