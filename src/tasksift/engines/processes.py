"""Local processes: one function over a stream of batches, results in the order of the batches, bounded memory.

The processes are loky's: they start without importing the user's script, so a script needs no
``if __name__ == "__main__":``.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from tasksift.engines import WORKERS, worker_count
from tasksift.errors import InputError

State = TypeVar("State")
Batch = TypeVar("Batch")
Result = TypeVar("Result")

AHEAD = 2
"""Batches under way for each worker: one that it works on and one that waits, so that it never waits for the reader."""

IDLE_SECONDS = 60.0
"""After how long without a batch a worker leaves; a new one comes when batches come again."""

WATCH_SECONDS = 0.5
"""How often a worker looks whether the process that it works for is still there."""

ENVIRONMENT = {
    **dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
        "1",
    ),
    "LOKY_MAX_MEMORY_LEAK_SIZE": "2e9",
}
"""The environment of a worker: there is one for each core, so none needs threads. A model that it holds is no leak, and
loky replaces it when it has grown by 2 GB, not by the usual 0.3."""


def process_count(most: int) -> int:
    """Return how many worker processes to start: `worker_count()`, at most `most`; 1 means to do without.

    The workers of a `multiprocessing.Pool` may not start processes.
    """
    return 1 if multiprocessing.current_process().daemon else min(most, worker_count())


def in_processes(
    function: Callable[[State, Batch], Result],
    load: Callable[[], State],
    batches: Iterable[Batch],
    workers: int,
) -> Generator[Result, None, None]:
    """Yield ``function(load(), batch)`` for every batch, in order, computed by worker processes.

    Parameters
    ----------
    function, load : callable
        Functions that a module defines (or a `functools.partial` of one). `load` is called once in each worker.
    batches : iterable
        Read in this process, at most ``AHEAD * workers`` batches before the result that is yielded; what reading
        raises is raised from here.
    workers : int
        How many processes; see `tasksift.engines.worker_count`.

    Raises
    ------
    InputError
        If processes cannot be started here, or if one of them dies, most likely for lack of memory.

    Notes
    -----
    However the stream ends, no process outlives it: an exception, an interrupt and a generator that is closed wait for
    the batches under way; workers whose parent was killed leave within `WATCH_SECONDS`. Workers do not see Ctrl-C,
    which is the parent's to answer.
    """
    from loky import ProcessPoolExecutor

    waiting: deque[Future[Result]] = deque()
    try:
        executor = ProcessPoolExecutor(
            workers, timeout=IDLE_SECONDS, initializer=_start, initargs=(function, load, os.getpid()), env=ENVIRONMENT
        )
        with _deaf():
            executor.submit(abs, 0)  # starts the processes, which load themselves while the first batch is read
    except (OSError, ImportError) as error:  # a system without semaphores, or without room for processes
        raise InputError(f"worker processes cannot be started here ({error}); set {WORKERS}=1") from error
    try:
        for batch in batches:
            waiting.append(executor.submit(_work, batch))
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise InputError(
            f"a worker process ended before its work was done, most likely for lack of memory; set {WORKERS} to fewer "
            f"than {workers} workers"
        ) from None
    finally:
        for future in waiting:
            future.cancel()
        executor.shutdown(wait=True)


_job: tuple[Callable[[Any, Any], Any], Callable[[], Any]]
_state: list[Any] = []


def _start(function: Callable[[Any, Any], Any], load: Callable[[], Any], parent: int) -> None:
    global _job
    _job = function, load
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.name == "posix":
        threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _work(batch: Any) -> Any:
    function, load = _job
    if not _state:  # here and not in `_start`, so that what it raises reaches the parent
        _state.append(load())
    return function(_state[0], batch)


def _leave_with(parent: int) -> None:
    """End this process when its parent is gone: the system has given it another one by then."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


@contextmanager
def _deaf() -> Iterator[None]:
    """Ignore Ctrl-C for the moment in which processes start: they begin deaf as well, and say nothing of it."""
    mine = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is not None
    if not mine:  # handlers of other threads' and other languages' are not ours to change; `_start` must do
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
