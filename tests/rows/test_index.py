"""The index of a pool: what it says of rows, against the rows themselves."""

import hashlib
import json

import numpy as np
import pytest

from tasksift import scratch
from tasksift.errors import InputError
from tasksift.rows import Scanned, TextReader, TokenCounter, expand
from tasksift.rows import index as module
from tasksift.rows.index import IndexBuilder, PoolIndex, build_index, index_vectors
from tasksift.rows.scan import scan

ROWS = [{"text": f"w{k % 7} " * (k % 5 + 1), "from": "ab"[k % 2], "name": f"n{9 - k}"} for k in range(10)]


@pytest.fixture
def pool(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n\n" for row in ROWS[:4]))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[4:]))
    return expand([tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "b.jsonl"][:2])


def build(files, **options):
    return build_index(files, TextReader(), TokenCounter(), **options)


def same(one, other):
    rows = np.arange(len(one))
    assert one.digest == other.digest
    assert one.take(rows).to_pylist() == other.take(rows).to_pylist()
    assert one.order.tolist() == other.order.tolist()
    assert one.sources.tolist() == other.sources.tolist()
    assert one.source_names == other.source_names


def test_what_an_index_says_of_rows(pool):
    seen = []
    index = build(pool, source_column="from", see=lambda part: seen.extend(part.texts))
    some = [9, 0, 4, 3]
    content = [json.dumps(row, sort_keys=True, separators=(",", ":")) + f"\0{row['from']}" for row in ROWS]
    digests = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in content]
    assert index.digest == hashlib.blake2b(b"".join(digests), digest_size=16).hexdigest()
    assert index.take(np.array(some)).to_pylist() == [
        {
            "id": digests[k].hex(),
            "source": ROWS[k]["from"],
            "file": pool[k >= 4].path,
            "file_row": k - 4 * (k >= 4),
            "tokens": TokenCounter().count([seen[k]])[0],
        }
        for k in some
    ]
    assert seen == [row["text"].strip() for row in ROWS] or len(seen) == 10
    assert index.sources.tolist() == [0, 1] * 5
    assert index.source_names == ["a", "b"]
    assert index.source_counts.tolist() == [5, 5]
    assert int(index.tokens.sum()) == sum(TokenCounter().count(seen))
    assert [digests[k] for k in np.argsort(index.order)] == sorted(digests)


@pytest.mark.parametrize("options", [{}, {"source_column": "from"}, {"id_column": "name"}])
def test_saved_and_loaded(options, pool, tmp_path, monkeypatch):
    index = build(pool, **options)
    index.save(tmp_path / "rows.parquet")
    monkeypatch.setattr(module, "CHUNK_ROWS", 48)  # read in batches of 3
    again = PoolIndex.load(tmp_path / "rows.parquet")
    same(index, again)
    assert again.tokens.tolist() == index.tokens.tolist()
    first = (tmp_path / "rows.parquet").read_bytes()
    again.save(tmp_path / "rows.parquet")
    same(index, PoolIndex.load(tmp_path / "rows.parquet"))
    assert build(pool, **options).save(tmp_path / "other.parquet") is None
    assert (tmp_path / "other.parquet").read_bytes() == first


def test_ids_of_the_user(pool):
    index = build(pool, id_column="name")
    assert index.take(np.arange(10))["id"].to_pylist() == [row["name"] for row in ROWS]
    assert index.order.tolist() == list(range(9, -1, -1))
    with pytest.raises(InputError, match="rows 0 and 2 of the pool both have the id 'a'"):
        build(pool, id_column="from")


def test_one_file_named_twice_is_two_files():
    rows = [{"text": "a"}, {"text": "b"}]
    (one,) = expand(rows)
    table = build([one, one]).take(np.arange(4))
    assert table["file_row"].to_pylist() == [0, 1, 0, 1]
    assert [name.removesuffix("-1") for name in table["id"].to_pylist()[2:]] == table["id"].to_pylist()[:2]


def test_vectors_only():
    keys = np.array([[3, 1], [1, 2], [3, 1], [2, 9]], dtype=np.uint64)
    index = index_vectors(keys, "pool")
    hexes = [row.tobytes().hex() for row in keys]
    assert index.digest == hashlib.blake2b(keys.tobytes(), digest_size=16).hexdigest()
    assert index.take(np.array([2, 3, 0])).to_pylist() == [
        {"id": name, "source": "pool", "file": "pool", "file_row": row, "tokens": None}
        for name, row in [(f"{hexes[2]}-1", 2), (hexes[3], 3), (hexes[0], 0)]
    ]
    assert index.tokens is None
    assert index.sources.tolist() == [0] * 4
    assert index.source_counts.tolist() == [4]
    assert np.argsort(index.order).tolist() == [1, 3, 0, 2]
    same(index, index_vectors(np.asfortranarray(keys), "pool"))


