"""`embed` and `select` with representations of a model, on the command line: refusals by name, appending, kills."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from small_models import CHATML, docstrings, make_llama, save  # noqa: E402

import tasksift as ts  # noqa: E402

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(ts.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
SMALL = ["--max-length", 32, "--quiet"]


def rows(n: int, start: int = 0) -> list[dict[str, Any]]:
    texts = docstrings()
    return [
        {"prompt": f"{k} {texts[k % len(texts)][:60]}", "response": texts[(3 * k + 1) % len(texts)][:60]}
        for k in range(start, start + n)
    ]


def write(path: Path, some: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in some))
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and others that differ from it in one thing."""
    base = tmp_path_factory.mktemp("models")
    save(base / "llama", chat_template=CHATML)
    for name in ("weight", "template"):
        shutil.copytree(base / "llama", base / name)
    model = make_llama()
    with torch.no_grad():
        model.model.norm.weight[3] += 1e-3
    model.save_pretrained(base / "weight")
    save(base / "template", chat_template=CHATML + " ")
    return base


@pytest.fixture(scope="module")
def tunes(models: Path) -> Path:
    """Two tunes that differ in their seed."""
    pytest.importorskip("peft")
    pytest.importorskip("accelerate")
    from tasksift.tune import Settings, tune_rows

    for seed in (0, 1):
        settings = Settings(rank=2, alpha=4, epochs=1, batch_size=4, max_length=32, learning_rate=1e-2, seed=seed)
        tune_rows(rows(8), models / f"tune-{seed}", model=models / "llama", settings=settings)
    return models


@pytest.fixture
def here(tmp_path: Path) -> Path:
    write(tmp_path / "pool.jsonl", rows(24))
    write(tmp_path / "target.jsonl", rows(3, 500))
    return tmp_path


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def line(outcome: Any) -> str:
    """The one line of a refusal."""
    assert (outcome.code, outcome.out) == (2, ""), outcome
    assert outcome.err.startswith("tasksift: ")
    assert outcome.err.count("\n") == 1
    return outcome.err


BASES: dict[str, list[Any]] = {
    "hidden": ["-r", "hidden", "--model", "llama", *SMALL],
    "gradient": ["-r", "gradient", "--model", "llama", "--dim", 32, *SMALL],
    "tuned": ["-r", "gradient", "--checkpoints", "tune-0", "--dim", 32, *SMALL],
    "loss": ["-r", "loss", "--model", "llama", *SMALL],
    "sketch": ["-r", "sketch", "--model", "llama", *SMALL],
}

DIFFERENCES = [
    ("hidden", ["--text-template", "{prompt}"], "(text_template: None there, '{prompt}' here)"),
    ("hidden", ["--source-column", "prompt"], "(source_column: None there, 'prompt' here)"),
    ("hidden", ["--model", "weight"], "(made.model.digest: "),
    ("hidden", ["--model", "template"], "made.tokens.chat_template: "),
    ("hidden", ["--max-length", 16], "(made.tokens.max_length: 32 there, 16 here)"),
    ("hidden", ["--dtype", "bfloat16"], "(made.dtype: 'float32' there, 'bfloat16' here)"),
    ("hidden", ["--store-dtype", "float16"], "(store_dtype: 'float32' there, 'float16' here)"),
    ("hidden", ["--weighting", "mean"], "weighting: 'position' there, 'mean' here)"),
    ("hidden", ["-r", "sketch"], "(representation: 'hidden' there, 'sketch' here)"),
    ("gradient", ["--score", "text"], "(made.tokens.score: 'response' there, 'text' here)"),
    ("gradient", ["--dim", 64], "made.projection.dim: 32 there, 64 here"),
    ("gradient", ["--projection", "rademacher"], "made.projection.type: 'count-sketch' there, 'rademacher' here)"),
    ("gradient", ["--objective", "margin"], "(made.objective: 'sft' there, 'margin' here)"),
    ("gradient", ["--params", "all"], "made.projection.parameters: "),
    ("gradient", ["--checkpoints", "tune-0", "--optimizer", "sgd", "--params", "lora"], "made.checkpoints"),
    ("tuned", ["--checkpoints", "tune-1"], "made.checkpoints.0.weights: "),
    ("tuned", ["--optimizer", "sgd"], "made.optimizer.name: 'adam' there, 'sgd' here"),
    ("tuned", ["--momentum", "none"], "(made.optimizer.momentum: 'paper' there, 'none' here)"),
    ("tuned", ["--less-compat"], "(made.optimizer.less_compat: False there, True here)"),
    ("tuned", ["--combine", "mean"], "(made.combine: 'concat' there, 'mean' here)"),
    ("loss", ["--metrics", "loss,entropy"], "made.metrics: ['loss', 'perplexity', 'entropy', 'el2n'] there"),
    ("sketch", ["--sketch", "kron"], "made.sketch.type: 'tensor' there, 'kron' here"),
]


