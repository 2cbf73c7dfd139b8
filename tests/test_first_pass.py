"""The first pass in parts, by whoever and in any order, says what one reading of the pool says, bit for bit."""

from __future__ import annotations

import gzip
import json
import pickle
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasksift import features, first_pass
from tasksift.errors import InputError, UnfinishedError
from tasksift.features import FitSample
from tasksift.first_pass import Scan, ScannedSlice, sample_share, scan_in_parts
from tasksift.model_features import KeyFile
from tasksift.represent.copies import Copies, first_rows
from tasksift.rows import PoolFile, Scanned, TextReader, TokenCounter, expand, iter_examples, read
from tasksift.rows.index import IndexBuilder, PoolIndex, build_index
from tasksift.rows.slices import Slice, cut

COLUMNS = {"id_column": "id", "source_column": "kind", "group_column": "group", "score_column": "score"}


def anywhere(work: Any, common: tuple[Any, ...], parts: Iterable[Slice]) -> Iterator[Any]:
    """Do the parts in any order, some of them twice, on what was sent; results come in the order of the parts."""
    sent = [pickle.dumps((work, common, part)) for part in parts]
    order = [*range(len(sent)), *range(0, len(sent), 3)]
    random.Random(len(sent)).shuffle(order)
    results = {}
    for k in order:
        work, common, part = pickle.loads(sent[k])  # noqa: S301
        results[k] = pickle.dumps(work(*common, part))
    return (pickle.loads(results[k]) for k in range(len(sent)))  # noqa: S301


def facts(index: PoolIndex, sample: FitSample, folder: Path) -> dict[str, Any]:
    index.save(folder / "rows.parquet")
    sample.save(folder / "sample.json")
    return {
        "index": pq.read_table(folder / "rows.parquet"),
        "facts": json.loads(pq.read_schema(folder / "rows.parquet").metadata[b"index"]),
        "sample": json.loads((folder / "sample.json").read_bytes()),
        "keys": KeyFile.load(folder / "keys").tolist(),
    }


def locally(files: list[PoolFile], folder: Path, template: str | None = None, **columns: Any) -> dict[str, Any]:
    sample, keys = FitSample(), KeyFile(folder / "keys")

    def see(part: Scanned) -> None:
        sample.add(part.texts)
        keys.add(part.digests)

    return facts(build_index(files, TextReader(template), TokenCounter(), **columns, see=see), sample, folder)


def in_parts(
    files: list[PoolFile], folder: Path, target_bytes: int, asked: Scan
) -> tuple[dict[str, Any], list[Slice], bytes]:
    builder = IndexBuilder(
        files,
        with_ids=asked.id_column is not None,
        with_groups=asked.group_column is not None,
        with_numbers=asked.score_column is not None,
    )
    keys, conversations = KeyFile(folder / "keys"), bytearray()

    def see(part: ScannedSlice) -> None:
        nonlocal conversations
        for some in part.batches():
            builder.add(some)
        keys.add([part.digests])
        conversations += part.conversations
        assert part.rows == len(part.digests) // 16

    slices, sample = scan_in_parts(files, cut(files, target_bytes), asked, anywhere, see)
    return facts(builder.done(), sample, folder), slices, bytes(conversations)


def record(k: int, rng: random.Random) -> dict[str, Any]:
    row: dict[str, Any] = {"text": rng.choice(["", " ", f"text {rng.randrange(60)}", "ä" * rng.randrange(200)])}
    row |= {"id": f"row-{k}", "group": rng.choice(["a", "", "b"]), "score": rng.random(), "kind": rng.choice("xyz")}
    if rng.random() < 0.5:
        row["source"] = rng.choice(["books", "web", "", None])
    return row


