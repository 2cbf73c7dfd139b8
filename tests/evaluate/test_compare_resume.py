"""A comparison that was stopped, grew or failed in parts goes on: what is finished stays, and the end is the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy_comparison import ToyTrainee, make_rows, write, write_toys

import tasksift
from tasksift.errors import InputError, UnfinishedError
from tasksift.evaluate.compare import Comparison

Compared = Callable[..., Comparison]
PATHS = [str(Path(tasksift.__file__).parents[1]), str(Path(__file__).parents[1]), str(Path(__file__).parent)]


def stamps(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in (folder / "cells").glob("*.json")}


# A comparison that kills itself before some of the things it does to files, then the same command again.
DRIVER = """
import json, signal, sys
from pathlib import Path

from killed_runs import run_in_fork
from toy_comparison import ToyTrainee, without_seconds

import tasksift.evaluate.work
import tasksift.report.comparison, tasksift.evaluate.summary
from tasksift.evaluate.compare import compare

tasksift.evaluate.work.load_trainee = ToyTrainee
options, kills = json.loads(sys.argv[1]), int(sys.argv[2])


def run(name, kill_at=0):
    Path(name).mkdir(exist_ok=True)
    return run_in_fork(lambda: compare(**options, out="cmp"), Path(name).resolve(), kill_at)


def cells(name):
    found = Path(name, "cmp", "cells").glob("*.json")
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


