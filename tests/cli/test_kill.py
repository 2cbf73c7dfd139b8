"""A run that is killed at any moment goes on where it was and ends with the bytes of an undisturbed one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from killed_runs import snapshot

import tasksift

PATHS = [str(Path(tasksift.__file__).parents[1]), str(Path(__file__).parents[1])]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(PATHS)}
COMMAND = [sys.executable, "-m", "tasksift", "select", "../pool.jsonl", "-t", "../target.jsonl", "-b", "50"]
COMMAND += ["-o", "picked.jsonl", "--dim", "4", "--quiet"]

WORK = Path("picked.jsonl.run.part")
CHAINS = [
    [0.2, WORK, WORK / "features/model/tfidf.json", WORK / "features/shard-00001.json", WORK / "manifest.json"],
    [WORK / "rows.done", WORK / "features/shard-00000.npy", 0.6, WORK / "output.picked.jsonl", 0.9],
]
"""When to kill one rerun after the other: as soon as a file is there, or after a share of the time of a whole run."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes | None], float]:
    """A folder with a pool of 17,000 short texts, what a run leaves, and the seconds it took."""
    base = tmp_path_factory.mktemp("kill")
    rng = random.Random(0)
    words = [f"w{k}" for k in range(300)]
    rows = [{"text": " ".join(rng.choices(words, k=6)), "source": rng.choice("abc")} for _ in range(17_000)]
    for name, some in (("pool", rows), ("target", rows[:5])):
        (base / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    (base / "reference").mkdir()
    begun = time.monotonic()
    subprocess.run(COMMAND, cwd=base / "reference", env=ENVIRONMENT, check=True)
    return base, snapshot(base / "reference"), time.monotonic() - begun


def kill_at(moment: Path | float, folder: Path, seconds: float) -> bool:
    """Run the command and kill it at a moment; tell whether it was still running."""
    begun = time.monotonic()
    with subprocess.Popen(COMMAND, cwd=folder, env=ENVIRONMENT) as process:
        while process.poll() is None:
            if (folder / moment).exists() if isinstance(moment, Path) else time.monotonic() - begun > moment * seconds:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.001)
    return process.returncode == -signal.SIGKILL


def test_killed_again_and_again(undisturbed: tuple[Path, dict[str, bytes | None], float]):
    base, reference, seconds = undisturbed

    def disturb(chain: list[Path | float]) -> int:
        folder = base / f"chain-{CHAINS.index(chain)}"
        folder.mkdir()
        killed = 0
        for moment in chain:
            if snapshot(folder) != reference:  # on a busy machine one run may get through
                killed += kill_at(moment, folder, seconds)
        if snapshot(folder) != reference:
            subprocess.run(COMMAND, cwd=folder, env=ENVIRONMENT, check=True)
        assert snapshot(folder) == reference
        return killed

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(disturb, CHAINS)) >= 7


@pytest.mark.parametrize("threads", ["1", "2"])
def test_threads_leave_no_trace(threads: str, undisturbed: tuple[Path, dict[str, bytes | None], float]):
    base, reference, _ = undisturbed
    folder = base / f"threads-{threads}"
    folder.mkdir()
    limits = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads)
    subprocess.run(COMMAND, cwd=folder, env={**ENVIRONMENT, **limits}, check=True)
    assert snapshot(folder) == reference


# Runs that kill themselves just before the k-th thing they do to a file, each in a fork of one warm process.
DRIVER = """
import json, shutil, signal
from pathlib import Path

from killed_runs import run_in_fork, snapshot

import tasksift.features
from tasksift import pipeline
from tasksift.represent import tfidf

tasksift.features.SHARD_ROWS = 64
base = Path.cwd()
OPTIONS = {"pool": "../pool.jsonl", "target": "../target.jsonl", "budget": 20, "dim": 4, "out": "picked.jsonl"}
CHANGES = [{"dim": 3}, {"preset": "random"}, {"seed": 7}, {"source_column": "other"},
           {"text_template": "{text}{other}"}, {"budget": "400tok"}, {"target": "../pool.jsonl"}, {"preset": "nearest"}]


def run(folder, kill_at=0, **changes):
    return run_in_fork(lambda: pipeline.select(**{**OPTIONS, **changes}), base / folder, kill_at)


def folder(name, *old):
    (base / name).mkdir()
    for path in old:
        (base / name / path).parent.mkdir(exist_ok=True)
        (base / name / path).write_text("of yesterday")
    return name


def reference(name, **changes):
    assert run(folder(name), **changes)[0] == 0
    return snapshot(name)


faults = []
plain = reference("reference")
changed = [reference(f"changed-{c}", **change) for c, change in enumerate(CHANGES)]
steps = 0
while True:
    steps += 1
    code, done = run(folder(f"a{steps}"), steps)
    if code == 0:
        break
    assert code == -signal.SIGKILL
    shutil.copytree(base / f"a{steps}", base / f"b{steps}")
    code, again = run(f"a{steps}")
    if code or snapshot(f"a{steps}") != plain:
        faults.append(f"killed before step {steps}, after {done[-1:]}: {code}, {sorted(snapshot(f'a{steps}'))}")
    stages = [step for step in done if step.endswith(".json") and "shard-" in step or step == "os.rename rows.done"]
    if set(stages) & set(again):
        faults.append(f"killed before step {steps}: {sorted(set(stages) & set(again))} done again")
    # Publishing may be over for the old options, and then the file in the way is refused; it never mixes the two.
    c = steps % len(CHANGES)
    ready = "os.rename ready.done" in done
    if not ready and (run(f"b{steps}", **CHANGES[c])[0] or snapshot(f"b{steps}") != changed[c]):
        faults.append(f"killed before step {steps}, then {CHANGES[c]}: {sorted(snapshot(f'b{steps}'))}")
old = ("picked.jsonl", "picked.jsonl.run/manifest.json", "picked.jsonl.run/notes.txt")
for step in range(steps - 14, steps + 3):
    name = folder(f"f{step}", *old)
    code, done = run(name, step, force=True)
    if code and (run(name, force=True)[0] or snapshot(name) != plain):
        faults.append(f"with force, killed before step {step}, after {done[-1:]}: {sorted(snapshot(name))}")
print(json.dumps({"steps": steps, "faults": faults}))
"""


def test_killed_before_every_step(tmp_path: Path, rows: Callable[..., Any], lines: Callable[..., bytes]):
    pool = [{**row, "other": "xy"[k % 2]} for k, row in enumerate(rows(120, 0))]
    (tmp_path / "pool.jsonl").write_bytes(lines(pool))
    (tmp_path / "target.jsonl").write_bytes(lines(pool[:3]))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["faults"] == [], done.stderr
    assert report["steps"] > 30


def test_finished_features_stay(tmp_path: Path, rows: Callable[..., Any], lines: Callable[..., bytes]):
    (tmp_path / "target.jsonl").write_bytes(lines(rows(3, 1)))
    (tmp_path / "pool.jsonl").write_bytes(lines(rows(90, 0)))
    options = {"pool": tmp_path / "pool.jsonl", "target": tmp_path / "target.jsonl", "dim": 4}
    shard = tmp_path / "features" / "shard-00000.npy"
    tasksift.select(**options, budget=5, features=str(tmp_path / "features"))
    written = shard.stat()
    tasksift.select(**options, budget=9, features=str(tmp_path / "features"), out=tmp_path / "picked.jsonl")
    assert (shard.stat().st_mtime_ns, shard.stat().st_ino) == (written.st_mtime_ns, written.st_ino)
