import csv
import datetime
import decimal
import errno
import gzip
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksift.errors import InputError
from tasksift.rows import PoolFile, check_out, expand, read, replacing, write_rows, write_table, writing

ROWS = [{"text": f"row {i} é\u2028", "n": i, "meta": {"tags": ["a", "b"][: i % 3]}} for i in range(7)]
PICK = [5, 0, 5, 6, 2, 0]
NAMES = ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.json", "a.json.gz", "a.parquet", "a.arrow"]


def records(path):
    return [row for batch in read(expand(path)[0]) for row in batch.records]


def write(pool, rows, out, file_index=None):
    files = pool if isinstance(pool, list) and isinstance(pool[0], PoolFile) else expand(pool)
    write_rows(files, np.array([0] * len(rows) if file_index is None else file_index), np.array(rows), out)
    return out


def save(path, rows=ROWS):
    return write(rows, range(len(rows)), path)


def left(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("source", [*NAMES, "memory"])
@pytest.mark.parametrize("target", NAMES)
def test_every_format_to_every_format_in_the_asked_order_with_repeats(tmp_path, source, target):
    pool = ROWS if source == "memory" else save(tmp_path / f"in-{source}")
    out = write(pool, PICK, tmp_path / target)
    assert records(out) == [ROWS[i] for i in PICK]
    assert left(tmp_path) == sorted({target} | ({f"in-{source}"} - {"in-memory"}))
    first = out.read_bytes()
    assert write(pool, PICK, out).read_bytes() == first


@pytest.mark.parametrize("end", ["", ".gz", ".zst"])
def test_csv_keeps_header_and_fields(tmp_path, end):
    rows = [{"z": f' {i}, "q"', "a": ["", "x\ry", "x\ny", "é", "1.0"][i]} for i in range(5)]
    path = save(tmp_path / f"in.csv{end}", rows)
    assert records(path) == rows
    out = write(path, [4, 1, 1, 2], tmp_path / f"out.csv{end}")
    assert records(out) == [rows[i] for i in [4, 1, 1, 2]]
    if not end:
        assert out.read_bytes().startswith(b"z,a\n")
    assert records(write(path, [4, 1], tmp_path / "out.parquet")) == [rows[4], rows[1]]


def test_csv_of_nested_values(tmp_path):
    rows = [{"a": None, "b": [1, "é"], "c": "x\ud800"}, {"a": True, "d": {"k": 1.5}}]
    out = save(tmp_path / "a.csv", rows)
    with out.open(newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["a", "b", "c", "d"],
            ["", '[1,"é"]', "x\ufffd", ""],
            ["True", "", "", '{"k":1.5}'],
        ]


def test_json_lines_stay_byte_for_byte(tmp_path):
    lines = [
        b'{"b" :1,  "a":"\\u00e9"}',
        '{"text":"x\u2028y\u2029z\u0085"}'.encode(),
        b'  {"n": 1.50, "e": 1E5, "big": 123456789012345678901234567890}\t',
        b'{"s": "\\ud800", "nan": NaN}',
    ]
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n\n".join(lines))
    out = write(path, [3, 2, 1, 0, 3], tmp_path / "out.jsonl")
    assert out.read_bytes() == b"".join(lines[i] + b"\n" for i in [3, 2, 1, 0, 3])
    assert gzip.decompress(write(path, [1], tmp_path / "out.jsonl.gz").read_bytes()) == lines[1] + b"\n"
    assert records(write(path, [2, 1], tmp_path / "out.json"))[1] == json.loads(lines[1])


def test_gzip_files_hold_neither_name_nor_time(tmp_path):
    data = [save(tmp_path / name).read_bytes() for name in ("a.jsonl.gz", "b.jsonl.gz")]
    assert data[0] == data[1]
    assert data[0][4:8] == bytes(4)


SCHEMA = pa.schema(
    [
        pa.field("text", pa.large_string(), nullable=False, metadata={"k": "v"}),
        pa.field("n", pa.int8()),
        pa.field("when", pa.timestamp("us", "UTC")),
        pa.field("price", pa.decimal128(10, 2)),
        pa.field("kind", pa.dictionary(pa.int32(), pa.string())),
        pa.field("pairs", pa.list_(pa.struct([("x", pa.float32())]))),
        pa.field("nothing", pa.null()),
    ],
    metadata={"huggingface": '{"info": {}}', "other": "kept"},
)


def table(lo, hi):
    when = datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    return pa.Table.from_pylist(
        [
            {
                "text": f"t{i}",
                "n": i,
                "when": when + datetime.timedelta(days=i),
                "price": decimal.Decimal(i) / 4,
                "kind": f"kind {i % 3}",
                "pairs": [{"x": i / 2}],
                "nothing": None,
            }
            for i in range(lo, hi)
        ],
        SCHEMA,
    )


@pytest.mark.parametrize("source", ["parquet", "stream", "file", "memory"])
@pytest.mark.parametrize("target", ["out.parquet", "out.arrow"])
def test_tables_keep_schema_and_metadata(tmp_path, source, target):
    # Chunks whose dictionaries differ, which the file format of Arrow cannot hold.
    pool = pa.concat_tables([table(i, i + 5) for i in range(0, 20, 5)])
    if source == "parquet":
        pq.write_table(pool, tmp_path / "in.parquet", row_group_size=3)
    elif source == "stream":
        with pa.ipc.new_stream(str(tmp_path / "in.arrow"), SCHEMA) as writer:
            writer.write_table(pool)
    elif source == "file":
        pool = pool.unify_dictionaries()
        with pa.ipc.new_file(str(tmp_path / "in.arrow"), SCHEMA) as writer:
            writer.write_table(pool)
    rows = [19, 0, 7, 7, 3, 12]
    out = write(pool if source == "memory" else tmp_path, rows, tmp_path / target)
    if target.endswith("parquet"):
        got = pq.read_table(out)
    else:
        with pa.memory_map(str(out)) as stream:
            got = pa.ipc.open_stream(stream).read_all()
    assert got.to_pylist() == pool.take(rows).to_pylist()
    assert got.schema.remove_metadata().equals(SCHEMA.remove_metadata())
    assert got.schema.metadata == SCHEMA.metadata
    assert got.schema.field("text").metadata[b"k"] == b"v"


@pytest.mark.parametrize("make", [pa.ipc.new_stream, pa.ipc.new_file])
def test_arrow_stays_a_stream_or_a_file(tmp_path, make):
    data = pa.table({"a": [1, 2, 3]})
    with make(str(tmp_path / "in.arrow"), data.schema) as writer:
        writer.write_table(data)
    out = write(tmp_path / "in.arrow", [2, 0], tmp_path / "out.arrow")
    assert (out.read_bytes()[:6] == b"ARROW1") == (make is pa.ipc.new_file)
    assert records(out) == [{"a": 3}, {"a": 1}]


def test_many_small_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(write_table, "_CHUNK_ROWS", 4)
    pool = pa.concat_tables([table(i, i + 2) for i in range(0, 100, 2)])
    rows = np.random.default_rng(0).integers(0, 100, 333).tolist()
    out = write(pool, rows, tmp_path / "a.parquet")
    assert pq.read_table(out).to_pylist() == pool.take(rows).to_pylist()
    assert pq.ParquetFile(out).num_row_groups == 84


def test_values_that_json_cannot_hold(tmp_path):
    row = {
        "when": datetime.datetime(2024, 1, 2, 3, 4, 5),
        "price": decimal.Decimal("1.50"),
        "utf8": "é".encode(),
        "bytes": b"\xff\x00",
        "array": np.arange(2),
        "float": np.float32(0.5),
        "lone": "\ud800é",
    }
    out = write([row], [0], tmp_path / "a.jsonl")
    assert json.loads(out.read_bytes()) == {
        "when": "2024-01-02T03:04:05",
        "price": "1.50",
        "utf8": "é",
        "bytes": "/wA=",
        "array": [0, 1],
        "float": 0.5,
        "lone": "\ud800é",
    }


def test_columns_of_mixed_pools_are_united(tmp_path):
    pq.write_table(pa.table({"text": ["p"], "n": [1]}).replace_schema_metadata({"k": "v"}), tmp_path / "a.parquet")
    save(tmp_path / "b.jsonl", [{"n": 0.5, "extra": {"x": 1}}, {"text": "j", "extra": {"y": "z"}}])
    (tmp_path / "c.csv").write_text("text\nc\n")
    files = expand(tmp_path)
    order = ([1, 2, 0, 1], [1, 0, 0, 0])
    expected = [
        {"text": "j", "n": None, "extra": {"x": None, "y": "z"}},
        {"text": "c", "n": None, "extra": None},
        {"text": "p", "n": 1, "extra": None},
        {"text": None, "n": 0.5, "extra": {"x": 1, "y": None}},
    ]
    for name in ("out.parquet", "out.arrow"):
        out = write(files, order[1], tmp_path / name, order[0])
        assert records(out) == expected
    assert pq.read_schema(tmp_path / "out.parquet").metadata is None
    lines = write(files, order[1], tmp_path / "out.jsonl", order[0]).read_bytes().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"text": "j", "extra": {"y": "z"}},
        {"text": "c"},
        {"text": "p", "n": 1},
        {"n": 0.5, "extra": {"x": 1}},
    ]
    out = write(files, order[1], tmp_path / "out.csv", order[0])
    assert [row["extra"] for row in records(out)] == ['{"y":"z"}', "", "", '{"x":1}']


