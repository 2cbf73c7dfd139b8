"""The whole of it: plain files, budgets, the folder, and what is a domain."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasksift import mix as mix_package
from tasksift import select
from tasksift.errors import InputError
from tasksift.mix import Mix, mix

Row = dict[str, Any]
Lines = Callable[[Path], list[Row]]


def _write(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_plain_files_hold_the_rows_as_they_are(tmp_path: Path, rows: list[Row]):
    pool = _write(tmp_path / "pool.jsonl", rows)
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


@pytest.mark.parametrize("format", ["jsonl", "llama-factory", "axolotl", "datasets"])
def test_the_order_of_the_pool_changes_nothing(
    tmp_path: Path, rows: list[Row], format: str, monkeypatch: pytest.MonkeyPatch
):
    rows += rows[:5]  # copies
    moved = random.Random(0).sample(rows, len(rows))
    found = []
    for k, some in enumerate((rows, moved, rows)):
        folder = tmp_path / str(k)
        folder.mkdir()
        monkeypatch.chdir(folder)
        mix(_write(folder / "pool.jsonl", some), "out", format=format, budget=30, seed=k // 2)
        found.append(_bytes(folder / "out"))
    for name in found[0]:
        here, there = (each[name].replace(str(tmp_path / str(k)).encode(), b"") for k, each in enumerate(found[:2]))
        assert here == there, name
    assert found[0] != found[2]  # another seed


def test_any_pool_and_any_column(tmp_path: Path, lines: Lines):
    table = pa.table({"text": ["a", "b", "c"], "topic": [1, None, 1], "source": ["x", "x", "y"]})
    mix(table, tmp_path / "out", domain_column="topic")
    assert {row["text"] for row in lines(tmp_path / "out" / "1.jsonl")} == {"a", "c"}
    assert [row["text"] for row in lines(tmp_path / "out" / "none.jsonl")] == ["b"]
    with pytest.raises(InputError, match=r"there is no column 'gone'.*correct --domain-column"):
        mix(table, tmp_path / "gone", domain_column="gone")
    with pytest.raises(InputError, match=r"1001 domains and 1000 is the most; name a coarser --domain-column"):
        mix([{"text": "a", "n": k} for k in range(1001)], tmp_path / "many", domain_column="n")


def test_sources_that_select_recorded_are_the_domains(tmp_path: Path, lines: Lines):
    # Rows that name no source are from their file, which the picked rows no longer tell.
    for name in ("maths", "code"):
        _write(tmp_path / f"{name}.jsonl", [{"text": f"{name} {word}"} for word in ("one", "two", "three", "four")])
    target = _write(tmp_path / "target.jsonl", [{"text": "maths one code two"}])
    pool, picked = [str(tmp_path / "maths.jsonl"), str(tmp_path / "code.jsonl")], tmp_path / "picked.jsonl"
    select(pool=pool, target=str(target), budget=8, preset="tsds", draw="multinomial").write(picked)
    done = mix(picked, tmp_path / "out")
    assert done.domains.names == ("code", "maths")
    for name in done.domains.names:
        assert {row["text"].split()[0] for row in lines(tmp_path / "out" / f"{name}.jsonl")} == {name}
    _write(picked, [{"text": "another"}])
    assert mix(picked, tmp_path / "other").domains.names == ("picked",)


def test_nothing_is_overwritten_and_nothing_of_others_removed(tmp_path: Path, rows: list[Row]):
    out = tmp_path / "out"
    mix(rows, out)
    before = _bytes(out)
    with pytest.raises(InputError, match=r"out exists; use --force to replace it"):
        mix(rows, out)
    assert _bytes(out) == before
    mix(rows, out, shares="uniform", force=True)
    assert _bytes(out) != before
    before = _bytes(out)
    with pytest.raises(InputError, match="a preference pair"):
        mix(
            [*rows, {"chosen": "a", "rejected": "b", "prompt": "c", "source": "chat"}],
            out,
            format="axolotl",
            force=True,
        )
    assert _bytes(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    for folder in (mine, mine / "thesis.txt"):
        with pytest.raises(InputError, match=r"is no mixture, so not even --force replaces it"):
            mix(rows, folder, force=True)
    (tmp_path / "new.part").mkdir()
    (tmp_path / "new.part" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"new.part is in the way of the mixture and holds other things"):
        mix(rows, tmp_path / "new")
    assert (tmp_path / "new.part" / "thesis.txt").exists()


def test_what_a_kill_left_does_not_stop_the_next(tmp_path: Path, rows: list[Row]):
    part = tmp_path / "out.part"
    part.mkdir()
    (part / "mixture.json").write_text('{"made_by": "tasksift mix 1"}')
    (part / "half.jsonl").write_text("{")
    mix(rows, tmp_path / "out")
    assert not (tmp_path / "out" / "half.jsonl").exists()
    assert not part.exists()


def test_a_pool_is_not_written_over(tmp_path: Path, rows: list[Row]):
    mix(rows, tmp_path / "out")
    with pytest.raises(InputError, match=r"chat.jsonl, which is read, lies in it"):
        mix(tmp_path / "out" / "chat.jsonl", tmp_path / "out", force=True)
    with pytest.raises(InputError, match=r"mixture.jsonl, which is read, lies in it"):
        mix(rows, tmp_path / "out", shares=str(tmp_path / "out" / "mixture.jsonl"), force=True)
    with pytest.raises(InputError, match=r"it lies in the pool's folder"):
        mix(tmp_path / "out", tmp_path / "out" / "again")


def test_clusters_are_written_down(tmp_path: Path, rows: list[Row]):
    done = mix(rows, tmp_path / "out", clusters=3)
    table = pq.read_table(tmp_path / "out" / "domains.parquet")
    assert table.column_names == ["id", "file", "row", "domain"]
    assert table["domain"].to_pylist() == [done.domains.names[code] for code in done.domains.codes]
    assert table["row"].to_pylist() == list(range(len(rows)))
    assert len(set(table["id"].to_pylist())) == len(rows)
    assert done.domains.names == ("cluster-00", "cluster-01", "cluster-02")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": "5tok"}, "--budget 5tok is in tokens"),
        ({"budget": 0}, "the budget 0 is not positive"),
        ({"format": "gguf"}, "--format gguf is not one of jsonl, llama-factory, axolotl, datasets"),
        ({"seed": -1}, "--seed -1"),
        ({"features": "f"}, "--features serves to find clusters"),
        ({"clusters": 2, "domain_column": "source"}, "give one of them"),
        ({"clusters": 2, "features": "f"}, "--features f holds no features"),
        ({"clusters": 0}, "0 clusters: ask for a whole number from 1"),
        ({"clusters": 47}, "47 clusters for 46 rows: ask for 46 at most"),
    ],
)
def test_what_is_refused(tmp_path: Path, rows: list[Row], options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        mix(rows, tmp_path / "out", **options)
    assert not list(tmp_path.iterdir())


def test_public_names():
    assert set(mix_package.__all__) == {"FORMATS", "Mix", "find_domains", "find_shares", "late_shares", "mix"}
