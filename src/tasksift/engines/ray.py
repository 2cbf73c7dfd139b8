"""Ray: the functions over parts of a pool, run on the machines of a cluster.

Tasks compute parts, and shards of a feature store where nothing heavy is loaded; otherwise shards are made by actors,
which load a model once, through `ray.data`. A part that is lost with its worker, or fails for a reason that may pass,
is tried again, `ATTEMPTS` times in all. Which machine computes what changes nothing in the results.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing, suppress
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from tasksift import __version__
from tasksift.engines.current import Done, ShardJob, Units
from tasksift.engines.ray_cluster import connect, spilled_bytes, threads_ended
from tasksift.engines.ray_worker import (
    ATTEMPTS,
    Box,
    Failure,
    Home,
    Ledger,
    Reader,
    Writer,
    load_ray,
    lost,
    make_unit,
    unseen,
    warm,
    with_state,
    work_on,
)
from tasksift.errors import InputError, UnfinishedError

Result = TypeVar("Result")

AHEAD = 2
"""Parts under way for each core: one that it works on and one that waits."""

IN_FLIGHT_BYTES = 2**28
"""Rows that were read and wait to be embedded take so many bytes of the cluster's object stores at most, and at most
a quarter of the smallest store; readers wait meanwhile. A shard that is larger than that waits alone."""

TOGETHER = 4
"""Shards of a unit, at most, that a worker reads for itself."""

READER_CPU, WRITER_CPU = 0.01, 0.9
"""Readers wait for files, and leave the cores to those who compute: on one core there is room for both."""

WARM = 64
"""Workers that are started ahead of their first part, at most."""


class RayEngine:
    """A Ray cluster, while it is connected: a context manager.

    Parameters
    ----------
    address : str, optional
        Of a running cluster that this machine is part of: HOST:PORT or ``auto``. By default that of `RAY_ADDRESS`, else
        a cluster of this machine, which ends with the run. A program that is connected already stays so.

    Raises
    ------
    InputError
        If no cluster answers at the address, or it has no core.
    """

    def __init__(self, address: str | None = None) -> None:
        self.address = address

    def __enter__(self) -> RayEngine:
        self._ours = connect(self.address)
        ray = load_ray()
        self.cores = max(1, int(ray.cluster_resources().get("CPU", 0)))
        self.gpus = int(ray.cluster_resources().get("GPU", 0))
        self._here = ray.get_runtime_context().get_node_id()
        self._home = Home(__version__, str(Path.cwd()))
        self._kept: dict[int, Any] = {}
        self._workers: dict[str, dict[str, Any]] = {}
        self._spilled = spilled_bytes(self._here)
        self._retried: list[str] = []
        self._tokens = count()
        # It takes seconds, in which this process has other things to do.
        self._warm = [ray.remote(num_cpus=1)(warm).remote() for _ in range(min(self.cores, WARM))]
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.clear()
        self._warm.clear()
        if self._ours:
            load_ray().shutdown()

    def spread(
        self, work: Callable[..., Result], common: tuple[Any, ...], parts: Iterable[Any], *, gpu: bool = False
    ) -> Generator[Result, None, None]:
        """Yield ``work(*common, part)`` in the order of the parts; see `tasksift.engines.current.spread`.

        At most `AHEAD` parts for each core are under way, with their results.
        """
        parts = iter(parts)
        first = list(islice(parts, 2))
        if len(first) < 2 and not gpu:  # one part needs no other machine
            with threadpool_limits(1, user_api="blas"):
                yield from (work(*common, part) for part in first)
            return
        name = getattr(work, "__name__", type(work).__name__)
        every = chain(first, parts)
        with closing(self._tasks(work, common, every, lambda k, _: f"part {k} of {name}", gpu=gpu)) as found:
            for result, worker, seconds in found:
                _add(self._workers.setdefault(worker, {}), {"parts": 1, "seconds": seconds})
                yield result

    def stream(
        self, function: Callable[[Any, Any], Result], load: Callable[[], Any], batches: Iterable[Any], *, gpu: bool
    ) -> Generator[Result, None, None]:
        """Yield ``function(load(), batch)`` for every batch, in order; `load` is called once in each worker."""
        token = f"{os.getpid()}-{next(self._tokens)}"
        yield from self.spread(with_state, (token, function, load), batches, gpu=gpu)

    def fill(self, job: ShardJob, units: Units, left: Sequence[int]) -> Generator[Done, None, None]:
        """Make all shards that are left, in any order, and say of each once that it is there.

        Rows are embedded by actors of `ray.data`, of which each loads what it needs once, and reads for itself; where a
        file cannot be cut, or a GPU would wait, tasks read for them, and what is held in between is bounded by
        `IN_FLIGHT_BYTES`. Where no model is loaded and files can be cut, tasks do both.

        Raises
        ------
        InputError
            What a reader or a writer says of the data; or, after `ATTEMPTS` tries, which shard fails and why. Shards
            that are done stay.
        """
        if not left:
            return
        ray = load_ray()
        beside = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(self._here, soft=False)
        ledger = ray.remote(Ledger).options(num_cpus=0, scheduling_strategy=beside).remote(_room())
        missing, rounds = dict.fromkeys(left), 0
        try:
            while missing:
                before = len(missing)
                try:
                    # Closed at once: what goes on in the background would end this process with the cluster.
                    with closing(self._round(job, units, list(missing), ledger)) as made:
                        for shard, found in made:
                            if isinstance(found, Failure):
                                self._answer(f"shard {shard}", found, ray.get(ledger.begun.remote(shard)))
                            elif shard in missing:
                                del missing[shard]
                                self._count(found)
                                yield found
                except ray.exceptions.RayError as error:
                    rounds += 1
                    if missing:
                        self._answer(f"shards {min(missing)} to {max(missing)}", lost(error), rounds)
                else:
                    rounds += len(missing) == before
                    if rounds > ATTEMPTS:
                        raise InputError("the pool became shorter while it was read; run again")
        finally:
            ray.kill(ledger)

    def require(self, paths: Iterable[str]) -> None:
        """Raise an `InputError` for a local path that not all machines of the cluster see."""
        ray = load_ray()
        affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        look = ray.remote(unseen)
        paths = [str(Path(path).resolve()) for path in paths]
        nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] != self._here]
        asked = [
            look.options(num_cpus=0, scheduling_strategy=affinity(node, soft=True)).remote(self._home, paths)
            for node in nodes
        ]
        for said in filter(None, ray.get(asked)):
            raise InputError(said)

    def report(self) -> dict[str, Any]:
        """Return what was done where: each worker's rows, bytes, seconds, parts and drops; what was tried again."""
        total: dict[str, Any] = {}
        spilled = spilled_bytes(self._here)
        for each in self._workers.values():
            _add(total, each)
        return {
            "name": "ray",
            "cores": self.cores,
            "gpus": self.gpus,
            "workers": {worker: self._workers[worker] for worker in sorted(self._workers)},
            "total": total,
            "retried": self._retried,
            "spilled_bytes": None if spilled is None or self._spilled is None else spilled - self._spilled,
        }

    def _keep(self, value: Any) -> Any:
        """Return where a common argument lies in the object store: as long as it lives, it is put there once."""
        key = id(value)
        if key in self._kept:
            return self._kept[key]
        ref = load_ray().put(value)
        with suppress(TypeError):  # numbers and the like have no weak references, and are small
            weakref.finalize(value, self._kept.pop, key, None).atexit = False
            self._kept[key] = ref
        return ref

    def _tasks(
        self,
        work: Callable[..., Result],
        common: tuple[Any, ...],
        parts: Iterable[Any],
        name: Callable[[int, Any], str],
        *,
        gpu: bool = False,
    ) -> Generator[tuple[Result, str, float], None, None]:
        """Yield what `work_on` returns for every part, in order; `name` says what a part is, should it fail."""
        ray = load_ray()
        task = ray.remote(num_cpus=1, num_gpus=int(gpu and self.gpus > 0), max_retries=0, max_calls=0)(work_on)
        shared = [self._keep(each) for each in common]

        def submit(part: Any) -> Any:
            return task.remote(self._home, work, part, *shared)

        def result(k: int, part: Any, ref: Any) -> tuple[Result, str, float]:
            for tried in count(1):
                try:
                    found: tuple[Any, str, float] = ray.get(ref)
                except ray.exceptions.RayError as error:
                    found = lost(error), "", 0.0
                if not isinstance(found[0], Failure):
                    break
                self._answer(name(k, part), found[0], tried)
                ref = submit(part)
            return found

        waiting: deque[tuple[int, Any, Any]] = deque()
        try:
            for k, part in enumerate(parts):
                waiting.append((k, part, submit(part)))
                if len(waiting) >= AHEAD * self.cores:
                    yield result(*waiting.popleft())
            while waiting:
                yield result(*waiting.popleft())
        finally:
            for _, _, ref in waiting:
                ray.cancel(ref)

    def _round(self, job: ShardJob, cut: Units, left: list[int], ledger: Any) -> Generator[tuple[int, Any], None, None]:
        """One pass over the shards that are left: each with a `Done` or a `Failure`."""
        ray = load_ray()
        units = cut(left)
        gpu = int(job.gpu and self.gpus > 0)
        most = min(self.gpus if gpu else self.cores, len(left))
        # Who reads for itself sends nothing; but a GPU should not wait, nor one worker have a large file to itself.
        apart = gpu > 0 or any(len(unit.numbers) > TOGETHER for unit in units)
        if not apart and len(units) < AHEAD * TOGETHER * most:
            units = [unit for shard in left for unit in cut([shard])]
        shared = self._home, ray.put(job), ledger
        if not (apart or job.heavy):
            yield from self._at_once(Writer(*shared), units)
            return
        from ray.data import ActorPoolStrategy, TaskPoolStrategy, from_items

        ray.get(ledger.renew.remote())
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what fails is answered here
        made = from_items([{"item": Box(unit)} for unit in units], override_num_blocks=len(units))
        made.context.target_max_block_size = 1  # every shard is a block, so that any worker may take it
        made.context.enable_progress_bars = made.context.print_on_execution_start = False
        if apart:
            readers = TaskPoolStrategy(min(len(units), self.cores))
            made = made.map_batches(Reader(*shared).__call__, batch_size=1, num_cpus=READER_CPU, compute=readers)
        made = made.map_batches(
            Writer,
            fn_constructor_args=shared,
            batch_size=1,
            num_cpus=WRITER_CPU,
            num_gpus=gpu,
            # One is enough where machines are lost.
            compute=ActorPoolStrategy(
                min_size=1, initial_size=most, max_size=most, max_tasks_in_flight_per_actor=AHEAD
            ),
        )
        batches = iter(made.iter_batches(batch_size=None, prefetch_batches=0, batch_format="numpy"))
        with threads_ended(), closing(batches):
            for batch in batches:
                yield from (box.value for box in batch["item"])

    def _at_once(self, writer: Writer, units: list[Any]) -> Generator[tuple[int, Any], None, None]:
        """The same by tasks, which workers that are there begin at once; an actor takes seconds to start."""
        ray = load_ray()

        def name(_: int, unit: Any) -> str:
            return str(ray.get(writer.ledger.under_way.remote(unit.numbers)))

        with closing(self._tasks(make_unit, (writer,), units, name)) as found:
            for made, _, _ in found:
                yield from made

    def _answer(self, what: str, failure: Failure, tried: int) -> None:
        """Raise what the user can mend, and what failed too often; note the rest, which is tried again."""
        if not failure.again:
            raise InputError(failure.cause)
        if tried >= ATTEMPTS:
            raise UnfinishedError(
                f"{what} failed {tried} times, the last time because {failure.cause}; what is done is kept, and the "
                "same command goes on there"
            )
        self._retried.append(f"{what}: {failure.cause}")

    def _count(self, done: Done) -> None:
        drops = {f"dropped: {reason}": rows for reason, rows in done.drops.items()}
        counts = {"parts": 1, "rows": done.rows, "bytes": done.nbytes, "seconds": done.seconds, **drops}
        _add(self._workers.setdefault(done.worker, {}), counts)


def _add(total: dict[str, Any], counts: dict[str, Any]) -> None:
    for name, value in counts.items():
        total[name] = round(total.get(name, 0) + value, 6)


def _room() -> int:
    """How many bytes of rows may wait in object stores; all may lie on one machine."""
    nodes = load_ray().nodes()
    stores = [int(node["Resources"].get("object_store_memory", 0)) for node in nodes if node["Alive"]]
    return min([IN_FLIGHT_BYTES, *(store // 4 for store in stores if store)])