def given(models: Path, *arguments: Any) -> list[Any]:
    return [str(models / str(each)) if (models / str(each)).is_dir() else each for each in arguments]


@pytest.mark.parametrize("base", BASES)
def test_another_way_is_refused_by_name(base: str, models: Path, tunes: Path, here: Path, tasksift: Callable[..., Any]):
    """By embed and by select; with --force the folder ends as a new one would."""
    embed = ["embed", "pool.jsonl", *given(models, *BASES[base])]
    assert tasksift(*embed, "-o", "features").code == 0
    there = snapshot(here / "features")
    cases = [(change, words) for name, change, words in DIFFERENCES if name == base]
    for change, words in cases:
        change = given(models, *change)
        said = line(tasksift(*embed, *change, "-o", "features"))
        assert said.startswith("tasksift: features holds other features (")
        assert words in said
        assert said.endswith("choose another folder, or replace them by tasksift embed --force\n")
        assert snapshot(here / "features") == there
        if change[0] not in ("-r", "--checkpoints"):  # these may need what the folder does not say
            select = ["select", "pool.jsonl", "-t", "target.jsonl", "-b", 4, "-o", "picked.jsonl", "--quiet"]
            assert words in line(tasksift(*select, "--features", "features", *change))
            assert sorted(path.name for path in here.iterdir()) == ["features", "pool.jsonl", "target.jsonl"]
    change = given(models, *cases[-1][0])
    assert tasksift(*embed, *change, "-o", "features", "--force").code == 0
    assert tasksift(*embed, *change, "-o", "fresh").code == 0
    assert snapshot(here / "features") == snapshot(here / "fresh") != there


def test_a_model_that_was_moved_is_the_same(models: Path, here: Path, tasksift: Callable[..., Any]):
    shutil.copytree(models / "llama", here / "llama")
    assert tasksift("embed", "pool.jsonl", "-o", "features", *BASES["hidden"]).code == 0
    vectors = {path: path.stat().st_mtime_ns for path in (here / "features").glob("shard-*")}
    (here / "elsewhere").mkdir()
    (here / "llama").rename(here / "elsewhere" / "renamed")
    select = ["select", "pool.jsonl", "-t", "target.jsonl", "-b", 4, "--features", "features", "--quiet"]
    assert "llama" in line(tasksift(*select, "-o", "a.jsonl"))
    assert tasksift(*select, "--model", "elsewhere/renamed", "-o", "a.jsonl").code == 0
    assert tasksift(*select, "-o", "b.jsonl").code == 0  # the folder knows by now
    assert (here / "a.jsonl").read_bytes() == (here / "b.jsonl").read_bytes()
    assert {path: path.stat().st_mtime_ns for path in vectors} == vectors


