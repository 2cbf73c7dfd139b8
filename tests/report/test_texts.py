"""Texts of some rows of a pool, in one pass, and files that are as they were."""

from __future__ import annotations

import json
from pathlib import Path

from tasksift.report.showable import LONGEST
from tasksift.report.texts import still_there, texts_at
from tasksift.rows import TextReader, expand


def test_texts_at_places(tmp_path: Path):
    for name in "ab":
        lines = [json.dumps({"text": f"{name}{k} " + "x" * 1000 * (k == 4)}) for k in range(6)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    files = expand([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    a, b = (file.path for file in files)
    wanted = [(b, 4), (a, 0), (b, 2), (a, 0), ("gone.jsonl", 1)]
    found = texts_at(files, TextReader(None), wanted)
    assert {place: text[:2] for place, text in found.items()} == {(a, 0): "a0", (b, 2): "b2", (b, 4): "b4"}
    assert len(found[b, 4]) == LONGEST
    assert texts_at(files, TextReader(None), []) == {}


def test_files_that_changed_are_not_there(tmp_path: Path):
    for name in "abc":
        (tmp_path / f"{name}.jsonl").write_text('{"text": "x"}\n')
    files = expand([tmp_path / f"{name}.jsonl" for name in "abc"])
    sizes: dict[str, int | None] = {file.path: Path(file.path).stat().st_size for file in files}
    assert still_there(files, sizes) == files
    Path(files[0].path).write_text("")
    Path(files[1].path).unlink()
    assert still_there(files, sizes) == files[2:]
    assert still_there(files, {files[2].path: None}) == []