@pytest.mark.parametrize(
    ("pools", "message"),
    [
        ([[{"a": 1}, {"a": "x"}]], r"no table can hold the column 'a' \(.*\); write to a \.jsonl file"),
        ([[{"a": 2**70}]], "the column 'a'"),
        ([[{"a": "\ud800"}]], "the column 'a'"),
        ([[{"a": [1]}, {"a": {"b": 1}}]], "the column 'a'"),
        ([[{"a": 1}], [{"a": "x"}]], r"do not fit the rest of the pool \(.*Field a has incompatible types"),
        ([[{"a": {}}]], r"no parquet file can hold the chosen rows \(.*'a'.*\); write to a \.jsonl file"),
        ([[{}]], "rows without columns"),
    ],
)
def test_what_no_table_can_hold(tmp_path, pools, message):
    files = [PoolFile(f"<{k}>", "memory", records=rows) for k, rows in enumerate(pools)]
    file_index = [k for k, rows in enumerate(pools) for _ in rows]
    rows = [i for rows in pools for i in range(len(rows))]
    with pytest.raises(InputError, match=message):
        write(files, rows, tmp_path / "a.parquet", file_index)
    assert left(tmp_path) == []
    write(files, rows, tmp_path / "a.jsonl", file_index)


def test_the_pool_has_changed(tmp_path):
    for name in ("in.jsonl", "in.csv", "in.parquet"):
        path = save(tmp_path / name, [{"a": "1"}, {"a": "2"}])
        for out in ("out.jsonl", "out.parquet"):
            with pytest.raises(InputError, match=rf"{name}: row 2 is gone; the file was changed"):
                write(path, [0, 2, 3], tmp_path / out)
    assert left(tmp_path) == ["in.csv", "in.jsonl", "in.parquet"]