def test_the_folder_is_found_from_elsewhere(
    models: Path, here: Path, tasksift: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(models / "llama", here / "llama")
    assert tasksift("embed", "pool.jsonl", "-o", "features", *BASES["hidden"]).code == 0
    (here / "sub").mkdir()
    monkeypatch.chdir(here / "sub")
    select = ["select", "../pool.jsonl", "-t", "../target.jsonl", "-b", 4, "--features", "../features", "--quiet"]
    assert tasksift(*select, "-o", "a.jsonl").code == 0


@pytest.mark.parametrize("base", BASES)
def test_every_kind_with_rows_without_an_answer(
    base: str, models: Path, tunes: Path, here: Path, tasksift: Callable[..., Any]
):
    """Embed, append, select; with features and without, and again from the configuration: the same bytes."""
    some = rows(24)
    for k in (0, 5, 23):
        some[k]["response"] = ""
    write(here / "pool.jsonl", some)
    options = given(models, *BASES[base])
    assert tasksift("embed", "pool.jsonl", "-o", "features", *options).code == 0
    select = ["select", "pool.jsonl", "-t", "target.jsonl", "-b", 6, "--quiet"]
    assert tasksift(*select, "--features", "features", "-o", "a.jsonl").code == 0
    assert tasksift(*select, *options, "-o", "b.jsonl").code == 0
    assert (here / "a.jsonl").read_bytes() == (here / "b.jsonl").read_bytes()
    assert sorted(path.name for path in (here / "b.jsonl.run").iterdir()) == [
        "config.yaml", "manifest.json", "path.parquet", "plan.parquet", "report.html", "report_data.json",
        "selection.parquet", "targets.parquet", "transport.parquet",
    ]  # fmt: skip
    assert tasksift("select", "--config", "b.jsonl.run/config.yaml", "-o", "c.jsonl", "--quiet").code == 0
    assert (here / "c.jsonl").read_bytes() == (here / "b.jsonl").read_bytes()
    for name in ("plan.parquet", "selection.parquet", "transport.parquet"):
        assert (here / "c.jsonl.run" / name).read_bytes() == (here / "b.jsonl.run" / name).read_bytes()
    replay = ["select", "--config", "b.jsonl.run/config.yaml", "--quiet", "-o", "d.jsonl", "--preset", "random"]
    assert tasksift(*replay).code == 0  # the file's representation goes with its preset
    old = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (here / "features").glob("shard-*")}
    with (here / "pool.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows(9, 100))
    assert tasksift("embed", "pool.jsonl", "-o", "features", *options).code == 0
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in old} == old
    assert tasksift("embed", "pool.jsonl", "-o", "fresh", *options).code == 0
    appended, fresh = (
        np.concatenate([np.load(path) for path in sorted((here / name).glob("*.npy"))])
        for name in ("features", "fresh")
    )
    np.testing.assert_allclose(appended, fresh, rtol=1e-3, atol=1e-4)
    for name in ("features", "fresh"):
        assert tasksift(*select, "-p", "nearest", "--features", name, "-o", f"{name}.jsonl").code == 0
    assert (here / "features.jsonl").read_bytes() == (here / "fresh.jsonl").read_bytes()


