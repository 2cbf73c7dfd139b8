"""The report that a run leaves: its data, for every kind of plan and for odd pools."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pool_files import Row

import tasksift as ts
from tasksift.report.page import render
from tasksift.report.selection import report_of_run

PARTS = {
    "format", "kind", "title", "version", "glance", "sources", "distances", "copies", "lengths", "coverage", "map",
    "samples", "path", "manifest", "config",
}  # fmt: skip
HOSTILE = "</script><script>alert(1)</script> \u202eevil\u2028 \" ' & \x00"


def numbers(value: Any):
    """Every number and every text of a value."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from numbers(each)
    elif isinstance(value, str | float):
        yield value


def report(run: Path) -> dict[str, Any]:
    """The data of a run's page, after what holds for all of them."""
    data = report_of_run(run)
    assert set(data) == PARTS
    for each in numbers(data):
        assert len(each) < 4000 if isinstance(each, str) else math.isfinite(each)
    stored = json.loads((run / "report_data.json").read_text(encoding="utf-8"))
    assert {name: data[name] for name in stored} == stored
    assert (run / "report.html").read_text(encoding="utf-8") == render(data)
    assert sum(each["selected"] for each in data["sources"]) == data["glance"]["rows"]
    assert sum(each["pool"] for each in data["sources"]) == data["glance"]["pool_rows"]
    return data


def test_one_row_is_the_nearest_row(folder: Path):
    (folder / "one.jsonl").write_text('{"text": "one row"}\n')
    ts.select(folder / "one.jsonl", folder / "target.jsonl", budget=1, dim=8, out=folder / "out.jsonl")
    assert "asks for its nearest row" in report(folder / "out.jsonl.run")["glance"]["sentence"]


KNOBS = {"tsds": "breadth", "nearest": "budget", "round-robin": "budget", "dsir": None, "random": None}


@pytest.mark.parametrize("preset", KNOBS)
def test_every_kind(preset: str, folder: Path):
    selection = ts.select(
        folder / "pool.jsonl", folder / "target.jsonl", budget=12, dim=8, preset=preset, out=folder / "out.jsonl"
    )
    data = report(folder / "out.jsonl.run")
    assert data["path"] is None if KNOBS[preset] is None else data["path"]["knob"] == KNOBS[preset]
    assert [each["rank"] for each in data["samples"]] == list(range(1, selection.record.num_rows + 1))
    texts = {json.loads(line)["text"] for line in (folder / "out.jsonl").read_text().splitlines()}
    assert {each["text"] for each in data["samples"]} == texts
    assert [each["reason"] for each in data["samples"]] == selection.record["reason"].to_pylist()
    vectors = preset not in ("random", "dsir")
    assert [data[name] is not None for name in ("distances", "coverage", "map")] == [vectors] * 3
    if vectors:
        assert sum(data["distances"]["selected"]) == pytest.approx(1, abs=1e-4)
        assert sorted(set(data["map"]["kind"])) == [0, 1, 2]
        points = {len(data["map"][name]) for name in ("x", "y", "kind", "source", "text")}
        assert points == {60 + 3}
        assert len(data["coverage"]["worst"]) == 3
        assert all(each["text"] for one in data["coverage"]["worst"] for each in one["neighbours"])
    if preset == "tsds":
        path = data["path"]
        mass = dict.fromkeys(path["sources"], 0.0)
        for source, share in zip(
            selection.plan_table["source"].to_pylist(), selection.plan.values.tolist(), strict=True
        ):
            mass[source] += share
        assert path["composition"][path["current"]] == pytest.approx(list(mass.values()), abs=1e-5)
        assert path["values"][path["current"]] == pytest.approx(selection.plan.breadth, rel=1e-5)


def test_hostile_and_long_texts_stay_text(folder: Path, lines: Callable[..., bytes], rows: Callable[..., list[Row]]):
    made = [{**row, "text": f"{row['text']} {HOSTILE}"} for row in rows(30, 0)]
    made[0]["text"] += "x" * 10**6
    made[1]["source"] = HOSTILE
    (folder / "in.jsonl").write_bytes(lines(made))
    ts.select(
        folder / "in.jsonl", folder / "target.jsonl", budget=30, dim=4, preset="nearest", out=folder / "out.jsonl"
    )
    data = report(folder / "out.jsonl.run")
    assert sum(HOSTILE in each["text"] for each in data["samples"]) == 30
    assert max(len(each["text"]) for each in data["samples"]) == 600
    assert HOSTILE in [each["name"] for each in data["sources"]]
    page = folder / "out.jsonl.run" / "report.html"
    assert "<script>alert" not in page.read_text(encoding="utf-8")
    assert page.stat().st_size < 10**6