code, done = run("whole")
assert code == 0
plain, faults, partly = without_seconds(Path("whole/cmp")), [], 0
for step in [1 + k * (len(done) - 1) // (kills - 1) for k in range(kills)]:
    name = f"killed-{step}"
    code, before = run(name, step)
    if code != -signal.SIGKILL:
        faults.append(f"step {step}: it was not killed")
    kept = cells(name)
    partly += 0 < len(kept) < len(cells("whole"))
    code, _ = run(name)
    after = cells(name)
    if code or {cell: after.get(cell) for cell in kept} != kept:
        faults.append(f"killed before step {step}, after {before[-1:]}: a cell was made again, or code {code}")
    again = without_seconds(Path(name, "cmp"))
    if again != plain:
        named = [each for each in {*again, *plain} if again.get(each, 0) != plain.get(each, 0)]
        faults.append(f"killed before step {step}, after {before[-1:]}: {named}")
print(json.dumps({"faults": faults, "partly": partly, "steps": len(done)}))
"""


def test_killed_at_many_moments(tmp_path: Path):
    options = {**write_toys(tmp_path), "presets": "tsds", "without": "random-balanced"}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(options), "9"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join(PATHS)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["faults"] == [], done.stderr
    assert report["partly"] >= 2


def test_a_finished_comparison_trains_nothing_and_reads_no_pool(
    compared: Compared, trainees: list[ToyTrainee], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first = compared()
    before = stamps(tmp_path / "out")

    def fails(*_: Any) -> None:
        raise AssertionError("nothing is selected")

    monkeypatch.setattr("tasksift.evaluate.compare.choose", fails)
    again = compared()
    assert trainees[1].fitted == []
    assert stamps(tmp_path / "out") == before
    assert again.summary == first.summary


@pytest.mark.parametrize("halves", [False, True], ids=["held_out", "hold_out"])
def test_copies_of_the_files_keep_the_cells(
    halves: bool, compared: Compared, trainees: list[ToyTrainee], toys: dict[str, Any], tmp_path: Path
):
    if halves:
        given = {**toys, "held_out": [], "target": [str(write(tmp_path / "task.jsonl", make_rows(24, 30)))]}
    else:
        given = toys
    first = compared(**given)
    kept = stamps(tmp_path / "out")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def moved(path: str) -> str:
        return shutil.copy(path, elsewhere)  # with another time of change, too

    files = {name: [moved(each) for each in given[name]] for name in ("target", "held_out")}
    again = compared(**{**given, **files, "pool": moved(toys["pool"])})
    assert stamps(tmp_path / "out") == kept
    assert trainees[1].fitted == []
    assert again.summary == first.summary


def test_a_grown_grid_keeps_its_cells(compared: Compared, toys: dict[str, Any], tmp_path: Path):
    one = {name: toys[name][:1] for name in ("target", "held_out")}
    compared(**one)
    kept = stamps(tmp_path / "out")
    for more in (
        {**one, "seeds": [0, 1]},
        {**one, "seeds": [0, 1], "budgets": "10%,20%"},
        {**one, "seeds": [0, 1], "budgets": "10%,20%", "presets": "bm25,tsds"},
        {"seeds": [0, 1], "budgets": "10%,20%", "presets": "bm25,tsds"},
    ):
        done = compared(**more)
        now = stamps(tmp_path / "out")
        assert len(now) > len(kept)
        assert {name: now[name] for name in kept} == kept
        kept = now
    assert len(done.cells) == len(kept)
    # A smaller grid again: the others stay, and are not in its table.
    small = compared(**one)
    assert stamps(tmp_path / "out") == kept
    assert {cell.task for cell in small.cells} == {"maths"}
    assert {table["budget"] for table in small.summary["tables"]} == {"10%"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 2}, "training.settings.epochs: 1 there, 2 here"),
        ({"model": "other"}, "training.model: 'toy' there, 'other' here"),
        ({"max_held_out": 10}, "max_held_out"),
        ({"decontaminate": 5}, "selection.decontaminate"),
        ({"pool": [{"text": f"row {k}"} for k in range(30)]}, "pool: "),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_another_request_is_refused(changes: dict[str, Any], words: str, compared: Compared, tmp_path: Path):
    compared()
    before = stamps(tmp_path / "out")
    with pytest.raises(InputError) as raised:
        compared(**changes)
    assert words in str(raised.value)
    assert "--force" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert stamps(tmp_path / "out") == before
    done = compared(**changes, force=True)
    assert not stamps(tmp_path / "out").keys() & before.keys()
    assert len(done.cells) == len(before)


@pytest.mark.parametrize("part", ["target", "held_out"])
def test_other_rows_of_a_task_are_refused(part: str, compared: Compared, toys: dict[str, Any]):
    compared()
    write(Path(toys[part][1]), make_rows(15, 77, ("code",)))
    with pytest.raises(InputError, match=rf"tasks.code.{part}: "):
        compared()
    # The other task alone is as it was.
    compared(**{name: toys[name][:1] for name in ("target", "held_out")})


def test_folders_of_something_else(compared: Compared, tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="it is a file; name a folder"):
        compared(out=tmp_path / "file")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is no comparison"):
        compared(out=tmp_path / "full", force=True)
    with pytest.raises(InputError, match="cannot write"):
        compared(out="/dev/null/there")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="nothing"):
        compared(out=tmp_path / "empty", source_column="nothing")
    assert list((tmp_path / "empty").iterdir()) == []
    compared()
    for text in ("{", "[]", "{}"):
        (tmp_path / "out" / "request.json").write_text(text)
        with pytest.raises(InputError, match=r"request.json is damaged"):
            compared()
    compared(force=True)
    damaged = next((tmp_path / "out" / "cells").iterdir())
    damaged.write_text("{")
    with pytest.raises(InputError, match="is damaged; remove it"):
        compared()


def test_what_cannot_be_served_is_named_and_tried_again(compared: Compared, tmp_path: Path):
    lines: list[str] = []
    arms = ["lossy: preset=perplexity-middle", "paired: preset=rose"]
    done = compared(presets="bm25,tsds:encoder", arm=arms, budgets="1000,10%", say=lines.append)
    assert {name.split(",")[0] for name in done.failed} == {"random", "random-balanced", "bm25", "tsds:encoder", *(
        arm.split(":")[0] for arm in arms
    )}  # fmt: skip
    # One whose features cannot be made is named once, one that cannot serve a budget with that budget.
    assert "tsds:encoder" in done.failed
    assert "--model" in done.failed["tsds:encoder"]
    assert "the pool has 60" in done.failed["random, 1000, seed 0"]
    for name, fault in done.failed.items():
        assert sum(line.startswith(name) and line.endswith(fault) for line in lines) == 1
    assert {(cell.arm, cell.budget) for cell in done.cells if cell.budget} == {
        ("random", "10%"), ("random-balanced", "10%"), ("bm25", "10%")
    }  # fmt: skip
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["failed"] == done.failed
    before = stamps(tmp_path / "out")
    again = compared(presets="bm25,tsds:encoder", arm=arms, budgets="1000,10%")
    assert again.failed == done.failed
    assert stamps(tmp_path / "out") == before


def test_hours(compared: Compared, trainees: list[ToyTrainee], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = compared(out=tmp_path / "whole")
    lines: list[str] = []
    with pytest.raises(UnfinishedError, match="no time to begin a training"):
        compared(hours=1e-9)
    # An hour for the first look at the clock, and another for every training.
    clock = iter(range(0, 10**9, 3600))
    with monkeypatch.context() as patch:
        patch.setattr("tasksift.evaluate.compare.time.monotonic", lambda: next(clock))
        done = compared(hours=2.5, say=lines.append)
    assert len(trainees[-1].judged) == len(done.cells)
    assert 0 < len(done.cells) < len(whole.cells)
    assert done.left == 6 - 2
    again = compared()
    assert again.left == 0
    assert [cell.score("loss") for cell in again.cells] == [cell.score("loss") for cell in whole.cells]
