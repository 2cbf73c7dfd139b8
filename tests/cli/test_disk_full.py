"""A disk that is full, from the first to the last thing that a run writes: one line, and what stood there stays."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bad_case import ENVIRONMENT, Case, as_lines, check_message, snapshot, text_rows

# No file may grow beyond so many bytes.
LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.argv[1:] = sys.argv[2:]
from tasksift.cli import main
main()
"""


@pytest.mark.parametrize("limit", [100, 900, 2_500, 6_000, 20_000])
def test_disk_full(limit: int, folder: Path):
    (folder / "pool.jsonl").write_bytes(as_lines(text_rows(900)))
    (folder / "picked.jsonl").write_bytes(b"of yesterday\n")
    before = snapshot(folder)
    args = Case("", (), budget="-b 800").args()
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), *args, "--force"],
        cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    check_message(done.stderr, ("cannot write", "File too large"))
    assert snapshot(folder) == before


PATH_OPEN = Path.open


class Full:
    """A function that fails with ENOSPC at its k-th call and counts its calls; opening to read is none."""

    def __init__(self, real: Callable[..., Any], k: int) -> None:
        self.real, self.k, self.calls = real, k, 0

    def __call__(self, *args: Any, **more: Any) -> Any:
        self.calls += self.real is not PATH_OPEN or "w" in "".join(map(str, [*args[1:], *more.values()]))
        if self.calls == self.k:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.real(*args, **more)


@pytest.mark.parametrize("what", ["open", "replace", "mkdir"])
def test_disk_full_at_every_step(
    what: str, folder: Path, tasksift: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    before = snapshot(folder)
    real = getattr(Path, what)
    for k in range(1, 100):
        full = Full(real, k)
        monkeypatch.setattr(Path, what, lambda *args, full=full, **more: full(*args, **more))
        outcome = tasksift(*Case("", (), out="picked.parquet").args())
        monkeypatch.setattr(Path, what, real)
        if outcome.code == 0:
            break
        assert outcome.code == 2, (k, outcome)
        check_message(outcome.err, ("No space left on device",))
        if not (folder / "picked.parquet").exists():
            assert snapshot(folder) == before, k
            continue
        # The training file stood already; the same command finishes what is left to do.
        assert tasksift(*Case("", (), out="picked.parquet").args()).code == 0
        assert not (folder / "picked.parquet.run.part").exists()
        break
    assert k > {"open": 8, "replace": 8, "mkdir": 2}[what]
    assert (folder / "picked.parquet").exists()
