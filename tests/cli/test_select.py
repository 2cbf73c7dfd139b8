"""From files to a training file: every format, budget and preset by the command line, and the same from Python."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from pool_files import WITHOUT_MODEL, Row, expanded, read_back, write_pool

import tasksift as ts

FORMATS = ["jsonl", "jsonl.gz", "jsonl.zst", "json", "parquet", "arrow", "csv"]


@pytest.mark.parametrize("out", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_formats(source: str, out: str, folder: Path, pool: list[Row], tasksift: Callable[..., Any]):
    write_pool(folder / f"in.{source}", pool)
    done = tasksift("select", f"in.{source}", "-t", "target.jsonl", "-b", 12, "-o", f"out.{out}", "--dim", 8, "-q")
    assert (done.code, done.out, done.err) == (0, "", "")
    taken = read_back(folder / f"out.{out}")
    record = expanded(pq.read_table(folder / f"out.{out}.run" / "selection.parquet"))
    text_only = "csv" in (source, out)
    wanted = [pool[line["row"]] for line in record]
    assert taken == [{**row, "n": str(row["n"])} if text_only else row for row in wanted]
    assert len(taken) == 12
    assert sum(row["source"] == "maths" for row in taken) >= 10
    if source == out == "parquet":
        assert pq.read_schema(folder / "out.parquet").equals(pq.read_schema(folder / "in.parquet"), check_metadata=True)


@pytest.mark.parametrize(
    "args", [["a.jsonl", "b.parquet"], ["data"], ["data/*"], ["data/a*", "data/b.parquet"]], ids=str
)
def test_many_files(args: list[str], folder: Path, pool: list[Row], tasksift: Callable[..., Any]):
    where = folder / "data" if args[0].startswith("data") else folder
    where.mkdir(exist_ok=True)
    write_pool(where / "a.jsonl", pool[:40])
    write_pool(where / "b.parquet", pool[40:])
    done = tasksift("select", *args, "-t", "target.jsonl", "-b", "20%", "-o", "out.jsonl", "--dim", 8)
    assert done.code == 0, done.err
    record = pq.read_table(folder / "out.jsonl.run" / "selection.parquet").to_pylist()
    assert {Path(line["file"]).name for line in record} == {"a.jsonl", "b.parquet"}
    starts = {"a.jsonl": 0, "b.parquet": 40}
    assert all(line["position"] == starts[Path(line["file"]).name] + line["row"] for line in record)
    assert read_back(folder / "out.jsonl") == [pool[line["position"]] for line in record]
    assert len(record) == 18


@pytest.mark.parametrize(
    "shape",
    [
        lambda row: {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": row["text"]}]},
        lambda row: {"conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": row["text"]}]},
        lambda row: {"instruction": "?", "input": "", "output": row["text"]},
        lambda row: {"prompt": "?", "completion": row["text"]},
        lambda row: {"question": "?", "answer": row["text"]},
        lambda row: {"meta": {"body": row["text"]}, "list": [row["text"], "?"]},
    ],
    ids=["messages", "sharegpt", "alpaca", "prompt", "question", "template"],
)
def test_layouts(shape: Callable[[Row], Row], folder: Path, pool: list[Row], tasksift: Callable[..., Any]):
    shaped = [shape(row) for row in pool]
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in shaped))
    more = ["--text-template", r"{list[1]}\n{meta.body}", "--target-template", "{text}"] if "meta" in shaped[0] else []
    done = tasksift("select", "in.jsonl", "-t", "target.jsonl", "-b", 10, "-o", "out.jsonl", "--dim", 8, *more)
    assert done.code == 0, done.err
    taken = [shaped.index(row) for row in read_back(folder / "out.jsonl")]
    assert len(set(taken)) == 10
    assert sum(pool[k]["source"] == "maths" for k in taken) >= 8


@pytest.mark.parametrize("preset", WITHOUT_MODEL)
def test_presets(preset: str, folder: Path, pool: list[Row], tasksift: Callable[..., Any]):
    write_pool(folder / "in.jsonl", pool)
    done = tasksift(
        "select", "in.jsonl", "-t", "target.jsonl", "-b", 12, "-o", "out.jsonl", "--dim", 8, "-p", preset, "--json",
        *(["--score-column", "n"] if preset == "column" else []),
    )  # fmt: skip
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert facts == json.loads((folder / "out.jsonl.run" / "manifest.json").read_text())
    assert facts["preset"]["name"] == preset
    assert facts["selection"]["rows"] == 12
    taken = read_back(folder / "out.jsonl")
    by_source = [sum(row["source"] == name for row in taken) for name in ("maths", "kitchen", "code")]
    if preset == "random-balanced":
        assert min(by_source) >= 2
    elif preset not in ("random", "column", "facility-location"):
        assert by_source[0] >= 10
    plan = pq.read_table(folder / "out.jsonl.run" / "plan.parquet")
    value = "probability" if facts["plan"]["kind"] == "mass" else "score"
    assert plan.column_names[:3] == ["row", "id", value]
    assert plan.num_rows == facts["plan"]["support"]
    if value == "probability":
        assert abs(sum(plan[value].to_pylist()) - 1) < 1e-9


def train_tokenizer(path: Path, texts: list[str]) -> Callable[[str], int]:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(path))
    return lambda text: len(tokenizer.encode(text).ids)


@pytest.mark.parametrize("preset", ["tsds", "nearest", "round-robin", "random"])
@pytest.mark.parametrize("budget", [60, 400, 900])
def test_tokens(preset: str, budget: int, folder: Path, pool: list[Row], tasksift: Callable[..., Any]):
    write_pool(folder / "in.jsonl", pool)
    count = train_tokenizer(folder / "tok.json", [row["text"] for row in pool])
    done = tasksift(
        "select", "in.jsonl", "-t", "target.jsonl", "-b", f"{budget}tok", "-o", "out.jsonl", "--dim", 8, "-p", preset,
        "--tokenizer", "tok.json", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    tokens = [count(row["text"]) for row in read_back(folder / "out.jsonl")]
    longest = max(count(row["text"]) for row in pool)
    assert budget - longest < sum(tokens) <= budget
    assert json.loads(done.out)["selection"]["tokens"] == sum(tokens)


@pytest.mark.parametrize("draw", ["systematic", "multinomial", "top"])
@pytest.mark.parametrize("preset", ["tsds", "nearest", "random", "round-robin"])
def test_limits(preset: str, draw: str, folder: Path, pool: list[Row], tasksift: Callable[..., Any]):
    if draw != "top" and preset in ("nearest", "round-robin"):
        pytest.skip("a score plan is drawn from the top")
    write_pool(folder / "in.jsonl", pool)
    done = tasksift(
        "select", "in.jsonl", "-t", "target.jsonl", "-b", 15, "-o", "out.jsonl", "--dim", 8, "-p", preset,
        "--draw", draw, "--max-per-source", "60%", "--min-per-source", 3,
    )  # fmt: skip
    assert done.code == 0, done.err
    taken = read_back(folder / "out.jsonl")
    counts = [sum(row["source"] == name for row in taken) for name in ("maths", "kitchen", "code")]
    assert sum(counts) == 15
    assert min(counts) >= 3
    assert max(counts) <= 9


@pytest.fixture
def vectors(folder: Path) -> np.ndarray:
    """90 vectors in three bunches, saved as `v.npy` and as three shards in `shards/`; two targets in bunch 0."""
    rng = np.random.default_rng(0)
    pool = (np.eye(6)[np.arange(90) % 3] + 0.2 * rng.normal(size=(90, 6))).astype(np.float32)
    np.save(folder / "v.npy", pool)
    np.save(folder / "t.npy", (3 * np.eye(6)[[0, 0]] + 0.1 * rng.normal(size=(2, 6))).astype(np.float32))
    (folder / "shards").mkdir()
    for k, rows in enumerate(np.split(pool, [11, 50])):
        np.save(folder / "shards" / f"part-{k + 9}.npy", rows)
    return pool


@pytest.mark.parametrize("normalize", ["--normalize", "--no-normalize"])
@pytest.mark.parametrize("preset", ["tsds", "nearest", "round-robin"])
def test_vectors(
    preset: str, normalize: str, folder: Path, pool: list[Row], vectors: np.ndarray, tasksift: Callable[..., Any]
):
    write_pool(folder / "in.jsonl", pool)
    common = ["--target-vectors", "t.npy", "-b", 12, "-p", preset, normalize]
    runs = {
        "alone": ["--vectors", "v.npy"],
        "shards": ["--vectors", "shards"],
        "rows": ["in.jsonl", "--vectors", "v.npy"],
        "both": ["in.jsonl", "-t", "two.jsonl", "--vectors", "v.npy"],
    }
    (folder / "two.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    positions = {}
    for name, args in runs.items():
        done = tasksift("select", *args, *common, "-o", f"{name}.jsonl")
        assert done.code == 0, done.err
        record = pq.read_table(folder / f"{name}.jsonl.run" / "selection.parquet")
        positions[name] = record["position"].to_pylist()
        assert sum(k % 3 == 0 for k in positions[name]) >= 10
    assert positions["alone"] == positions["shards"]
    assert positions["rows"] == positions["both"]
    ids = [pq.read_table(folder / f"{name}.jsonl.run" / "selection.parquet")["id"] for name in ("alone", "shards")]
    assert ids[0] == ids[1]
    assert [row["row"] for row in read_back(folder / "alone.jsonl")] == positions["alone"]
    assert read_back(folder / "both.jsonl") == [pool[k] for k in positions["both"]]


def test_plan_does_not_depend_on_seed_or_draw(folder: Path, pool: list[Row], tasksift: Callable[..., Any]):
    write_pool(folder / "in.jsonl", pool)
    plans = []
    for k, more in enumerate([["--seed", 1], ["--seed", 2], ["--draw", "multinomial"], ["--draw", "top"]]):
        out = f"{k}.jsonl"
        assert tasksift("select", "in.jsonl", "-t", "target.jsonl", "-b", 9, "-o", out, "--dim", 8, *more).code == 0
        plans.append((folder / f"{out}.run" / "plan.parquet").read_bytes())
    assert len(set(plans)) == 1
    assert (folder / "0.jsonl").read_bytes() != (folder / "1.jsonl").read_bytes()


def test_copies_come_in_rounds(folder: Path, pool: list[Row], tasksift: Callable[..., Any]):
    write_pool(folder / "in.jsonl", pool)
    args = ["--alpha", "0.99", "--draw", "multinomial", "--dim", 8]
    done = tasksift("select", "in.jsonl", "-t", "target.jsonl", "-b", 60, "-o", "out.jsonl", *args)
    assert done.code == 0, done.err
    record = pq.read_table(folder / "out.jsonl.run" / "selection.parquet")
    assert max(record["copies"].to_pylist()) > 2
    assert read_back(folder / "out.jsonl") == [pool[line["position"]] for line in expanded(record)]
    assert record["rank"].to_pylist() == list(range(1, record.num_rows + 1))
    assert record["probability"].to_pylist() == sorted(record["probability"].to_pylist(), reverse=True)


@pytest.mark.parametrize("kind", ["list", "pandas", "pyarrow", "file"])
def test_python(kind: str, folder: Path, pool: list[Row]):
    given: Any = pool
    if kind == "pandas":
        given = pytest.importorskip("pandas").DataFrame(pool)
    elif kind == "pyarrow":
        given = pa.Table.from_pylist(pool)
    elif kind == "file":
        given = write_pool(folder / "in.parquet", pool)
    targets = read_back(folder / "target.jsonl")
    selection = ts.select(given, targets, budget=12, dim=8, source_column="source")
    assert len(selection) == 12
    assert selection.ids == ts.select(pool, targets, budget=12, dim=8, source_column="source").ids
    for suffix in ("jsonl", "parquet"):
        selection.write(folder / f"out.{suffix}")
        assert read_back(folder / f"out.{suffix}") == [pool[k] for k in selection.positions]
    with pytest.raises(ts.InputError, match="exists; use --force"):
        selection.write(folder / "out.jsonl")
    selection.write(folder / "out.jsonl", force=True)
    assert sorted(p.name for p in folder.iterdir() if "out" in p.name) == [
        "out.jsonl", "out.jsonl.run", "out.parquet", "out.parquet.run",
    ]  # fmt: skip


def test_writing_over_an_input_is_refused(folder: Path, pool: list[Row]):
    path = write_pool(folder / "in.jsonl", pool)
    selection = ts.select(path, folder / "target.jsonl", budget=5, dim=8)
    before = path.read_bytes()
    for out in (path, folder / "target.jsonl"):
        with pytest.raises(ts.InputError, match="is an input of this run"):
            selection.write(out, force=True)
    assert path.read_bytes() == before


def test_paths_and_numpy_numbers(folder: Path, vectors: np.ndarray):
    given = {"vectors": folder / "v.npy", "target_vectors": folder / "t.npy", "normalize": False}
    selection = ts.select(**given, budget=np.int64(5), seed=np.int64(1))
    assert len(selection) == 5
    with pytest.raises(ts.InputError, match=r"--vectors array\(.*: it should be a valid string") as raised:
        ts.select(vectors=vectors, target_vectors=vectors, budget=5)
    assert "\n" not in str(raised.value)


def test_text_and_csv_agree(folder: Path, pool: list[Row]):
    write_pool(folder / "in.csv", pool)
    table = pyarrow.csv.read_csv(io.BytesIO((folder / "in.csv").read_bytes()))
    assert table.num_rows == len(pool)
    selection = ts.select(folder / "in.csv", folder / "target.jsonl", budget=4, dim=8)
    assert [table["text"][k].as_py() for k in selection.positions] == [pool[k]["text"] for k in selection.positions]


def test_notes_and_summary(folder: Path, tasksift: Callable[..., Any]):
    with (folder / "pool.jsonl").open("a") as out:
        out.write('{"text": " ", "source": "void"}\n')
    done = tasksift("select", "pool.jsonl", "-t", "target.jsonl", "-b", 6, "-o", "out.csv.gz", "--dim", 8)
    assert done.code == 0
    assert done.out == ""
    assert "1 rows of the pool have no text" in done.err
    assert "6 rows (6 distinct" in done.err
    assert "out.csv.gz.run/selection.parquet" in done.err