@pytest.mark.parametrize("base", ["gradient", "loss", "sketch"])
def test_a_target_without_an_answer_is_refused_by_its_row(
    base: str, models: Path, here: Path, tasksift: Callable[..., Any]
):
    write(here / "target.jsonl", [*rows(2), {"prompt": "what?", "response": ""}])
    said = line(
        tasksift("select", "pool.jsonl", "-t", "target.jsonl", "-b", 4, "-o", "x.jsonl", *given(models, *BASES[base]))
    )
    assert "target.jsonl, line 3: the target has no answer that counts" in said
    assert sorted(path.name for path in here.iterdir()) == ["pool.jsonl", "target.jsonl"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--vectors", "v.npy", "--target-vectors", "t.npy", "-r", "hidden", "--model", "llama"], "--representation"),
        (["-p", "random", "-r", "hidden", "--model", "llama"], "--representation does not apply to --preset random"),
        (["-p", "random", "--model", "llama"], "--model does not apply to --preset random"),
        (["-r", "hidden"], "--representation hidden needs --model"),
        (["-r", "hidden", "--model", "./nowhere"], "--model ./nowhere: there is no such folder"),
        (["-r", "hidden", "--model", "llama", "--metrics", "loss"], "--metrics does not apply to"),
        (["-r", "hidden", "--model", "llama", "--device", "tpu"], "--device tpu"),
        (["-r", "hidden", "--model", "llama", "--dtype", "int4"], "--dtype 'int4'"),
        (["-r", "hidden", "--model", "llama", "--max-length", 1], "--max-length '1'"),
        (["-r", "loss", "--model", "llama", "--metrics", "luck"], "--metrics luck does not exist"),
        (["-r", "gradient", "--model", "llama", "--optimizer", "adam"], "--optimizer adam needs --checkpoints"),
        (["-r", "gradient", "--model", "llama", "--params", "nothing"], "--params"),
        (["-r", "gradient", "--checkpoints", "nowhere"], "nowhere is not there"),
        (["-r", "gradient", "--model", "llama", "--target-objective", "dpo"], "no preference pair"),
        (["-r", "hidden", "--model", "llama", "--features", "pool.jsonl"], "pool.jsonl"),
        (["-r", "hidden", "--model", "llama", "--features", "arrays"], "arrays holds .npy files but no feature store"),
    ],
)
def test_refusals(more: list[Any], words: str, models: Path, here: Path, tasksift: Callable[..., Any]):
    (here / "arrays").mkdir()
    np.save(here / "arrays" / "mine.npy", np.ones((2, 2)))
    np.save(here / "v.npy", np.ones((24, 2)))
    np.save(here / "t.npy", np.ones((3, 2)))
    there = sorted(path.name for path in here.iterdir())
    select = ["select", "pool.jsonl", "-t", "target.jsonl", "-b", 4, "-o", "picked.jsonl", "--quiet"]
    assert words in line(tasksift(*select, *given(models, *more)))
    assert sorted(path.name for path in here.iterdir()) == there


# Embeds in forks of one warm process, which kills each after a random time.
DRIVER = """
import json, os, random, signal, sys, time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM

import tasksift.embedding
import tasksift.represent.hidden
from tasksift import model_features

torch.set_num_threads(1)
model_features.SHARD_ROWS, model_features.PIECE_ROWS = 16, 8


def start(out):
    pid = os.fork()
    if pid == 0:
        try:
            tasksift.embed("pool.jsonl", out, representation="hidden", model=sys.argv[1], max_length=32)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return pid


def snapshot(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


assert os.waitpid(start("whole"), 0)[1] == 0
rng, kills, shards = random.Random(0), 0, []
for chain in range(3):
    out = Path(f"chain-{chain}")
    for _ in range(4):
        pid, wanted = start(str(out)), len(list(out.glob("shard-*.json"))) + rng.randrange(4)
        latest = time.monotonic() + 60
        while len(list(out.glob("shard-*.json"))) < wanted and time.monotonic() < latest:
            time.sleep(0.0005)
        time.sleep(rng.uniform(0, 0.03))
        os.kill(pid, signal.SIGKILL)
        kills += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        shards.append(len(list(out.glob("shard-*.json"))))
    old = {p: p.stat().st_mtime_ns for p in out.glob("shard-*.npy") if p.with_suffix(".json").exists()}
    assert os.waitpid(start(str(out)), 0)[1] == 0
    assert snapshot(out) == snapshot(Path("whole")), chain
    assert {p: p.stat().st_mtime_ns for p in old} == old
print(json.dumps({"kills": kills, "shards": shards}))
"""


@pytest.mark.skipif(os.name != "posix", reason="forks and signals")
def test_killed_at_random_moments(models: Path, here: Path):
    rng = random.Random(1)
    pool = rows(480)
    rng.shuffle(pool)
    write(here / "pool.jsonl", pool)
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(models / "llama")],
        cwd=here, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["kills"] >= 8, report  # of 12
    assert any(0 < count < 30 for count in report["shards"])
