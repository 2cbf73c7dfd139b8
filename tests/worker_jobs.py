"""What the worker processes of tests are given to do; they import this module, as they cannot import a test's."""

from __future__ import annotations

import os
import signal
import time

from tasksift.errors import InputError


def scale(factor, number):
    time.sleep(0.02 * (number % 3))
    return number * factor, os.getpid()


def ten():
    return 10


def log_of_loads(path):
    with path.open("a") as file:
        file.write(f"{os.getpid()}\n")
    return 1


def refuse():
    raise InputError("a bad model")


def die(state, number):
    os.kill(os.getpid(), signal.SIGKILL)
