"""Lifelong selection: the pool that is carried, what is computed anew, kills, and that old skills are not forgotten."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import tasksift.lifelong.step
from tasksift.errors import InputError
from tasksift.lifelong import Step, lifelong
from tasksift.lifelong.state import last_step
from tasksift.represent.store import file_digest

TOPICS = {
    "maths": "sum of the two numbers equals half the product so divide by three and add the remainder once more",
    "kitchen": "stir butter into warm flour then fold in the eggs and bake until golden with a pinch of salt",
    "code": "def loop over list items return None if the key is missing else append value to dict and raise error",
    "garden": "water the young roses at dawn cut dry branches and cover roots with leaves before the first frost",
}


def rows(topics: list[str], n: int, seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    made = []
    for k in range(n):
        words = rng.choice(TOPICS[topics[k % len(topics)]].split(), size=rng.integers(6, 18))
        text = " ".join([*words, f"{seed}-{k}"])
        scores = {"hard": float(rng.normal()), "long": float(len(words))}
        made.append({"text": text, "source": topics[k % len(topics)], **scores})
    return made


DATA = [rows(["maths", "kitchen"], 80, 0), rows(["code"], 60, 1), rows(["garden", "code"], 70, 2)]
OPTIONS: dict[str, Any] = {
    "score_columns": ("hard", "long"), "representation": "tfidf", "dim": 8, "parameters": {"clusters": 4},
}  # fmt: skip


def step(folder: Path, k: int, data: Any = None, **changes: Any) -> Step:
    given = {"budget": 20, "pool_cap": 90, **OPTIONS, **changes}
    return lifelong(DATA[k] if data is None else data, folder / "state", out=folder / f"picked-{k}.jsonl", **given)


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Step]]:
    """A folder after three steps."""
    folder = tmp_path_factory.mktemp("three")
    return folder, [step(folder, k) for k in range(3)]


def test_three_steps(three: tuple[Path, list[Step]]):
    folder, steps = three
    assert [each.number for each in steps] == [1, 2, 3]
    facts = [{name: each.facts[name] for name in ("given", "new", "pool", "selected", "kept")} for each in steps]
    assert facts == [
        {"given": 80, "new": 80, "pool": 80, "selected": 20, "kept": 80},
        {"given": 60, "new": 60, "pool": 140, "selected": 20, "kept": 90},
        {"given": 70, "new": 70, "pool": 160, "selected": 20, "kept": 90},
    ]
    # Features of what was there are kept.
    assert [each.facts["computed"] for each in steps] == [{"vectors": n, "scores": n} for n in (80, 60, 70)]
    for each in steps:
        assert sum(cluster["budget"] for cluster in each.facts["clusters"]) == 20
        assert sum(cluster["rows"] for cluster in each.facts["clusters"]) == each.facts["pool"]
    assert [path.name for path in (folder / "state").iterdir()] == ["step-00003"]
    assert not list(folder.glob("*.part"))
    history = json.loads((folder / "state" / "step-00003" / "step.json").read_text())["steps"]
    assert history == [each.facts for each in steps]


def test_the_record_says_where_each_row_is_from_and_why(three: tuple[Path, list[Step]]):
    folder, steps = three
    record = pq.read_table(folder / "picked-2.jsonl.run" / "selection.parquet")
    assert record.equals(steps[2].record)
    picked = [json.loads(line) for line in (folder / "picked-2.jsonl").read_text().splitlines()]
    for line, row in zip(record.to_pylist(), picked, strict=True):
        assert row == DATA[line["step"] - 1][line["row"]]
        assert line["source"] == row["source"]
        assert line["score"] == row[line["scorer"]]
        assert f"cluster {line['cluster']}, spread over {line['scorer']}" in line["reason"]
    assert {line["step"] for line in record.to_pylist()} == {1, 2, 3}
    assert record["rank"].to_pylist() == list(range(1, 21))
    assert len(set(record["id"].to_pylist())) == 20


def test_the_state_holds_the_rows_themselves(three: tuple[Path, list[Step]]):
    folder, _ = three
    state = last_step(folder / "state")
    assert state is not None
    there = [json.loads(line) for line in Path(state.pool.path).read_text().splitlines()]
    assert len(there) == 90
    for row, line in zip(there, state.rows.to_pylist(), strict=True):
        assert row == DATA[line["step"] - 1][line["row"]]
    assert state.array("vectors").shape[0] == 90
    np.testing.assert_array_equal(state.array("scores"), [[row["hard"], row["long"]] for row in there])


def test_resumed_after_any_step_the_selection_is_the_same(three: tuple[Path, list[Step]], tmp_path: Path):
    """A21: a state that was copied goes on as the other did, on the data from files as from memory."""
    folder, _ = three
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    for k in (0, 1):
        step(one, k)
    shutil.copytree(one, other)
    step(other, 2)
    assert snapshot(other) == snapshot(folder)
    assert [json.loads(line)["source"] for line in (other / "picked-2.jsonl").read_text().splitlines()]


def test_another_seed_selects_other_rows(tmp_path: Path):
    ids = []
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        ids.append(set(step(tmp_path / str(seed), 0, seed=seed).record["id"].to_pylist()))
    assert ids[0] != ids[1]


def test_the_order_of_the_data_changes_nothing(tmp_path: Path):
    ids = []
    for name, data in (("one", DATA[0]), ("other", DATA[0][::-1])):
        (tmp_path / name).mkdir()
        ids.append(step(tmp_path / name, 0, data).record["id"].to_pylist())
    assert ids[0] == ids[1]


def test_rows_that_are_there_already_are_passed_over(tmp_path: Path):
    step(tmp_path, 0, pool_cap=None)
    again = step(tmp_path, 1, [*DATA[0][:5], *DATA[1], DATA[1][0]], pool_cap=None)
    assert (again.facts["given"], again.facts["new"], again.facts["pool"]) == (66, 60, 140)
    nothing = step(tmp_path, 2, DATA[1][:3])
    assert (nothing.facts["new"], nothing.facts["pool"], nothing.facts["kept"]) == (0, 140, 90)
    assert (tmp_path / "state" / "step-00003" / "tfidf" / "tfidf.json").is_file()


def test_planted_copies_go_first(tmp_path: Path):
    copies = [{**row, "id": k} for k, row in enumerate(DATA[0] * 3)]
    step(tmp_path, 0, copies, pool_cap=80)
    state = last_step(tmp_path / "state")
    assert state is not None
    texts = [json.loads(line)["text"] for line in Path(state.pool.path).read_text().splitlines()]
    assert sorted(texts) == sorted(row["text"] for row in DATA[0])


def test_the_step_given_twice_is_done_already(tmp_path: Path):
    first = step(tmp_path, 0)
    before = snapshot(tmp_path)
    said: list[str] = []
    again = step(tmp_path, 0, say=said.append)
    assert snapshot(tmp_path) == before
    assert (again.number, again.facts) == (1, first.facts)
    assert said[-1].startswith("step 1 is done already -> ")
    (tmp_path / "picked-0.jsonl").unlink()
    step(tmp_path, 0, say=said.append)
    assert snapshot(tmp_path)["picked-0.jsonl"] == before["picked-0.jsonl"]
    (tmp_path / "picked-0.jsonl").write_text("other\n")
    with pytest.raises(InputError, match=r"picked-0.jsonl exists; use --force"):
        step(tmp_path, 0)
    with pytest.raises(
        InputError, match=r"step 1 in .* other options \(budget: '20' there, '21' here\); give new data"
    ):
        step(tmp_path, 0, budget=21)


def test_other_features_are_computed_for_the_whole_pool(tmp_path: Path):
    step(tmp_path, 0)
    assert step(tmp_path, 1, dim=6).facts["computed"] == {"vectors": 140, "scores": 60}
    assert step(tmp_path, 2, dim=6, score_columns=("hard",)).facts["computed"] == {"vectors": 70, "scores": 160}


STAGES = ["prepare", "prune", "write_rows", "write_state", "commit", "publish"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_step_is_repeated_and_ends_with_the_same_bytes(
    stage: str, three: tuple[Path, list[Step]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for k in (0, 1):
        step(tmp_path, k)
    before = file_digest(tmp_path / "state" / "step-00002" / "pool.jsonl")

    def die(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    where = tasksift.lifelong.step.adapt if stage == "prepare" else tasksift.lifelong.step
    with monkeypatch.context() as patch:
        patch.setattr(where, stage, die)
        with pytest.raises(KeyboardInterrupt):
            step(tmp_path, 2)
    if stage != "publish":
        assert file_digest(tmp_path / "state" / "step-00002" / "pool.jsonl") == before
    assert not (tmp_path / "picked-2.jsonl").exists()
    step(tmp_path, 2)
    assert snapshot(tmp_path) == snapshot(three[0])


def test_what_a_kill_left_of_another_request_does_no_harm(
    three: tuple[Path, list[Step]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for k in (0, 1):
        step(tmp_path, k)

    def die(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tasksift.lifelong.step, "commit", die)
        with pytest.raises(KeyboardInterrupt):
            step(tmp_path, 2, DATA[0] + DATA[1], dim=5, seed=3)
    step(tmp_path, 2)
    assert snapshot(tmp_path) == snapshot(three[0])


BAD: list[tuple[dict[str, Any], str]] = [
    ({"budget": 81}, "the budget is 81 rows and the pool has 80"),
    ({"budget": "100tok"}, "--budget 100tok: a step selects rows"),
    ({"pool_cap": 0}, "--pool-cap 0"),
    ({"score_columns": ()}, "there is nothing to score rows by"),
    ({"score_columns": ("loud",)}, "there is no column 'loud'; correct --score-columns"),
    ({"score_columns": ("source",)}, "source is 'maths', not a number"),
    ({"representation": "loss"}, "clusters are of directions"),
    ({"representation": "words"}, "--representation words does not exist"),
    ({"model": "x"}, "--model does not apply to --representation tfidf"),
    ({"score_model": "x"}, "--score-columns and --score-model are two ways"),
    ({"parameters": {"clusters": 0}}, "--set clusters=0"),
    ({"parameters": {"scorers": "loud"}}, "there is no loud; there are hard, long"),
    ({"out": Path("picked.txt")}, "the suffix must be one of"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_what_is_refused_leaves_nothing(changes: dict[str, Any], message: str, tmp_path: Path):
    options = {"budget": 20, "out": tmp_path / "picked.jsonl", **OPTIONS, **changes}
    with pytest.raises(InputError, match=message):
        lifelong(DATA[0], tmp_path / "state", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_state_that_is_none(tmp_path: Path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other things"):
        step(tmp_path, 0)
    with pytest.raises(InputError, match="is a file"):
        lifelong(DATA[0], tmp_path / "state" / "notes.txt", 5, tmp_path / "x.jsonl", **OPTIONS)
    (tmp_path / "state" / "notes.txt").unlink()
    step(tmp_path, 0)
    (tmp_path / "state" / "step-00001" / "step.json").write_text("{}")
    with pytest.raises(InputError, match="is not the state of a lifelong selection"):
        step(tmp_path, 1)


def test_the_state_is_neither_input_nor_output(tmp_path: Path):
    step(tmp_path, 0)
    with pytest.raises(InputError, match="lies in --state"):
        lifelong(DATA[1], tmp_path / "state", 5, tmp_path / "state" / "x.jsonl", **OPTIONS)
    with pytest.raises(InputError, match="whose rows are in the pool"):
        step(tmp_path, 1, tmp_path / "state" / "step-00001" / "pool.jsonl")


@pytest.mark.parametrize("suffix", [".parquet", ".json", ".csv.gz"])
def test_other_formats(suffix: str, tmp_path: Path, rows_of: Callable[[Path], list[dict[str, Any]]]):
    out = tmp_path / f"picked{suffix}"
    lifelong(DATA[0], tmp_path / "state", 12, out, **OPTIONS)
    assert [row["source"] for row in rows_of(out)]
    assert len(rows_of(out)) == 12


@pytest.fixture
def rows_of() -> Callable[[Path], list[dict[str, Any]]]:
    from tasksift.rows import expand, read

    return lambda path: [record for file in expand(path) for batch in read(file) for record in batch.records]


def test_what_a_kill_left_of_another_representation_does_no_harm(tmp_path: Path):
    left = tmp_path / "state" / "step-00001.part" / "tfidf"
    left.mkdir(parents=True)
    (left / "other.json").write_text("{}")
    step(tmp_path, 0)
    assert sorted(path.name for path in (tmp_path / "state" / "step-00001" / "tfidf").iterdir()) == [
        "tfidf.json",
        "tfidf.npy",
    ]
