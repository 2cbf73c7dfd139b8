"""Work on parts of a pool by the threads of this process: NumPy lets go of the interpreter while it computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

from tasksift.engines import worker_count

Part = TypeVar("Part")
Result = TypeVar("Result")


def share(work: Callable[[Part], Result], parts: Iterable[Part], workers: int | None = None) -> Iterator[Result]:
    """Yield ``work(part)`` for every part, in the order of the parts, computed by `workers` threads.

    By default there are as many threads as workers, see `worker_count`.
    BLAS gets one thread meanwhile: every worker does its own products on its own blocks, so that all cores are used
    once, and nothing a product rounds depends on the number of workers. At most two parts for each worker are in
    flight. An exception in `work`, or a caller that stops early, ends the others after the part they are at.
    """
    workers = workers or worker_count()
    if isinstance(parts, Sized):
        workers = min(workers, len(parts))
    if workers <= 1:
        with threadpool_limits(1, user_api="blas"):
            yield from map(work, parts)
        return
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers, thread_name_prefix="tasksift") as pool:
        ahead: deque[Future[Result]] = deque()
        try:
            for part in parts:
                ahead.append(pool.submit(work, part))
                if len(ahead) > 2 * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
