"""`tasksift tune` on the command line: from a warm-up to a selection, what is refused, and going on after a stop."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
pytest.importorskip("accelerate")

from small_models import CHATML, docstrings, save

pytestmark = pytest.mark.usefixtures("short_collections")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "llama", chat_template=CHATML)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    texts = docstrings()
    rows = [{"prompt": texts[k][:40], "response": texts[-k - 1][:40]} for k in range(24)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "target.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:2]))
    return tmp_path


def command(llama: Path, *more: Any) -> list[Any]:
    small = ["--rank", 2, "--alpha", 4, "--epochs", 2, "--batch-size", 4, "--learning-rate", 0.01, "--max-length", 32]
    return ["tune", "pool.jsonl", "--model", llama, *small, *more]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_from_a_warm_up_to_a_selection(llama: Path, here: Path, tasksift: Callable[..., Any]):
    done = tasksift(*command(llama, "--sample", "50%", "-o", "warm"))
    assert (done.code, done.out) == (0, "")
    assert "tuning on 12 rows: 6 steps, lora, cpu, float32" in done.err
    assert "epoch 2: step 6, loss " in done.err
    assert "warm/epoch-2" in done.err
    embed = ["embed", "pool.jsonl", "-r", "gradient", "--dim", 64, "--max-length", 32, "--quiet"]
    assert tasksift(*embed, "--checkpoints", "warm", "-o", "features").code == 0
    select = ["select", "pool.jsonl", "-t", "target.jsonl", "-b", 4, "--quiet", "--json", "--features", "features"]
    done = tasksift(*select, "-o", "picked.jsonl")
    assert done.code == 0
    about = json.loads(done.out)["representation"]
    assert about["dim"] == 2 * 64 + 1
    record = json.loads((here / "warm" / "tune.json").read_text())
    assert [each["weights"] for each in about["checkpoints"]] == [each["weights"] for each in record["checkpoints"]]
    assert about["optimizer"] == {"name": "adam", "momentum": "paper", "less_compat": False}
    assert (here / "picked.jsonl").read_text().count("\n") == 4
    # A tune is its content too.
    (here / "warm").rename(here / "moved")
    done = tasksift(*select, "-o", "again.jsonl")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "warm is not there" in done.err
    assert tasksift(*select, "--checkpoints", "moved", "-o", "again.jsonl").code == 0
    assert (here / "again.jsonl").read_bytes() == (here / "picked.jsonl").read_bytes()
    # Momentum taken away: the mean of the pool goes.
    options = ["--checkpoints", "moved", "--momentum", "centred"]
    assert tasksift(*embed, *options, "-o", "centred").code == 0
    rows = np.concatenate([np.load(path) for path in sorted((here / "centred").glob("*.npy"))])
    assert not np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-2)
    select = ["select", "pool.jsonl", "-t", "target.jsonl", "-b", 4, "--quiet", "--features", "centred"]
    assert tasksift(*select, "-o", "centred.jsonl").code == 0


def test_the_record_is_printed(llama: Path, here: Path, tasksift: Callable[..., Any]):
    done = tasksift(*command(llama, "--max-steps", 2, "-o", "warm", "--json", "--quiet"))
    assert (done.code, done.err) == (0, "")
    record = json.loads(done.out)
    assert record == json.loads((here / "warm" / "tune.json").read_text())
    assert record["settings"]["max_steps"] == 2
    assert record["settings"]["max_length"] == 32
    assert record["rows"] == 24


def test_a_stopped_tune_goes_on(llama: Path, here: Path, tasksift: Callable[..., Any], monkeypatch: pytest.MonkeyPatch):
    assert tasksift(*command(llama, "-o", "whole", "--quiet")).code == 0
    steps = 0

    @contextmanager
    def stops(label: str, total: int) -> Iterator[Callable[[int], None]]:
        def tick(amount: int) -> None:
            nonlocal steps
            steps += amount
            if steps > 9:  # of 12, in the second epoch
                raise KeyboardInterrupt

        yield tick

    with monkeypatch.context() as patch:
        patch.setattr("tasksift.progress.silent", stops)
        done = tasksift(*command(llama, "-o", "warm", "--quiet"))
    assert (done.code, done.err) == (130, "tasksift: interrupted; the same command goes on where it was\n")
    assert not (here / "warm").exists()
    # Other arguments do not go on with it, and do not take it away.
    there = snapshot(here / "warm.part")
    done = tasksift(*command(llama, "-o", "warm", "--quiet", "--seed", 3))
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "settings.seed: 0 there, 3 here" in done.err
    assert snapshot(here / "warm.part") == there
    seen: list[int] = []

    @contextmanager
    def counts(label: str, total: int) -> Iterator[Callable[[int], None]]:
        yield seen.append

    monkeypatch.setattr("tasksift.progress.silent", counts)
    assert tasksift(*command(llama, "-o", "warm", "--quiet")).code == 0
    assert snapshot(here / "warm") == snapshot(here / "whole")
    assert not (here / "warm.part").exists()
    assert 0 < len(seen) <= 7


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--model", "./nowhere"], "--model ./nowhere: there is no such folder"),
        (["--sample", "0"], "--sample 0"),
        (["--sample", "25"], "--sample 25 is more than the 24 rows"),
        (["--sample", "100tok"], "--sample 100tok: it takes rows (1000) or a share of the rows (5%)"),
        (["--sample", "some"], "--sample some"),
        (["--sample", "3"], "rows have an answer to train on"),
        (["--modules", "nothing_proj"], "--modules"),
        (["--modules", "q_proj,,v_proj"], "--modules 'q_proj,,v_proj': name ends of layers"),
        (["--epochs", "0"], "--epochs 0 must be at least 1"),
        (["--epochs", "two"], "--epochs 'two': it should be a whole number"),
        (["--learning-rate", "nan"], "--learning-rate nan must be above 0"),
        (["--learning-rate", "fast"], "--learning-rate 'fast': it should be a number"),
        (["--dropout", "1"], "--dropout 1.0 must be"),
        (["--micro-batch", "3"], "--micro-batch 3 does not divide --batch-size 4"),
        (["--max-length", "0"], "--max-length 0 leaves nothing to predict"),
        (["--seed", "-1"], "--seed -1 is out of range"),
        (["--seed", str(2**32)], "--seed 4294967296 is out of range"),
        (["--method", "half"], "--method half is not one of lora, full"),
        (["--schedule", "steep"], "--schedule steep is not one of"),
        (["--score", "all"], "--score all is not one of"),
        (["--dtype", "int4"], "--dtype int4 is not one of float32, bfloat16"),
        (["--device", "tpu"], "--device tpu"),
        (["--text-template", "{nothing}"], "'nothing' is not in the columns"),
        (["--out", "there"], "there exists; use --force"),
        (["--out", "there", "--force"], "there is no tune, so not even --force replaces it"),
        (["--out", "pool.jsonl"], "pool.jsonl"),
    ],
    ids=lambda each: "".join(each[:2]) if isinstance(each, list) else "",
)
def test_refusals(more: list[str], words: str, llama: Path, here: Path, tasksift: Callable[..., Any]):
    (here / "there").mkdir()
    (here / "there" / "notes.txt").write_text("mine")
    before = snapshot(here)
    done = tasksift(*command(llama, "-o", "warm", "--quiet", *more))
    assert (done.code, done.out) == (2, ""), done
    assert done.err.count("\n") == 1, done.err
    assert words in done.err
    assert snapshot(here) == before
    assert not (here / "warm.part").exists()


def test_what_is_missing(llama: Path, here: Path, tasksift: Callable[..., Any]):
    done = tasksift("tune", "pool.jsonl", "-o", "warm")
    assert (done.code, done.err) == (2, "tasksift: there is no --model: name the causal language model to train\n")
    done = tasksift("tune", "pool.jsonl", "--model", llama)
    assert (done.code, done.err) == (2, "tasksift: there is no --out: name the folder to write, such as --out warm\n")
    done = tasksift("tune", "nowhere.jsonl", "--model", llama, "-o", "warm")
    assert done.code == 2
    assert "nowhere.jsonl does not exist" in done.err
    assert sorted(path.name for path in here.iterdir()) == ["pool.jsonl", "target.jsonl"]


def test_the_defaults_of_the_help_are_those_of_the_settings(tasksift: Callable[..., Any]):
    import re

    from typer.main import get_command

    from tasksift.cli import app
    from tasksift.tune import Settings

    shown = {}
    for option in get_command(app).commands["tune"].params:
        found = re.search(r"\[(.+)\]$", getattr(option, "help", None) or "")
        if found and option.name in Settings.__dataclass_fields__:
            shown[option.name] = found[1]
    defaults = {name: getattr(Settings(), name) for name in shown}
    assert len(shown) >= 10
    for name, text in shown.items():
        assert defaults[name] is None or str(defaults[name]) == text or float(defaults[name]) == float(text), name
