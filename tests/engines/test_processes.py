"""Worker processes: order, bounds, errors, and that none outlives its parent. Time is only ever waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

import tasksift
from tasksift.engines import WORKERS, worker_count
from tasksift.engines.processes import AHEAD, in_processes, process_count
from tasksift.errors import InputError
from worker_jobs import die, log_of_loads, refuse, scale, ten

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(tasksift.__file__).parents[1])}


def gone(pid: int) -> bool:
    for _ in range(200):
        stat = Path(f"/proc/{pid}/stat")
        try:
            os.kill(pid, 0)
            if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_the_number_of_workers(monkeypatch):
    monkeypatch.delenv(WORKERS, raising=False)
    cores = worker_count()
    assert 1 <= cores <= (os.cpu_count() or 1)
    monkeypatch.setenv(WORKERS, " 7 ")
    assert worker_count() == 7
    assert process_count(3) == 3
    monkeypatch.setenv(WORKERS, "")
    assert worker_count() == cores


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "²"])
def test_a_bad_number_of_workers(value, monkeypatch):
    monkeypatch.setenv(WORKERS, value)
    with pytest.raises(InputError, match=f"TASKSIFT_WORKERS='{value}': it should be a number of workers"):
        worker_count()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no CPU affinity here")
def test_affinity_counts(monkeypatch):
    monkeypatch.delenv(WORKERS, raising=False)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        assert worker_count() == 1
    finally:
        os.sched_setaffinity(0, cores)


def test_results_come_in_order_and_little_is_read_ahead(tmp_path):
    read = 0

    def numbers():
        nonlocal read
        for k in range(12):
            read += 1
            yield k

    pids = set()
    with closing(in_processes(scale, partial(log_of_loads, tmp_path / "log"), numbers(), 2)) as results:
        for k, (value, pid) in enumerate(results):
            assert value == k
            assert read <= k + 2 * AHEAD
            pids.add(pid)
    assert os.getpid() not in pids
    assert len(pids) <= 2
    loads = (tmp_path / "log").read_text().split()
    assert len(loads) == len(set(loads)) <= 2
    assert all(gone(pid) for pid in pids)


def test_no_batches():
    assert list(in_processes(scale, ten, [], 2)) == []


def test_errors_come_through_and_no_process_stays():
    def numbers():
        yield 1
        yield 2
        raise InputError("pool.jsonl, line 3: not JSON")

    with pytest.raises(InputError, match="line 3"):
        list(in_processes(scale, ten, numbers(), 2))
    with pytest.raises(InputError, match="a bad model"):
        list(in_processes(scale, refuse, [1], 1))
    with pytest.raises(InputError, match=r"ended before its work was done.*TASKSIFT_WORKERS to fewer than 2"):
        list(in_processes(die, ten, range(9), 2))


# No `if __name__ == "__main__":`, as in a user's script; the workers' ids go to standard output.
SCRIPT = """
import os, signal, time
from tasksift.engines.processes import in_processes

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job begins without it

def work(state, number):
    time.sleep(0.05)
    return os.getpid()

def numbers():
    k = 0
    while True:
        yield k
        k += 1

seen = set()
for pid in in_processes(work, int, numbers(), 2):
    if pid not in seen:
        seen.add(pid)
        print(pid, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_its_parent(how, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=tmp_path, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        workers = [int(process.stdout.readline()) for _ in range(2)]
        assert process.pid not in workers
        if how is signal.SIGINT:
            os.killpg(process.pid, how)  # as a terminal does: the workers are sent it too
        else:
            process.send_signal(how)
        process.stdout.close()
        errors = process.stderr.read() if process.stderr is not None else ""
        process.wait()
    assert process.returncode == -how
    assert all(gone(pid) for pid in workers)
    if how is signal.SIGINT:
        assert errors.count("Traceback") == errors.count("KeyboardInterrupt\n") == 1
