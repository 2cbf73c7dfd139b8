"""Mixtures for `datasets` and TRL, read by these."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasksift.mix import mix

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No network, and a cache that goes."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def test_every_way_to_open_it(tmp_path: Path, rows: list[dict[str, Any]], pairs: set):
    out = tmp_path / "out"
    done = mix(rows, out, format="datasets", shares={"chat": 1, "code": 2, "../x": 1, "数学 a/b": 4})
    folders = [domain["file"] for domain in done.record["domains"]]
    assert set(datasets.get_dataset_config_names(str(out))) == set(folders)
    whole = datasets.load_from_disk(out)
    said = []
    for domain in done.record["domains"]:
        by_name = datasets.load_dataset(str(out), domain["file"], split="train")
        assert by_name.to_list() == datasets.load_from_disk(out / domain["file"]).to_list()
        assert by_name.to_list() == whole[domain["file"]].to_list()
        assert by_name.features == whole["chat"].features
        assert set(by_name["domain"]) == {domain["name"]}
        assert len(by_name) == domain["rows"]
        said += [(row["messages"][-2]["content"], row["messages"][-1]["content"]) for row in by_name]
    assert set(said) == pairs
    probabilities = [domain["share"] for domain in done.record["domains"]]
    mixed = datasets.interleave_datasets(list(whole.values()), probabilities=probabilities, seed=0)
    # 4 rows of a domain with half the draws: it is used up first.
    assert Counter(mixed["domain"])["数学 a/b"] == 4


def test_the_card_runs_from_anywhere(tmp_path: Path, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch):
    for budget, count in ((None, None), (30, 30)):
        out = tmp_path / str(budget)
        monkeypatch.chdir(tmp_path)
        mix(rows, out.name, format="datasets", shares="uniform", budget=budget)
        _, header, text = (out / "README.md").read_text(encoding="utf-8").split("---\n")
        assert len(yaml.safe_load(header)["configs"]) == 4
        assert ("ends with the first part that is used up" in text) == (budget is None)
        (out / "elsewhere").mkdir()
        monkeypatch.chdir(out / "elsewhere")
        scope: dict[str, Any] = {}
        exec(text.split("```python")[1].split("```")[0], scope)
        assert count is None or len(scope["mixed"]) == count
        assert set(scope["mixed"].column_names) == {"messages", "domain"}


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"instruction": "a", "input": "b", "output": "c"}, {"prompt": "a\nb", "completion": "c"}),
        ({"question": "a", "answer": "c"}, {"prompt": "a", "completion": "c"}),
        ({"text": "a \ud800"}, {"text": "a \ufffd"}),
    ],
)
def test_columns_are_those_of_trl(tmp_path: Path, row: dict[str, str], columns: dict[str, str]):
    mix([row], tmp_path / "out", format="datasets")
    found = datasets.load_from_disk(tmp_path / "out" / "pool")
    assert found[0] == {**columns, "domain": "pool"}


def test_other_rows_have_another_fingerprint(tmp_path: Path):
    # `datasets` would take the result of a map over the old rows for that of the new ones.
    prints = set()
    for k in range(2):
        mix([{"text": f"row {k}"}], tmp_path / "out", format="datasets", force=True)
        prints.add(json.loads((tmp_path / "out" / "pool" / "state.json").read_text())["_fingerprint"])
    assert len(prints) == 2


def test_sft_trainer_takes_it(tmp_path: Path, rows: list[dict[str, Any]], consumer: Callable[..., Any]):
    pytest.importorskip("trl")
    mix(rows, tmp_path / "out", format="datasets", shares="uniform", budget=20)
    assert consumer("read_trl.py", tmp_path / "out") == {"rows": 20, "finite": True}