@pytest.fixture
def files(tmp_path: Path) -> list[PoolFile]:
    """Files whose first rows name a source or do not, with blank lines before them."""
    rng = random.Random(5)
    rows = [record(k, rng) for k in range(500)]
    for row in (rows[0], rows[300]):
        row["source"] = "first"
    for row in (rows[100], rows[200]):
        row.pop("source", None)

    def lines(some: Sequence[dict[str, Any]]) -> bytes:
        return b"".join(json.dumps(row).encode() + b"\n" * (1 + k % 3) for k, row in enumerate(some))

    folder = tmp_path / "pool"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(lines(rows[:100]))
    (folder / "b.jsonl").write_bytes(b"\n \r\n" * 400 + lines(rows[100:200]))
    (folder / "c.jsonl.gz").write_bytes(gzip.compress(lines(rows[200:300])))
    pq.write_table(pa.Table.from_pylist(rows[300:400]), folder / "d.parquet", row_group_size=30)
    return expand([str(folder), rows[400:450], pa.Table.from_pylist(rows[450:])])


@pytest.mark.parametrize("target_bytes", [150, 1000, 10**7])
@pytest.mark.parametrize("columns", [{}, COLUMNS, {"source_column": "group"}])
def test_the_same_as_one_reading(
    files: list[PoolFile], tmp_path: Path, target_bytes: int, columns: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tasksift.rows.slices.MEMORY_ROWS", 20)
    monkeypatch.setattr(first_pass, "BATCH_ROWS", 64)
    expected = locally(files, tmp_path, **columns)
    found, slices, conversations = in_parts(files, tmp_path, target_bytes, Scan(**columns, conversations=True))
    assert found == expected
    assert sum(part.rows for part in slices) == 500
    for number, file in enumerate(files):
        rows = [batch.start + i for batch in read(file) for i in range(len(batch.records))]
        mine = [part for part in slices if part.number == number]
        assert [part.first_row + i for part in mine for i in range(part.rows)] == rows
        if "source_column" not in columns:
            assert {part.sourced for part in mine} == {"source" in next(read(file)).records[0]}
    copies = Copies()
    firsts = np.concatenate([copies.add(some) for some in iter_examples(files, TextReader())])
    for limit in (None, 8):
        found_firsts = first_rows(np.frombuffer(conversations, dtype=np.uint64).reshape(-1, 2), limit)
        np.testing.assert_array_equal(found_firsts, firsts)


def test_a_template_and_a_tokenizer_are_taken_along(tmp_path: Path):
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    files = expand([[{"q": "a b a", "n": k} for k in range(9)]])
    asked = Scan("{q} {n}", str(tmp_path / "tokenizer.json"))
    found, _, _ = in_parts(files, tmp_path, 10, asked)
    assert found["index"]["tokens"].to_pylist() == [4] * 9
    assert found["sample"]["texts"] == locally(files, tmp_path, "{q} {n}")["sample"]["texts"]


@pytest.mark.parametrize(("distinct", "rows"), [(400, 400), (30, 400), (3, 200), (60, 400)])
def test_a_sample_that_came_out_too_small_is_taken_again(
    tmp_path: Path, distinct: int, rows: int, monkeypatch: pytest.MonkeyPatch
):
    """The share is guessed from the rows, of which many may be copies."""
    for module in (features, first_pass):
        monkeypatch.setattr(module, "SAMPLE_TEXTS", 20)
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps({"text": f"text {k % distinct}"}) + "\n" for k in range(rows)))
    files = expand(path)
    asked = Scan(share=sample_share(rows))
    assert asked.share < 1
    sent = []

    def counting(work: Any, common: Any, parts: Any) -> Iterator[Any]:
        sent.append((work, common[0].share))
        return anywhere(work, common, parts)

    _, sample = scan_in_parts(files, cut(files, 300), asked, counting, lambda part: None)
    sample.save(tmp_path / "sample.json")
    expected = FitSample()
    expected.add([f"text {k % distinct}" for k in range(rows)])
    expected.save(tmp_path / "expected.json")
    assert (tmp_path / "sample.json").read_bytes() == (tmp_path / "expected.json").read_bytes()
    passes = [share for work, share in sent if work is first_pass.sample_slice]
    assert bool(passes) == (distinct < 100)
    assert passes == sorted(passes)
    assert len(passes) <= 3


