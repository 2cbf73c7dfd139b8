import errno
import gzip
import json
import sys
import types
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksift.errors import InputError, MissingExtraError
from tasksift.rows import PoolFile, expand, read

ROWS = [{"text": f"row {i} é \u2028 😀", "n": i, "meta": {"tags": ["a", "b"][: i % 3]}} for i in range(7)]


def records(path, batch_rows=2048):
    (file,) = expand(str(path))
    found = []
    for batch in read(file, batch_rows):
        assert batch.start == len(found)
        assert len(batch.records) <= batch_rows
        found += batch.records
    return found


def squeeze(path, data):
    """Write bytes as the suffix of the file says."""
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    if path.suffix == ".zst":
        with pa.output_stream(str(path), compression="zstd") as sink:
            sink.write(data)
    else:
        path.write_bytes(data)
    return path


def error_of(path, data, **options):
    squeeze(path, data) if options.get("squeeze", True) else path.write_bytes(data)
    with pytest.raises(InputError) as error:
        records(path)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    return message.removeprefix(str(path))


@pytest.mark.parametrize("batch_rows", [1, 3, 100])
@pytest.mark.parametrize("end", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", [".jsonl", ".ndjson", ".json"])
def test_json_formats(tmp_path, kind, end, batch_rows):
    if kind == ".json":
        text = json.dumps(ROWS, ensure_ascii=False, indent=1)
    else:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    assert records(squeeze(tmp_path / f"a{kind}{end}", text.encode()), batch_rows) == ROWS


@pytest.mark.parametrize("batch_rows", [1, 3, 100])
@pytest.mark.parametrize("kind", ["parquet", "stream", "file", "memory"])
def test_tables(tmp_path, kind, batch_rows):
    table = pa.Table.from_pylist(ROWS)
    path = tmp_path / ("a.parquet" if kind == "parquet" else "a.arrow")
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=2)
    elif kind == "memory":
        path = table
    else:
        make = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
        with make(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=4)
    (file,) = expand(path)
    assert [row for batch in read(file, batch_rows) for row in batch.records] == ROWS


@pytest.mark.parametrize("end", ["", ".gz", ".zst"])
def test_csv(tmp_path, end):
    data = 'a,b\r\n1,"x, ""y"""\n\n,"two\nlines \u2028"\n'.encode()
    assert records(squeeze(tmp_path / f"a.csv{end}", data)) == [
        {"a": "1", "b": 'x, "y"'},
        {"a": "", "b": "two\nlines \u2028"},
    ]


def test_csv_lines_are_those_of_the_file(tmp_path):
    path = squeeze(tmp_path / "a.csv", b'a,b\n\n1,"x\ny"\n\n2,z\n')
    (batch,) = read(expand(path)[0])
    assert [batch.where(i) for i in range(2)] == [f"{path}, line 3", f"{path}, line 6"]


def test_a_csv_field_may_be_long(tmp_path):
    assert len(records(squeeze(tmp_path / "a.csv", b"a\n" + b"x" * 300_000))[0]["a"]) == 300_000


@pytest.mark.parametrize("head", [b"", b"\xef\xbb\xbf"])
def test_blank_lines_and_byte_order_marks(tmp_path, head):
    path = squeeze(tmp_path / "a.jsonl", head + b'{"a": 1}\r\n\r\n  \n{"a": 2}')
    (batch,) = read(expand(path)[0])
    assert batch.records == [{"a": 1}, {"a": 2}]
    assert [batch.where(i) for i in range(2)] == [f"{path}, line 1", f"{path}, line 4"]
    assert records(squeeze(tmp_path / "a.csv", head + b"a\n1\n")) == [{"a": "1"}]
    assert records(squeeze(tmp_path / "a.json", head + b'[{"a": 1}]')) == [{"a": 1}]


def test_json_object_around_the_rows(tmp_path):
    assert records(squeeze(tmp_path / "a.json", b'{"version": 1, "data": [{"a": 1}]}')) == [{"a": 1}]


def test_constants_surrogates_and_separators_are_accepted(tmp_path):
    text = '{"a": NaN, "b": [Infinity, -Infinity], "c": "\\ud800", "d": "x\u2028y\u2029z\u0085"}\n'
    (row,) = records(squeeze(tmp_path / "a.jsonl", text.encode()))
    assert row["a"] != row["a"]
    assert row["b"] == [float("inf"), float("-inf")]
    assert (row["c"], row["d"]) == ("\ud800", "x\u2028y\u2029z\u0085")


def test_concatenated_compressed_files(tmp_path):
    for end in (".gz", ".zst"):
        path = squeeze(tmp_path / f"a.jsonl{end}", b'{"a": 1}\n')
        path.write_bytes(path.read_bytes() * 2)
        assert records(path) == [{"a": 1}] * 2


