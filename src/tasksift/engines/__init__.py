"""Engines: how functions over shards are run on the cores of this machine. What is run never asks which one runs it."""

from __future__ import annotations

import os

from tasksift.errors import InputError

WORKERS = "TASKSIFT_WORKERS"
"""Environment variable: how many workers share the work of a step; 1 keeps it in this process."""


def worker_count() -> int:
    """Return how many workers share the work: `TASKSIFT_WORKERS`, else the cores that this process may run on.

    Raises
    ------
    InputError
        If the variable is set to anything but a whole number of at least 1.
    """
    asked = os.environ.get(WORKERS, "").strip()
    if not asked:
        # A container or `taskset` may leave a process fewer cores than the machine has.
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not (asked.isascii() and asked.isdigit() and int(asked) >= 1):
        raise InputError(f"{WORKERS}={asked!r}: it should be a number of workers; 1 keeps the work in one process")
    return int(asked)


__all__ = ["WORKERS", "worker_count"]