def test_few_texts_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for module in (features, first_pass):
        monkeypatch.setattr(module, "SAMPLE_TEXTS", 50)
    files = expand([[{"text": f"text {k}"} for k in range(5000)]])
    texts = []
    scan_in_parts(files, cut(files), Scan(share=sample_share(5000)), anywhere, lambda part: texts.extend(part.texts))
    assert 50 <= len(texts) <= 100


GOOD = b'{"text": "a", "id": "1", "kind": "k", "score": 1}\n' * 40
FAULTS = {
    "not JSON": GOOD + b"{oops\n" + GOOD,
    "a list": GOOD + b"[1]\n",
    "not UTF-8": GOOD + b'{"text": "\xff"}\n' + GOOD,
    "no text": GOOD + b'{"other": 1, "id": "2", "kind": "k", "score": 1}\n{oops\n',
    "no column": GOOD + b'{"text": "b"}\n' + GOOD,
    "no number": GOOD + b'{"text": "a", "id": "1", "kind": "k", "score": "x"}\n{"other": 1}\n',
    "two faults": GOOD + b'{"text": "b"}\n' + GOOD + b'{"other": 1}\n',
    "no rows": b"\n" * 3000,
    "nothing": b"",
    "a table": b"PAR1" + GOOD,
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("after", [b"{oops\n", GOOD])
def test_what_is_wrong_is_said_in_the_same_words(tmp_path: Path, fault: str, after: bytes):
    (tmp_path / "a.jsonl").write_bytes(GOOD)
    (tmp_path / "b.jsonl").write_bytes(FAULTS[fault])
    (tmp_path / "c.jsonl").write_bytes(after)
    files = expand([str(tmp_path / name) for name in ("a.jsonl", "b.jsonl", "c.jsonl")])
    columns = {"source_column": "kind", "score_column": "score"}
    with pytest.raises(InputError) as expected:
        locally(files, tmp_path, **columns)
    assert "b.jsonl" in str(expected.value)
    with pytest.raises(InputError) as found:
        in_parts(files, tmp_path, 300, Scan(**columns))
    assert str(found.value) == str(expected.value)


def test_ids_that_repeat_and_no_files(tmp_path: Path):
    files = expand([[{"text": "a", "id": str(k % 7)} for k in range(9)]])
    with pytest.raises(InputError, match="rows 0 and 7 of the pool both have the id '0'"):
        in_parts(files, tmp_path, 100, Scan(id_column="id"))
    with pytest.raises(InputError, match="the pool has no rows"):
        scan_in_parts([], [], Scan(), anywhere, lambda part: None)


def test_a_fault_that_has_passed_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A slice that could not be read somewhere else, and can be here, is read here."""
    path = tmp_path / "pool.jsonl"
    path.write_bytes(GOOD)
    files = expand(path)
    expected = locally(files, tmp_path)
    real = first_pass.scan_slice

    def failing(asked: Scan, part: Slice) -> ScannedSlice:
        return ScannedSlice(part.number, error="gone") if part.span == (400, 800) else real(asked, part)

    monkeypatch.setattr(first_pass, "scan_slice", failing)

    def here(work: Any, common: tuple[Any, ...], parts: Iterable[Slice]) -> Iterator[Any]:
        return (work(*common, part) for part in parts)

    builder, keys = IndexBuilder(files, with_ids=False, with_groups=False, with_numbers=False), KeyFile(tmp_path / "k")

    def see(part: ScannedSlice) -> None:
        for some in part.batches():
            builder.add(some)
        keys.add([part.digests])

    _, sample = scan_in_parts(files, cut(files, 400), Scan(), here, see)
    (tmp_path / "k").rename(tmp_path / "keys")
    assert facts(builder.done(), sample, tmp_path) == expected


def test_what_may_pass_is_left_to_the_engine(monkeypatch: pytest.MonkeyPatch):
    def fails(*_: Any) -> None:
        raise UnfinishedError("the storage is silent")

    monkeypatch.setattr(first_pass, "_scan", fails)
    part = cut(expand([[{"text": "a"}]]))[0]
    with pytest.raises(UnfinishedError, match="silent"):
        first_pass.scan_slice(Scan(), part)