def test_refusals(tmp_path):
    path = save(tmp_path / "in.jsonl")
    with pytest.raises(InputError, match="no row was chosen"):
        write(path, [], tmp_path / "out.jsonl")
    with pytest.raises(InputError, match="it is a file of the pool"):
        write(path, [0], tmp_path / "." / "in.jsonl")
    with pytest.raises(InputError, match=r"cannot write .*out\.txt: the suffix must be one of \.jsonl"):
        write(path, [0], tmp_path / "out.txt")
    with pytest.raises(InputError, match=r"cannot write .*: No such file or directory"):
        write(path, [0], tmp_path / "no" / "out.jsonl")
    assert records(path) == ROWS


@pytest.mark.parametrize("target", NAMES)
def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch, target):
    out = tmp_path / target
    out.write_bytes(b"before")

    def refuse(self, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(InputError, match=rf"cannot write .*{target}: No space left on device"):
        write(ROWS, [0], out)
    assert left(tmp_path) == [target]
    assert out.read_bytes() == b"before"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("target", NAMES)
def test_a_full_disk(tmp_path, target):
    (tmp_path / f"{target}.part").symlink_to("/dev/full")
    with pytest.raises(InputError, match=rf"cannot write .*{target}: .*No space left on device"):
        write(ROWS * 1000, range(7000), tmp_path / target)
    assert left(tmp_path) == []


def test_an_interruption_leaves_nothing(tmp_path):
    def interrupted():
        with replacing(tmp_path / "a.jsonl") as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert left(tmp_path) == []


def test_writing_translates_only_what_the_system_says():
    with pytest.raises(InputError, match=r"cannot write a\.txt: Read-only file system"), writing("a.txt"):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    with pytest.raises(ZeroDivisionError), writing("a.txt"):
        raise ZeroDivisionError


def test_check_out(tmp_path, monkeypatch):
    out = tmp_path / "a.jsonl.gz"
    check_out(out)
    out.write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.jsonl\.gz exists; use --force"):
        check_out(out)
    check_out(out, force=True)
    (tmp_path / "b.csv").mkdir()
    for name, message in [
        ("b.csv", "it is a folder"),
        ("no/a.csv", "the folder .*no does not exist; create it"),
        ("a.txt", "the suffix must be one of"),
        ("x" * 300 + ".csv", "File name too long"),
    ]:
        with pytest.raises(InputError, match=message):
            check_out(tmp_path / name, force=True)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="no permission to write in the folder"):
        check_out(tmp_path / "new.csv")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.just("lone \ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60)
@given(data=st.data(), suffix=st.sampled_from([".jsonl", ".jsonl.zst", ".json"]))
def test_exactly_the_asked_rows_are_written(tmp_path_factory, data, suffix):
    folder = tmp_path_factory.mktemp("any")
    row = st.dictionaries(st.text(max_size=5), json_values, max_size=3)
    pools = data.draw(st.lists(st.lists(row, min_size=1, max_size=5), min_size=1, max_size=3))
    for k, rows in enumerate(pools):
        (folder / f"{k}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    places = [(k, i) for k, rows in enumerate(pools) for i in range(len(rows))]
    asked = data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=12))
    files = expand(folder)
    out = write(files, [i for _, i in asked], folder / f"out{suffix}", [k for k, _ in asked])
    assert records(out) == [pools[k][i] for k, i in asked]
