import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("moto")
pytest.importorskip("fsspec")

from s3_server import nth, slow

from tasksift import places
from tasksift.errors import InputError, UnfinishedError
from tasksift.memory import PROBE_FILES, estimate_rows
from tasksift.rows import PoolFile, check_out, expand, fingerprint, read, write_rows, writing
from tasksift.rows.raw import is_stream, lines_between
from tasksift.rows.sources import READ_BYTES

ROWS = [{"n": n, "text": f"row {n} é", "list": [n, n + 1]} for n in range(5000)]
FLAT = [{"n": str(row["n"]), "text": row["text"]} for row in ROWS]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


def table(stream=False, parquet=False):
    made, rows = pa.BufferOutputStream(), pa.Table.from_pylist(ROWS)
    if parquet:
        pq.write_table(rows, made, row_group_size=700)
    else:
        with (pa.ipc.new_stream if stream else pa.ipc.new_file)(made, rows.schema) as writer:
            writer.write_table(rows, max_chunksize=700)
    return made.getvalue().to_pybytes()


def compressed():
    made = pa.BufferOutputStream()
    with pa.CompressedOutputStream(made, "zstd") as sink:
        sink.write(LINES)
    return made.getvalue().to_pybytes()


FORMATS = {
    "a.jsonl": lambda: LINES,
    "a.jsonl.gz": lambda: gzip.compress(LINES, mtime=0),
    "a.jsonl.zst": compressed,
    "a.csv": lambda: b"n,text\n" + "".join(f"{row['n']},{row['text']}\n" for row in FLAT).encode(),
    "a.json": lambda: json.dumps(ROWS).encode(),
    "a.parquet": lambda: table(parquet=True),
    "a.arrow": table,
    "b.arrow": lambda: table(stream=True),
}


@pytest.fixture(params=["s3", "memory"])
def put(request, tmp_path):
    """Put a file into a storage and return its URL."""
    if request.param == "s3":
        return request.getfixturevalue("storage").put

    def put(key, data):
        url = f"memory://{tmp_path.name}/{key}"
        places.write_bytes(url, data)
        return url

    return put


def rows_of(file):
    return [record for batch in read(file) for record in batch.records]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read_and_written_as_from_disk(put, tmp_path, name):
    (tmp_path / name).write_bytes(FORMATS[name]())
    url = put(f"folder/{name}", FORMATS[name]())
    (here,), (there,) = expand(str(tmp_path / name)), expand(url)
    assert (there.path, there.format, there.compression, there.name) == (url, here.format, here.compression, here.name)
    assert (here.on_disk, here.remote, there.on_disk, there.remote) == (True, False, False, True)
    assert here.size == there.size == there.seen.size
    assert rows_of(there) == rows_of(here) == (FLAT if name == "a.csv" else ROWS)
    if name.endswith(".arrow"):
        assert is_stream(there) == is_stream(here) == (name == "b.arrow")
    rows = np.array([4999, 3, 3, 1700])
    for file, out in ((here, tmp_path / f"here-{name}"), (there, tmp_path / f"there-{name}")):
        write_rows([file], np.zeros(4, dtype=int), rows, out)
    assert (tmp_path / f"here-{name}").read_bytes() == (tmp_path / f"there-{name}").read_bytes()
    assert estimate_rows([there]) == estimate_rows([here])
    assert fingerprint([there], contents=True) == fingerprint([here], contents=True)
    assert fingerprint([there]) != fingerprint([here])


