import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasksift.errors import InputError
from tasksift.rows import TextReader, TokenCounter, expand, iter_texts, scan

ROWS = [{"prompt": f"p{i}", "response": "é" * i, "id": i, "meta": {"k": [i]}} for i in range(10)]


def run(pool, **options):
    return list(scan(expand(pool), TextReader(), TokenCounter(), **options))


def column(batches, name):
    return [value for batch in batches for value in getattr(batch, name)]


def test_what_a_scan_yields(tmp_path):
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n\n" for row in ROWS))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    batches = run(tmp_path, batch_rows=4, id_column="id")
    assert [(b.file, b.start, len(b.texts)) for b in batches] == [
        (f, s, n) for f in (0, 1) for s, n in [(0, 4), (4, 4), (8, 2)]
    ]
    texts = [f"p{i}\n{'é' * i}" if i else "p0" for i in range(10)]
    assert column(batches, "texts") == texts * 2
    assert column(batches, "tokens") == TokenCounter().count(texts) * 2
    assert column(batches, "sources") == ["a"] * 10 + ["b"] * 10
    assert column(batches, "user_ids") == [str(i) for i in range(10)] * 2
    assert [t for batch in iter_texts(expand(tmp_path), TextReader(), 3) for t in batch] == texts * 2
    assert run(tmp_path)[0].user_ids is None


def test_digest_is_of_the_canonical_record_and_its_source():
    (batch,) = run([{"text": "é", "source": "web"}])
    expected = hashlib.blake2b('{"source":"web","text":"é"}\0web'.encode(), digest_size=16).digest()
    assert batch.digests == [expected]


def test_digests_do_not_depend_on_format_order_of_columns_or_batches(tmp_path):
    names = ["a.parquet", "a.jsonl"]
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / names[0])
    (tmp_path / names[1]).write_text("".join(json.dumps(dict(reversed(row.items()))) + "\r\n" for row in ROWS))
    found = [column(run(tmp_path / name, batch_rows=rows), "digests") for name in names for rows in (1, 3, 99)]
    assert all(digests == found[0] for digests in found)
    assert len(set(found[0])) == 10


def test_lone_surrogates_are_digested_and_cleaned():
    (batch,) = run([{"text": "a\ud800"}, {"text": "a\ud801"}])
    assert batch.texts == ["a\ufffd"] * 2
    assert batch.digests[0] != batch.digests[1]


def test_sources():
    rows = [{"text": "a", "source": "web", "from": "x"}, {"text": "b", "source": None}, {"text": "c"}]
    assert column(run(rows), "sources") == ["web", "pool", "pool"]
    assert column(run(rows[1:]), "sources") == ["pool", "pool"]
    assert column(run(rows[::-1]), "sources") == ["pool"] * 3  # the first row has none
    assert column(run(rows, batch_rows=1), "sources") == ["web", "pool", "pool"]
    named = [{"text": "a", "kind": 3}, {"text": "b", "kind": None}, {"text": "c", "kind": ""}]
    assert column(run(named, source_column="kind"), "sources") == ["3", "none", "none"]
    with pytest.raises(
        InputError, match=r"<pool>, row 1: there is no column 'from' \(columns: text, source\); .*--source"
    ):
        run(rows, source_column="from")


def test_a_missing_id_column(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "id": 1}\n\n{"text": "b"}\n')
    with pytest.raises(InputError, match=r"a\.jsonl, line 3: there is no column 'id' \(columns: text\); .*--id-column"):
        run(path, id_column="id")


def test_text_errors_name_the_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('id,messages\n1,[]\n2,"[]\n"\n3,no\n')
    with pytest.raises(InputError, match=r"a\.csv, line 5: 'messages' is text but not JSON"):
        run(path)


def test_a_pool_without_rows():
    with pytest.raises(InputError, match="the pool has no rows"):
        list(scan([], TextReader(), TokenCounter()))
    with pytest.raises(InputError, match="<pool> holds no rows"):
        run(pa.table({"text": pa.array([], pa.string())}))


@pytest.mark.parametrize("value", [{1: "a", "b": 2}, {("a",): 1}])
def test_values_that_have_no_json(value):
    with pytest.raises(InputError, match="<pool>, row 1: a value cannot be written as JSON"):
        run([{"text": "a"}, {"text": "b", "meta": value}])


def test_groups_and_numbers(tmp_path):
    rows = [{"text": f"t{i}", "kind": kind, "n": n} for i, (kind, n) in enumerate(
        [("law", 3), (None, -0.5), (7, "1e3"), (True, " 2 "), ("", 2**60)]
    )]  # fmt: skip
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    batches = run(tmp_path / "a.jsonl", group_column="kind", score_column="n", batch_rows=2)
    assert column(batches, "groups") == ["law", "none", "7", "True", "none"]
    assert column(batches, "numbers") == [3.0, -0.5, 1000.0, 2.0, float(2**60)]
    (batch,) = run(rows, group_column="kind")
    assert batch.numbers is None
    (batch,) = run(rows, score_column="n")
    assert batch.groups is None


def test_groups_and_numbers_of_a_table(tmp_path):
    table = pa.table({"text": ["a", "b", "c"], "kind": pa.array([2, None, 1]), "n": pa.array([0.1, 2.0, -3.5])})
    pq.write_table(table, tmp_path / "a.parquet")
    (batch,) = run(tmp_path / "a.parquet", group_column="kind", score_column="n")
    assert (batch.groups, batch.numbers) == (["2", "none", "1"], [0.1, 2.0, -3.5])


@pytest.mark.parametrize("value", ["high", "", None, "nan", float("inf"), [1], {"a": 1}, True, "1,5"])
def test_what_is_no_number_is_named_by_file_and_row(tmp_path, value):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "a", "n": 1}) + "\n\n" + json.dumps({"text": "b", "n": value}) + "\n")
    with pytest.raises(InputError, match=r"a\.jsonl, line 3: n is '.*', not a number; mend it or correct --score-co"):
        run(path, score_column="n")


@pytest.mark.parametrize("option", ["group_column", "score_column"])
def test_a_missing_column_of_groups_or_numbers(tmp_path, option):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "n": 1}\n{"text": "b"}\n')
    name = "--" + option.replace("_", "-")
    with pytest.raises(
        InputError, match=rf"a\.jsonl, line 2: there is no column 'n' \(columns: text\); correct {name}"
    ):
        run(path, **{option: "n"})
