"""What a folder is, the page that is written of it, and that no other file is touched."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tasksift import select
from tasksift.errors import InputError
from tasksift.evaluate.cells import Cell
from tasksift.online.domains import Domains
from tasksift.online.history import History
from tasksift.report.rebuild import find_run, rebuild


@pytest.fixture
def online(tmp_path: Path) -> Path:
    """The output folder of a Trainer with an online run."""
    folder = tmp_path / "trained"
    history = History(folder / "mixture.jsonl", Domains.of(["a", "b"]), {"mode": "released"})
    history.begin(0)
    for step in (1, 2):
        history.append(step, [0.5, 0.5], [1.0, np.nan], [step, step])
    (folder / "checkpoint-2").mkdir()
    return folder


@pytest.fixture
def comparison(tmp_path: Path) -> Path:
    """The folder of a comparison of two arms, with the cells of one task."""
    folder = tmp_path / "comparison"
    (folder / "cells").mkdir(parents=True)
    for arm, gain in (("random", 0.0), ("tsds", 0.5)):
        for seed in range(3):
            scores = {"loss": np.linspace(2, 3, 8) - gain + 0.01 * seed}
            cell = Cell("law", arm, "1%", seed, arm, 5, 5, 500, 1, 500, scores)
            cell.write(folder / "cells" / f"{arm}-{seed}.json")
    about = {
        "kind": "comparison", "version": "0.1.0", "pool": {"rows": 500, "sources": {"web": 500}},
        "tasks": [{"name": "law", "targets": 4, "held_out": 8, "metrics": ["loss"]}],
        "model": {"name": "tiny", "parameters": 1000}, "arms": ["random", "tsds"], "budgets": ["1%"],
        "seeds": [0, 1, 2], "cells": {"done": 6, "asked": 6}, "training": {},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(about))
    (folder / "config.yaml").write_text("presets: tsds\n")
    return folder


@pytest.fixture
def selection(tmp_path: Path) -> Path:
    """The run folder of a selection."""
    rows = [{"text": f"row {k} about {'law and courts' if k % 2 else 'cakes and butter'}"} for k in range(40)]
    for name, some in (("pool", rows), ("dev", [{"text": "courts of law"}])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    select(tmp_path / "pool.jsonl", tmp_path / "dev.jsonl", budget=5).write(tmp_path / "picked.jsonl")
    return tmp_path / "picked.jsonl.run"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["online", "comparison", "selection"])
def test_each_kind_is_found_and_its_page_written_beside_what_was_there(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
):
    folder = request.getfixturevalue(kind)
    (folder / "report.html").unlink(missing_ok=True)
    before = contents(tmp_path)
    assert find_run(folder) == (kind, folder)
    said: list[str] = []
    page = rebuild(folder, say=said.append)
    assert page == folder / "report.html"
    first = page.read_bytes()
    assert first.startswith(b"<!doctype html>")
    assert f'"kind":"{kind}"'.encode() in first
    assert len(said) == 1
    assert said[0].endswith(".")
    assert contents(tmp_path) == {**before, str(page.relative_to(tmp_path)): first}
    assert rebuild(str(folder)).read_bytes() == first  # no --force: it is derived
    elsewhere = tmp_path / "pages"
    elsewhere.mkdir()
    assert rebuild(folder, elsewhere / "x.HTM").read_bytes() == first


def test_a_training_file_stands_for_the_run_beside_it(selection: Path):
    assert find_run(selection.with_name("picked.jsonl")) == ("selection", selection)


@pytest.mark.parametrize("data", ['"x"', "1", '{"format": 1, "kind": "selection", "glance": null}'])
def test_damaged_data_of_a_selection_is_one_line(selection: Path, data: str):
    (selection / "report_data.json").write_text(data)
    with pytest.raises(InputError, match=r"picked\.jsonl\.run: report_data\.json is damaged; remove it"):
        rebuild(selection)
    (selection / "report_data.json").unlink()
    assert rebuild(selection) == selection / "report.html"


def test_a_mixture_of_another_name(online: Path):
    file = (online / "mixture.jsonl").rename(online / "shares.log")
    assert find_run(file) == ("online", file)
    assert rebuild(file) == online / "report.html"
    with pytest.raises(InputError, match="holds no run that a report can be made of"):
        rebuild(online)


def test_a_selection_in_a_folder_with_a_mixture_is_of_its_own_kind(comparison: Path, online: Path):
    (online / "mixture.jsonl").rename(comparison / "mixture.jsonl")
    assert find_run(comparison) == ("comparison", comparison)


BAD = {
    "nothing": "there is no ",
    "x" * 300: "File name too long",
    "empty": "holds no run that a report can be made of",
    "rows.jsonl": "has no rows.jsonl.run beside it and is no record of an online run",
    "blank.jsonl": "is no record of an online run",
    "binary": "is no record of an online run",
    "other": "holds no run",
    "features": "holds no run",
    "deep": "holds no run",
    "picked.jsonl.run.part": "run the same command again",
    "half.jsonl": "line 1: it names no domains",
}


@pytest.mark.parametrize("name", BAD)
def test_whatever_else_is_refused_in_one_line(tmp_path: Path, name: str):
    for folder in ("empty", "other", "features", "deep", "picked.jsonl.run.part"):
        (tmp_path / folder).mkdir()
    (tmp_path / "rows.jsonl").write_text('{"text": "a row"}\n')
    (tmp_path / "blank.jsonl").write_text("")
    (tmp_path / "binary").write_bytes(b"\xff\x00" * 20)
    (tmp_path / "half.jsonl").write_text('{"format":1}\n')
    (tmp_path / "other" / "manifest.json").write_text('["a list"]')
    (tmp_path / "deep" / "manifest.json").write_text("[" * 100_000)
    (tmp_path / "features" / "manifest.json").write_text('{"kind": "features", "plan": {}}')
    before = contents(tmp_path)
    with pytest.raises(InputError) as error:
        rebuild(tmp_path / name)
    assert BAD[name] in str(error.value)
    assert "\n" not in str(error.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("mine.html", "mine.html exists; use --force to replace it"),
        ("report.txt", "name a file that ends with .html"),
        ("trained/mixture.jsonl", "name a file that ends with .html"),
        ("folder.html", "it is a folder; name a file"),
        ("gone/report.html", "does not exist; create it first"),
        ("mine.html/report.html", "mine.html does not exist; create it first"),
        (None, "is not of tasksift; use --force to replace it"),
    ],
)
def test_no_other_file_is_replaced(tmp_path: Path, online: Path, out: str | None, message: str):
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    (online / "report.html").write_text("<p>of my tracker</p>")
    (tmp_path / "folder.html").mkdir()
    before = contents(tmp_path)
    page = None if out is None else tmp_path / out
    with pytest.raises(InputError) as error:
        rebuild(online, page)
    assert message in str(error.value)
    assert contents(tmp_path) == before
    if "--force" in message:
        written = rebuild(online, page, force=True)
        assert contents(tmp_path) == {**before, str(written.relative_to(tmp_path)): written.read_bytes()}
    elif "does not exist" not in message:
        with pytest.raises(InputError):
            rebuild(online, page, force=True)


def test_a_link_is_replaced_and_not_what_it_points_at(tmp_path: Path, online: Path):
    page = rebuild(online)
    page.rename(tmp_path / "kept.html")
    kept = (tmp_path / "kept.html").read_bytes()
    (online / "mixture.jsonl").write_bytes((online / "mixture.jsonl").read_bytes().replace(b'"a"', b'"new"'))
    page.symlink_to(tmp_path / "kept.html")
    rebuild(online, force=True)
    assert (tmp_path / "kept.html").read_bytes() == kept
    assert not page.is_symlink()


def test_a_page_that_cannot_be_written_is_one_line(online: Path):
    with pytest.raises(InputError, match=r"cannot write .*File name too long"):
        rebuild(online, online / ("x" * 300 + ".html"))
