"""A selection in sentences, for the cases that read differently."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tasksift.report.glance import representation, sentence


def said(sources: Any = ((10, 1),), distances: Any = None, **changes: Any) -> str:
    about = {"rows": 1000, "taken": 20, "distinct": 20, "targets": 3, "tasks": ["law"], "left_out": {}, **changes}
    manifest = {
        "pool": {"rows": about["rows"]}, "left_out": about["left_out"],
        "selection": {"rows": about["taken"], "distinct": about["distinct"]},
        "target": {"rows": about["targets"], "tasks": about["tasks"]},
    }  # fmt: skip
    plan = SimpleNamespace(selector=about.get("selector", "tsds"), breadth=about.get("breadth"))
    names = [None if k == 2 else f"s{k}" for k in range(3)]
    shares = [{"name": name, "pool": a, "selected": b} for name, (a, b) in zip(names, sources, strict=False)]
    return sentence(SimpleNamespace(manifest=manifest, plan=plan), shares, distances)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "20 rows of 1,000 (2.00%) were selected for the 3 examples of “law”."),
        ({"taken": 1, "distinct": 1, "targets": 1}, "1 row of 1,000 (0.10%) was selected for the 1 example of “law”."),
        ({"taken": 500, "distinct": 500, "selector": "random-balanced"}, "of 1,000 (50%) were selected at random."),
        ({"targets": 0, "tasks": []}, "20 rows of 1,000 (2.00%) were selected."),
        ({"tasks": ["a", "b"]}, "for the 3 examples of 2 tasks."),
        ({"distinct": 12}, "Some were taken several times: 12 of them are different."),
        ({"breadth": 12.4}, "Each example asks for its 12 nearest rows; near-copies count as one."),
        ({"breadth": 2.5}, "asks for its 2.5 nearest rows"),
        ({"breadth": 1.0}, "Each example asks for its nearest row and the near-copies of that."),
        ({"sources": ((90, 10), (10, 10))}, "The share of “s1” grew most: from 10.0% of the pool to 50.0% of the"),
        ({"sources": ((50, 5), (40, 0), (10, 5))}, "The share of the smaller sources together grew most: from 10.0%"),
        ({"distances": {"median_selected": 0.5, "median_pool": 1.2}}, "within 0.50 of an example; of all rows, half"),
        ({"left_out": {"test": 2, "long": 5}}, "7 rows were left out beforehand."),
    ],
)  # fmt: skip
def test_sentences(changes: dict[str, Any], words: str):
    assert words in said(**changes)


def test_nothing_is_said_of_sources_that_kept_their_shares():
    assert "grew" not in said(((60, 6), (40, 4)))


def test_representations():
    assert representation(None) == "none: no vectors are compared"
    assert representation({"name": "tfidf", "dim": 64}) == "TF-IDF of words and pairs of words, 64 dimensions"
    assert representation({"name": "encoder", "model": "m" * 100, "dim": 3}) == f"encoder of {'m' * 59}…, 3 dimensions"
    assert representation({"name": "sketch", "model": {"odd": 1}}) == "sketch"
