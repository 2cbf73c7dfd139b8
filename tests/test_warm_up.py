"""The warm-up that `less` and `rose` do by themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from small_models import docstrings, make_llama, save

import tasksift as ts
from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.request import settle
from tasksift.warm_up import warms_up

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

FAST = {"max_length": 24, "dim": 16, "budget": 6, "preset": "less"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("warm")
    save(folder / "lm", make_llama(3, hidden=16, layers=1))
    texts = docstrings(40)
    rows = [{"prompt": text[:40], "response": text[-30:]} for text in texts]
    for name, some in (("pool", rows), ("target", rows[:3])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    return folder


def select(folder: Path, **options: Any) -> ts.Selection:
    return ts.select(folder / "pool.jsonl", folder / "target.jsonl", **{**FAST, **options})


def test_a_model_is_warmed_up_once_and_features_know_it(folder: Path):
    said: list[str] = []
    first = select(folder, model=folder / "lm", features=folder / "features", say=said.append)
    assert sum(line.startswith("warming up on 100% of the pool") for line in said) == 1
    tuned = json.loads((folder / "features" / "warm-up" / "tune.json").read_text())
    assert tuned["rows"] == 40
    assert len(tuned["checkpoints"]) == 4
    assert json.loads((folder / "features" / "representation.json").read_text())["checkpoints"].endswith("warm-up")
    said.clear()
    again = select(folder, features=folder / "features", say=said.append)
    assert not any("warming up" in line for line in said)
    assert again.ids == first.ids
    # What the user asked for is what is kept, so a replay warms up by itself.
    assert first.config.checkpoints is None
    alone = select(folder, model=folder / "lm", out=folder / "picked.jsonl")
    assert alone.ids == first.ids
    assert not list((folder / "picked.jsonl.run").glob("warm-up*"))


def test_an_interrupted_warm_up_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch):
    from tasksift import line

    open_embedder = line.open_embedder

    def interrupted(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(line, "open_embedder", interrupted)
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        select(folder, model=folder / "lm", out=folder / "late.jsonl", say=said.append)
    assert any("warming up" in each for each in said)
    assert (folder / "late.jsonl.run.part" / "warm-up" / "tune.json").exists()
    monkeypatch.setattr(line, "open_embedder", open_embedder)
    said.clear()
    late = select(folder, model=folder / "lm", out=folder / "late.jsonl", say=said.append)
    assert not any("warming up" in each for each in said)
    assert late.ids == select(folder, model=folder / "lm").ids
    assert not (folder / "late.jsonl.run.part").exists()


def test_targets_are_read_before_the_warm_up(folder: Path):
    (folder / "bad.jsonl").write_text('{"prompt": "", "response": ""}\n')
    with pytest.raises(InputError, match="the target has no text"):
        ts.select(folder / "pool.jsonl", folder / "bad.jsonl", model=folder / "lm", features=folder / "new", **FAST)
    assert not (folder / "new").exists()


def test_who_warms_up():
    def settled(**options: Any) -> RunConfig:
        return settle(RunConfig.create(pool=["p"], target=["t"], **{**FAST, **options}))

    assert warms_up(settled(model="lm"))
    assert settled(model="lm").optimizer == "adam"
    assert settled(model="lm").checkpoints is None
    assert not warms_up(settled(model="lm", checkpoints="warm"))
    assert not warms_up(settled(model="lm", optimizer="sgd"))
    assert not warms_up(settled(model="lm", preset="tsds", representation="gradient"))
    assert warms_up(settled(model="lm", preset="rose"))
    with pytest.raises(InputError, match="needs --model"):
        settled()
