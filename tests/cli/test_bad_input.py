"""Whatever is wrong with a request or its data: one line that says it, exit code 2, and nothing left behind."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from bad_case import Case, check_message, snapshot
from bad_cases import CASES, MENDED_BY_FORCE

import tasksift as ts


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_line_and_nothing_left(case: Case, folder: Path, tasksift: Callable[..., Any]):
    if case.make is not None:
        case.make(folder)
    before = snapshot(folder)
    outcome = tasksift(*case.args())
    assert outcome.code == 2, outcome
    check_message(outcome.err, case.facts)
    assert outcome.out == ""
    assert snapshot(folder) == before


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.out == "picked.jsonl" and c.name not in MENDED_BY_FORCE], ids=lambda case: case.name
)
def test_what_stood_there_stays(case: Case, folder: Path, tasksift: Callable[..., Any]):
    if case.make is not None:
        case.make(folder)
    (folder / "picked.jsonl").write_bytes(b"of yesterday\n")
    (folder / "picked.jsonl.run").mkdir(exist_ok=True)
    (folder / "picked.jsonl.run" / "manifest.json").write_bytes(b"{}")
    before = snapshot(folder)
    outcome = tasksift(*case.args(), "--force")
    assert outcome.code == 2, outcome
    assert snapshot(folder) == before


def test_out_that_exists(folder: Path, tasksift: Callable[..., Any]):
    (folder / "picked.jsonl").write_bytes(b"of yesterday\n")
    before = snapshot(folder)
    outcome = tasksift(*Case("", ()).args())
    assert outcome.code == 2
    check_message(outcome.err, ("picked.jsonl exists", "--force", "another file"))
    assert snapshot(folder) == before


def test_unlimited_nesting_in_rows_of_python():
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ts.InputError, match="row 0"):
        ts.select(pool=[{"text": "a", "deep": deep}], target=[{"text": "a"}], budget=1)


def test_one_line_of_100_megabytes(folder: Path, tasksift: Callable[..., Any]):
    with (folder / "pool.jsonl").open("ab") as out:
        out.write(b'{"text": "huge", "blob": "' + b"x" * 100_000_000 + b'"}\n')
    outcome = tasksift(*Case("", ()).args())
    assert outcome.code == 0, outcome.err
    assert len((folder / "picked.jsonl").read_bytes().splitlines()) == 10


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({"pool": []}, "pool: nothing was given"),
        ({"pool": pa.table({"text": pa.array([], pa.string())})}, "<pool> holds no rows"),
        ({"pool": {}}, "one dict is not a list of rows"),
        ({"pool": 7}, "pool: a int cannot be read"),
        ({"pool": [3]}, "pool: a int cannot be read"),
        ({"pool": [{"text": "a"}, None]}, "row 1: a null, not a dict"),
        ({"pool": [{1: "a"}]}, "the column name 1 is not text"),
        ({"pool": [{"text": "a", 1: 2}]}, "<pool>, row 0"),
        ({"target": []}, "target: nothing was given"),
        ({"target": None}, "there is no target"),
        ({"budget": None}, "the budget"),
        ({"budget": 0}, "not positive"),
        ({"budget": True}, "--budget"),
        ({"bugdet": 3}, "--bugdet 3: there is no such option"),
        ({"seed": 1.5}, "--seed 1.5"),
        ({"out": "nowhere/at/all.jsonl"}, "does not exist"),
    ],
    ids=str,
)
def test_python(options: dict[str, Any], fact: str):
    given = {"pool": [{"text": "a b"}, {"text": "c d"}], "target": [{"text": "a"}], "budget": 1, "dim": 4, **options}
    with pytest.raises(ts.InputError) as raised:
        ts.select(**given)
    assert fact in str(raised.value)
    assert "\n" not in str(raised.value)


def test_empty_data_frame():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ts.InputError, match="<pool> holds no rows"):
        ts.select(pool=pandas.DataFrame({"text": []}), target=[{"text": "a"}], budget=1)


def test_hub_without_the_package(folder: Path, tasksift: Callable[..., Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    before = snapshot(folder)
    outcome = tasksift(*Case("", (), pool="hf:openai/gsm8k:main").args())
    assert outcome.code == 2
    check_message(outcome.err, ("hf:openai/gsm8k:main needs the package 'datasets'", "pip install 'tasksift[hf]'"))
    assert snapshot(folder) == before


def test_features_of_something_else(folder: Path, tasksift: Callable[..., Any]):
    case = Case("", (), more="--features feat")
    assert tasksift(*case.args()).code == 0
    for name in ("picked.jsonl", "picked.jsonl.run/"):
        path = folder / name
        path.rename(folder / f"first-{path.name}")
    before = snapshot(folder)
    other_pool = tasksift(*Case("", (), pool="target.jsonl", budget="-b 1", more="--features feat").args())
    other_dim = tasksift("select", *case.args()[1:], "--dim", "4")
    for outcome, facts in [
        (other_pool, ("feat holds other features", "pool: ", "rows: 60 there, 3 here", "--force")),
        (other_dim, ("feat holds other features", "dim: 8 there, 4 here", "another folder")),
    ]:
        assert outcome.code == 2
        check_message(outcome.err, facts)
        assert snapshot(folder) == before


def test_open_run_of_something_else(tmp_path: Path):
    with pytest.raises(ts.InputError, match="is not a finished run"):
        ts.open_run(tmp_path)
    with pytest.raises(ts.InputError, match="is not a finished run"):
        ts.open_run(tmp_path / "nowhere")


@pytest.mark.parametrize("args", [["select", "--nope"], ["frob"], ["select", "pool.jsonl", "--alpha"]], ids=str)
def test_usage(args: list[str], folder: Path, tasksift: Callable[..., Any]):
    outcome = tasksift(*args)
    assert outcome.code == 2
    assert "Traceback" not in outcome.err
    assert args[-1] in outcome.err
