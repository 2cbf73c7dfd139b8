"""From files to a training file: every format, budget and preset by the command line, and the same from Python."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import tasksift as ts
from tasksift.presets import PRESETS

WITHOUT_MODEL = [
    name for name, each in PRESETS.items() if each.representation in (None, "tfidf") and each.scores is None
]
FORMATS = ["jsonl", "jsonl.gz", "jsonl.zst", "json", "parquet", "arrow", "csv"]
Row = dict[str, Any]


def write_pool(path: Path, rows: list[Row]) -> Path:
    """Write rows in the format of the suffix, by other means than the package's own."""
    kind = path.name.split(".", 1)[1]
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if kind == "json":
        path.write_text(json.dumps(rows))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=17)
    elif kind == "arrow":
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=17)
    elif kind == "csv":
        with path.open("w", newline="") as out:
            writer = csv.DictWriter(out, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress(text))
    elif kind == "jsonl.zst":
        with pa.CompressedOutputStream(str(path), "zstd") as out:
            out.write(text)
    else:
        path.write_bytes(text)
    return path


def read_back(path: Path) -> list[Row]:
    """Read what was written, again by other means."""
    kind = path.name.split(".", 1)[1]
    if kind == "json":
        found: list[Row] = json.loads(path.read_text())
        return found
    if kind == "parquet":
        return pq.read_table(path).to_pylist()
    if kind == "arrow":
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).read_all().to_pylist()
    if kind == "csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    with pa.input_stream(str(path), compression="detect") as file:
        return [json.loads(line) for line in file.read().splitlines()]


def expanded(record: pa.Table) -> list[Row]:
    """The record, line by line in the order of the training file: copies come in rounds."""
    lines = record.to_pylist()
    return [line for r in range(max(line["copies"] for line in lines)) for line in lines if line["copies"] > r]


@pytest.fixture
def pool(rows: Callable[[int, int], list[Row]]) -> list[Row]:
    """90 rows with nested and numeric columns left out, so that every format can hold them."""
    return [{"n": k, **row} for k, row in enumerate(rows(90, 0))]


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


def test_replay(folder: Path, pool: list[Row], tasksift: Callable[..., Any]):
    write_pool(folder / "in.parquet", pool)
    first = ["select", "in.parquet", "-t", "target.jsonl", "-b", "15%", "--dim", "8", "--seed", "5", "--alpha", "0.4"]
    assert tasksift(*first, "-o", "out.parquet", "--draw", "multinomial").code == 0
    (folder / "first").mkdir()
    (folder / "out.parquet").rename(folder / "first" / "out.parquet")
    (folder / "out.parquet.run").rename(folder / "first" / "out.parquet.run")
    done = tasksift("select", "--config", "first/out.parquet.run/config.yaml", "-o", "out.parquet")
    assert done.code == 0, done.err
    for old in (folder / "first").rglob("*"):
        if old.is_file():
            assert (folder / old.relative_to(folder / "first")).read_bytes() == old.read_bytes(), old
    other = tasksift("select", "--config", "first/out.parquet.run/config.yaml", "-o", "x.parquet", "--breadth", "4")
    assert other.code == 0, other.err
    assert json.loads((folder / "x.parquet.run/manifest.json").read_text())["plan"]["breadth"] == 4.0


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


def test_a_pool_that_changed_or_moved(folder: Path, pool: list[Row]):
    path = write_pool(folder / "in.jsonl", pool)
    first = ts.select(path, folder / "target.jsonl", budget=5, dim=8, out=folder / "out.jsonl")
    for change in (lambda: path.write_bytes(path.read_bytes() + b"\n"), path.unlink):
        change()
        again = ts.open_run(folder / "out.jsonl.run")
        assert again.explain(0) == first.explain(0)
        assert len(again.redraw(3)) == 3
        for selection in (first, again):
            with pytest.raises(ts.InputError, match=r"in\.jsonl is gone or was changed after the run"):
                selection.write(folder / "again.jsonl")
        assert not list(folder.glob("again*"))


def test_paths_and_numpy_numbers(folder: Path, vectors: np.ndarray):
    given = {"vectors": folder / "v.npy", "target_vectors": folder / "t.npy", "normalize": False}
    selection = ts.select(**given, budget=np.int64(5), seed=np.int64(1))
    assert len(selection) == 5
    with pytest.raises(ts.InputError, match=r"--vectors array\(.*: it should be a valid string") as raised:
        ts.select(vectors=vectors, target_vectors=vectors, budget=5)
    assert "\n" not in str(raised.value)


