"""Rows that are left out: what is selected is what would be selected if they had never been there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import tasksift as ts
from tasksift.config import RunConfig
from tasksift.leave_out import LeaveOut
from tasksift.plan import Links, Plan
from tasksift.presets import PRESETS
from tasksift.progress import silent
from tasksift.rows import TextReader, TokenCounter, expand
from tasksift.rows.index import build_index
from tasksift.selectors import SELECTORS, Context
from tasksift.selectors.contract import Margins, Texts
from tasksift.vectors import Vectors
from tasksift.workspace import Workspace

N, BUDGET = 90, 12
RNG = np.random.default_rng(8)
POOL = RNG.normal(size=(N, 4)).astype(np.float32)
TARGET = RNG.normal(size=(4, 4)).astype(np.float32)
SCORES = RNG.random((N, 5))
WORDS = [f"{kind}{k}" for kind in ("sum", "proof", "oven", "class") for k in range(4)]
TEXTS = [" ".join(RNG.choice(WORDS, 16)) + f" number {k}" for k in range(N)]
TESTED = np.array([0, 5, 6, 41, 42, 43, 88])
"""Rows that the test file holds word for word."""
KEPT = np.setdiff1d(np.arange(N), TESTED)


def row(k: int) -> dict[str, Any]:
    return {"text": TEXTS[k], "source": "abc"[k % 3]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write("pool.jsonl", map(row, range(N)))
    write("clean.jsonl", map(row, KEPT))
    write("test.jsonl", ({"text": f"so {TEXTS[k]} then", "source": "t"} for k in TESTED))
    write("target.jsonl", ({"text": " ".join(RNG.choice(WORDS, 6))} for _ in range(4)))
    np.save("pool.npy", POOL)
    np.save("clean.npy", POOL[KEPT])
    np.save("target.npy", TARGET)
    return tmp_path


def write(name: str, rows: Any) -> None:
    Path(name).write_text("".join(json.dumps(each) + "\n" for each in rows))


def select(name: str, preset: str, **options: Any) -> ts.Selection:
    given = {"vectors": f"{name}.npy", "target_vectors": "target.npy"}
    if "texts" in SELECTORS[PRESETS[preset].selector].needs:
        given = {}
    return ts.select(f"{name}.jsonl", "target.jsonl", BUDGET, preset=preset, **given, **options)


@pytest.mark.parametrize(
    "preset", ["tsds", "nearest", "round-robin", "bm25", "bm25-turns", "dsir", "random", "random-balanced"]
)
def test_selecting_beside_them_is_selecting_without_them(preset: str, folder: Path):
    whole, clean = select("pool", preset, test="test.jsonl"), select("clean", preset)
    assert whole.ids == clean.ids
    assert whole.positions.tolist() == KEPT[clean.positions].tolist()
    for name in ("probability", "score", "inclusion", "nearest_target", "distance", "density", "reason", "source"):
        assert whole.record[name].to_pylist() == clean.record[name].to_pylist(), name
    assert np.isin(whole.plan.ids, KEPT).all()
    if clean.plan.links is not None:
        assert whole.plan.links is not None
        assert whole.plan.links.row.tolist() == KEPT[clean.plan.links.row].tolist()
        assert whole.plan.links.target.tolist() == clean.plan.links.target.tolist()


def context_of(rows: np.ndarray) -> Context:
    """Everything that a selector may ask for, of some rows of the pool."""
    tasks, pool = np.array([0, 0, 1, 1]), POOL[rows]
    means = np.stack([TARGET[:2].mean(0), TARGET[2:].mean(0)])
    texts = [TEXTS[k] for k in rows]
    return Context(
        order=np.argsort(np.argsort((37 * rows) % N)), sources=rows % 3, groups=rows % 4, group_names=tuple("abcd"),
        pool=Vectors(pool, normalize=True), target=Vectors(TARGET, normalize=True),
        lengths=Vectors(pool), target_lengths=Vectors(TARGET),
        tasks=tasks, task_names=("one", "two"), task_target=Vectors(means, normalize=True),
        margins=Margins(
            [Vectors(pool), Vectors(pool[:, ::-1].copy())], [TARGET, TARGET[:, ::-1].copy()],
            np.stack([pool[:, 0], pool[:, 1]]).astype(np.float64), TARGET[:, :2].T.astype(np.float64),
        ),
        scores=Vectors(SCORES[rows]), score_names=("loss", "perplexity", "entropy", "el2n", "score"),
        texts=Texts(lambda: iter([texts[:7], texts[7:8], [], texts[8:]]), TEXTS[:4]),
        keys=np.stack([rows, rows], axis=1).astype(np.uint64),
    )  # fmt: skip


def leaving(kept: Sequence[int] | np.ndarray, folder: Path) -> LeaveOut:
    index = build_index(expand([row(k) for k in range(N)]), TextReader(), TokenCounter())
    out = LeaveOut(RunConfig.create(), index, Workspace(folder), silent)
    out.kept = np.asarray(kept)
    return out


@pytest.mark.parametrize("preset", PRESETS)
def test_every_selector_plans_as_if_they_were_not_there(preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Left out are a whole group, a whole source, and the first and the last row."""
    monkeypatch.setattr("tasksift.vectors.BLOCK_BYTES", 64)
    kept = np.array([k for k in range(1, N - 1) if k % 4 != 2 and k % 3])
    selector = SELECTORS[PRESETS[preset].selector]
    parameters = selector.settle(PRESETS[preset].parameters, preset)
    out = leaving(kept, tmp_path)
    beside = out.widen(selector.prepare(out.narrow(context_of(np.arange(N))), parameters))(BUDGET)
    without = selector.prepare(context_of(kept), parameters)(BUDGET)
    assert beside.ids.tolist() == kept[without.ids].tolist()
    np.testing.assert_allclose(beside.values, without.values, rtol=1e-9)


