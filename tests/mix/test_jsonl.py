"""Plain JSON Lines: rows as they are, and one file to train on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasksift.mix import Mix, mix

Row = dict[str, Any]
Lines = Callable[[Path], list[Row]]
Write = Callable[[Path, list[Row]], Path]


def test_plain_files_hold_the_rows_as_they_are(tmp_path: Path, rows: list[Row], write: Write):
    pool = write(tmp_path / "pool.jsonl", rows)
    done = mix(pool, tmp_path / "out")
    written = [line for path in (tmp_path / "out").glob("*.jsonl") for line in path.read_bytes().splitlines()]
    assert sorted(written) == sorted(pool.read_bytes().splitlines())
    record = json.loads((tmp_path / "out" / "mixture.json").read_text(encoding="utf-8"))
    assert record == done.record
    assert [(domain["name"], domain["file"], domain["rows"]) for domain in record["domains"]] == [
        ("../x", "x.jsonl", 6), ("chat", "chat.jsonl", 24), ("code", "code.jsonl", 12),
        ("数学 a/b", "数学-a-b.jsonl", 4),
    ]  # fmt: skip
    assert [domain["share"] for domain in record["domains"]] == pytest.approx([6 / 46, 24 / 46, 12 / 46, 4 / 46])
    assert isinstance(done, Mix)
    assert done.domains.sizes.tolist() == [6, 24, 12, 4]
    assert not (tmp_path / "out.part").exists()


def test_a_budget_is_met_exactly(tmp_path: Path, rows: list[Row], lines: Lines):
    mix(rows, tmp_path / "out", shares={"code": 1, "../x": 2}, budget=41)
    train = lines(tmp_path / "out" / "train.jsonl")
    assert Counter(row["source"] for row in train) == {"code": 14, "../x": 27}
    copies = Counter(row["prompt"] for row in train if row["source"] == "../x")
    assert sorted(copies.values()) == [4, 4, 4, 5, 5, 5]
    assert [row["source"] for row in train] != sorted(row["source"] for row in train)
    assert not (tmp_path / "out" / "chat.jsonl").exists()
    record = json.loads((tmp_path / "out" / "mixture.json").read_text(encoding="utf-8"))
    assert (record["budget"], record["left_out"]) == (41, ["chat", "数学 a/b"])
    mix(rows, tmp_path / "share", budget="50%")
    assert len(lines(tmp_path / "share" / "train.jsonl")) == 23
