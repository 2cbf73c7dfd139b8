"""How long the stages of a run take, told by the progress that it shows anyway."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tasksift.progress import Tick

Clock = Callable[[], float]

START, RANK, PLAN, WRITE = "start", "rank", "plan", "write"

STAGES = {
    "reading the pool": "read",
    "fitting TF-IDF": "fit",
    "embedding the targets": "targets",
    "embedding the pool": "embed",
    "checking the vectors": "check",
    "reading the vectors": "hash",
    "looking for exact copies": "copies",
    "searching": "search",
    "densities of": "densities",
    "measuring similarity": "similarity",
    "making the report": "report",
    "writing": WRITE,
}
"""How the label of a bar begins, and the stage that it belongs to; any other label is a stage of its own."""

AFTER = {"read": RANK, "hash": RANK, "fit": RANK, "embed": RANK, "check": START, "targets": START, "report": WRITE}
"""What goes on between one stage and the next; planning where nothing else is said."""


class Recorder:
    """Takes the place of the bars, and notes when each began and ended.

    Parameters
    ----------
    clock : callable
        Seconds.
    """

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self.clock = clock
        self.events: list[tuple[str, float, float]] = []
        self._open = 0
        self._begun = self._ended = clock()

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Tick]:
        """Note one step; a step within another one is part of it."""
        begun = self.clock()
        self._open += 1
        try:
            yield lambda amount: None
        finally:
            self._open -= 1
            if not self._open:
                self.events.append((stage_of(label), begun, self.clock()))

    def finish(self) -> Recorder:
        """Note that the run is over."""
        self._ended = self.clock()
        return self

    def stages(self) -> dict[str, float]:
        """Seconds of each stage; together they are those of the run."""
        found: dict[str, float] = {}
        at, between = self._begun, START
        for name, begun, ended in self.events:
            found[between] = found.get(between, 0.0) + begun - at
            found[name] = found.get(name, 0.0) + ended - begun
            at, between = ended, AFTER.get(name, WRITE if name == WRITE else PLAN)
        found[between] = found.get(between, 0.0) + self._ended - at
        return found

    def calls(self) -> Counter[str]:
        """How often each stage came."""
        return Counter(name for name, _, _ in self.events)


def stage_of(label: str) -> str:
    """The stage that a bar with this label shows."""
    return next((stage for start, stage in STAGES.items() if label.startswith(start)), label)


def repeated(work: Callable[[], object], *, least: int, seconds: float, clock: Clock) -> tuple[float, ...]:
    """Seconds of each of some runs of `work`: at least `least`, and as many as fit in `seconds`, at most 7."""
    found: list[float] = []
    begun = clock()
    while len(found) < least or (len(found) < 7 and clock() - begun + found[-1] <= seconds):
        start = clock()
        work()
        found.append(clock() - start)
    return tuple(found)