def test_a_long_line(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    assert len(records(squeeze(path, b'{"text": "' + b"x" * 5_000_000 + b'"}\n'))[0]["text"]) == 5_000_000


TABLE = pa.BufferOutputStream()
pq.write_table(pa.table({"a": [1]}), TABLE)
PARQUET = TABLE.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b"", " is empty (0 bytes); leave it out or fill it"),
        ("a.parquet", b"", " is empty (0 bytes); leave it out or fill it"),
        ("a.arrow", b"", " is empty (0 bytes); leave it out or fill it"),
        ("a.jsonl", b"\n \r\n", " holds no rows; leave it out or fill it"),
        ("a.jsonl.gz", b"", " holds no rows; leave it out or fill it"),
        ("a.csv", b"a,b\n", " holds no rows; leave it out or fill it"),
        ("a.json", b"[]", " holds no rows; leave it out or fill it"),
        ("a.jsonl", b'{"a": 1}\n\n{"a": }\n', ", line 3: not JSON (Expecting value at column 7); mend or remove"),
        ("a.jsonl", b'{"a": 1}\n[1]\n', ", line 2: a list, not an object; rename the file to .json"),
        ("a.jsonl", b'null\n', ', line 1: a null, not an object; write it as {"text": ...}'),
        ("a.jsonl", b'"x"\n', ', line 1: a string, not an object; write it as {"text": ...}'),
        ("a.jsonl", b'[\n{"a": 1}\n]', ", line 1: not JSON (Expecting value at column 2); a record must fill one line"),
        ("a.jsonl", b"[" * 100_000, ", line 1: the JSON is nested too deeply"),
        ("a.jsonl", b'{"a": ' + b"1" * 5000 + b"}", ", line 1: not readable as JSON (Exceeds the limit"),
        ("a.jsonl", b'{"a": 1}\n{"a": "\xe9"}\n', ", line 2: not UTF-8 (byte 0xe9); convert it, e.g. iconv -f latin1"),
        ("a.jsonl", '{"a": 1}'.encode("utf-16"), ", line 1: not UTF-8 (byte 0xff); convert it, e.g. iconv -f utf-16"),
        ("a.csv", b"a\n1\n\xe9\n", ", line 3: not UTF-8 (byte 0xe9)"),
        ("a.json", b'[\n{"a": 1},\n{"a": "\xe9"}]', ", line 3: not UTF-8 (byte 0xe9)"),
        ("a.json", b'[\n{"a": 1},\n{"a" 2}]', ", line 3: not JSON (Expecting ':' delimiter at column 6)"),
        ("a.json", b'{"a": 1}\n{"a": 2}\n', ", line 2: not JSON (Extra data at column 1); if it is JSON Lines"),
        ("a.json", b'[{"a": 1}, 3]', ", row 1: a number, not a dict of columns"),
        ("a.json", b"3", ": a number, not a list of records; write [{...}, ...]"),
        ("a.json", b'{"a": [{"b": 1}], "c": [{"d": 1}]}', ": an object with 2 lists of records (keys: a, c)"),
        ("a.json", b'{"a": 1}', ": an object with 0 lists of records (keys: a)"),
        ("a.csv", b"a,b\n1,2\n\n1,2,3\n", ", line 4: 3 fields where the header has 2; mend the line"),
        ("a.csv", b"a,b\n1,2\n1\n", ", line 3: 1 fields where the header has 2; mend the line"),
        ("a.csv", b'a,b\n1,2\n3,"x\ny\n', ", line 3: not CSV (unexpected end of data)"),
        ("a.csv", b"a,b,a\n1,2,3\n", ": the column 'a' stands there 2 times; rename one"),
        ("a.jsonl", PARQUET, " is a Parquet file, not what its suffix .jsonl says; rename it to a.parquet"),
        ("a.jsonl", gzip.compress(b"{}", mtime=0), " is compressed with gzip, not what its suffix .jsonl says; ren"),
        ("a.arrow", PARQUET, " is a Parquet file, not what its suffix .arrow says; rename it to a.parquet"),
        ("a.csv", b"PK\x03\x04xxxx", " is a zip archive, not what its suffix .csv says; unpack it"),
        ("a.parquet", b"hello, this is text", " is not what its suffix .parquet says"),
        ("a.arrow", b"hello, this is text", " is not what its suffix .arrow says"),
        ("a.parquet", PARQUET[:-20], ": the parquet data is damaged or cut off"),
        ("a.arrow", b"ARROW1\0\0xxxxxxxxxxxxxxxx", ": the arrow data is damaged or cut off"),
    ],
)  # fmt: skip
def test_files_that_are_wrong(tmp_path, name, data, message):
    assert error_of(tmp_path / name, data).startswith(message)


