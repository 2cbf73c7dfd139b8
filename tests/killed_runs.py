"""Runs that kill themselves just before the k-th thing they do to a file, each in a fork of one warm process."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sklearn.feature_extraction.text  # what runs load late every fork would load anew
import sklearn.utils.extmath  # noqa: F401


def run_in_fork(
    do: Callable[[], Any], folder: Path, kill_at: int = 0, named: Callable[[Path], str] = lambda path: path.name
) -> tuple[int, list[str]]:
    """Run something in a folder, with SIGKILL before step `kill_at` (0: never).

    Returns its exit code and what it did to files, a line each: the event of the interpreter and the file's name.
    """
    path = folder.parent / "log"
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    pid = os.fork()
    if pid == 0:
        count = 0

        def see(event: str, args: tuple[Any, ...]) -> None:
            nonlocal count
            writes = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR)
            if not writes and event not in ("os.rename", "os.remove", "os.mkdir", "os.rmdir"):
                return
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            name = args[1] if event == "os.rename" else args[0]
            os.write(log, f"{event} {named(Path(os.fsdecode(name)))}\n".encode())

        os.chdir(folder)
        sys.addaudithook(see)
        try:
            do()
        except BaseException:  # noqa: BLE001 - whatever it is, the fork must not go on with the tests
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(log)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), path.read_text().splitlines()


def snapshot(folder: str | Path) -> dict[str, bytes | None]:
    """Every file below a folder with its bytes, and every folder."""
    root = Path(folder)
    return {str(p.relative_to(root)): p.read_bytes() if p.is_file() else None for p in sorted(root.rglob("*"))}
