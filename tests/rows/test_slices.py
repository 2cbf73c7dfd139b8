"""Slices, read one after the other by whoever, are the file: rows, their places, and what is said of bad ones."""

from __future__ import annotations

import gzip
import json
import pickle
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksift.errors import InputError
from tasksift.rows import PoolFile, expand, read
from tasksift.rows.slices import (
    MEMORY_ROWS,
    Slice,
    count_lines,
    cut,
    lines_of,
    load_slices,
    numbered,
    read_slice,
    save_slices,
)

Row = tuple[str, dict[str, Any]]


def rows_of(batches: Any) -> list[Row]:
    """Every row with its place and what is said of it; places follow each other."""
    found: list[Row] = []
    at: int | None = None
    for batch in batches:
        assert batch.records
        assert at is None or batch.start == at
        at = batch.start + len(batch.records)
        assert batch.lines is None or len(batch.lines) == len(batch.records)
        found += [(f"{batch.where(i)} #{batch.start + i}", record) for i, record in enumerate(batch.records)]
    return found


def known(slices: list[Slice]) -> list[Slice]:
    """What the first pass finds out."""
    counts = []
    for part in slices:
        rows = sum(len(batch.records) for batch in read_slice(part))
        counts.append((rows, count_lines(lines_of(part)) if part.is_text else 0, None))
    return numbered(slices, counts)


def in_slices(slices: list[Slice], batch_rows: int = 2048) -> list[Row]:
    return [row for part in slices for row in rows_of(read_slice(pickle.loads(pickle.dumps(part)), batch_rows))]  # noqa: S301


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lines")


LINES = st.one_of(
    st.integers(0, 10**6).map(lambda k: b'{"text": "%d"}' % k),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30).map(
        lambda text: json.dumps({"text": text}).encode()
    ),
    st.text(max_size=8, alphabet="äß\u2028\x85").map(lambda t: json.dumps({"text": t}, ensure_ascii=False).encode()),
    st.sampled_from([b"", b"  ", b"\t", b"\x0b\x0c", b'{"text": "' + b"x" * 300 + b'"}', b'{"a":\r1}']),
)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n \r\n"])), max_size=25),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 2, 3, 7, 16, 50, 400, 10**6]),
    st.integers(1, 9),
    st.integers(0, 9),
)
def test_slices_of_lines_are_the_file(folder, lines, bom, last_end, target_bytes, batch_rows, skip):
    lines = [*lines, (b'{"text": "one"}', b"\n")]
    data = b"\xef\xbb\xbf" * bom + b"".join(line + end for line, end in lines)
    path = folder / "pool.jsonl"
    path.write_bytes(data if last_end else data.removesuffix(b"\n"))
    file = expand(path)[0]
    slices = known(cut([file], target_bytes))
    assert len(slices) == -(-path.stat().st_size // target_bytes)
    expected = rows_of(read(file))
    assert in_slices(slices, batch_rows) == expected
    assert sum(part.rows for part in slices) == len(expected)
    for part in slices[::7]:
        assert rows_of(read_slice(part, batch_rows, skip=skip)) == rows_of(read_slice(part))[skip:]


RECORDS = [{"text": f"text {k}", "n": k, "more": [k] * (k % 3)} for k in range(50)]


@pytest.fixture
def files(tmp_path: Path) -> list[PoolFile]:
    """The same rows in every format."""
    lines = "".join(json.dumps(row) + "\n" for row in RECORDS)
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "c.json").write_text(json.dumps(RECORDS))
    (tmp_path / "d.csv").write_text("text,n\n" + "".join(f'"a\n{k}",{k}\n' for k in range(50)))
    table = pa.Table.from_pylist(RECORDS)
    pq.write_table(table, tmp_path / "e.parquet", row_group_size=7)
    with pa.ipc.new_file(str(tmp_path / "f.arrow"), table.schema) as sink:
        sink.write_table(table, max_chunksize=9)
    with pa.ipc.new_stream(str(tmp_path / "g.arrow"), table.schema) as sink:
        sink.write_table(table, max_chunksize=9)
    return expand([str(tmp_path), RECORDS, table, deque(RECORDS)])


@pytest.mark.parametrize("target_bytes", [100, 1000, 10**6])
@pytest.mark.parametrize("batch_rows", [4, 2048])
def test_every_format(files: list[PoolFile], target_bytes: int, batch_rows: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tasksift.rows.slices.MEMORY_ROWS", 8)
    slices = known(cut(files, target_bytes))
    assert slices == known(cut(files, target_bytes))
    counts = [sum(part.number == k for part in slices) for k in range(len(files))]
    assert counts[1:4] == [1, 1, 1]
    assert counts[5:] == [1, 1, 7, 7, 7]
    assert counts[4] in {100: [8], 1000: [2, 3, 4], 10**6: [1]}[target_bytes]
    for k, file in enumerate(files):
        mine = [part for part in slices if part.number == k]
        assert in_slices(mine, batch_rows) == rows_of(read(file)), file.path
        assert sum(part.rows for part in mine) == 50
        assert mine[0].begins
        assert not any(part.begins for part in mine[1:])
        for part in mine:
            whole = rows_of(read_slice(part))
            for skip in (1, 5, part.rows):
                assert rows_of(read_slice(part, batch_rows, skip=skip)) == whole[skip:], file.path


@pytest.mark.parametrize("table", [False, True])
def test_a_slice_of_rows_in_memory_holds_only_these(table: bool):
    rows: Any = [{"text": f"{k:0100}"} for k in range(3 * MEMORY_ROWS)]
    slices = cut(expand(pa.Table.from_pylist(rows) if table else [rows]))
    sent = [pickle.dumps(part) for part in slices]
    assert max(map(len, sent)) < 130 * MEMORY_ROWS
    assert [len(pickle.loads(each).file.records) for each in sent] == [MEMORY_ROWS] * 3  # noqa: S301
    assert [part.first_row for part in slices] == [0, MEMORY_ROWS, 2 * MEMORY_ROWS]
    assert [record for _, record in in_slices(slices)] == rows


def test_what_the_first_pass_found_is_kept(files: list[PoolFile], tmp_path: Path):
    slices = known(cut(files, 300))
    save_slices(tmp_path / "slices.json", slices)
    kept = load_slices(tmp_path / "slices.json", files, 300)
    assert [replace(part, file=files[0]) for part in kept] == [replace(part, file=files[0]) for part in slices]
    with pytest.raises(InputError, match="another cut of the pool"):
        load_slices(tmp_path / "slices.json", files, 200)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b"", "is empty"),
        ("a.parquet", b"PAR1 damaged", "the parquet data is damaged"),
        ("a.parquet", b"text", "not what its suffix"),
        ("a.jsonl", b"PAR1 and more", "is a Parquet file"),
        ("a.jsonl", b'{"text": "a"}\n{oops\n', "line 2: not JSON"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, data: bytes, message: str):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        in_slices(cut(expand(tmp_path / name)))


def test_a_table_without_rows(tmp_path: Path):
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="holds no rows"):
        in_slices(cut(expand(tmp_path / "a.parquet")))


def test_lines_after_a_long_one_are_found_without_reading_it_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A slice within a line reads its own bytes only, however long the line is."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "' + b"x" * 10**6 + b'"}\n{"text": "b"}\n')
    slices = cut(expand(path), 10_000)
    assert [len(lines_of(part)) for part in slices[1:-1]] == [0] * (len(slices) - 2)
    assert [record["text"] for _, record in in_slices(known(slices))] == ["x" * 10**6, "b"]
