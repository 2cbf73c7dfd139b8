"""Progress of long steps, as a function that a caller may replace: `progress(label, total)` opens one bar."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Tick = Callable[[int], None]
Progress = Callable[[str, int], AbstractContextManager[Tick]]

PATIENCE = 2.0
"""Seconds that a step may take before its bar appears."""

LINE_EVERY = 10.0
"""Seconds between lines where there is no terminal for a bar."""


@contextmanager
def silent(label: str, total: int) -> Iterator[Tick]:
    """Show nothing."""
    yield lambda amount: None


@contextmanager
def bars(label: str, total: int) -> Iterator[Tick]:
    """Show a bar with rate and remaining time on standard error, once the step has taken two seconds.

    Where standard error is not a terminal, a line now and then takes the bar's place.
    """
    begun = time.monotonic()
    done = 0
    if not sys.stderr.isatty():
        said = begun

        def tell(amount: int) -> None:
            nonlocal done, said
            done += amount
            now = time.monotonic()
            if now - said > (LINE_EVERY if said > begun else PATIENCE):
                said = now
                rate = done / (now - begun)
                rest = f", {(total - done) / rate:.0f} s left" if 0 < done < total else ""
                share = f" {done / total:.0%}," if total else ""
                print(f"{label}:{share} {_short(rate)}/s{rest}", file=sys.stderr)  # noqa: T201

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task(label, total=total or None, rate="")
    shown = False

    def tick(amount: int) -> None:
        nonlocal done, shown
        done += amount
        elapsed = time.monotonic() - begun
        if not shown and elapsed > PATIENCE:
            bar.start()
            shown = True
        if shown:
            bar.update(task, completed=done, rate=f"{_short(done / elapsed)}/s")

    try:
        yield tick
    finally:
        if shown:
            bar.stop()


def _short(value: float) -> str:
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.1f}{letter}"
    return f"{value:.0f}"
