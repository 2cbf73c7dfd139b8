"""`tasksift lifelong` on the command line: steps with columns of scores and with models, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

PLAIN = ["-r", "tfidf", "--dim", 4, "--score-columns", "hard,long", "--set", "clusters=3"]


@pytest.fixture
def here(tmp_path: Path, rows: Callable[..., Any], lines: Callable[..., bytes]) -> Path:
    """A folder with three data sets whose rows have numbers."""
    for k in range(3):
        some = rows(40, k)
        for i, row in enumerate(some):
            row |= {"hard": (i * 7 % 40) / 10, "long": len(row["text"])}
        (tmp_path / f"{k}.jsonl").write_bytes(lines(some))
    return tmp_path


def command(k: int, *more: Any) -> list[Any]:
    return ["lifelong", f"{k}.jsonl", "--state", "state", "-b", 10, "-o", f"picked-{k}.jsonl", *more]


def test_steps(here: Path, tasksift: Callable[..., Any]):
    done = tasksift(*command(0, *PLAIN, "--pool-cap", 50))
    assert (done.code, done.out) == (0, "")
    assert "step 1: 40 rows, 40 of them new; a pool of 40" in done.err
    assert "step 1: 10 rows from 3 clusters (" in done.err
    assert done.err.strip().endswith("the pool holds 40 -> picked-0.jsonl")
    (here / "0.jsonl").unlink()  # the state keeps the rows
    done = tasksift(*command(1, *PLAIN, "--pool-cap", 50, "--json"))
    assert done.code == 0
    facts = json.loads(done.out)
    assert (facts["pool"], facts["kept"], facts["selected"]) == (80, 50, 10)
    assert "30 rows most like others dropped from the pool; the pool holds 50" in done.err
    assert (here / "picked-1.jsonl").read_text().count("\n") == 10
    record = pq.read_table(here / "picked-1.jsonl.run" / "selection.parquet")
    assert set(record["step"].to_pylist()) == {1, 2}
    assert set(record["scorer"].to_pylist()) <= {"hard", "long"}
    again = tasksift(*command(1, *PLAIN, "--pool-cap", 50))
    assert (again.code, again.err) == (0, "step 2 is done already -> picked-1.jsonl\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is nothing to score rows by: give --model or --score-model"),
        ([*PLAIN, "--pool-cap", "many"], "--pool-cap 'many': it should be a whole number from 1"),
        ([*PLAIN, "-b", "50"], "the budget is 50 rows and the pool has 40"),
        ([*PLAIN, "-b", "0"], "the budget 0 is not positive"),
        ([*PLAIN, "--score-columns", "hard,"], "--score-columns 'hard,'"),
        ([*PLAIN, "--score-columns", "soft"], "0.jsonl, row 0: there is no column 'soft'"),
        ([*PLAIN, "--set", "folds=3"], "--set folds: --preset adapt-infinity has no such parameter"),
        ([*PLAIN, "--seed", "-1"], "--seed"),
        ([*PLAIN, "--model", "x"], "--model does not apply to --representation tfidf"),
        ([*PLAIN, "--out", "0.jsonl"], "cannot write 0.jsonl: it is an input of this step"),
        ([*PLAIN, "--state", "0.jsonl"], "--state 0.jsonl is a file"),
    ],
)
def test_what_is_refused(arguments: list[Any], message: str, here: Path, tasksift: Callable[..., Any]):
    before = sorted(path.name for path in here.iterdir())
    done = tasksift(*command(0, *arguments))
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert done.err.splitlines()[-1].startswith("tasksift: ")
    assert sorted(path.name for path in here.iterdir()) == before


@pytest.mark.parametrize("name", ["--state", "--budget", "--out"])
def test_what_has_to_be_said(name: str, here: Path, tasksift: Callable[..., Any]):
    given = {"--state": "state", "--budget": "10", "--out": "picked.jsonl"}
    del given[name]
    done = tasksift("lifelong", "0.jsonl", *[word for pair in given.items() for word in pair])
    assert done.code == 2
    assert f"there is no {name}: give" in done.err


def test_the_help_names_every_option_once(tasksift: Callable[..., Any]):
    done = tasksift("lifelong", "--help")
    assert done.code == 0
    for name in ("--state", "--pool-cap", "--score-columns", "--score-model", "--representation"):
        assert name in done.out


def test_with_a_model_that_changes(here: Path, tasksift: Callable[..., Any]):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from small_models import make_llama, save

    for k in range(2):
        save(here / f"llama-{k}", make_llama(k))
    small = ["--max-length", 24, "--set", "clusters=3", "--json"]
    first = tasksift(*command(0, "--model", "llama-0", *small))
    assert first.code == 0, first.err
    facts = json.loads(first.out)
    assert facts["computed"] == {"vectors": 40, "scores": 40}
    assert set(facts["clusters"][0]["entropy"]) == {"perplexity", "el2n", "entropy"}
    # The same model: what is new. The model that was trained in between: all.
    second = json.loads(tasksift(*command(1, "--model", "llama-0", *small)).out)
    assert second["computed"] == {"vectors": 40, "scores": 40}
    third = json.loads(tasksift(*command(2, "--model", "llama-1", *small)).out)
    assert third["computed"] == {"vectors": 120, "scores": 120}
    # Clusters of one kind and scores of another.
    other = ["-r", "tfidf", "--dim", 4, "--score-model", "llama-1", "--metrics", "loss,el2n", "--state", "other"]
    done = tasksift(*command(0, *other, *small, "--force"))
    assert done.code == 0, done.err
    assert set(json.loads(done.out)["clusters"][0]["entropy"]) == {"loss", "el2n"}
