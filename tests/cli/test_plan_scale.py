"""`tasksift plan --scale` on the command line: small pools measured for a moment, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_outcome import Outcome

from tasksift.evaluate.scale import measure, passes

STAGE = {"name", "where", "here", "time", "read", "written", "held", "sent", "bound", "law"}


@pytest.fixture
def command(tasksift: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    monkeypatch.setattr(passes, "SORTED_ROWS", (2**10, 2**12))
    monkeypatch.setattr(passes, "SMALL_BYTES", 1e4)
    monkeypatch.setattr(passes, "LARGE_BYTES", 4e4)
    monkeypatch.setattr(measure, "STEPS", (2, 1))
    return partial(tasksift, "plan", "--measure-seconds", "0.1")


@pytest.fixture
def vectors(tmp_path: Path) -> tuple[str, ...]:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "pool.npy", rng.standard_normal((400, 8)).astype(np.float32))
    np.save(tmp_path / "target.npy", rng.standard_normal((5, 8)).astype(np.float32))
    return ("--vectors", "pool.npy", "--target-vectors", "target.npy")


def test_a_plan_from_rows(command: Callable[..., Outcome], folder: Path):
    done = command(
        "pool.jsonl", "--target", "target.jsonl", "--budget", "10%", "--dim", 4, "--scale", "1e6", "--machines", 4,
        "--workers", 16, "--network", "1e6", "--machine-memory", "1e6", "--json", "--out", "plan.json",
    )  # fmt: skip
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert record == json.loads((folder / "plan.json").read_text())
    assert (record["rows"], record["selected"]) == (1_000_000, 100_000)
    assert (record["preset"], record["representation"]) == ("tsds", "tfidf")
    stages = {stage["name"]: stage for stage in record["stages"]}
    assert all(set(stage) == STAGE for stage in stages.values())
    assert {"read", "fit", "embed", "hash", "rank", "copies", "search", "plan", "report", "write"} <= set(stages)
    # 1 MB/s is slow, and 4 machines send four times as much of it.
    assert (stages["read"]["where"], stages["read"]["bound"]) == ("workers", "network")
    assert stages["read"]["time"]["value"] == pytest.approx(stages["read"]["sent"] / 4e6, rel=1e-3)
    assert stages["embed"]["written"] == 1e6 * 4 * record["measured"]["dim"]
    assert stages["rank"]["where"] == "driver"
    assert record["total"]["low"] <= record["total"]["value"] <= record["total"]["high"]
    assert record["total"]["value"] == pytest.approx(sum(each["time"]["value"] for each in stages.values()), rel=1e-2)
    assert any("--machine-memory" in each for each in record["problems"])
    assert record["advice"].startswith("As it stands this will not work")
    assert record["measured"]["rows"] == 60
    assert "embedding 60 rows" in done.err


def test_a_plan_from_vectors_as_lines(command: Callable[..., Outcome], vectors: tuple[str, ...], tmp_path: Path):
    done = command(*vectors, "--budget", "5%", "--scale", "100000", "--quiet")
    assert (done.code, done.err) == (0, "")
    assert "100,000 rows, tsds by vectors, 5,000 rows selected; this machine" in done.out
    assert "densities" in done.out
    assert "100,000 rows take about" in done.out
    assert "Measured on 400 rows" in done.out
    assert not list(tmp_path.glob("*.run"))


def test_a_plan_without_vectors(command: Callable[..., Outcome], folder: Path):
    done = command("pool.jsonl", "--preset", "random", "--budget", "1000", "--scale", "20000", "--json")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    names = [stage["name"] for stage in record["stages"]]
    assert names.index("read") < names.index("rank") < names.index("write")
    assert not {"embed", "search", "hash"} & set(names)
    assert record["memory"]["worker"] == 0


PAIR = ("--vectors", "pool.npy", "--target-vectors", "target.npy", "--budget", "1%")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("pool.jsonl",), "POOL goes with --scale ROWS"),
        (("--budget", "1%", "--flops", "1e18"), "--budget goes with --scale ROWS"),
        (("--workers", "3"), "--workers goes with --scale ROWS"),
        (("--dim", "3"), "--dim goes with --scale ROWS"),
        (("--scale", "many"), "--scale 'many': it should be a number"),
        (("--scale", "1e6", "--flops", "1e18"), "--flops is of a plan of compute; it does not go with --scale"),
        (("--scale", "1.5", *PAIR), "--scale 1.5: it should be a whole number of rows"),
        (("--scale", "1e13", *PAIR), "--scale 1e+13: it should be a whole number of rows, from 1 to 1e+12"),
        (("--scale", "1e6", *PAIR[:4]), "there is no --budget"),
        (("--scale", "1e3", *PAIR[:4], "--budget", "2000"), "--budget 2000 is more than --scale 1,000 rows"),
        (("--scale", "1e6", "--budget", "1%", "--target", "target.jsonl"), "there is no pool"),
        (("pool.jsonl", "--scale", "1e6", "--budget", "1%"), "there is no target"),
        (("pool.jsonl", "--scale", "1e6", *PAIR), "give POOL or --vectors, not both"),
        (("--scale", "1e6", *PAIR, "--gpus", "2"), "--gpus serves a model that embeds"),
        (("--scale", "1e6", *PAIR, "--workers", "1.5"), "--workers 1.5: it should be a whole number"),
        (("--scale", "1e6", *PAIR, "--machines", "0"), "--machines '0': it should be above 0"),
        (("--scale", "1e6", *PAIR, "--machines", "4", "--workers", "2"), "--workers 2 is less than --machines 4"),
        (("--scale", "1e6", *PAIR, "--out", "no/plan.json"), "cannot write no/plan.json"),
        (("--scale", "1e6", *PAIR, "--preset", "nothing"), "nothing"),
        (
            ("pool.jsonl", "--scale", "1e6", "-t", "target.jsonl", "-b", "1%", "-p", "less", "--model", "m"),
            "run tasksift tune",
        ),
    ],
)
def test_what_is_refused(command: Callable[..., Outcome], vectors: Any, folder: Path, options: Any, line: str):
    done = command(*options) if "--scale" in options else command(*options, "--measure-seconds", "0.1")
    assert done.code == 2
    assert done.out == ""
    assert line in done.err
    assert done.err.count("\n") == 1
