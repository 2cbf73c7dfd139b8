"""Presets that look at a language model's states and losses: RDS+, BWS, perplexity, Adapt-∞, facility location."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from model_runs import LENGTH, ROWS, TASKS, Toys, counted, ranks, unit

import tasksift as ts
from tasksift.represent.hidden import HiddenStates
from tasksift.represent.loss import Losses
from tasksift.represent.models import load_causal

TARGET = ["-t", "target.jsonl"]
MODEL = ["--model", "llama", *LENGTH]
STATES = [*MODEL, "--features", "states"]
PATHS = [str(Path(ts.__file__).parents[1]), str(Path(__file__).parents[1])]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(PATHS), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Toys:
    return Toys(tmp_path_factory.mktemp("toys"))


@pytest.fixture(scope="module")
def order(toys: Toys) -> np.ndarray:
    return ranks(toys.select("column", 5, "order.jsonl", "--score-column", "rating"))


@pytest.fixture(scope="module")
def perplexity(toys: Toys) -> np.ndarray:
    """Of every row, by `embed` into the folder `losses`."""
    assert toys("embed", "pool.jsonl", "-r", "loss", *MODEL, "-o", "losses", "--quiet").code == 0
    return toys.stored("losses")[:, 1]


def by_number(numbers: np.ndarray, order: np.ndarray) -> list[int]:
    return np.lexsort((order, numbers)).tolist()


@pytest.mark.parametrize("tasks", [True, False], ids=["tasks", "one task"])
def test_rds_takes_turns(tasks: bool, toys: Toys):
    """Tasks, or with one task its targets, pick the row that is nearest to any of theirs."""
    found = toys.select("rds+", 20, f"rds-{tasks}.jsonl", *TARGET, *STATES, *["--task-column", "task"] * tasks)
    made = HiddenStates(load_causal(str(toys.folder / "llama")), max_length=48)
    pool, target = (unit(made.transform(toys.examples(name))) for name in ("pool.jsonl", "target.jsonl"))
    similar = pool @ target.T
    if tasks:
        similar = np.column_stack([similar[:, k::3].max(axis=1) for k in range(3)])
    picks: list[int] = []
    while len(picks) < 20:
        column = similar[:, len(picks) % similar.shape[1]].copy()
        column[picks] = -np.inf
        picks.append(int(column.argmax()))
    assert found.positions.tolist() == picks
    turns = [reason.split(";")[0] for reason in found.record["reason"].to_pylist()]
    assert turns == [f"picked at turn {k + 1}" for k in range(20)]
    assert found.manifest["target"]["tasks"] == (dict.fromkeys(TASKS, 2) if tasks else {"target": 6})
    toys.again(found, f"rds-{tasks}.jsonl")


@pytest.mark.parametrize("direction", ["lowest", "middle", "highest"])
def test_perplexity_is_a_ranking_of_losses(direction: str, toys: Toys, order: np.ndarray, perplexity: np.ndarray):
    """Of the numbers that `embed` stored, which are not computed again; computed by itself it is the same."""
    out = f"{direction}.jsonl"
    with counted(Losses) as sizes:
        found = toys.select(f"perplexity-{direction}", 10, out, "--scores", "losses")
    assert sizes == []
    ascending = by_number(perplexity, order)
    if direction == "middle":
        place = np.argsort(ascending)
        ascending = by_number(np.abs(place - (ROWS - 1) / 2), order)
    expected = by_number(-perplexity, order) if direction == "highest" else ascending
    assert found.positions.tolist() == expected[:10]
    toys.again(found, out)
    with counted(Losses) as sizes:
        alone = toys.select(f"perplexity-{direction}", 10, f"alone-{out}", *MODEL)
    assert sum(sizes) == ROWS
    assert alone.ids == found.ids


def test_a_stride_leaves_nothing_out(toys: Toys, order: np.ndarray):
    short = ["--model", "llama", "--max-length", 16]
    found = toys.select("perplexity-highest", 10, "strided.jsonl", *short, "--stride", 8)
    cut = toys.select("perplexity-highest", 10, "cut.jsonl", *short)
    made = Losses(load_causal(str(toys.folder / "llama")), metrics=("perplexity",), max_length=16, stride=8)
    numbers = made.transform(toys.examples("pool.jsonl"))[:, 0]
    np.testing.assert_allclose(found.plan.values, numbers, rtol=1e-4)
    assert found.positions.tolist() == by_number(-numbers, order)[:10]
    assert not np.allclose(found.plan.values, cut.plan.values, rtol=1e-4)
    toys.again(found, "strided.jsonl")


def test_other_numbers_of_the_model(toys: Toys, order: np.ndarray, perplexity: np.ndarray):
    found = toys.select("perplexity-lowest", 10, "ifd.jsonl", *MODEL, "--set", "metric=ifd")
    assert found.manifest["plan"]["info"]["metric"] == "ifd"
    stored = toys.select("perplexity-lowest", 10, "entropy.jsonl", "--scores", "losses", "--set", "metric=entropy")
    assert stored.positions.tolist() == by_number(toys.stored("losses")[:, 2], order)[:10]
    lacking = ["--scores", "losses", "--set", "metric=ifd", "-b", 5, "-o", "no.jsonl", "--quiet"]
    done = toys("select", "pool.jsonl", "-p", "perplexity-lowest", *lacking)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "looks at ifd, and there is only loss,perplexity,entropy,el2n" in done.err


def test_a_column_takes_the_place_of_the_model(toys: Toys, order: np.ndarray):
    rating = np.array([row["rating"] for row in toys.pool])
    found = toys.select("column", 10, "column.jsonl", "--score-column", "rating")
    assert found.positions.tolist() == by_number(-rating, order)[:10]
    toys.again(found, "column.jsonl")
    lowest = toys.select("perplexity-lowest", 10, "lowest-column.jsonl", "--score-column", "rating")
    assert lowest.positions.tolist() == by_number(rating, order)[:10]


def test_bws_takes_one_window_of_the_losses(toys: Toys, order: np.ndarray, perplexity: np.ndarray):
    found = toys.select("bws", 12, "window.jsonl", *TARGET, *STATES, "--set", "clusters=1")
    hardest = np.argsort(by_number(-toys.stored("losses")[:, 0], order))
    places = np.sort(hardest[found.positions])
    assert (np.diff(places) == 1).all()
    info = found.manifest["plan"]["info"]
    assert info["difficulty"] == "loss"
    assert abs(places[0] - info["start"] * ROWS) <= 1
    best = info["curve"]["start"][int(np.argmin(info["curve"]["target_error"]))]
    assert info["start"] == best
    toys.again(found, "window.jsonl")


def test_bws_of_columns_needs_no_target(toys: Toys):
    columns = ["--score-column", "rating", "--group-column", "kind"]
    with counted(Losses) as sizes:
        found = toys.select("bws", 12, "classes.jsonl", *STATES, *columns)
    assert sizes == []
    kinds = np.array([row["kind"] for row in toys.pool])
    rating = np.array([row["rating"] for row in toys.pool])
    for kind in "wxyz":
        of_kind = np.flatnonzero(kinds == kind)
        place = {row: k for k, row in enumerate(of_kind[np.argsort(-rating[of_kind], kind="stable")])}
        taken = sorted(place[row] for row in found.positions if row in place)
        assert taken == list(range(taken[0], taken[0] + 3))
    assert "accuracy" in found.manifest["plan"]["info"]["curve"]
    toys.again(found, "classes.jsonl")


def test_one_folder_serves_every_preset_with_scores(toys: Toys):
    """In whatever order they come, each looks at the numbers of its own paper."""
    clusters = ["--set", "clusters=3"]
    alone = toys.select("adapt-infinity", 15, "adapt.jsonl", *MODEL, *clusters)
    assert alone.manifest["plan"]["info"]["scorers"] == ["perplexity", "el2n", "entropy"]
    assert sum(each["budget"] for each in alone.manifest["plan"]["info"]["clusters"]) == 15
    toys.again(alone, "adapt.jsonl")
    for k, names in enumerate((["bws", "adapt-infinity"], ["adapt-infinity", "bws"])):
        shared = [*MODEL, *clusters, *TARGET, "--features", f"shared-{k}"]
        with counted(Losses) as sizes:
            found = {name: toys.select(name, 15, f"{name}-{k}.jsonl", *shared) for name in names}
        assert sum(sizes) == ROWS
        assert found["adapt-infinity"].ids == alone.ids
        assert found["bws"].manifest["plan"]["info"]["difficulty"] == "loss"
    column = toys.select("adapt-infinity", 15, "adapt-column.jsonl", *STATES, *clusters, "--score-column", "rating")
    assert column.manifest["plan"]["info"]["scorers"] == ["score"]


@pytest.mark.parametrize("preset", ["facility-location", "facility-location-mi"])
def test_facility_location_by_hidden_states(preset: str, toys: Toys, order: np.ndarray):
    target = TARGET if preset.endswith("mi") else []
    whole = ["--set", f"neighbours={ROWS}", *["--set", f"reach={ROWS}"] * bool(target)]
    found = toys.select(preset, 10, f"{preset}.jsonl", *target, "-r", "hidden", *STATES, *whole)
    pool = unit(toys.stored("states"))
    similar = np.clip(pool @ pool.T, 0, None)
    if target:
        made = HiddenStates(load_causal(str(toys.folder / "llama")), max_length=48)
        aims = unit(made.transform(toys.examples("target.jsonl")))
        near = (pool[:, :-1] @ aims.T).max(axis=1)
        similar = np.minimum(similar, np.clip(near, 0, None)[:, None])
    picks: list[int] = []
    served = np.zeros(ROWS)
    while len(picks) < 10:
        gains = np.maximum(similar, served[:, None]).sum(axis=0)
        picks.append(by_number(-gains.round(6), order)[0])
        served = np.maximum(served, similar[:, picks[-1]])
    assert found.positions.tolist() == picks
    toys.again(found, f"{preset}.jsonl")


# Selects with vectors and scores in forks of one warm process, killed before every few things done to a file.
DRIVER = """
import json, signal
from pathlib import Path

