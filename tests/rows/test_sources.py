import datetime
import json
import os

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasksift.errors import InputError
from tasksift.rows import PoolFile, expand, file_format, fingerprint, read


def put(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"text": "a"}\n')


def paths(files, folder):
    return [file.path.removeprefix(f"{folder}/") for file in files]


@pytest.mark.parametrize(
    ("name", "kind", "compression", "stem"),
    [
        ("a.jsonl", "jsonl", None, "a"),
        ("a.ndjson.gz", "jsonl", "gz", "a"),
        ("a.b.jsonl.zst", "jsonl", "zst", "a.b"),
        ("A.JSON", "json", None, "A"),
        ("a.json.gz", "json", "gz", "a"),
        ("a.csv.zst", "csv", "zst", "a"),
        ("a.v1.parquet", "parquet", None, "a.v1"),
        ("a.arrow", "arrow", None, "a"),
    ],
)
def test_format_and_name_come_from_the_suffixes(name, kind, compression, stem):
    assert file_format(name) == (kind, compression)
    assert PoolFile(f"folder.d/{name}", kind, compression).name == stem


@pytest.mark.parametrize("name", ["a.txt", "jsonl", ".jsonl", "a.gz", "a.parquet.gz", "a.jsonl.bz2", "a.jsonl.gz.gz"])
def test_other_suffixes_are_unknown(name):
    assert file_format(name) is None


def test_folder_is_searched_in_sorted_order_without_hidden_unknown_and_side_files(tmp_path):
    put(tmp_path, "b.jsonl", "a/z.csv", "a/y.jsonl.gz", ".hidden.jsonl", ".git/x.jsonl", "notes.txt", "state.json")
    assert paths(expand(tmp_path), tmp_path) == ["a/y.jsonl.gz", "a/z.csv", "b.jsonl"]
    assert [(f.format, f.compression) for f in expand(tmp_path)] == [("jsonl", "gz"), ("csv", None), ("jsonl", None)]


def test_globs_are_sorted_and_may_be_relative(tmp_path, monkeypatch):
    put(tmp_path, "b-2.jsonl", "b-1.jsonl", "sub/b-3.jsonl", "sub/.b-4.jsonl", "c.txt")
    assert paths(expand(str(tmp_path / "b-*.jsonl")), tmp_path) == ["b-1.jsonl", "b-2.jsonl"]
    monkeypatch.chdir(tmp_path)
    assert [f.path for f in expand("**/b-?.*")] == ["b-1.jsonl", "b-2.jsonl", "sub/b-3.jsonl"]
    assert [f.path for f in expand("*/.b-*")] == ["sub/.b-4.jsonl"]


def test_a_file_whose_name_looks_like_a_glob_is_itself(tmp_path):
    put(tmp_path, "a[1].jsonl", "a1.jsonl")
    assert paths(expand(str(tmp_path / "a[1].jsonl")), tmp_path) == ["a[1].jsonl"]


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    put(tmp_path, "a.jsonl")
    assert expand("~/a.jsonl")[0].path == str(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("missing.jsonl", r"pool: .*missing\.jsonl does not exist; files \(\.jsonl"),
        ("*.parquet", r"pool: .*\*\.parquet holds no file to read; known suffixes are \.jsonl"),
        ("notes.txt", r"pool: .*notes\.txt has a suffix that is not known; known are \.jsonl"),
        ("empty", r"pool: .*empty holds no file"),
        ("x" * 300 + ".jsonl", "cannot read .*: File name too long"),
        ("a\0b", "does not exist"),
    ],
)
def test_what_is_not_there(tmp_path, item, message):
    put(tmp_path, "notes.txt", "empty/.keep.jsonl")
    with pytest.raises(InputError, match=message) as error:
        expand(str(tmp_path / item))
    assert "\n" not in str(error.value)


def test_nothing_given():
    with pytest.raises(InputError, match="target: nothing was given"):
        expand([], "target")


def test_the_same_file_twice(tmp_path):
    put(tmp_path, "a.jsonl")
    with pytest.raises(InputError, match=r"a\.jsonl given twice"):
        expand([tmp_path, tmp_path / "a.jsonl"])
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "a.jsonl")
    with pytest.raises(InputError, match=r"a\.jsonl and .*b\.jsonl, one file, given twice"):
        expand(tmp_path)
    with pytest.raises(InputError, match="hf:x given twice"):
        expand(["hf:x", "hf:x"])


