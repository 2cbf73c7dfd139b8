"""Which task every target row belongs to, and what each task's share is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.rows import expand
from tasksift.targets import Targets, parse_weights, read_targets, unnamed


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def texts(*words: str) -> list[dict[str, Any]]:
    return [{"text": word} for word in words]


def targets_of(*paths: str, **options: Any) -> Targets:
    config = RunConfig.create(pool=["pool.jsonl"], target=list(paths), budget=1, **options)
    return read_targets(config, expand(list(paths), "target"))


def test_every_file_is_a_task(tmp_path: Path):
    found = targets_of(write(tmp_path / "maths.jsonl", texts("a", "b")), write(tmp_path / "code.jsonl", texts("c")))
    assert [example.text for example in found.examples] == ["a", "b", "c"]
    assert found.tasks.tolist() == [0, 0, 1]
    assert found.names == ("maths", "code")
    assert found.shares is None


def test_files_of_one_name_are_tasks_of_their_own(tmp_path: Path):
    paths = [write(tmp_path / folder / "dev.jsonl", texts(folder)) for folder in ("maths", "code", "law")]
    found = targets_of(*paths)
    assert found.names == ("dev", "dev (2)", "dev (3)")
    assert found.tasks.tolist() == [0, 1, 2]


def test_a_column_names_the_tasks_across_files(tmp_path: Path):
    one = write(tmp_path / "a.jsonl", [{"text": "x", "kind": "law"}, {"text": "y", "kind": 7}])
    other = write(tmp_path / "b.jsonl", [{"text": "z", "kind": "law"}, {"text": "u", "kind": 7}])
    found = targets_of(one, other, task_column="kind", task_weights="7=1,law=3")
    assert found.names == ("law", "7")
    assert found.tasks.tolist() == [0, 1, 0, 1]
    assert found.shares is not None
    assert found.shares.tolist() == [0.75, 0.25]


def test_a_column_that_a_row_lacks(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", [{"text": "x", "kind": "law"}, {"text": "y"}])
    with pytest.raises(InputError, match=r"a\.jsonl, line 2: there is no column 'kind' \(columns: text\); .*--task-co"):
        targets_of(path, task_column="kind")


def test_targets_have_a_template_of_their_own(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", [{"q": "why", "text": "not this"}])
    assert targets_of(path, text_template="{text}").examples[0].text == "not this"
    assert targets_of(path, text_template="{text}", target_template="{q}?").examples[0].text == "why?"
    with pytest.raises(InputError, match=r"line 1: .*'z' is not in the columns q, text.*--target-template"):
        targets_of(path, target_template="{z}")


@pytest.mark.parametrize("text", ["", "  ", "\n\t"])
def test_a_target_without_text_could_stand_for_anything(tmp_path: Path, text: str):
    path = write(tmp_path / "a.jsonl", [*texts("fine", text)])
    with pytest.raises(InputError, match=r"a\.jsonl, line 2: the target has no text; remove it"):
        targets_of(path)


def test_vectors_alone_are_one_task():
    found = unnamed(3)
    assert (found.examples, found.tasks.tolist(), found.names, found.shares) == ([], [0, 0, 0], ("target",), None)
    assert (len(unnamed(0).tasks), unnamed(0).names) == (0, ())


NAMES = ("maths", "a=b", "code")


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("2,1,1", [0.5, 0.25, 0.25]),
        (" 2 , 1,1 ", [0.5, 0.25, 0.25]),
        ("code=1,maths=2,a=b=1", [0.5, 0.25, 0.25]),
        ("code = 2, 1.5, maths=.5", [0.125, 0.375, 0.5]),
        ("1e308,1e308,1e308", [1 / 3, 1 / 3, 1 / 3]),
        ("1e-300,1e-300,2e-300", [0.25, 0.25, 0.5]),
    ],
)
def test_weights_become_shares(text: str, shares: list[float]):
    found = parse_weights(text, NAMES)
    np.testing.assert_allclose(found, shares, rtol=1e-12)
    assert found.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("1,2", "weighs 2 of 3 tasks"),
        ("1,2,3,4", "'4' does not fit"),
        ("", "'' does not fit"),
        ("1,2,", "'' does not fit"),
        ("1,0,2", "'0' does not fit"),
        ("1,-1,2", "'-1' does not fit"),
        ("1,nan,2", "'nan' does not fit"),
        ("1,inf,2", "'inf' does not fit"),
        ("1,two,2", "'two' does not fit"),
        ("maths=1,code=2", "weighs 2 of 3 tasks"),
        ("maths=1,law=2,code=3", "'law=2' does not fit"),
        ("maths=1,maths=2,code=3", "'maths=2' does not fit"),
        ("maths=,a=b=1,code=1", "'maths=' does not fit"),
        ("=1,2,3", "'=1' does not fit"),
        ("code=1,2,3", "'3' does not fit"),
    ],
)
def test_weights_that_do_not_fit(text: str, fact: str):
    with pytest.raises(InputError) as raised:
        parse_weights(text, NAMES)
    said = str(raised.value)
    assert said.startswith(f"--task-weights {text}")
    assert fact in said
    assert "one number above 0 for each of the 3 tasks (maths, a=b, code)" in said
    assert "\n" not in said


def test_a_share_that_rounding_loses_is_refused():
    assert parse_weights("1e-8,1,1", NAMES)[0] > 0
    with pytest.raises(InputError, match="that of maths is less than 1e-09 of the largest"):
        parse_weights("1e-300,1,1e300", NAMES)