import torch

from killed_runs import run_in_fork, snapshot
from tasksift import model_features, pipeline

torch.set_num_threads(1)
model_features.SHARD_ROWS, model_features.PIECE_ROWS = 24, 12
base = Path.cwd()
OPTIONS = {"preset": "bws", "max_length": 32, "parameters": {"clusters": 2}}
pipeline.select("pool.jsonl", "target.jsonl", 9, model="llama", **OPTIONS)  # every module is loaded before the forks


def run(folder, kill_at=0):
    (base / folder).mkdir(exist_ok=True)

    def do():
        pipeline.select("../pool.jsonl", "../target.jsonl", 9, out="picked.jsonl", model="../llama", **OPTIONS)

    return run_in_fork(do, base / folder, kill_at, lambda path: f"{path.parent.name}/{path.name}")


def finished(log):
    return {each for each in log if each.startswith("os.rename") and "/shard-" in each and each.endswith(".json")}


code, done = run("whole")
assert code == 0
whole, faults, again = snapshot("whole"), [], []
for step in range(2, len(done), max(1, len(done) // 8)):
    code, before = run(f"a{step}", step)
    assert code == -signal.SIGKILL
    code, after = run(f"a{step}")
    if code or snapshot(f"a{step}") != whole:
        faults.append(f"killed before step {step}, after {before[-1:]}: {code}, {sorted(snapshot(f'a{step}'))}")
    again += sorted(finished(before) & finished(after))
print(json.dumps({"steps": len(done), "faults": faults, "again": again, "shards": len(finished(done))}))
"""


@pytest.mark.skipif(os.name != "posix", reason="forks and signals")
def test_killed_with_vectors_and_scores(toys: Toys):
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], cwd=toys.folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["faults"] == []
    assert report["again"] == []
    assert report["shards"] == 6  # of vectors and of scores
