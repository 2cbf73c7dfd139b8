"""The folder of a mixture: made whole or not at all, and nothing of others touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasksift.errors import InputError
from tasksift.mix import mix
from tasksift.mix.folder import FORMAT, RECORD, making, write_json

Row = dict[str, Any]
Contents = Callable[[Path], dict[str, bytes]]


def test_nothing_is_overwritten_and_nothing_of_others_removed(tmp_path: Path, rows: list[Row], contents: Contents):
    out = tmp_path / "out"
    mix(rows, out)
    before = contents(out)
    with pytest.raises(InputError, match=r"out exists; use --force to replace it"):
        mix(rows, out)
    assert contents(out) == before
    mix(rows, out, shares="uniform", force=True)
    assert contents(out) != before
    before = contents(out)
    with pytest.raises(InputError, match="a preference pair"):
        mix(
            [*rows, {"chosen": "a", "rejected": "b", "prompt": "c", "source": "chat"}],
            out,
            format="axolotl",
            force=True,
        )
    assert contents(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    for folder in (mine, mine / "thesis.txt"):
        with pytest.raises(InputError, match=r"is no mixture, so not even --force replaces it"):
            mix(rows, folder, force=True)
    (tmp_path / "new.part").mkdir()
    (tmp_path / "new.part" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"new.part is in the way of the mixture and holds other things"):
        mix(rows, tmp_path / "new")
    assert (tmp_path / "new.part" / "thesis.txt").exists()


def test_what_a_kill_left_does_not_stop_the_next(tmp_path: Path, rows: list[Row]):
    part = tmp_path / "out.part"
    part.mkdir()
    (part / "mixture.json").write_text('{"made_by": "tasksift mix 1"}')
    (part / "half.jsonl").write_text("{")
    mix(rows, tmp_path / "out")
    assert not (tmp_path / "out" / "half.jsonl").exists()
    assert not part.exists()


def test_a_pool_is_not_written_over(tmp_path: Path, rows: list[Row]):
    mix(rows, tmp_path / "out")
    with pytest.raises(InputError, match=r"chat.jsonl, which is read, lies in it"):
        mix(tmp_path / "out" / "chat.jsonl", tmp_path / "out", force=True)
    with pytest.raises(InputError, match=r"mixture.jsonl, which is read, lies in it"):
        mix(rows, tmp_path / "out", shares=str(tmp_path / "out" / "mixture.jsonl"), force=True)
    with pytest.raises(InputError, match=r"it lies in the pool's folder"):
        mix(tmp_path / "out", tmp_path / "out" / "again")


def test_two_runs_do_not_write_the_same_folder(tmp_path: Path):
    pytest.importorskip("fcntl")
    out = tmp_path / "out"
    with making(out, force=False) as folder:
        (folder / "mine").touch()
        with pytest.raises(InputError, match=r"another run is writing .*out; wait for it"), making(out, force=False):
            pass
        assert (folder / "mine").exists()
    assert (out / "mine").exists()


def test_what_another_run_made_meanwhile_is_not_replaced(tmp_path: Path):
    out = tmp_path / "out"
    (tmp_path / "other").mkdir()
    write_json(tmp_path / "other" / RECORD, {"made_by": FORMAT, "seed": 1})
    with pytest.raises(InputError, match=r"out exists; use --force"), making(out, force=False):
        (tmp_path / "other").rename(out)
    assert json.loads((out / RECORD).read_bytes())["seed"] == 1
    assert not (tmp_path / "out.part").exists()


def test_an_earlier_mixture_stays_when_the_last_step_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "out"
    out.mkdir()
    write_json(out / RECORD, {"made_by": FORMAT, "seed": 1})
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path.name == "out.part":
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(InputError, match=r"cannot write .*out: No space left"), making(out, force=True):
        pass
    assert json.loads((out / RECORD).read_bytes())["seed"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_refused_run_leaves_no_new_folders_above(tmp_path: Path):
    with pytest.raises(InputError, match="a preference pair"):
        mix([{"chosen": "a", "rejected": "b", "prompt": "c"}], tmp_path / "a" / "b" / "out", format="axolotl")
    assert not list(tmp_path.iterdir())


def test_links_that_lead_to_themselves(tmp_path: Path, rows: list[Row]):
    (tmp_path / "loop").symlink_to("loop")
    for out in (tmp_path / "loop", tmp_path / "loop" / "out"):
        with pytest.raises(InputError, match="loop"):
            mix(rows, out, force=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "out.part").symlink_to("mine")
    with pytest.raises(InputError, match=r"out.part is in the way"):
        mix(rows, tmp_path / "out")
    assert (tmp_path / "mine").is_dir()