def test_a_selector_is_told_of_the_rows_that_stay(tmp_path: Path):
    kept = np.array([3, 7, 8, 60, 89])
    found, plain = leaving(kept, tmp_path).narrow(context_of(np.arange(N))), context_of(kept)
    for name in ("order", "sources", "groups", "keys", "tasks"):
        assert getattr(found, name).tolist() == getattr(plain, name).tolist(), name
    for name in ("pool", "lengths", "scores", "target", "task_target"):
        one, other = getattr(found, name), getattr(plain, name)
        np.testing.assert_array_equal(one.take(np.arange(len(one))), other.take(np.arange(len(other))))
        assert (one.normalize, one.shards[0].dtype) == (other.normalize, other.shards[0].dtype)
    assert found.margins is not None
    assert plain.margins is not None
    for one, other in zip(found.margins.pool, plain.margins.pool, strict=True):
        np.testing.assert_array_equal(one.shards[0], other.shards[0])
    np.testing.assert_array_equal(found.margins.pool_values, plain.margins.pool_values)
    assert found.texts is not None
    assert plain.texts is not None
    for _ in range(2):  # every call starts over
        assert list(chain.from_iterable(found.texts.pool())) == [TEXTS[k] for k in kept]
    assert found.texts.target == plain.texts.target


def test_plans_name_rows_of_the_whole_pool(tmp_path: Path):
    out = leaving([2, 30, 31], tmp_path)
    links = Links(np.array([2, 0]), np.array([1, 0]), np.array([0.5, 0.5]), np.zeros(2))
    plan = out.widen(lambda budget: Plan("mass", "x", np.array([0, 2]), np.full(2, 1 / 2), links=links))(2)
    assert plan.ids.tolist() == [2, 31]
    assert plan.links is not None
    assert (plan.links.row.tolist(), plan.links.target.tolist()) == ([31, 2], [1, 0])


def test_nothing_left_out_changes_nothing(tmp_path: Path):
    out = leaving([0], tmp_path)
    out.kept = None
    context = context_of(np.arange(N))
    assert out.narrow(context) is context
    assert (out.table(), out.said(), out.kept_rows) == (None, [], N)


def test_what_was_left_out_is_kept_with_the_run(folder: Path):
    said: list[str] = []
    done = select("pool", "nearest", test="test.jsonl", out="picked.jsonl", say=said.append)
    table = done.left_out
    assert table is not None
    assert table["row"].to_pylist() == table["file_row"].to_pylist() == TESTED.tolist()
    assert set(table["reason"].to_pylist()) == {"shared words"}
    ids = select("pool", "random", out=None).plan_table  # every row of the pool, by its id
    assert table["id"].to_pylist() == [ids["id"].to_pylist()[k] for k in TESTED]
    assert table["source"].to_pylist() == ["abc"[k % 3] for k in TESTED]
    assert all("test.jsonl, line " in each for each in table["because_of"].to_pylist())
    assert done.manifest["left_out"] == {"shared words": 7}
    assert done.manifest["pool"]["rows"] == N
    assert "7 rows left out: shared words" in said
    assert "7 rows left out: shared words" in done.manifest["notes"]
    assert pq.read_table("picked.jsonl.run/left_out.parquet").equals(table)
    again = ts.open_run("picked.jsonl.run").left_out
    assert again is not None
    assert again.equals(table)
    assert not list(folder.glob("picked.jsonl.run/*.npy"))


