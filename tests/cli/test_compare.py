"""`tasksift compare` on the command line: its options, what it prints, replays, and what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from toy_comparison import ToyTrainee, make_rows, write, write_toys
from typer.main import get_command

from tasksift.cli import app
from tasksift.evaluate.config import CompareConfig


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_toys(tmp_path)
    monkeypatch.setattr("tasksift.evaluate.work.load_trainee", ToyTrainee)
    return tmp_path


def command(*more: Any) -> list[Any]:
    tasks = ["-t", "maths.dev.jsonl", "--held-out", "maths.test.jsonl"]
    return ["compare", "pool.jsonl", *tasks, "-p", "bm25", "-b", "10%", "--model", "toy", *more]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_options_and_fields_agree(tasksift: Callable[..., Any], monkeypatch: pytest.MonkeyPatch):
    """Every field of the configuration is an option with its help, and there are no others but those of the command."""
    options = {each.name: each for each in get_command(app).commands["compare"].params}
    own = {"config", "out", "engine", "ray_address", "force", "quiet", "as_json"}
    assert options.keys() == CompareConfig.model_fields.keys() | own
    for name in CompareConfig.model_fields:
        help_text = getattr(options[name], "help", "") or ""
        if name != "pool":
            assert help_text.startswith(CompareConfig.help_of(name)), name
            assert "--" + name.replace("_", "-") in options[name].opts
        assert CompareConfig.help_of(name), name
    monkeypatch.setenv("COLUMNS", "160")
    shown = tasksift("compare", "--help").out
    for name in CompareConfig.model_fields.keys() - {"pool"}:
        assert "--" + name.replace("_", "-") in shown, name


def test_every_option_arrives(here: Path, tasksift: Callable[..., Any], monkeypatch: pytest.MonkeyPatch):
    """What is given for each field is what the library is asked for."""
    asked: list[CompareConfig] = []

    class Stop(Exception):
        """The request is known."""

    def note(config: CompareConfig, **_: Any) -> None:
        asked.append(config)
        raise Stop

    monkeypatch.setattr("tasksift.evaluate.compare.run", note)
    values = {
        "hold_out": 0.3, "max_held_out": 11, "task_names": ["a", "b"], "presets": ["tsds", "bm25"], "arm": ["x: y"],
        "without": ["full"], "budgets": ["5", "2%"], "seeds": [3, 4], "model": "m", "head": "classes", "method": "full",
        "selection_model": "s", "encoder": "e", "rank": 3, "epochs": 2, "learning_rate": 0.5, "batch_size": 6,
        "micro_batch": 2, "max_length": 9, "schedule": "cosine", "choices": False, "exact_match": True,
        "new_tokens": 5, "revision": "r", "trust_remote_code": True, "device": "cuda", "dtype": "bfloat16",
        "text_template": "{x}", "source_column": "y", "backend": "torch", "decontaminate": 13, "workers": 2,
        "hours": 1.5, "target": ["t"], "held_out": ["h"],
    }  # fmt: skip
    assert values.keys() | {"pool"} == CompareConfig.model_fields.keys()
    line: list[Any] = ["compare", "p.jsonl", "-o", "out"]
    for name, value in values.items():
        option = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            line.append(option if value else option.replace("--", "--no-"))
        elif name in ("target", "held_out", "arm"):
            line += [option, value[0]]
        else:
            line += [option, ",".join(map(str, value)) if isinstance(value, list) else value]
    with pytest.raises(Stop):
        tasksift(*line)
    assert asked[0].model_dump() == {**values, "pool": ["p.jsonl"]}


def test_a_comparison(here: Path, tasksift: Callable[..., Any]):
    done = tasksift(*command("-o", "out", "--seeds", "0,1,2"))
    assert (done.code, done.out) == (0, "")
    assert "13 trainings, 0 done; 7 parameters" in done.err
    lines = done.err.splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("maths, 10%: loss (lower is better) of 12 held-out"))
    assert {line.split()[0] for line in lines[at + 2 : at + 7]} == {
        "zero-shot", "random", "random-balanced", "bm25", "full"
    }  # fmt: skip
    assert "13 cells -> out/report.html" in lines[-1]
    # The same again: nothing is trained, the summary is printed, and nothing else.
    before = contents(here / "out" / "cells")
    done = tasksift(*command("-o", "out", "--seeds", "0,1,2", "--json", "--quiet"))
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == json.loads((here / "out" / "summary.json").read_text())
    assert contents(here / "out" / "cells") == before
    # Its configuration replays; an option besides wins.
    done = tasksift("compare", "--config", "out/config.yaml", "-o", "again", "--quiet")
    assert (done.code, done.err) == (0, "")
    assert (here / "again" / "config.yaml").read_bytes() == (here / "out" / "config.yaml").read_bytes()
    assert contents(here / "again" / "cells").keys() == before.keys()
    assert tasksift("compare", "--config", "out/config.yaml", "-o", "third", "--quiet", "--seeds", "4").code == 0
    assert yaml.safe_load((here / "third" / "config.yaml").read_text())["seeds"] == [4]


def test_one_that_cannot_be_served_among_others(here: Path, tasksift: Callable[..., Any]):
    for quiet in ([], ["--quiet"]):
        done = tasksift(*command("-o", "out", "-p", "bm25,tsds:encoder", "--seeds", "0", *quiet))
        assert done.code == 1
        (line,) = [line for line in done.err.splitlines() if "--model" in line]
        assert line.startswith("tsds:encoder")
        assert "Traceback" not in done.err
    assert (here / "out" / "report.html").exists()


def test_names_that_a_terminal_would_obey(here: Path, tasksift: Callable[..., Any]):
    done = tasksift(
        *command("-o", "out", "--seeds", "0", "--task-names", "a\x1b[31m\u202e", "--arm", "é/\x07: preset=tsds")
    )
    assert done.code == 0, done.err
    assert not set("\x1b\u202e\x07") & set(done.err)
    assert "é/\\x07" in done.err
    assert len(list((here / "out" / "cells").iterdir())) == 6
    assert all(re.fullmatch(r"[A-Za-z0-9+_@.-]+", path.name) for path in (here / "out" / "cells").iterdir())


def test_interrupted(here: Path, tasksift: Callable[..., Any], monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        calls = []

        def fit(self: ToyTrainee, examples: Any, seed: int) -> Any:
            calls.append(seed)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return original(self, examples, seed)

        original = ToyTrainee.fit
        patch.setattr(ToyTrainee, "fit", fit)
        done = tasksift(*command("-o", "out", "--quiet", "--seeds", "0"))
    assert (done.code, done.err) == (130, "tasksift: interrupted; the same command goes on where it was\n")
    before = contents(here / "out" / "cells")
    assert len(before) == 3
    assert tasksift(*command("-o", "out", "--quiet", "--seeds", "0")).code == 0
    after = contents(here / "out" / "cells")
    assert {name: after[name] for name in before} == before
    assert len(after) == 5


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--budgets", "0"], "the budget 0 is not positive"),
        (["--budgets", "1%,1%"], "--budgets 1%,1%: give at least one, and none twice"),
        (["--budgets", ""], "the budget '' is not a number"),
        (["--seeds", "0,x"], "--seeds 'x': it should be a valid integer"),
        (["--seeds", ""], "--seeds"),
        (["--seeds", "-3"], "--seeds -3: seeds are at least 0"),
        (["--presets", "nothing"], "nothing"),
        (["--presets", "tsds:nothing"], "there is no representation nothing"),
        (["--arm", "x"], "write it as 'LABEL: preset=NAME"),
        (["--arm", "x: preset=tsds 'a"], "a quotation is not closed"),
        (["--without", "random"], "--without random: only full and random-balanced can be left out"),
        (["--hold-out", "2"], "--hold-out"),
        (["--held-out", "nowhere.jsonl"], "1 --target and 2 --held-out"),
        (["-t", "nowhere.jsonl", "--held-out", "code.test.jsonl"], "nowhere.jsonl does not exist"),
        (["--task-names", "a,b"], "1 --target files and 2 --task-names"),
        (["--epochs", "0"], "--epochs '0': it should be greater than or equal to 1"),
        (["--epochs", "two"], "--epochs 'two': it should be a valid integer"),
        (["--learning-rate", "nan"], "--learning-rate 'nan'"),
        (["--batch-size", "4", "--micro-batch", "3"], "--micro-batch 3 does not divide --batch-size 4"),
        (["--max-held-out", "3"], "--max-held-out '3'"),
        (["--method", "half"], "--method 'half': it should be 'lora' or 'full'"),
        (["--hours", "0"], "--hours '0'"),
        (["--workers", "0"], "--workers '0'"),
        (["--source-column", "nothing"], "nothing"),
        (["--text-template", "{nothing}"], "nothing"),
        (["--head", "classes"], "different responses"),
        (["--config", "nowhere.yaml"], "cannot read the configuration nowhere.yaml"),
        (["--out", "pool.jsonl"], "cannot write pool.jsonl: it is a file"),
        (["--out", "there"], "there exists and is no comparison"),
        (["--out", "there", "--force"], "there exists and is no comparison"),
        (["--out", "/dev/null/x"], "cannot write /dev/null/x"),
    ],
    ids=lambda each: "".join(each[:2]) if isinstance(each, list) else "",
)
def test_refusals(more: list[str], words: str, here: Path, tasksift: Callable[..., Any]):
    """One line, exit code 2, and nothing left behind."""
    (here / "there").mkdir()
    (here / "there" / "notes.txt").write_text("mine")
    if "classes" in more:
        write(here / "pool.jsonl", [{**row, "response": f"answer {k}"} for k, row in enumerate(make_rows(2001, 3))])
    before = contents(here)
    done = tasksift(*command("-o", "out", "--quiet", *more))
    assert (done.code, done.out) == (2, ""), done
    assert done.err.count("\n") == 1, done.err
    assert done.err.startswith("tasksift: ")
    assert words in done.err
    assert contents(here) == before
    assert not (here / "out").exists()


def test_what_is_missing(here: Path, tasksift: Callable[..., Any]):
    pool = ["compare", "pool.jsonl", "-t", "maths.dev.jsonl", "--held-out", "maths.test.jsonl"]
    for line, words in (
        (pool, "there is no --out: name the folder to write"),
        ([*pool, "-o", "out"], "there is no --model: name the model to train"),
        (["compare", "pool.jsonl", "--model", "toy", "-o", "out"], "there is no target"),
        (["compare", "-t", "maths.dev.jsonl", "--model", "toy", "-o", "out"], "pool: nothing was given"),
        ([*pool[:4], "--model", "toy", "-o", "out"], "give --held-out FILE"),
    ):
        done = tasksift(*line)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done
        assert words in done.err
    assert not (here / "out").exists()
