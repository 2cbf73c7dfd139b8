"""A Python process of its own, timed from its start: wall time, its stages, and the memory that it holds itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SAMPLE_SECONDS = 0.02


class Stages:
    """Says on stdout when each stage of a process ends, so that one which is cut off leaves what it got done."""

    def end(self, stage: str, **facts: object) -> None:
        """Name the stage that ended now, with anything worth keeping."""
        print(json.dumps({"stage": stage, "at": time.time(), **facts}), flush=True)


@dataclass(frozen=True)
class Measured:
    """One finished process.

    Attributes
    ----------
    seconds : float
        Wall time from before the interpreter started until it was gone.
    cut : bool
        Whether it was ended because it ran for longer than its limit.
    peak_mb : float
        Largest anonymous memory, which leaves out mapped files; where the system does not tell it (not Linux), the
        largest resident memory with mapped files.
    stages : dict
        Seconds of each stage; the first one holds the interpreter's start.
    facts : dict
        Whatever the stages said besides.
    """

    seconds: float
    cut: bool
    peak_mb: float
    stages: dict[str, float]
    facts: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """As kept in a file of results."""
        return {
            "seconds": round(self.seconds, 3),
            "cut": self.cut,
            "peak_mb": round(self.peak_mb),
            "stages": {name: round(seconds, 3) for name, seconds in self.stages.items()},
            "load": round(os.getloadavg()[0], 2),
            **self.facts,
        }


def run(script: str, *arguments: object, limit: float | None = None) -> Measured:
    """Run a script of this folder whose stages are told by `Stages`; a failure ends this process with its message."""
    command = [sys.executable, str(Path(__file__).with_name(script)), *map(str, arguments)]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as log:
        start = time.time()
        process = subprocess.Popen(command, stdout=out, stderr=log)
        over, cut = threading.Event(), threading.Event()
        peak = [0.0]
        watch = threading.Thread(target=sample_memory, args=(process.pid, over, peak))
        watch.start()

        def end() -> None:
            cut.set()
            os.kill(process.pid, signal.SIGKILL)

        timer = threading.Timer(limit or threading.TIMEOUT_MAX, end)
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.time() - start
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
            over.set()
            watch.join()
        process.returncode = os.waitstatus_to_exitcode(status)
        for stream in (out, log):
            stream.seek(0)
        if process.returncode and not cut.is_set():
            sys.exit(f"{' '.join(command)}\nended with {process.returncode}:\n{log.read().decode(errors='replace')}")
        lines = [json.loads(line) for line in out.read().splitlines()]
    stages: dict[str, float] = {}
    facts: dict[str, Any] = {}
    for line in lines:
        name, at = line.pop("stage"), line.pop("at")
        stages[name] = stages.get(name, 0.0) + at - start
        start = at
        facts.update(line)
    unit = 1 if sys.platform == "darwin" else 1024
    return Measured(seconds, cut.is_set(), peak[0] or usage.ru_maxrss * unit / 1e6, stages, facts)


def sample_memory(pid: int, over: threading.Event, peak: list[float]) -> None:
    """Keep the largest RssAnon of a process in `peak`, in MB; leave 0 where there is no such figure."""
    status = Path(f"/proc/{pid}/status")
    while not over.wait(SAMPLE_SECONDS):
        try:
            text = status.read_text()
        except OSError:
            return
        at = text.find("RssAnon:")
        if at >= 0:
            peak[0] = max(peak[0], int(text[at + 8 : text.index("kB", at)]) * 1024 / 1e6)
