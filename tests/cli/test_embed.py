"""`tasksift embed`: the store that a selection finds again, the same bytes however it came about, and refusals."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tasksift
import tasksift.features
from tasksift import features
from tasksift.engines import WORKERS
from tasksift.engines.processes import in_processes
from tasksift.errors import InputError
from tasksift.represent import tfidf

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(tasksift.__file__).parents[1])}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def two_workers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Small shards, so that a small pool is worth two workers; the list says how many were started each time."""
    monkeypatch.setattr(tasksift.features, "SHARD_ROWS", 16)
    monkeypatch.setenv(WORKERS, "2")
    started: list[int] = []

    def count(*args: Any) -> Any:
        started.append(args[-1])
        return in_processes(*args)

    monkeypatch.setattr(tasksift.features, "in_processes", count)
    return started


def test_select_finds_what_embed_wrote(tasksift: Callable[..., Any], folder: Path):
    done = tasksift("embed", "pool.jsonl", "--out", "features", "--dim", 4)
    assert (done.code, done.out) == (0, "")
    assert "about 60 rows; memory about " in done.err
    assert "60 rows, 5 dimensions, 0.0 MB -> features" in done.err
    assert not (folder / "features.part").exists()
    written = snapshot(folder / "features")
    times = {p: p.stat().st_mtime_ns for p in (folder / "features").glob("shard*")}
    select = ["select", "pool.jsonl", "-t", "target.jsonl", "-b", 5, "--dim", 4]
    assert tasksift(*select, "--features", "features", "-o", "a.jsonl").code == 0
    assert snapshot(folder / "features") == written
    assert {p: p.stat().st_mtime_ns for p in times} == times
    assert tasksift(*select, "--features", "other", "-o", "b.jsonl").code == 0
    assert snapshot(folder / "other") == written
    assert (folder / "a.jsonl").read_bytes() == (folder / "b.jsonl").read_bytes()


def test_workers_change_no_byte(
    tasksift: Callable[..., Any], folder: Path, two_workers: list[int], monkeypatch: pytest.MonkeyPatch
):
    command = ["embed", "pool.jsonl", "--dim", 4, "--quiet", "--out"]
    assert tasksift(*command, "two") == tasksift(*command, "again")
    assert two_workers == [2, 2]
    monkeypatch.setenv(WORKERS, "1")
    assert tasksift(*command, "one").code == 0
    assert two_workers == [2, 2]
    assert snapshot(folder / "one") == snapshot(folder / "two") == snapshot(folder / "again")
    assert len(list((folder / "one").glob("*.npy"))) == 4
    # A shard that was lost is computed again, and only that one and those after it.
    monkeypatch.setenv(WORKERS, "2")
    (folder / "two" / "shard-00001.json").unlink()
    first = (folder / "two" / "shard-00000.npy").stat().st_mtime_ns
    assert tasksift(*command, "two").code == 0
    assert snapshot(folder / "two") == snapshot(folder / "one")
    assert (folder / "two" / "shard-00000.npy").stat().st_mtime_ns == first


