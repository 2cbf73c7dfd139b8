"""The file of a mixture: what is written comes back, a kill costs nothing, and other files are refused in one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from killed_runs import run_in_fork

from tasksift.errors import InputError
from tasksift.online.domains import Domains
from tasksift.online.history import History, read_history

DOMAINS = Domains.of(["a", "b", "b", "ü"])
LINES = {
    step: (np.array([0.5, 0.25, 0.25 / step]), np.array([1.0, np.nan, 1 / 3]), np.array([step, 2 * step, 10**12]))
    for step in range(1, 6)
}


def write(path, steps, begin=0, about=None):
    history = History(path, DOMAINS, about or {"mode": "released"})
    history.begin(begin)
    for step in steps:
        history.append(step, *LINES[step])
    return path.read_bytes()


def test_what_is_written_comes_back(tmp_path):
    write(tmp_path / "new" / "mixture.jsonl", range(1, 6))
    table = read_history(tmp_path / "new" / "mixture.jsonl")
    assert table.names == ("a", "b", "ü")
    assert table.sizes.tolist() == [1, 2, 1]
    assert table.about == {"mode": "released"}
    assert table.steps.tolist() == [1, 2, 3, 4, 5]
    for k, (probabilities, losses, rows) in enumerate(LINES.values()):
        np.testing.assert_allclose(table.probabilities[k], probabilities, rtol=1e-6)
        np.testing.assert_allclose(table.losses[k], losses, rtol=1e-6)
        assert table.rows[k].tolist() == rows.tolist()
    assert {each.dtype for each in (table.steps, table.rows, table.sizes)} == {np.dtype(np.int64)}


def test_the_form_of_the_file(tmp_path):
    written = write(tmp_path / "m.jsonl", [3]).decode().splitlines()
    assert json.loads(written[0]) == {
        "format": 1, "domains": ["a", "b", "ü"], "sizes": [1, 2, 1], "about": {"mode": "released"}
    }  # fmt: skip
    assert written[1] == (
        '{"step":3,"probabilities":[0.5,0.25,0.0833333],"losses":[1.0,null,0.333333],"rows":[3,6,1000000000000]}'
    )


@settings(max_examples=40)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=3, max_size=3))
def test_six_digits_of_any_loss_are_kept(tmp_path_factory, losses):
    path = tmp_path_factory.mktemp("h") / "m.jsonl"
    history = History(path, DOMAINS, {})
    history.begin(0)
    history.append(1, [0.2, 0.3, 0.5], losses, [0, 0, 0])
    found = read_history(path).losses[0]
    wanted = [each if np.isfinite(each) else np.nan for each in losses]
    np.testing.assert_allclose(found, wanted, rtol=5.1e-6, atol=5e-324)


def test_one_domain_and_no_lines(tmp_path):
    history = History(tmp_path / "m.jsonl", Domains.of(["only"]), {})
    history.begin(0)
    table = read_history(tmp_path / "m.jsonl")
    assert table.probabilities.shape == table.losses.shape == table.rows.shape == (0, 1)
    history.append(1, [1.0], [np.nan], [4])
    assert np.isnan(read_history(tmp_path / "m.jsonl").losses[0, 0])


@pytest.mark.parametrize(("checkpoint", "half"), [(1, False), (1, True), (2, False), (3, True), (4, False)])
def test_killed_and_resumed_equals_uninterrupted(tmp_path, checkpoint, half):
    whole = write(tmp_path / "whole.jsonl", range(1, 6))
    path = tmp_path / "m.jsonl"
    write(path, range(1, 5))
    if half:
        path.write_bytes(path.read_bytes()[:-9])
    assert write(path, range(checkpoint + 1, 6), begin=checkpoint) == whole


def test_a_kill_at_any_moment_of_resuming_loses_nothing(tmp_path):
    whole = write(tmp_path / "whole.jsonl", range(1, 6))
    for kill_at in range(1, 6):
        folder = tmp_path / f"run-{kill_at}"
        folder.mkdir()
        write(folder / "m.jsonl", range(1, 5))
        run_in_fork(lambda: write(folder / "m.jsonl", range(3, 5), begin=2), folder, kill_at)  # noqa: B023
        assert write(folder / "m.jsonl", range(3, 6), begin=2) == whole


def test_a_training_that_begins_replaces_the_old_file_and_a_missing_one_is_begun(tmp_path):
    write(tmp_path / "m.jsonl", range(1, 6), about={"old": 1})
    fresh = write(tmp_path / "m.jsonl", [1])
    assert fresh == write(tmp_path / "other.jsonl", [1])
    table = read_history(tmp_path / "gone.jsonl") if write(tmp_path / "gone.jsonl", [4, 5], begin=3) else None
    assert table is not None
    assert table.steps.tolist() == [4, 5]


def test_a_half_line_at_the_end_is_ignored(tmp_path):
    whole = write(tmp_path / "m.jsonl", range(1, 4))
    second = len(whole) - len(whole.splitlines(keepends=True)[-1])
    for cut in range(second, len(whole)):
        (tmp_path / "m.jsonl").write_bytes(whole[:cut])
        assert read_history(tmp_path / "m.jsonl").steps.tolist() == [1, 2]


HEAD = '{"format":1,"domains":["a","b"],"sizes":[1,2],"about":{}}\n'
LINE = '{"step":1,"probabilities":[0.5,0.5],"losses":[1.0,null],"rows":[1,2]}\n'
BAD = {
    "": "line 1",
    "half a head": "line 1",
    '{"format":2}\n': "line 1",
    "[1]\n": "line 1",
    '{"prompt": "a row of a pool"}\n': "line 1",
    HEAD.replace('["a","b"]', "[]"): "line 1: it names no domains",
    HEAD.replace("[1,2]", "[1]"): "line 1",
    HEAD.replace("{}", "3"): "line 1",
    HEAD + "not json\n" + LINE: "line 2: it is not JSON",
    HEAD + "[" * 100_000 + "\n": "line 2: it is not JSON",
    HEAD + "\xff\n": "line 2",
    HEAD + LINE.replace("1,", '"1",', 1): "line 2: it has no step",
    HEAD + LINE.replace("1,", "true,", 1): "line 2: it has no step",
    HEAD + LINE + LINE: "line 3: its step is not beyond",
    HEAD + LINE.replace("[0.5,0.5]", "[0.5]"): "line 2: its probabilities",
    HEAD + LINE.replace("[0.5,0.5]", "[null,0.5]"): "line 2: its probabilities",
    HEAD + LINE.replace("[0.5,0.5]", "[NaN,0.5]"): "line 2: its probabilities",
    HEAD + LINE.replace("[0.5,0.5]", '["0.5",0.5]'): "line 2: its probabilities",
    HEAD + LINE.replace("[1.0,null]", "{}"): "line 2: its losses",
    HEAD + LINE.replace("[1,2]", "[1,1e400]"): "line 2: its rows",
    HEAD + LINE.replace("[1,2]", "[1,1.5]"): "line 2: its rows",
    HEAD + LINE.replace("1.0", "1" + "0" * 400): "line 2: its losses",
}


@pytest.mark.parametrize("number", range(len(BAD)))
def test_anything_else_is_refused_in_one_line(tmp_path, number):
    text, says = list(BAD.items())[number]
    path = tmp_path / "m.jsonl"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as error:
        read_history(path)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert "name the mixture.jsonl of an online run" in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*gone\.jsonl"):
        read_history(tmp_path / "gone.jsonl")


@pytest.mark.parametrize("begin", [0, 2])
def test_a_file_that_is_no_record_is_not_replaced(tmp_path, begin):
    path = tmp_path / "pool.jsonl"
    path.write_text('{"prompt": "precious"}\n')
    with pytest.raises(InputError, match="no record of a mixture"):
        History(path, DOMAINS, {}).begin(begin)
    assert path.read_text() == '{"prompt": "precious"}\n'


def test_a_record_of_other_domains_is_not_gone_on_with(tmp_path):
    write(tmp_path / "m.jsonl", [1, 2])
    other = History(tmp_path / "m.jsonl", Domains.of(["a", "c"]), {})
    with pytest.raises(InputError, match="of other domains"):
        other.begin(1)
    other.begin(0)
    assert read_history(tmp_path / "m.jsonl").names == ("a", "c")


def test_a_folder_in_the_way_is_named(tmp_path):
    (tmp_path / "m.jsonl").mkdir()
    with pytest.raises(InputError, match="cannot write"):
        History(tmp_path / "m.jsonl", DOMAINS, {}).begin(0)


def test_a_file_without_a_whole_line_and_a_folder_are_not_replaced(tmp_path):
    path = tmp_path / "thesis"
    path.write_text("years of work")  # and no newline
    with pytest.raises(InputError, match="no record of a mixture"):
        History(path, DOMAINS, {}).begin(0)
    assert path.read_text() == "years of work"
    with pytest.raises(InputError, match="it is a folder; name a file"):
        History(tmp_path, DOMAINS, {}).begin(0)
    assert not tmp_path.with_name(tmp_path.name + ".part").exists()


@pytest.mark.parametrize("values", [([1], [1] * 3, [1] * 3), ([np.nan] * 3, [1] * 3, [1] * 3), ([1] * 3, [1], [1] * 3)])
def test_a_line_that_nobody_could_read_again_is_not_written(tmp_path, values):
    before = write(tmp_path / "m.jsonl", [1])
    history = History(tmp_path / "m.jsonl", DOMAINS, {"mode": "released"})
    history.begin(1)
    with pytest.raises(InputError, match=r"probabilities|losses"):
        history.append(2, *values)
    assert (tmp_path / "m.jsonl").read_bytes() == before
