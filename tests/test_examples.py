"""Every script in examples/ does what it says, at toy size, in a process of its own and without a network."""

import ast
import importlib.util
import json
import math
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import tasksift
from tasksift.online import read_history

FOLDER = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py"))
ONLINE = [name for name in SCRIPTS if name.startswith("online_")]
STEPS = 6


@cache
def imported(name):
    """The packages that a script imports at its beginning."""
    tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    modules = [
        module
        for node in tree.body
        for module in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    ]
    return sorted({module.partition(".")[0] for module in modules} - sys.stdlib_module_names)


def run(name, out, *arguments, steps=STEPS):
    """What a script prints."""
    for package in imported(name):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    environment = os.environ | {
        "PYTHONPATH": str(Path(tasksift.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--out", str(out), "--steps", str(steps), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The folder and the words of a script's run, which is made once."""

    @cache
    def once(name):
        out = tmp_path_factory.mktemp("examples") / name
        return out, run(name, out)

    return once


def test_there_are_scripts():
    assert {"online_trainer", "online_sft", "online_loop"} <= set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_ends_with_finite_losses_and_a_model_of_finite_weights(name, ran):
    torch = pytest.importorskip("torch")
    out, said = ran(name)
    # After the word, or at the end of a line of a table.
    found = re.findall(r"loss\D{1,20}(\d+\.\d+)|(\d+\.\d{3})$", said, re.MULTILINE)
    losses = [float(named or last) for named, last in found]
    assert losses
    assert all(0 <= loss < math.log(1000) + 1 for loss in losses)  # not worse than guessing one of 1000 tokens
    assert not re.search(r"\b(nan|inf)\b", said)
    if (out / "checkpoint.pt").exists():
        weights = torch.load(out / "checkpoint.pt", weights_only=True)["model"]
    else:
        weights = importlib.import_module("safetensors.torch").load_file(out / "model.safetensors")
    assert weights
    assert all(tensor.isfinite().all() for tensor in weights.values())


@pytest.mark.parametrize("name", ONLINE)
def test_the_mixture_is_on_record_step_by_step(name, ran):
    out, said = ran(name)
    table = read_history(out / "mixture.jsonl")
    assert table.steps.tolist() == list(range(1, STEPS + 1))
    assert np.allclose(table.probabilities.sum(1), 1, atol=1e-5)
    # As many rows at every step, in no domain fewer than before, and a loss of whatever was seen.
    drawn = np.diff(table.rows, axis=0, prepend=0)
    assert (drawn >= 0).all()
    assert len(set(drawn.sum(1).tolist())) == 1
    assert np.isfinite(table.losses[table.rows > 0]).all()
    for domain, rows in zip(table.names, table.rows[-1].tolist(), strict=True):
        assert re.search(rf"^{domain} +\d+ +{rows} ", said, re.MULTILINE), said


def test_trainer_s_own_loss_is_logged_beside_the_mixture(ran):
    out, _ = ran("online_trainer")
    logged = json.loads((out / f"checkpoint-{STEPS}" / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    for key in ("loss", "mixture/email"):
        assert [line["step"] for line in logged if key in line] == list(range(1, STEPS + 1))


def test_a_killed_trainer_goes_on_as_if_it_had_not_been(tmp_path, ran):
    whole, said = ran("online_trainer")
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    shutil.rmtree(out / f"checkpoint-{STEPS}")
    assert run("online_trainer", out, "--resume").splitlines()[-8:-2] == said.splitlines()[-8:-2]
    assert (out / "mixture.jsonl").read_bytes() == (whole / "mixture.jsonl").read_bytes()


def test_a_loop_goes_on_as_if_it_had_not_ended(tmp_path, ran):
    whole, said = ran("online_loop")
    out = tmp_path / "run"
    run("online_loop", out, steps=STEPS - 2)
    assert run("online_loop", out, "--resume").splitlines()[:-1] == said.splitlines()[:-1]
    assert (out / "mixture.jsonl").read_bytes() == (whole / "mixture.jsonl").read_bytes()