def test_a_small_pool_stays_in_this_process(folder: Path, two_workers: list[int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tasksift.features, "SHARD_ROWS", 25)
    tasksift.embed(folder / "pool.jsonl", folder / "features", dim=4)
    assert two_workers == []


@pytest.mark.usefixtures("two_workers")
def test_a_bad_row_is_one_line(tasksift: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch):
    with (folder / "pool.jsonl").open("a") as file:
        file.write("{oops\n")
    done = tasksift("embed", "pool.jsonl", "--out", "features", "--quiet")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("tasksift: pool.jsonl, line 61: not JSON")
    assert done.err.count("\n") == 1
    assert not (folder / "features").exists()
    assert not (folder / "features.part").exists()
    monkeypatch.setenv(WORKERS, "many")
    (folder / "pool.jsonl").write_bytes((folder / "target.jsonl").read_bytes() * 20)
    done = tasksift("embed", "pool.jsonl", "--out", "features", "--quiet")
    assert (done.code, done.err) == (
        2,
        "tasksift: TASKSIFT_WORKERS='many': it should be a number of workers; 1 keeps the work in one process\n",
    )


def test_neither_texts_nor_vectors_are_held(
    folder: Path, lines: Callable[..., bytes], rows: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    (folder / "pool.jsonl").write_bytes(lines(rows(400, 0)))
    monkeypatch.setattr(tasksift.features, "SHARD_ROWS", 16)
    monkeypatch.setattr(tasksift.features, "MOST_WORKERS", 1)
    ahead: list[int] = []
    seen = 0
    transform = tfidf.Tfidf.transform

    def watch(model: tfidf.Tfidf, texts: list[str]) -> Any:
        nonlocal seen
        seen += len(texts)
        ahead.append(seen - 16 * len(list((folder / "features").glob("*.npy"))))
        return transform(model, texts)

    monkeypatch.setattr(tfidf.Tfidf, "transform", watch)
    tasksift.embed(folder / "pool.jsonl", folder / "features", dim=4)
    assert seen == 400
    assert max(ahead) <= 16


def test_refusals(tasksift: Callable[..., Any], folder: Path, rows: Callable[..., Any], lines: Callable[..., bytes]):
    command = ["embed", "pool.jsonl", "--dim", 4, "--quiet"]
    assert tasksift(*command, "--out", "features").code == 0
    there = snapshot(folder / "features")
    (folder / "other.jsonl").write_bytes(lines(rows(30, 5)))
    (folder / "data").mkdir()
    (folder / "data" / "pool.jsonl").write_bytes(lines(rows(30, 5)))
    (folder / "arrays").mkdir()
    np.save(folder / "arrays" / "mine.npy", np.ones((2, 2)))
    for arguments, message in [
        (["other.jsonl", "--out", "features", "--dim", 4], "features holds other features (pool: '"),
        (["pool.jsonl", "--out", "features"], "features holds other features (dim: 4 there, 256 here); choose"),
        (["pool.jsonl"], "there is no --out: name the folder to write"),
        (["pool.jsonl", "--out", "pool.jsonl"], "cannot write pool.jsonl: it is a file; name a folder"),
        (["data", "--out", "data/features"], "cannot write data/features: it lies in the pool's folder data"),
        (["pool.jsonl", "--out", "arrays"], "arrays holds .npy files but no feature store"),
        (["pool.jsonl", "--out", "x", "--dim", 0], "--dim '0': it should be"),
        (["pool.jsonl", "--out", "x", "-r", "vectors"], "--representation vectors does not exist; use one of tfidf"),
        (["pool.jsonl", "--out", "x", "--source-column", "no"], "there is no column 'no'"),
        (["pool.jsonl", "--out", "x", "--text-template", "{no}"], "'no' is not in the columns"),
        (["nowhere.jsonl", "--out", "x"], "nowhere.jsonl"),
    ]:
        done = tasksift("embed", *arguments, "--quiet")
        assert done.code == 2, arguments
        assert done.err.count("\n") == 1
        assert message in done.err
        assert not list(folder.glob("*.part"))
        assert not (folder / "x").exists()
    assert snapshot(folder / "features") == there
    assert tasksift("embed", "other.jsonl", "--out", "features", "--dim", 4, "--quiet", "--force").code == 0
    assert tasksift("embed", "other.jsonl", "--out", "fresh", "--dim", 4, "--quiet").code == 0
    assert snapshot(folder / "features") == snapshot(folder / "fresh")


def test_json_and_python(tasksift: Callable[..., Any], folder: Path):
    done = tasksift("embed", "pool.jsonl", "--out", "features", "--dim", 4, "--json", "--quiet")
    assert done.err == ""
    manifest = json.loads(done.out)
    assert manifest["identity"]["representation"] == "tfidf"
    assert (manifest["rows"], manifest["model"]["texts"]) == (60, 60)
    pool = [json.loads(line) for line in (folder / "pool.jsonl").read_text().splitlines()]
    found = embed_in_memory(pool, folder)
    assert found.folder == folder / "memory"
    assert (len(found.vectors), found.vectors.dim) == (60, 5)
    stored = np.load(folder / "features" / "shard-00000.npy")
    assert np.array_equal(found.vectors.shards[0], stored)
    with pytest.raises(InputError, match="nothing was given"):
        embed_in_memory([], folder)


def embed_in_memory(pool: Any, folder: Path) -> Any:
    return tasksift.embed(pool, folder / "memory", dim=4)


SCRIPT = """
import tasksift.features
from tasksift.cli import main
tasksift.features.SHARD_ROWS = 64
main()
"""
COMMAND = [sys.executable, "-c", SCRIPT, "embed", "pool.jsonl", "--dim", "4", "--quiet", "--out"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A pool, and what one process leaves of it."""
    base = tmp_path_factory.mktemp("embed")
    rng = random.Random(0)
    texts = [" ".join(f"w{rng.randrange(99)}" for _ in range(9)) for _ in range(3000)]
    (base / "pool.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    subprocess.run([*COMMAND, "whole"], cwd=base, env={**ENVIRONMENT, WORKERS: "1"}, check=True)
    return base, snapshot(base / "whole")


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(
    ("how", "moment"),
    [
        (signal.SIGKILL, "{}.part/survey.done"),
        (signal.SIGINT, "{}/model/tfidf.json"),
        (signal.SIGKILL, "{}/shard-00002.json"),
        (signal.SIGINT, "{}/shard-00009.json"),
    ],
)
def test_interrupted_runs_go_on(how: signal.Signals, moment: str, undisturbed: tuple[Path, dict[str, bytes]]):
    base, whole = undisturbed
    name = "".join(filter(str.isalnum, moment))
    environment = {**ENVIRONMENT, WORKERS: "2"}
    with subprocess.Popen(
        [*COMMAND, name], cwd=base, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while process.poll() is None and not (base / moment.format(name)).exists():
            time.sleep(0.001)
        if how is signal.SIGKILL:
            process.kill()
        else:
            os.killpg(process.pid, how)
        errors = process.communicate()[1]  # ends when no worker holds the pipe any more
    if process.returncode != 0 and how is signal.SIGINT:
        assert (process.returncode, errors) == (130, "tasksift: interrupted; the same command goes on where it was\n")
    subprocess.run([*COMMAND, name], cwd=base, env=environment, check=True)
    assert not (base / f"{name}.part").exists()
    assert snapshot(base / name) == whole


def test_long_texts_go_to_workers_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(features, "BATCH_CHARACTERS", 10)
    batches = [["a" * 6, "b" * 4, "c", "d" * 30, "e"], [], ["f" * 30], ["g"] * 10]
    cut = list(features._short(batches))
    assert cut == [["a" * 6, "b" * 4], ["c"], ["d" * 30], ["e"], [], ["f" * 30], ["g"] * 10]
