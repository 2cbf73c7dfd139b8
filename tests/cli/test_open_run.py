"""A finished run: replayed, opened again, explained and redrawn; the order of the pool leaves no trace in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pool_files import WITHOUT_MODEL, Row, read_back, write_pool

import tasksift as ts


def test_replay(folder: Path, pool: list[Row], tasksift: Callable[..., Any]):
    write_pool(folder / "in.parquet", pool)
    first = ["select", "in.parquet", "-t", "target.jsonl", "-b", "15%", "--dim", "8", "--seed", "5", "--alpha", "0.4"]
    assert tasksift(*first, "-o", "out.parquet", "--draw", "multinomial").code == 0
    (folder / "first").mkdir()
    (folder / "out.parquet").rename(folder / "first" / "out.parquet")
    (folder / "out.parquet.run").rename(folder / "first" / "out.parquet.run")
    done = tasksift("select", "--config", "first/out.parquet.run/config.yaml", "-o", "out.parquet")
    assert done.code == 0, done.err
    for old in (folder / "first").rglob("*"):
        if old.is_file():
            assert (folder / old.relative_to(folder / "first")).read_bytes() == old.read_bytes(), old
    other = tasksift("select", "--config", "first/out.parquet.run/config.yaml", "-o", "x.parquet", "--breadth", "4")
    assert other.code == 0, other.err
    assert json.loads((folder / "x.parquet.run/manifest.json").read_text())["plan"]["breadth"] == 4.0


def test_a_pool_that_changed_or_moved(folder: Path, pool: list[Row]):
    path = write_pool(folder / "in.jsonl", pool)
    first = ts.select(path, folder / "target.jsonl", budget=5, dim=8, out=folder / "out.jsonl")
    for change in (lambda: path.write_bytes(path.read_bytes() + b"\n"), path.unlink):
        change()
        again = ts.open_run(folder / "out.jsonl.run")
        assert again.explain(0) == first.explain(0)
        assert len(again.redraw(3)) == 3
        for selection in (first, again):
            with pytest.raises(ts.InputError, match=r"in\.jsonl is gone or was changed after the run"):
                selection.write(folder / "again.jsonl")
        assert not list(folder.glob("again*"))


def test_explain_and_redraw(folder: Path, pool: list[Row]):
    selection = ts.select(pool, folder / "target.jsonl", budget=12, dim=8)
    for k in range(len(selection.ids)):
        why = selection.explain(k)
        assert why == selection.explain(selection.ids[k])
        assert (why.id, why.rank, why.row) == (selection.ids[k], k + 1, selection.positions[k])
        assert why.pulls
        assert abs(sum(pull.mass for pull in why.pulls) - why.probability) < 1e-9
        assert abs(sum(pull.share for pull in why.pulls) - 1) < 1e-9
        assert f"rank {k + 1}" in str(why)
        assert len(str(why).splitlines()) == 1 + len(why.pulls)
    assert selection.explain(-1).rank == len(selection.ids)
    by_words = ts.select(folder / "pool.jsonl", folder / "target.jsonl", 3, preset="bm25-turns")
    assert ": score " in str(by_words.explain(0))
    with pytest.raises(ts.InputError, match="there is no row 12"):
        selection.explain(12)
    with pytest.raises(ts.InputError, match="'nobody' is not in the selection"):
        selection.explain("nobody")
    fewer = selection.redraw(5)
    assert len(fewer) == 5
    assert fewer.manifest["selection"]["rows"] == 5
    assert set(fewer.positions) <= set(selection.plan.ids)
    assert selection.redraw(seed=0).ids == selection.ids
    assert selection.redraw(draw="top").ids == selection.redraw(draw="top", seed=3).ids
    with pytest.raises(ts.InputError, match="plan names 23 rows and the budget is 90; select again"):
        selection.redraw("100%")


@pytest.mark.parametrize("preset", WITHOUT_MODEL)
def test_open_run(preset: str, folder: Path, pool: list[Row], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    write_pool(folder / "in.parquet", pool)
    options = {} if preset.startswith("tsds") else {"preset": preset}
    options |= {"score_column": "n"} if preset == "column" else {}
    selection = ts.select("in.parquet", "target.jsonl", budget=12, dim=8, out="out.parquet", **options)
    again = ts.open_run("out.parquet.run")
    for one in (again, selection):
        assert one.plan_table.equals(selection.plan_table)
        assert one.record.equals(selection.record)
    assert again.config == selection.config
    assert again.targets == selection.targets
    assert again.manifest == json.loads(Path("out.parquet.run/manifest.json").read_text())
    assert again.files == selection.files
    for field in fields(selection.plan):
        there, here = getattr(again.plan, field.name), getattr(selection.plan, field.name)
        if field.name == "links" and selection.plan.kind == "mass" and here is not None:
            for part in fields(here):
                np.testing.assert_array_equal(getattr(there, part.name), getattr(here, part.name))
        elif field.name == "path" and here is not None:
            assert there.keys() == here.keys()
            for name in here:
                np.testing.assert_array_equal(there[name], here[name])
        elif field.name != "links":
            np.testing.assert_array_equal(there, here)
    assert [again.explain(k) for k in range(3)] == [selection.explain(k) for k in range(3)]
    again.redraw(7, seed=2).write("again.parquet")
    selection.redraw(7, seed=2).write("selection.parquet")
    assert Path("again.parquet").read_bytes() == Path("selection.parquet").read_bytes()


def test_a_damaged_manifest_is_named(folder: Path):
    ts.select(folder / "pool.jsonl", folder / "target.jsonl", budget=5, preset="random", out=folder / "out.jsonl")
    path = folder / "out.jsonl.run" / "manifest.json"
    good = json.loads(path.read_text())
    odd = [{"plan": {}}, {**good, "plan": 5}, {**good, "pool": None}, {**good, "pool": {"on_disk": True}}, []]
    for text in ("{", "[" * 100_000, *map(json.dumps, odd)):
        path.write_text(text)
        with pytest.raises(ts.InputError, match=r"out\.jsonl\.run is not a finished run directory \(.+\)$"):
            ts.open_run(folder / "out.jsonl.run")


def test_open_run_of_rows_in_memory(folder: Path, pool: list[Row]):
    selection = ts.select(pool, folder / "target.jsonl", budget=12, dim=8, out=folder / "out.jsonl")
    again = ts.open_run(folder / "out.jsonl.run")
    assert again.explain(0) == selection.explain(0)
    assert again.redraw(5).ids == selection.redraw(5).ids
    with pytest.raises(ts.InputError, match="in memory"):
        again.write(folder / "again.jsonl")


@pytest.mark.parametrize("preset", WITHOUT_MODEL)
def test_order_of_the_pool_leaves_no_trace(preset: str, folder: Path, pool: list[Row]):
    shuffled = [pool[k] for k in np.random.default_rng(3).permutation(len(pool))]
    taken = []
    options = {"score_column": "n"} if preset == "column" else {}
    for name, rows in (("a", pool), ("b", shuffled)):
        path = write_pool(folder / name / "in.jsonl" if (folder / name).mkdir() is None else folder, rows)
        ts.select(
            path, folder / "target.jsonl", budget=12, dim=8, preset=preset, out=folder / f"{name}.jsonl", **options
        )
        taken.append(read_back(folder / f"{name}.jsonl"))
    assert taken[0] == taken[1]