def test_a_test_file_is_never_written_over(folder: Path):
    there = Path("test.jsonl").read_bytes()
    with pytest.raises(ts.InputError, match=r"test\.jsonl: it is an input of this run"):
        select("pool", "random", test="test.jsonl", out="test.jsonl", force=True)
    with pytest.raises(ts.InputError, match=r"test\.jsonl: it is an input of this run"):
        select("pool", "random", test="test.jsonl").write("test.jsonl", force=True)
    assert Path("test.jsonl").read_bytes() == there


def test_test_files_alone_mean_13_words(folder: Path):
    words = [f"w{k}" for k in range(13)]
    write("test.jsonl", [{"text": " ".join(["before", *words, "after"])}])
    rows = [{"text": " ".join(["x", *words, "y"])}, {"text": " ".join(["x", *words[:12], "y"])}, {"text": "other"}]
    write("three.jsonl", rows)
    options = {"target": "target.jsonl", "budget": 1, "preset": "random", "test": "test.jsonl"}
    for more, out in ({}, [0]), ({"decontaminate": 12}, [0, 1]), ({"decontaminate": 14}, []):
        found = ts.select("three.jsonl", **options, **more).left_out
        assert found is not None
        assert found["row"].to_pylist() == out


def test_targets_are_left_out_only_where_that_is_asked_for(folder: Path):
    write("target.jsonl", [row(3)])
    assert select("pool", "bm25").positions[0] == 3
    assert select("pool", "bm25").left_out is None
    found = select("pool", "bm25", decontaminate=13)
    assert found.left_out is not None
    assert found.left_out["row"].to_pylist() == [3]
    assert 3 not in found.positions


def test_copies_stay_once_and_what_filters_say_is_merged(folder: Path):
    """A contaminated row is no reason to leave out its copy."""
    vectors = POOL.copy()
    vectors[[10, 20]] = vectors[30]
    vectors[50:57] = vectors[TESTED]
    np.save("pool.npy", vectors)
    done = select("pool", "nearest", test="test.jsonl", dedup=0)
    assert done.left_out is not None
    rows = dict(zip(done.left_out["row"].to_pylist(), done.left_out["reason"].to_pylist(), strict=True))
    copies = [k for k, reason in rows.items() if reason == "copy"]
    assert len(copies) == 2
    assert set(copies) < {10, 20, 30}
    assert sorted(set(rows) - set(copies)) == TESTED.tolist()
    (stays,) = {10, 20, 30} - set(copies)
    names = select("pool", "random").plan_table["id"].to_pylist()
    because = {line["row"]: line["because_of"] for line in done.left_out.to_pylist()}
    assert {because[k] for k in copies} == {f"{names[stays]} (cosine 1.0000)"}
    assert done.manifest["left_out"] == {"copy": 2, "shared words": 7}


@pytest.mark.parametrize("preset", ["random", "tsds", "bm25"])
def test_everything_left_out_is_one_line(preset: str, folder: Path):
    write("test.jsonl", map(row, range(N)))
    with pytest.raises(ts.InputError, match="every row of the pool is left out; raise --decontaminate"):
        select("pool", preset, test="test.jsonl")


@pytest.mark.parametrize("preset", ["random", "bm25", "nearest", "round-robin"])
def test_a_budget_of_all_that_is_left_and_of_more(preset: str, folder: Path):
    options = {"target": "target.jsonl", "preset": preset, "test": "test.jsonl"}
    assert sorted(ts.select("pool.jsonl", budget=len(KEPT), **options).positions) == KEPT.tolist()
    with pytest.raises(ts.InputError, match="the budget is 84 rows and 83 of the pool's 90 are left; lower the budget"):
        ts.select("pool.jsonl", budget=len(KEPT) + 1, **options)
    tokens = TokenCounter().count([TEXTS[k] for k in KEPT])
    every = ts.select("pool.jsonl", budget=f"{sum(tokens)}tok", **options)
    assert sorted(every.positions) == KEPT.tolist()
    with pytest.raises(ts.InputError, match=r"budget of 84 .*ask for a smaller budget|budget is 84; lower the budget"):
        ts.select("pool.jsonl", budget=f"{sum(tokens) + 40}tok", **options)
