"""Embedding and selecting with a model's vectors, killed before every operation on a file: the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hashed_features import chat, write

import tasksift

# Runs that kill themselves just before the k-th thing they do to a file, each in a fork of one warm process.
DRIVER = """
import json, shutil, signal
from pathlib import Path

import tasksift
from tasksift import embedding, line, model_features
from hashed_features import Hashes
from killed_runs import run_in_fork, snapshot

model_features.SHARD_ROWS, model_features.PIECE_ROWS = 25, 10
for module in (embedding, line):
    module.open_embedder = lambda config, say: Hashes()
base = Path.cwd()


def run(folder, kill_at=0, pool="pool.jsonl", how="embed", **options):
    def do():
        if how == "embed":
            tasksift.embed("../" + pool, "f", representation="hidden", model="hashes", **options)
        else:
            tasksift.select("../" + pool, "../target.jsonl", 8, out="picked.jsonl", **options)

    return run_in_fork(do, base / folder, kill_at)


def made_in(name, *runs):
    (base / name).mkdir()
    for options in runs:
        assert run(name, **options)[0] == 0, name
    return name


def made(name, *runs):
    return snapshot(made_in(name, *runs))


HASHES = {"representation": "hidden", "model": "hashes"}
SCENES = {
    "embed": ([], {}),
    "append": ([{}], {"pool": "longer.jsonl"}),
    "force": ([{}], {"pool": "other.jsonl", "force": True}),
    "select": ([], {"how": "select", "preset": "nearest", **HASHES}),
    "select-features": ([{}], {"how": "select", "preset": "nearest", "features": "f", "pool": "longer.jsonl"}),
}


def of_features(line):
    return line.split()[1].startswith(("shard-", "manifest.json.", "representation.json", "keys.bin", "features"))


faults, steps = [], {}
for scene, (before, last) in SCENES.items():
    whole = made(scene, *before, last)
    made(scene + "-before", *before)
    _, lines = run(made_in(scene + "-lines", *before), **last)
    # The other steps of select are those of every representation.
    some = [k + 1 for k, line in enumerate(lines) if last.get("how") != "select" or of_features(line)]
    for step in some:
        name = f"{scene}-{step}"
        shutil.copytree(base / (scene + "-before"), base / name)
        code, done = run(name, step, **last)
        assert code == -signal.SIGKILL, (scene, step, code)
        code, again = run(name, **last)
        if code or snapshot(name) != whole:
            faults.append(f"{scene}, killed before step {step}, after {done[-1:]}: {code}")
        shards = [line for line in done if line.startswith("os.rename shard-") and line.endswith(".json")]
        if set(shards) & set(again):
            faults.append(f"{scene}, killed before step {step}: {sorted(set(shards) & set(again))} done again")
        shutil.rmtree(base / name)
    steps[scene] = len(some)
print(json.dumps({"steps": steps, "faults": faults}))
"""


@pytest.mark.skipif(os.name != "posix", reason="forks and signals")
def test_killed_before_every_step(tmp_path: Path):
    """A new store, one to which rows are appended, and one that is replaced; by embed, and in the course of select."""
    write(tmp_path / "target.jsonl", [chat(k) for k in (1000, 1001)])
    numbers = {"pool": range(40), "longer": range(60), "other": [*range(20), *range(21, 36)]}
    for name, some in numbers.items():  # the source of a row, by default the file's name, is part of what it is
        write(tmp_path / f"{name}.jsonl", [{**chat(k), "source": "s"} for k in some])
    paths = [str(Path(tasksift.__file__).parents[1]), str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["faults"] == [], done.stderr
    assert min(report["steps"].values()) > 9, report["steps"]
