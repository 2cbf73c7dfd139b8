"""The command line as a user runs it, timed: what both benchmarks measure."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from numpy.typing import NDArray


@dataclass(frozen=True)
class Run:
    """One finished `tasksift select`.

    Attributes
    ----------
    seconds : float
        Wall time of the whole process.
    peak_mb, stated_mb : float
        Largest resident memory, and what the run said before it started (nan if it said nothing), both with the
        vectors that it maps from disk; only the latter counts worker processes.
    out : Path
        The training file; ``<out>.run`` stands beside it.
    """

    seconds: float
    peak_mb: float
    stated_mb: float
    out: Path

    @property
    def manifest(self) -> dict[str, Any]:
        """What ``manifest.json`` says."""
        manifest: dict[str, Any] = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))
        return manifest

    @property
    def folder(self) -> Path:
        """The run directory."""
        return self.out.with_name(self.out.name + ".run")

    def column(self, name: str, table: str = "selection") -> NDArray[Any]:
        """A column of ``selection.parquet`` or ``plan.parquet``."""
        values: NDArray[Any] = pq.read_table(self.folder / f"{table}.parquet", columns=[name])[name].to_numpy()
        return values


def select(pool: Path | None, out: Path, **options: object) -> Run:
    """Run `python -m tasksift select` in a process of its own; an option that is True is a flag.

    The memory that the kernel reports for a child is never less than its parent's when it was started, so callers keep
    small.
    """
    command = [sys.executable, "-m", "tasksift", "select", *([str(pool)] if pool else []), "--out", str(out), "--force"]
    for name, value in options.items():
        command += ["--" + name.replace("_", "-"), *([] if value is True else [str(value)])]
    with tempfile.TemporaryFile() as log:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        said = log.read().decode(errors="replace")
    if process.returncode:
        sys.exit(f"{' '.join(command)}\nended with {process.returncode}:\n{said}")
    stated = re.search(r"memory about ([\d.]+ [GM]B)[^,]*(?:, besides ([\d.]+ [GM]B) of vectors)?", said)
    stated_mb = sum(map(_megabytes, filter(None, stated.groups()))) if stated else float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(seconds, usage.ru_maxrss * unit / 1e6, stated_mb, out)


def _megabytes(size: str) -> float:
    number, unit = size.split()
    return float(number) * (1000 if unit == "GB" else 1)


def earlier(results: Path | None) -> list[dict[str, Any]]:
    """The runs that a file of results holds; none if there is no file."""
    if results is None or not results.exists():
        return []
    runs: list[dict[str, Any]] = json.loads(results.read_text(encoding="utf-8"))
    return runs


def keep(results: Path | None, runs: list[dict[str, Any]]) -> None:
    """Say what the last run gave, and write all of them."""
    print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    if results is not None:
        results.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")


def markdown(head: list[str], rows: list[list[object]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