@pytest.mark.parametrize(("end", "kind"), [(".gz", "gz"), (".zst", "zst")])
def test_compressed_files_that_are_wrong(tmp_path, end, kind):
    path = tmp_path / f"a.jsonl{end}"
    assert f"is not what its suffix {end} says" in error_of(path, b'{"a": 1}\n', squeeze=False)
    lines = b"".join(b'{"a": "%d"}\n' % (i**5) for i in range(20_000))
    data = squeeze(path, lines).read_bytes()
    message = error_of(path, data[: len(data) // 2], squeeze=False)
    assert message.startswith(f": the {kind} data is damaged or cut off after line ")
    assert 0 < int(message.split("after line ")[1].split()[0]) < 20_000
    # zstd may decompress changed bytes to other text, which then is no JSON; gzip has a checksum for each file.
    garbled = error_of(path, data[:2000] + bytes(200) + data[2200:], squeeze=False)
    assert "damaged or cut off" in garbled or "not JSON" in garbled
    parquet = error_of(path, PARQUET, squeeze=False)
    assert parquet == f" is a Parquet file, not what its suffix {end} says; rename it to a.parquet"


def test_a_column_that_stands_twice(tmp_path):
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pa.ipc.new_stream(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    for pool in (tmp_path / "a.arrow", table):
        with pytest.raises(InputError, match="the column 'a' stands there 2 times"):
            next(read(expand(pool)[0]))


def test_a_table_without_rows(tmp_path):
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet holds no rows"):
        records(tmp_path / "a.parquet")


def test_broken_text_in_a_table_names_its_row(tmp_path):
    good, bad = b"good", b"\xff\xfe"
    column = pa.array([good] * 5 + [bad, good]).view(pa.string())
    pq.write_table(pa.table({"a": column}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet, row 5: a value cannot be read"):
        records(tmp_path / "a.parquet", 3)


def test_a_folder_and_a_file_without_permission(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"cannot read .*: Is a directory"):
        next(read(PoolFile(str(tmp_path), "jsonl")))
    with pytest.raises(InputError, match=r"cannot read .*: No such file"):
        next(read(PoolFile(str(tmp_path / "a.parquet"), "parquet")))

    def refuse(self, *args, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"cannot read a\.csv: Permission denied"):
        next(read(PoolFile("a.csv", "csv")))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"a": 1}, [2]], "<pool>, row 1: a list, not a dict of columns"),
        ([{"a": 1}, {3: 1}], "<pool>, row 1: the column name 3 is not text"),
    ],
)
def test_rows_in_memory_that_are_wrong(rows, message):
    with pytest.raises(InputError, match=message):
        next(read(expand(rows)[0]))


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for `datasets` and the errors of `huggingface_hub`; `calls` is what was asked for."""
    package, errors, parent = (types.ModuleType(n) for n in ("datasets", "huggingface_hub.errors", "huggingface_hub"))
    errors.HfHubHTTPError = type("HfHubHTTPError", (Exception,), {})
    parent.errors = errors
    for module in (package, errors, parent):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return package


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("hf:a/b", ("a/b", None, "train")),
        ("hf:a:main", ("a", "main", "train")),
        ("hf:a:test", ("a", None, "test")),
        ("hf:a::dev", ("a", None, "dev")),
        ("hf:a:main:dev", ("a", "main", "dev")),
    ],
)
def test_hub_is_streamed(hub, path, asked):
    def load_dataset(name, config, *, split, streaming):
        assert streaming
        assert (name, config, split) == asked
        return iter(ROWS)

    hub.load_dataset = load_dataset
    assert records(path, 2) == ROWS


def test_hub_out_of_reach(hub):
    def load_dataset(*args, **options):
        raise ConnectionError("Couldn't reach 'a' on the Hub\n(offline)")

    hub.load_dataset = load_dataset
    with pytest.raises(
        InputError, match=r"hf:a: cannot be read from the hub \(ConnectionError: Couldn't .* \(offline\)"
    ):
        records("hf:a")


def test_hub_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"hf:a needs .*tasksift\[hf\]"):
        records("hf:a")


def test_a_pool_is_read_lazily(tmp_path, monkeypatch):
    path = squeeze(tmp_path / "a.jsonl", b'{"a": 1}\n' * 100 + b"broken\n")
    parsed = []
    loads = json.loads
    monkeypatch.setattr(json, "loads", lambda text: parsed.append(text) or loads(text))
    assert len(next(read(expand(path)[0], 10)).records) == 10
    assert len(parsed) == 10


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.just("lone \ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60)
@given(
    rows=st.lists(st.dictionaries(st.text(max_size=5), values, max_size=4), min_size=1, max_size=8),
    ascii_only=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", "\n\n", "\n \n"]),
    batch_rows=st.integers(1, 9),
)
def test_any_json_record_is_read_back(tmp_path_factory, rows, ascii_only, end, batch_rows):
    path = tmp_path_factory.mktemp("any") / "a.jsonl"
    text = end.join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    path.write_bytes(text.encode("utf-8", "backslashreplace"))  # an escape of JSON too
    assert records(path, batch_rows) == rows
