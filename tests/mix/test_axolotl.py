"""Mixtures for Axolotl: what the files say, and what its own loader makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasksift.mix import mix

installed = pytest.mark.skipif(find_spec("axolotl") is None, reason="Axolotl is not installed")


def test_blocks(tmp_path: Path, rows: list[dict[str, Any]], lines: Callable[[Path], list[Any]]):
    mix(rows, tmp_path / "out", format="axolotl", shares={"code": 1, "chat": 1, "../x": 2}, budget=100)
    text = (tmp_path / "out" / "axolotl.yaml").read_text(encoding="utf-8")
    config = yaml.safe_load(text)
    assert "&" not in text.split("datasets:")[1]
    assert [len(lines(Path(block["path"]))) for block in config["datasets"]] == [50, 25, 25]
    assert "#   x: 50 rows (50.00%) of 6 distinct" in text
    assert [block["type"] for block in config["datasets"]] == ["chat_template", "chat_template", "alpaca"]
    assert config["dataset_exact_deduplication"] is False  # it would take the copies away


def test_a_new_mixture_takes_what_was_prepared_from_the_old_one_along(tmp_path: Path, rows: list[dict[str, Any]]):
    mix(rows, tmp_path / "out", format="axolotl")
    config = yaml.safe_load((tmp_path / "out" / "axolotl.yaml").read_text(encoding="utf-8"))
    prepared = Path(config["dataset_prepared_path"])
    prepared.mkdir()
    mix(rows, tmp_path / "out", format="axolotl", shares="uniform", force=True)
    assert not prepared.exists()


def test_the_budget_is_the_pool_by_default(tmp_path: Path, rows: list[dict[str, Any]]):
    done = mix(rows, tmp_path / "out", format="axolotl", shares="uniform")
    assert sum(domain["drawn"] for domain in done.record["domains"]) == len(rows) == 46
    assert sorted(domain["drawn"] for domain in done.record["domains"]) == [11, 11, 12, 12]


@installed
def test_its_loader(tmp_path: Path, rows: list[dict[str, Any]], pairs: set, consumer: Callable[..., Any]):
    texts = [{"text": f"plain text {k}", "source": "text"} for k in range(5)]
    mix([*rows, *texts], tmp_path / "out", format="axolotl", shares="uniform", budget=50)
    seen = consumer("read_axolotl.py", tmp_path / "out")
    assert len(seen) == 50
    answers = {answer: asked for asked, answer in pairs}
    count = Counter()
    for whole, trained in seen:
        answer = trained.removesuffix("<e>").removeprefix("<b>")
        if answer.startswith("plain text"):
            assert answer in {row["text"] for row in texts}
        else:
            assert all(part in whole for part in answers[answer.strip()].split("\n"))
            assert whole.startswith("<|system|>be brief") == answer.startswith("chat")
        count[answer.split(" ")[0]] += 1
    assert count == {"plain": 10, "chat": 10, "code": 10, "../x": 10, "数学": 10}