def test_explain_and_redraw(folder: Path, pool: list[Row]):
    selection = ts.select(pool, folder / "target.jsonl", budget=12, dim=8)
    for k in range(len(selection.ids)):
        why = selection.explain(k)
        assert why == selection.explain(selection.ids[k])
        assert (why.id, why.rank, why.row) == (selection.ids[k], k + 1, selection.positions[k])
        assert why.pulls
        assert abs(sum(pull.mass for pull in why.pulls) - why.probability) < 1e-9
        assert abs(sum(pull.share for pull in why.pulls) - 1) < 1e-9
        assert f"rank {k + 1}" in str(why)
        assert len(str(why).splitlines()) == 1 + len(why.pulls)
    assert selection.explain(-1).rank == len(selection.ids)
    by_words = ts.select(folder / "pool.jsonl", folder / "target.jsonl", 3, preset="bm25-turns")
    assert ": score " in str(by_words.explain(0))
    with pytest.raises(ts.InputError, match="there is no row 12"):
        selection.explain(12)
    with pytest.raises(ts.InputError, match="'nobody' is not in the selection"):
        selection.explain("nobody")
    fewer = selection.redraw(5)
    assert len(fewer) == 5
    assert fewer.manifest["selection"]["rows"] == 5
    assert set(fewer.positions) <= set(selection.plan.ids)
    assert selection.redraw(seed=0).ids == selection.ids
    assert selection.redraw(draw="top").ids == selection.redraw(draw="top", seed=3).ids
    with pytest.raises(ts.InputError, match="plan names 23 rows and the budget is 90; select again"):
        selection.redraw("100%")


@pytest.mark.parametrize("preset", WITHOUT_MODEL)
def test_open_run(preset: str, folder: Path, pool: list[Row], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    write_pool(folder / "in.parquet", pool)
    options = {} if preset.startswith("tsds") else {"preset": preset}
    options |= {"score_column": "n"} if preset == "column" else {}
    selection = ts.select("in.parquet", "target.jsonl", budget=12, dim=8, out="out.parquet", **options)
    again = ts.open_run("out.parquet.run")
    for one in (again, selection):
        assert one.plan_table.equals(selection.plan_table)
        assert one.record.equals(selection.record)
    assert again.config == selection.config
    assert again.targets == selection.targets
    assert again.manifest == json.loads(Path("out.parquet.run/manifest.json").read_text())
    assert again.files == selection.files
    for field in fields(selection.plan):
        there, here = getattr(again.plan, field.name), getattr(selection.plan, field.name)
        if field.name == "links" and selection.plan.kind == "mass" and here is not None:
            for part in fields(here):
                np.testing.assert_array_equal(getattr(there, part.name), getattr(here, part.name))
        elif field.name == "path" and here is not None:
            assert there.keys() == here.keys()
            for name in here:
                np.testing.assert_array_equal(there[name], here[name])
        elif field.name != "links":
            np.testing.assert_array_equal(there, here)
    assert [again.explain(k) for k in range(3)] == [selection.explain(k) for k in range(3)]
    again.redraw(7, seed=2).write("again.parquet")
    selection.redraw(7, seed=2).write("selection.parquet")
    assert Path("again.parquet").read_bytes() == Path("selection.parquet").read_bytes()


def test_open_run_of_rows_in_memory(folder: Path, pool: list[Row]):
    selection = ts.select(pool, folder / "target.jsonl", budget=12, dim=8, out=folder / "out.jsonl")
    again = ts.open_run(folder / "out.jsonl.run")
    assert again.explain(0) == selection.explain(0)
    assert again.redraw(5).ids == selection.redraw(5).ids
    with pytest.raises(ts.InputError, match="in memory"):
        again.write(folder / "again.jsonl")


@pytest.mark.parametrize("preset", WITHOUT_MODEL)
def test_order_of_the_pool_leaves_no_trace(preset: str, folder: Path, pool: list[Row]):
    shuffled = [pool[k] for k in np.random.default_rng(3).permutation(len(pool))]
    taken = []
    options = {"score_column": "n"} if preset == "column" else {}
    for name, rows in (("a", pool), ("b", shuffled)):
        path = write_pool(folder / name / "in.jsonl" if (folder / name).mkdir() is None else folder, rows)
        ts.select(
            path, folder / "target.jsonl", budget=12, dim=8, preset=preset, out=folder / f"{name}.jsonl", **options
        )
        taken.append(read_back(folder / f"{name}.jsonl"))
    assert taken[0] == taken[1]


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
