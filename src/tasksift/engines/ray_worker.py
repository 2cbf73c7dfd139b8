"""What Ray's workers run for an engine, on whatever machine: parts, shards that are read, shards that are written."""

from __future__ import annotations

import os
import pickle
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tasksift import __version__
from tasksift.engines import WORKERS
from tasksift.engines.current import Done, ShardJob
from tasksift.errors import InputError, MissingExtraError, UnfinishedError

ATTEMPTS = 3
"""How often something is tried before the run stops."""

WAIT_SECONDS = 0.1
"""How long a reader waits before it asks again whether there is room for what it has read."""


@dataclass(frozen=True)
class Home:
    """What a worker must have in common with the process that it works for."""

    version: str
    folder: str

    def settle(self) -> None:
        """Make this process one that may work for it."""
        if self.version != __version__:
            raise InputError(
                f"{worker_name()}, of the cluster, has tasksift {__version__} and this machine has {self.version}; "
                "install the same on all machines"
            )
        os.environ[WORKERS] = "1"  # there is a worker for each core
        if Path(self.folder).is_dir():  # for paths that are given relative to it
            os.chdir(self.folder)


@dataclass(frozen=True)
class Failure:
    """Why something could not be done, as a clause, and whether it is worth another try."""

    cause: str
    again: bool = True


@dataclass(frozen=True)
class Box:
    """A value that `ray.data` passes on as it is."""

    value: Any


class Ledger:
    """An actor beside the driver, which outlives workers: how often each shard was begun, and where the last time.

    It also decides when rows that were read may be handed over. `ray.data` bounds what is under way as well, but lets
    readers go on while no writer has come up, and so, before a slow start, through the whole pool.
    """

    def __init__(self, room: int) -> None:
        self._tries: dict[int, tuple[int, str]] = {}
        self._room = room
        self._waiting: dict[int, int] = {}

    def renew(self) -> None:
        """Forget what was handed over: another round of reading begins."""
        self._waiting.clear()

    def admit(self, shard: int, nbytes: int) -> bool:
        """Whether the rows of a shard may be handed over now; if so, they take up room until a writer begins them."""
        # What is read again, for it was lost, waits for nobody: those who wait for it would wait for ever.
        if shard in self._tries or shard in self._waiting:
            return True
        if self._waiting and sum(self._waiting.values()) + nbytes > self._room:
            return False
        self._waiting[shard] = nbytes
        return True

    def begin(self, shard: int, worker: str) -> tuple[int, str]:
        """Count one more try, if there may be one; return how many there were before it, and where the last one was."""
        self._waiting.pop(shard, None)
        before = self._tries.get(shard, (0, ""))
        if before[0] < ATTEMPTS:
            self._tries[shard] = before[0] + 1, worker
        return before

    def end(self, shard: int) -> None:
        """Count anew: the shard is done, and begun again only for another one that is read with it."""
        self._tries[shard] = 0, ""

    def begun(self, shard: int) -> int:
        """How often a shard was begun and not ended."""
        return self._tries.get(shard, (0, ""))[0]

    def under_way(self, shards: Sequence[int]) -> str:
        """Which of these was begun most often and not ended, and where."""
        shard = max(shards, key=self.begun)
        where = self._tries.get(shard, (0, ""))[1]
        return f"shard {shard} on {where}" if where else f"shard {shard}"


