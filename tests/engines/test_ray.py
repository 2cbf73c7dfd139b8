"""The Ray engine on a cluster of this machine: order, retries, what is named when all fails, and what runs ahead."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from ray_jobs import IGNORED, Job, count, falter, load, multiply, niceness, pause, square

from tasksift import __version__
from tasksift.engines.current import current, spread, using
from tasksift.engines.ray_worker import Home, Ledger, unseen
from tasksift.errors import InputError, UnfinishedError

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings(*IGNORED)


@pytest.fixture(scope="module")
def engine():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASKSIFT_WORKERS", "2")
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # workers import this folder's modules
        with using("ray") as ray:
            yield ray


def fill(engine, job, left):
    return engine.fill(job, job.units, left)


def test_parts_come_in_order_and_are_those_of_this_process(engine):
    found = list(engine.spread(square, (7,), range(40)))
    assert found == [square(7, k) for k in range(40)]
    assert list(engine.spread(square, (7,), [5])) == [32]
    assert list(engine.spread(square, (7,), [])) == []
    assert engine.report()["total"]["parts"] >= 40
    assert engine.report()["spilled_bytes"] == 0


def test_workers_are_as_nice_as_the_run(engine):
    """Nicer ones, as Ray starts them, get next to nothing beside other work."""
    assert set(engine.spread(niceness, (), range(8))) == {os.nice(0)}


def test_parts_are_read_a_few_ahead(engine):
    begun = []
    parts = (begun.append(k) or k for k in range(100))
    found = engine.spread(square, (0,), parts)
    assert [next(found) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert len(begun) <= 5 + 2 * engine.cores
    found.close()


@pytest.mark.parametrize("how", ["die", "raise"])
def test_a_part_that_fails_twice_is_tried_again(engine, tmp_path, how):
    assert list(engine.spread(falter, (tmp_path, 2, how), range(6))) == list(range(6))
    assert count(tmp_path, "tries") == 3
    assert sum("part 3 of falter" in each for each in engine.report()["retried"]) >= 2


@pytest.mark.parametrize(
    ("how", "words"), [("die", "its worker or machine was lost"), ("raise", "OSError: the disk is gone")]
)
def test_a_part_that_fails_three_times_is_named(engine, tmp_path, how, words):
    done = []
    with pytest.raises(UnfinishedError, match=f"part 3 of falter failed 3 times, the last time because .*{words}"):
        done.extend(engine.spread(falter, (tmp_path, 9, how), range(6)))
    assert count(tmp_path, "tries") == 3


def test_what_is_wrong_with_the_data_is_said_at_once(engine, tmp_path):
    with pytest.raises(InputError, match=r"^row 3 is bad; mend it$"):
        list(engine.spread(falter, (tmp_path, 9, "refuse"), range(6)))
    assert count(tmp_path, "tries") == 1


def test_a_state_is_loaded_once_in_each_worker(engine, tmp_path):
    assert list(engine.stream(multiply, partial(load, tmp_path), range(20), gpu=True)) == [10 * k for k in range(20)]
    loads = (tmp_path / "loads").read_text().split()
    assert len(set(loads)) == len(loads) >= 1


@pytest.mark.parametrize("heavy", [True, False])
def test_shards_are_made_by_workers_that_load_once(engine, tmp_path, heavy):
    """Actors, or tasks where what is loaded is light."""
    before = engine.report()["total"]
    done = list(fill(engine, Job(tmp_path, heavy=heavy), range(8)))
    assert sorted(each.shard for each in done) == list(range(8))
    assert all((tmp_path / f"shard-{k}").read_text() == "10" for k in range(8))
    loads = (tmp_path / "loads").read_text().split()
    assert len(set(loads)) == len(loads), "no worker loads twice"
    assert len(loads) <= engine.cores or not heavy  # a task may come to a worker that Ray has just started
    after = engine.report()["total"]
    gained = {name: after[name] - before.get(name, 0) for name in ("rows", "bytes", "parts", "dropped: no text")}
    assert gained == {"rows": 80, "bytes": 80, "parts": 8, "dropped: no text": 8}


@pytest.mark.parametrize(("unit", "heavy"), [(3, True), (3, False), (6, True), (6, False)])
def test_shards_that_fail_twice_change_nothing(engine, tmp_path, unit, heavy):
    """Whether writers read for themselves or, as some units are long, readers for them."""
    job = Job(tmp_path, {1: "read", 4: "die", 6: "raise"}, 2, unit=unit, heavy=heavy)
    done = list(fill(engine, job, range(8)))
    assert sorted(each.shard for each in done) == list(range(8))
    assert [count(tmp_path, f"tries-{shard}") for shard in (1, 4, 6)] == [3, 3, 3]


@pytest.mark.parametrize("shards", [8, 48])
@pytest.mark.parametrize(
    ("heavy", "fail", "where", "words"),
    [
        (True, "read", "", "OSError: the file is gone"),
        (True, "die", "", r"its worker ended before it was done, at last \S+/\d+"),
        (False, "read", "", "OSError: the file is gone"),
        (False, "die", r"on \S+/\d+ ", "its worker or machine was lost"),
    ],
)
def test_a_shard_that_fails_three_times_is_named_and_the_others_stay(
    engine, tmp_path, shards, heavy, fail, where, words
):
    """Where there are many, a worker is given several at once."""
    with pytest.raises(UnfinishedError, match=rf"^shard 4 {where}failed 3 times, the last time because .*{words}"):
        list(fill(engine, Job(tmp_path, {4: fail}, 9, heavy=heavy), range(shards)))
    assert count(tmp_path, "tries-4") == 3
    assert all((tmp_path / f"shard-{k}").exists() for k in (0, 1, 2, 3))
    assert not (tmp_path / "shard-4").exists()


@pytest.mark.parametrize("heavy", [True, False])
def test_a_bad_line_ends_the_run_at_once(engine, tmp_path, heavy):
    with pytest.raises(InputError, match=r"^line 41 is bad; mend it$"):
        list(fill(engine, Job(tmp_path, {4: "refuse"}, heavy=heavy), range(8)))


def test_no_thread_goes_on_when_a_run_has_ended_early(engine, tmp_path):
    """One that asks Ray for something after the cluster has gone ends this process; a prefetcher only waits."""
    before = set(threading.enumerate())
    with closing(fill(engine, Job(tmp_path), range(8))) as made:
        next(made)
    assert {thread.name for thread in threading.enumerate() if thread not in before} <= {"Prefetcher"}


@pytest.mark.parametrize("heavy", [True, False])
def test_writers_of_a_run_that_ended_early_leave_their_cores(engine, tmp_path, heavy):
    for k in range(3):
        (tmp_path / str(k)).mkdir()
        with closing(fill(engine, Job(tmp_path / str(k), heavy=heavy), range(8))) as made:
            next(made)
    deadline = time.monotonic() + 60
    while (free := ray.available_resources().get("CPU", 0)) < engine.cores and time.monotonic() < deadline:
        time.sleep(0.1)
    assert free == engine.cores


@pytest.mark.parametrize("late", [False, True])
def test_readers_wait_for_slow_writers(engine, tmp_path, monkeypatch, late):
    """Also for those that find no core for a while."""
    from tasksift.engines import ray as module

    monkeypatch.setattr(module, "IN_FLIGHT_BYTES", 4 * 2**20)
    rows = 2**17  # of ten such rows a shard has more than a megabyte, so that three may wait
    if late:
        busy = [ray.remote(num_cpus=0.95)(pause).remote(6) for _ in range(engine.cores)]
    list(fill(engine, Job(tmp_path, unit=40, row=rows, pause=0.05), range(40)))
    if late:
        ray.get(busy)
    ahead = max(int(path.name.removeprefix("ahead-")) for path in tmp_path.glob("ahead-*"))
    # Beside those that wait, one is read and each writer has one.
    assert ahead <= 3 + 1 + engine.cores, "readers must not run ahead of the writers"
    assert engine.report()["spilled_bytes"] == 0


@pytest.mark.parametrize("known", ["waiting", "begun"])
def test_what_is_read_again_does_not_wait(known):
    ledger = Ledger(10)
    assert ledger.admit(0, 8)
    if known == "begun":
        assert ledger.begin(0, "a worker") == (0, "")
        assert ledger.admit(1, 8)
    assert not ledger.admit(2, 8)
    assert ledger.admit(0, 8)
    assert not ledger.admit(2, 8)
    ledger.renew()
    assert ledger.admit(2, 80), "alone, a shard has room, however large"
    assert not ledger.admit(3, 1)


def test_engines_by_name():
    with using("local") as engine:
        assert engine is None
        assert current() is None
        assert list(spread(square, (1,), range(3))) == [1, 2, 5]
    with pytest.raises(InputError, match="--engine 'spark' does not exist; use one of local, ray"), using("spark"):
        pass
    with pytest.raises(InputError, match="--ray-address a:1 is for --engine ray"), using("local", "a:1"):
        pass


def test_what_a_machine_must_have(engine, tmp_path, monkeypatch):
    monkeypatch.setenv("TASKSIFT_WORKERS", "2")  # a worker changes it
    engine.require([str(tmp_path)])
    home = Home(__version__, str(Path.cwd()))
    assert unseen(home, [str(tmp_path)]) == ""
    assert re.match(
        ".*none cannot be seen by .*, of the cluster; put it on storage", unseen(home, [f"{tmp_path}/none"])
    )
    assert "install the same on all machines" in unseen(replace(home, version="0"), [])


def test_no_cluster_at_the_address():
    code = """
        from tasksift.cli import main
        import sys
        sys.argv = ["tasksift", "select", "none.jsonl", "-t", "x", "-b", "1", "-o", "out.jsonl", "--engine", "ray",
                    "--ray-address", "127.0.0.1:1"]
        main()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "--ray-address 127.0.0.1:1: no Ray cluster answers there" in done.stderr
    assert "Traceback" not in done.stderr
