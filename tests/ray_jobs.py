"""What Ray's workers are given to do by tests."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from tasksift.engines.current import Done
from tasksift.errors import InputError

IGNORED = ("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
"""Warnings of Ray itself."""


def note(folder: Path, name: str) -> int:
    """Count how often something happened, whoever saw it."""
    with (folder / name).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return count(folder, name)


def count(folder: Path, name: str) -> int:
    path = folder / name
    return len(path.read_text().splitlines()) if path.exists() else 0


def square(offset, number):
    time.sleep(0.01 * (number % 3))
    return number * number + offset


def niceness(_):
    return os.nice(0)


def pause(seconds):
    time.sleep(seconds)


def falter(folder, times, how, number):
    """Fail on number 3, so many times."""
    if number == 3 and note(folder, "tries") <= times:
        if how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "refuse":
            raise InputError("row 3 is bad; mend it")
        raise OSError("the disk is gone")
    return number


def load(folder):
    note(folder, "loads")
    return 10


def multiply(state, number):
    return state * number


@dataclass(frozen=True)
class Unit:
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Job:
    """Shards of 10 rows that are files of numbers; of some is told what goes wrong, the first so many times."""

    folder: Path
    fail: dict[int, str] = field(default_factory=dict)
    times: int = 0
    unit: int = 3
    row: int = 1
    pause: float = 0.0
    gpu: bool = False
    heavy: bool = True

    def units(self, left):
        return [Unit(tuple(left[at : at + self.unit])) for at in range(0, len(left), self.unit)]

    def read(self, unit):
        for shard in unit.numbers:
            self.falter(shard, "read")
            if self.fail.get(shard) == "refuse":
                raise InputError("line 41 is bad; mend it")
            note(self.folder, "read")
            yield shard, [bytes([k]) * self.row for k in range(10)]  # a pickle holds equal ones once

    def load(self):
        note(self.folder, "loads")
        return "model"

    def write(self, state, shard, rows):
        assert state == "model"
        self.falter(shard, "die")
        self.falter(shard, "raise")
        time.sleep(self.pause)
        note(self.folder, "written")
        note(self.folder, f"ahead-{count(self.folder, 'read') - count(self.folder, 'written')}")
        (self.folder / f"shard-{shard}").write_text(str(len(rows)))
        return Done(shard, len(rows), sum(map(len, rows)), 0.01, {"no text": 1})

    def falter(self, shard, how):
        if self.fail.get(shard) == how and note(self.folder, f"tries-{shard}") <= self.times:
            if how == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError("the file is gone") if how == "read" else RuntimeError("no memory on the device")