def test_groups_and_numbers_go_with_the_rows(pool, tmp_path, monkeypatch):
    numbers = [0.1, -2.0, 3e300, 5e-324, 4.0, 4.0, 0.0, -0.0, 9.0, 1 / 3]
    rows = [
        {**row, "kind": f"k{k % 3}", "n": number} for k, (row, number) in enumerate(zip(ROWS, numbers, strict=True))
    ]
    options = {"source_column": "from", "group_column": "kind", "score_column": "n"}
    index = build(expand(rows), **options)
    assert (index.group_names, index.groups.tolist()) == (["k0", "k1", "k2"], [k % 3 for k in range(10)])
    assert index.numbers.tolist() == numbers
    index.save(tmp_path / "rows.parquet")
    monkeypatch.setattr(module, "CHUNK_ROWS", 48)
    again = PoolIndex.load(tmp_path / "rows.parquet")
    same(index, again)
    assert (again.group_names, again.groups.tolist()) == (index.group_names, index.groups.tolist())
    assert again.numbers.tobytes() == index.numbers.tobytes()
    assert (again.groups.dtype, again.numbers.dtype) == (np.int32, np.float64)
    first = (tmp_path / "rows.parquet").read_bytes()
    again.save(tmp_path / "rows.parquet")
    assert (tmp_path / "rows.parquet").read_bytes() == first


@pytest.mark.parametrize("options", [{}, {"group_column": "from"}, {"score_column": "n"}])
def test_what_was_not_asked_for_is_not_there(options, tmp_path):
    index = build(expand([{**row, "n": k} for k, row in enumerate(ROWS)]), **options)
    index.save(tmp_path / "rows.parquet")
    for each in (index, PoolIndex.load(tmp_path / "rows.parquet")):
        assert (each.groups is None, each.numbers is None) == (
            "group_column" not in options,
            "score_column" not in options,
        )
        assert each.group_names == (["a", "b"] if "group_column" in options else [])


def test_a_group_for_all_is_still_a_group(tmp_path):
    index = build(expand([{"text": "a", "kind": ""}, {"text": "b", "kind": None}]), group_column="kind")
    assert (index.group_names, index.groups.tolist()) == (["none"], [0, 0])


def test_built_from_batches_without_texts(pool):
    options = {"source_column": "from", "id_column": "name"}
    builder = IndexBuilder(pool, with_ids=True, with_groups=False, with_numbers=False)
    for part in scan(pool, TextReader(), TokenCounter(), **options, batch_rows=3):
        part.texts = []
        builder.add(part)
    same(builder.done(), build(pool, **options))


def test_an_index_in_scratch_files_is_the_same(tmp_path, monkeypatch):
    """More rows than a file takes, of two files and three sources, some of them copies."""
    monkeypatch.setattr(scratch, "LARGE", 1000)
    monkeypatch.setattr(scratch.chunks, "__defaults__", (64,))
    rng = np.random.default_rng(0)
    n = 500
    digests = [bytes([k]) * 16 for k in rng.integers(0, 200, n)]
    files = [expand([{"text": "a"}])[0]] * 2

    def built():
        builder = IndexBuilder(files, with_ids=False, with_groups=True, with_numbers=True)
        for start in range(0, n, 50):
            rows = range(start, start + 50)
            builder.add(
                Scanned(
                    int(start >= 300), start, [], [f"s{k % 3}" for k in rows], digests[start : start + 50],
                    [k % 7 for k in rows], None, [f"g{k % 4}" for k in rows], [k / 3 for k in rows],
                )
            )  # fmt: skip
        return builder.done()

    plain = built()
    with scratch.scratch(tmp_path):
        index = built()
        same(index, plain)
        index.save(tmp_path / "rows.parquet")
        again = PoolIndex.load(tmp_path / "rows.parquet")
        same(again, plain)
    assert index.source_counts.tolist() == [167, 167, 166]
    assert [size for _, size in index.files] == [300, 200]
    for each in (index, again):
        assert each.groups.tolist() == plain.groups.tolist()
        assert each.numbers.tobytes() == plain.numbers.tobytes()
        assert each.tokens.tolist() == plain.tokens.tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]
