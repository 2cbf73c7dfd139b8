"""The folder of a comparison: what fits it, what `force` drops, and the cells that are read from it."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from made_cells import made_cell, made_cells

from tasksift.errors import InputError
from tasksift.evaluate.folder import CELLS, FEATURES, asked_cells, begin_folder, check_folder, read_cells, undo_folder

ASKED = {"pool": "p", "tasks": {"law": {"target": "a"}, "chat": {"target": "b"}}, "training": {"epochs": 1}}


def changed(**tasks: str) -> dict[str, object]:
    return {**ASKED, "tasks": {name: {"target": target} for name, target in tasks.items()}}


def test_what_fits(tmp_path: Path):
    folder = tmp_path / "out"
    assert not check_folder(folder, ASKED, force=False)
    begin_folder(folder, ASKED, drop=False)
    for request in (ASKED, changed(law="a"), changed(law="a", maths="c"), changed(maths="c")):
        assert not check_folder(folder, request, force=False)
    for request, named in (({**ASKED, "pool": "q"}, "pool"), (changed(law="z", chat="b"), "tasks.law.target")):
        with pytest.raises(InputError, match=f"cells of another comparison .*{named}.*; name another folder"):
            check_folder(folder, request, force=False)
        assert check_folder(folder, request, force=True)


def test_dropping_and_undoing(tmp_path: Path):
    folder = tmp_path / "out"
    begin_folder(folder, ASKED, drop=False)
    (folder / CELLS / "a.json").write_text("{}")
    (folder / CELLS / "b.json.part").write_text("{")
    (folder / FEATURES).mkdir()
    begin_folder(folder, ASKED, drop=False)
    assert sorted(path.name for path in folder.rglob("*")) == ["a.json", CELLS, FEATURES, "request.json"]
    begin_folder(folder, ASKED, drop=True)
    assert sorted(path.name for path in folder.rglob("*")) == [CELLS, "request.json"]
    undo_folder(folder, stood=True)
    assert list(folder.iterdir()) == []
    undo_folder(folder, stood=False)
    assert not folder.exists()


def test_cells_come_by_name_or_all_in_order(tmp_path: Path):
    for name in "bca":
        made_cell("random", 0, {"loss": [1.0]}, task=name).write(tmp_path / f"{name}.json")
    assert [cell.task for cell in read_cells(tmp_path)] == ["a", "b", "c"]
    assert [cell.task for cell in read_cells(tmp_path, ["c.json", "b.json"])] == ["c", "b"]
    with pytest.raises(InputError, match=r"cannot read .*gone\.json: No such file or directory; run the same"):
        read_cells(tmp_path, ["gone.json"])


def test_a_damaged_cell_is_named(tmp_path: Path):
    path = tmp_path / "0.json"
    made_cell("random", 0, {"loss": [1.0]}).write(path)
    good = path.read_text()
    for bad in ("", "[]", "{}", good.replace('"arm"', '"leg"'), good.replace("[", "[[", 1), "[" * 100_000, "\xff"):
        path.write_bytes(bad.encode("latin-1"))
        with pytest.raises(InputError, match=r"0\.json is damaged; remove it, and the same tasksift compare") as error:
            read_cells(tmp_path)
        assert "\n" not in str(error.value)


def test_asked_cells_are_in_the_order_of_the_request():
    cells = made_cells({"tsds": 0.1, "bm25": 0.1}, tasks=("law", "chat"), budgets=("5%", "1%"), rows=1)
    manifest = {
        "tasks": [{"name": "chat"}, {"name": "law"}], "arms": ["zero-shot", "random", "bm25", "full"],
        "budgets": ["1%", "5%"], "seeds": [2, 0],
    }  # fmt: skip
    Random(0).shuffle(cells)
    found = [(cell.task, cell.arm, cell.budget, cell.seed) for cell in asked_cells(cells, manifest)]
    of_task = [("zero-shot", None, None)]
    of_task += [(arm, budget, seed) for arm in ("random", "bm25") for budget in ("1%", "5%") for seed in (2, 0)]
    of_task += [("full", None, 2), ("full", None, 0)]
    assert found == [(task, *each) for task in ("chat", "law") for each in of_task]