class Reader:
    """Reads units of shards and hands them over one by one, each in a block of its own."""

    def __init__(self, home: Home, job: Any, ledger: Any) -> None:
        self.home, self.job, self.ledger = home, job, ledger

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield (shard, rows) or (shard, failure) for the shards of each unit, when the ledger has room for it."""
        ray = load_ray()
        for box in batch["item"]:
            for shard, rows in self.shards(box.value):
                nbytes = 0 if isinstance(rows, Failure) else len(pickle.dumps(rows, pickle.HIGHEST_PROTOCOL))
                while nbytes and not ray.get(self.ledger.admit.remote(shard, nbytes)):
                    time.sleep(WAIT_SECONDS)
                yield {"item": boxes((shard, rows))}

    def shards(self, unit: Any) -> Iterator[tuple[int, Any]]:
        """Yield each shard of a unit with its rows, or the one that cannot be read with the failure."""
        ray = load_ray()
        waiting = deque(unit.numbers)
        try:
            self.home.settle()
            job: ShardJob = ray.get(self.job)
            for shard, rows in job.read(unit):
                yield shard, rows
                if len(waiting) > 1:
                    waiting.popleft()
        except Exception as error:  # noqa: BLE001  whatever it is: the driver says which shard, and why
            ray.get(self.ledger.begin.remote(waiting[0], worker_name()))
            yield waiting[0], failure_of(error)


class Writer:
    """Embeds shards and writes them, with what the job loads once; reads them itself where it is given units."""

    def __init__(self, home: Home, job: Any, ledger: Any) -> None:
        self.home, self.job, self.ledger = home, job, ledger
        self._reader = Reader(home, job, ledger)

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield (shard, done) or (shard, failure) for each."""
        for box in batch["item"]:
            if isinstance(box.value, tuple):
                yield {"item": boxes(self._write(*box.value))}
            else:
                yield from ({"item": boxes(made)} for made in self.make(box.value))

    def make(self, unit: Any) -> Iterator[tuple[int, Done | Failure]]:
        """Read a unit and yield (shard, done) or (shard, failure) for each of its shards."""
        return (self._write(shard, rows) for shard, rows in self._reader.shards(unit))

    def _write(self, shard: int, rows: Any) -> tuple[int, Done | Failure]:
        if isinstance(rows, Failure):
            return shard, rows
        ray = load_ray()
        tries, where = ray.get(self.ledger.begin.remote(shard, worker_name()))
        if tries >= ATTEMPTS:
            return shard, Failure(f"its worker ended before it was done, at last {where}, often for lack of memory")
        try:
            self.home.settle()
            job: ShardJob = ray.get(self.job)
            done = with_state(self.job.hex(), lambda state, rows: job.write(state, shard, rows), job.load, rows)
            ray.get(self.ledger.end.remote(shard))
            return shard, replace(done, worker=worker_name())
        except Exception as error:  # noqa: BLE001  as above
            return shard, failure_of(error)


def work_on(home: Home, work: Callable[..., Any], part: Any, *common: Any) -> tuple[Any, str, float]:
    """Compute one part in a worker: its result or a `Failure`, who did it, and in how many seconds."""
    begun = time.perf_counter()
    try:
        home.settle()
        with threadpool_limits(1, user_api="blas"):
            found = work(*common, part)
    except Exception as error:  # noqa: BLE001  whatever it is: the driver says which part, and why
        found = failure_of(error)
    return found, worker_name(), time.perf_counter() - begun


def make_unit(writer: Writer, unit: Any) -> list[tuple[int, Done | Failure]]:
    """Make the shards of a unit."""
    return list(writer.make(unit))


def warm() -> None:
    """Import what most parts need."""
    import pyarrow.parquet  # noqa: F401
    import scipy.sparse  # noqa: F401


_states: dict[str, Any] = {}


def with_state(token: str, function: Callable[[Any, Any], Any], load: Callable[[], Any], batch: Any) -> Any:
    """Return ``function(load(), batch)``; what `load` returned is kept for the next batch of the same `token`."""
    if token not in _states:
        _states.clear()
        _states[token] = load()
    return function(_states[token], batch)


def unseen(home: Home, paths: list[str]) -> str:
    """Say which path a worker does not see; nothing if it sees all."""
    try:
        home.settle()
    except InputError as error:
        return str(error)
    for path in paths:
        if not Path(path).exists():
            return (
                f"{path} cannot be seen by {worker_name()}, of the cluster; put it on storage that all machines share, "
                "or name it by URL, such as s3://bucket/folder"
            )
    return ""


def failure_of(error: Exception) -> Failure:
    """What went wrong in a worker; what is wrong with the data is not tried again."""
    mendable = isinstance(error, InputError) and not isinstance(error, UnfinishedError)
    cause = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error} on {worker_name()}"
    return Failure(" ".join(cause.split()), again=not mendable)


def lost(error: Exception) -> Failure:
    """What went wrong around a worker: its machine, or what it was sent."""
    cause = getattr(error, "cause", None) or error
    last = str(cause).strip().rpartition("\n")[2]
    return Failure(f"its worker or machine was lost ({type(cause).__name__}: {last[:200]})")


def worker_name() -> str:
    """Return the name of this process, HOST/PID."""
    return f"{socket.gethostname()}/{os.getpid()}"


def boxes(*values: Any) -> NDArray[np.object_]:
    """A column of boxes."""
    column = np.empty(len(values), dtype=object)
    column[:] = [Box(value) for value in values]
    return column


def load_ray() -> Any:
    """Import Ray, or say how to install it."""
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError:
        raise MissingExtraError("ray", "ray", "--engine ray") from None
    return ray