def test_a_folder_and_a_glob_hold_what_they_hold_on_disk(put, tmp_path):
    for name in (
        "b.jsonl",
        "a/z.csv",
        "a/y.jsonl.gz",
        ".h.jsonl",
        ".git/x.jsonl",
        "notes.txt",
        "state.json",
        "a-b.json",
    ):
        (tmp_path / "pool" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pool" / name).write_bytes(b"1")
        root = put(f"pool/{name}", b"1").removesuffix(f"/{name}")
    for pattern in ("", "/*", "/**/*", "/.*", "/*/*.gz", "/[ab]*"):
        here = [Path(file.path).relative_to(tmp_path / "pool") for file in expand(f"{tmp_path}/pool{pattern}")]
        assert [file.path for file in expand(root + pattern)] == [f"{root}/{path}" for path in here]
    with pytest.raises(InputError, match=r"^pool: .*/none does not exist or holds no file to read"):
        expand(f"{root}/none")
    with pytest.raises(InputError, match=r"notes.txt has a suffix that is not known"):
        expand(f"{root}/notes.txt")
    with pytest.raises(InputError, match="given twice"):
        expand([f"{root}/b.jsonl", root])


def test_a_file_url_is_a_file_on_disk(tmp_path):
    (tmp_path / "a b.jsonl").write_bytes(LINES)
    assert expand((tmp_path / "a b.jsonl").as_uri()) == expand(str(tmp_path / "a b.jsonl"))
    assert [file.path for file in expand(tmp_path.as_uri())] == [str(tmp_path / "a b.jsonl")]


def test_credentials_in_the_name_of_a_pool_are_refused():
    with pytest.raises(InputError, match=r"^--target: .*credentials") as caught:
        expand("s3://AKID:hidden@b/a.jsonl", "--target")
    assert "hidden" not in str(caught.value)


def test_a_fingerprint_holds_for_the_content_not_for_the_time(storage):
    url = storage.put("a.jsonl", LINES)
    before = fingerprint(expand(url))
    storage.delete("a.jsonl")
    storage.put("a.jsonl", LINES)
    assert fingerprint(expand(url)) == before == fingerprint([PoolFile(url, "jsonl")])
    storage.put("a.jsonl", LINES.replace(b"row 7 ", b"row 8 "))
    assert fingerprint(expand(url)) != before


@pytest.mark.parametrize("name", FORMATS)
def test_what_changes_or_goes_after_it_was_found_is_refused(storage, name):
    data = FORMATS[name]()
    url = storage.put(name, data)
    (file,) = expand(url)
    storage.put(name, data + b" ")
    with pytest.raises(InputError, match=r"was changed after it was found; let it rest") as caught:
        rows_of(file)
    assert not isinstance(caught.value, UnfinishedError)
    storage.delete(name)
    with pytest.raises(UnfinishedError, match=f"^{url} is not there; .* put the file back and run the same command"):
        rows_of(file)
    assert file.size is None
    storage.put(name, data)
    assert len(rows_of(file)) == 5000


@pytest.mark.parametrize("name", FORMATS)
def test_what_goes_or_changes_while_it_is_read_is_refused(storage, name):
    data = FORMATS[name]()
    url = storage.put(name, data)
    (file,) = expand(url)
    storage.fault = nth(1, "GET", name, lambda: storage.delete(name))
    with pytest.raises(UnfinishedError, match=f"^{url} is not there"):
        rows_of(file)
    storage.put(name, data)
    # Two lines change places, or a part of a table: what is read may well look good.
    storage.fault = nth(1, "GET", name, lambda: storage.put(name, data[:400] + data[400:][::-1]) and None)
    with pytest.raises(InputError, match=r"was changed"):
        rows_of(file)


def test_a_slow_object_changes_nothing(storage):
    files = [storage.put(f"{k}.jsonl", LINES) for k in range(3)]
    storage.fault = slow("1.jsonl", 0.2)
    assert [rows_of(file) for file in expand(files)] == [ROWS] * 3


def test_data_that_is_damaged_is_no_fault_of_the_storage(put):
    for name, words in (
        ("cut.jsonl.gz", "gz data is damaged or cut off after line"),
        ("cut.jsonl.zst", "zst data is damaged"),
        ("cut.parquet", "parquet data is damaged"),
        ("cut.arrow", "arrow data is damaged"),
    ):
        data = FORMATS[name.replace("cut", "a")]()
        url = put(name, data[: len(data) // 2])
        with pytest.raises(InputError, match=f"^{url}: the {words}") as caught:
            rows_of(expand(url)[0])
        assert not isinstance(caught.value, UnfinishedError)
    for name, data, words in (
        ("empty.jsonl", b"", "is empty"),
        ("empty.parquet", b"", "is empty"),
        ("wrong.jsonl", gzip.compress(LINES), "rename it to wrong.jsonl.gz"),
        ("wrong.arrow", table(parquet=True), "rename it to wrong.parquet"),
        ("broken.jsonl", b'{"a": 1}\n{"a"\n', "line 2: not JSON"),
        ("broken.csv", b"a,b\n1,2\n1\n", "line 3: 1 fields where the header has 2"),
    ):
        with pytest.raises(InputError, match=words):
            rows_of(expand(put(name, data))[0])


def test_a_large_file_is_fetched_in_parts(storage):
    lines = [f'{{"text": "{"x" * 100} {k}"}}\n'.encode() for k in range(2 * READ_BYTES // 100)]
    (file,) = expand(storage.put("big.jsonl", b"".join(lines)))
    storage.asked.clear()
    assert sum(len(batch.records) for batch in read(file)) == len(lines)
    assert 3 <= storage.count("GET", "big.jsonl") <= 4
    assert storage.count("HEAD", "big.jsonl") == 2
    middle = sum(map(len, lines[:1000]))
    assert lines_between(file, middle, middle + 200) == b"".join(lines[1000:1002])


def test_an_estimate_looks_into_a_few_of_many_files(storage):
    for k in range(PROBE_FILES + 5):
        storage.put(f"many/{k}.jsonl", LINES[: LINES.index(b"\n", 20_000) + 1])
        storage.put(f"many/{k}.parquet", table(parquet=True))
    files = expand(storage.url("many"))
    assert len(files) == 2 * (PROBE_FILES + 5)
    storage.asked.clear()
    expected = sum(len(rows_of(file)) for file in files[:2]) * (PROBE_FILES + 5)
    storage.asked.clear()
    assert estimate_rows(files) == pytest.approx(expected, rel=0.1)
    assert len({key for method, key in storage.asked if method == "GET"}) == 2 * PROBE_FILES


@pytest.mark.parametrize("out", ["s3://b/picked.jsonl", Path("s3://b/picked.jsonl"), "gs://b/run"])
def test_nothing_is_written_by_url(out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=r"^cannot write (s3://b/picked.jsonl|gs://b/run): it is a URL; write to a folder"
    ):
        check_out(out)
    with pytest.raises(InputError, match="it is a URL"), writing(Path(out)):
        pytest.fail("it was taken for a path")
    assert not list(tmp_path.iterdir())