@pytest.mark.parametrize(
    ("path", "name"),
    [("hf:openai/gsm8k", "openai/gsm8k"), ("hf:a:main", "a"), ("hf:a::dev", "a"), ("hf:a:main:train", "a")],
)
def test_hub_names(path, name):
    (file,) = expand(path)
    assert (file.path, file.format, file.name) == (path, "hf", name)


@pytest.mark.parametrize("path", ["hf:", "hf:a:b:c:d"])
def test_malformed_hub_names(path):
    with pytest.raises(InputError, match=r"NAME\[:CONFIG\]\[:SPLIT\]"):
        expand(path)


@pytest.mark.parametrize(
    "rows",
    [
        [{"text": "a"}],
        ({"text": "a"},),
        pa.table({"text": ["a"]}),
        pd.DataFrame({"text": ["a"]}, index=[7]),
    ],
)
def test_rows_in_memory(rows):
    for given in (rows, [rows]) if not isinstance(rows, list | tuple) else (rows,):
        (file,) = expand(given)
        assert file.format == "memory"
        assert next(read(file)).records == [{"text": "a"}]
    assert expand(rows)[0].name == "pool"
    assert expand(rows, "target")[0].path == "<target>"


def test_data_sets_keep_their_arrow_schema():
    table = pa.table({"text": ["a"]}).replace_schema_metadata({"huggingface": "{}"})

    class Formatted:
        def __getitem__(self, key):
            assert key == slice(None)
            return table

    class Dataset:
        features, num_rows = {}, 1

        def with_format(self, name):
            assert name == "arrow"
            return Formatted()

    assert expand(Dataset())[0].records is table


def test_missing_values_of_a_frame_are_none():
    frame = pd.DataFrame({"text": ["a", None], "n": [1.5, float("nan")]})
    assert next(read(expand(frame)[0])).records[1] == {"text": None, "n": None}


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"text": "a"}, "one dict is not a list of rows"),
        (3, "a int cannot be read; give paths"),
        ([3], "a int cannot be read"),
        (pd.DataFrame({"x": [1, "a"]}, dtype=object), "column of mixed types.*column x"),
        ((row for row in [{"a": 1}]), "a generator cannot be read"),
    ],
)
def test_what_is_no_pool(item, message):
    with pytest.raises(InputError, match=message):
        expand(item)


def test_fingerprint_follows_the_file(tmp_path):
    put(tmp_path, "a.jsonl")
    first = fingerprint(expand(tmp_path))
    assert fingerprint(expand(tmp_path)) == first
    put(tmp_path, "b.jsonl")
    assert fingerprint(expand(tmp_path)) != first
    (tmp_path / "b.jsonl").unlink()
    assert fingerprint(expand(tmp_path)) == first
    (tmp_path / "a.jsonl").write_text('{"text": "longer"}\n')
    assert fingerprint(expand(tmp_path)) != first
    files = expand(tmp_path)
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(InputError, match=r"cannot read .*a\.jsonl"):
        fingerprint(files)


def test_fingerprint_by_contents_holds_for_copies(tmp_path):
    prints = set()
    for name, text in (("here", "a"), ("there", "a"), ("other", "b")):
        path = tmp_path / name / "pool.jsonl"
        path.parent.mkdir()
        path.write_text(json.dumps({"text": text}) + "\n")
        os.utime(path, ns=(0, 10**9 * len(name)))
        prints.add(fingerprint(expand(path), contents=True))
    assert len(prints) == 2
    renamed = path.rename(tmp_path / "source.jsonl")  # the name is the source of its rows
    assert fingerprint(expand(renamed), contents=True) not in prints
    files = expand(renamed)
    renamed.unlink()
    with pytest.raises(InputError, match=r"cannot read .*source\.jsonl"):
        fingerprint(files, contents=True)


def test_fingerprint_of_memory_is_its_content():
    day = datetime.date(2024, 1, 2)
    rows = [{"text": "a", "day": day}, {"text": "\ud800", "day": None}]
    assert fingerprint(expand(rows)) == fingerprint(expand([dict(reversed(row.items())) for row in rows]))
    assert fingerprint(expand(rows)) != fingerprint(expand(rows[::-1]))
    table = pa.table({"text": ["a"], "day": [day]})
    assert fingerprint(expand(table)) != fingerprint(expand(table.slice(0, 0)))


def test_hidden_parents_do_not_hide_a_folder(tmp_path):
    pq_file = tmp_path / ".cache" / "a.parquet"
    pq_file.parent.mkdir()
    pq.write_table(pa.table({"text": ["a"]}), pq_file)
    assert [f.path for f in expand(pq_file.parent)] == [str(pq_file)]
