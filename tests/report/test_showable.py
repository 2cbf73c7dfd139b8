"""What a page can show of any value, and how much of it."""

from __future__ import annotations

import json

import numpy as np

from tasksift.report.showable import DEEPEST, LONGEST, NAME, counted, cut, named, showable, spread


def test_any_value_is_json_of_bounded_size():
    deep: list[object] = []
    for _ in range(100):
        deep = [deep]
    odd = {
        3: float("nan"), "a": np.float32("inf"), "b": np.array([1 / 3, 1e300]),
        "c": (np.int64(7), np.bool_(True), None), "d": "x" * 10_000, "e": "\ud800", "f": {1}, "g": 2**70,
    }  # fmt: skip
    shown = showable(odd)
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    assert (shown["3"], shown["a"], shown["b"], shown["c"]) == (None, None, [0.333333, 1e300], [7, True, None])
    assert (len(shown["d"]), shown["d"][-1], shown["e"], shown["g"]) == (LONGEST, "…", "\ufffd", 2**70)
    assert json.dumps(showable(deep)) == "[" * DEEPEST + json.dumps("…") + "]" * DEEPEST


def test_texts_and_counts():
    assert [cut("abcd", 4), cut("abcde", 4)] == ["abcd", "abc…"]
    assert len(named("n" * 500)) == NAME
    assert [counted(1, "row"), counted(0, "row"), counted(1234, "row")] == ["1 row", "0 rows", "1,234 rows"]


def test_places_are_evenly_spread():
    assert spread(5, 3).tolist() == [0, 2, 4]
    assert spread(2, 9).tolist() == [0, 1]
    assert spread(-3, 9).tolist() == []
