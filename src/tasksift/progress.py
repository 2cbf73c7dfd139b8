"""Progress of long steps, as a function that a caller may replace: `progress(label, total)` opens one bar."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Tick = Callable[[int], None]
Progress = Callable[[str, int], AbstractContextManager[Tick]]

PATIENCE = 2.0
"""Seconds that a step may take before anything is shown of it."""

LINE_EVERY = 10.0
"""Seconds between lines where there is no terminal for a bar."""


@contextmanager
def silent(label: str, total: int) -> Iterator[Tick]:
    """Show nothing."""
    yield lambda amount: None


def bars(label: str, total: int) -> AbstractContextManager[Tick]:
    """Show a bar with rate and remaining time on standard error, once the step has taken two seconds.

    Where standard error is not a terminal, a line now and then takes the bar's place. A step of unknown length has a
    total of 0.
    """
    return _bar(label, total) if sys.stderr is not None and sys.stderr.isatty() else _lines(label, total)


@contextmanager
def _bar(label: str, total: int) -> Iterator[Tick]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %" if total else ""),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task(label, total=total or None, rate="")
    begun = time.monotonic()

    def tick(amount: int) -> None:
        bar.advance(task, amount)
        bar.update(task, rate=_rate(bar.tasks[0].completed, time.monotonic() - begun))

    try:
        with _after_patience(bar.start):
            yield tick
    finally:
        bar.stop()


@contextmanager
def _lines(label: str, total: int) -> Iterator[Tick]:
    begun = time.monotonic()
    done = 0
    due = begun + PATIENCE

    def line() -> str:
        elapsed = time.monotonic() - begun
        if not done:
            return f"{label} ..."
        rest = f", {(total - done) / done * elapsed:.0f} s left" if done < total else ""
        return f"{label}: {f'{done / total:.0%}, ' if total else ''}{_rate(done, elapsed)}{rest}"

    def show() -> None:
        nonlocal due
        due = time.monotonic() + LINE_EVERY
        print(line(), file=sys.stderr, flush=True)  # noqa: T201

    def tick(amount: int) -> None:
        nonlocal done
        done += amount
        if time.monotonic() > due:
            show()

    with _after_patience(show):
        yield tick


@contextmanager
def _after_patience(show: Callable[[], None]) -> Iterator[None]:
    """Call `show` if the step lasts that long; by a timer, as a step may say nothing of itself until it is done."""
    timer = threading.Timer(PATIENCE, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _rate(done: float, seconds: float) -> str:
    rate = done / max(seconds, 1e-9)
    if rate < 0.5:
        return f"{60 * rate:.1f}/min"
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if rate >= factor:
            return f"{rate / factor:.1f}{letter}/s"
    return f"{rate:.0f}/s"