def test_vectors_alone(folder: Path):
    rng = np.random.default_rng(0)
    np.save(folder / "pool.npy", rng.normal(size=(40, 3)))
    np.save(folder / "target.npy", rng.normal(size=(2, 3)))
    options = {"vectors": folder / "pool.npy", "target_vectors": folder / "target.npy", "out": folder / "out.jsonl"}
    selection = ts.select(budget=5, **options)
    data = report(folder / "out.jsonl.run")
    assert data["lengths"] is None
    assert {each["text"] for each in data["samples"]} == {f"row {k}" for k in selection.positions}
    assert {each["text"] for each in data["coverage"]["worst"]} == {"target vector 0", "target vector 1"}


@pytest.mark.parametrize("count", [1, 7])
def test_one_text_only(count: int, folder: Path, lines: Callable[..., bytes]):
    (folder / "in.jsonl").write_bytes(lines([{"text": "sum of two numbers"}] * count))
    (folder / "one.jsonl").write_bytes(lines([{"text": "sum of two numbers"}]))
    for preset in ("tsds", "nearest"):
        ts.select(
            folder / "in.jsonl", folder / "one.jsonl", budget=1, dim=4, preset=preset, out=folder / f"{preset}.jsonl"
        )
        data = report(folder / f"{preset}.jsonl.run")
        assert data["coverage"]["worst"][0]["nearest_selected"] == 0
        assert data["map"]["explained"] is None


def test_tasks_and_rows_left_out(folder: Path):
    pool = [json.loads(line) for line in (folder / "pool.jsonl").read_text().splitlines()]
    first, second = pool[:2], pool[3:5]
    for name, some in (("a", first), ("b", second)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    targets = [folder / "a.jsonl", folder / "b.jsonl"]
    for weights in (None, "1,3"):
        out = folder / f"{weights}.jsonl"
        ts.select(folder / "pool.jsonl", targets, budget=8, dim=8, task_weights=weights, decontaminate=5, out=out)
        data = report(Path(f"{out}.run"))
        assert data["glance"]["tasks"] == ["a", "b"]
        assert "left out beforehand" in data["glance"]["sentence"]
        # The targets themselves stand in the pool, and are not there to be taken.
        assert all(each["nearest_pool"] > 0 for each in data["coverage"]["worst"])
        assert {each["task"] for each in data["coverage"]["worst"]} == {"a", "b"}
        assert (data["path"] is None) == (weights is not None)


def test_a_run_without_report_data(folder: Path):
    selection = ts.select(folder / "pool.jsonl", folder / "target.jsonl", budget=9, dim=8, out=folder / "out.jsonl")
    run = folder / "out.jsonl.run"
    whole = report(run)
    (run / "report_data.json").unlink()
    (run / "report.html").unlink()
    assert ts.open_run(run).record.equals(selection.record)
    less = report_of_run(run)
    assert [less[name] for name in ("distances", "coverage", "map", "path", "lengths")] == [None] * 5
    assert [less[name] for name in ("sources", "samples", "manifest", "config")] == [
        whole[name] for name in ("sources", "samples", "manifest", "config")
    ]
    render(less)
    (folder / "pool.jsonl").unlink()
    assert {each["text"] for each in report_of_run(run)["samples"]} == {""}
    assert [each["reason"] for each in report_of_run(run)["samples"]] == [each["reason"] for each in whole["samples"]]


def test_another_draw_has_a_report_of_its_own(folder: Path):
    out = folder / "out.jsonl"
    selection = ts.select(folder / "pool.jsonl", folder / "target.jsonl", budget=9, dim=8, out=out)
    selection.redraw(4).write(folder / "four.jsonl")
    assert report(folder / "four.jsonl.run")["glance"]["rows"] == 4
    selection.write(folder / "again.jsonl")
    again, first = (folder / f"{name}.jsonl.run" / "report_data.json" for name in ("again", "out"))
    assert again.read_bytes() == first.read_bytes()


def test_damaged_report_data(folder: Path):
    ts.select(folder / "pool.jsonl", folder / "target.jsonl", budget=9, preset="random", out=folder / "out.jsonl")
    path = folder / "out.jsonl.run" / "report_data.json"
    good = json.loads(path.read_text())
    for text in ("{", "[" * 100_000):
        path.write_text(text)
        with pytest.raises(ts.InputError, match=r"is not a finished run directory \(.+\)$"):
            report_of_run(folder / "out.jsonl.run")
    for name, odd in (("glance", {}), ("map", 5), ("samples", {}), ("sources", "web"), ("path", [])):
        path.write_text(json.dumps({**good, name: odd}))
        with pytest.raises(ts.InputError, match=r"report_data\.json is damaged; remove it"):
            report_of_run(folder / "out.jsonl.run")
