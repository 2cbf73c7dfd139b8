"""A comparison on a Ray cluster has the cells of one on this machine, also when workers die."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from ray_bench import NOTES, ToyBench
from ray_jobs import IGNORED, count
from toy_comparison import ToyTrainee, without_seconds

from tasksift.engines.current import using
from tasksift.evaluate.compare import Comparison

pytestmark = pytest.mark.filterwarnings(*IGNORED)
Compared = Callable[..., Comparison]
GRID = {"presets": "bm25,nearest", "seeds": [0, 1]}


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cluster of two cores, and the folder where its workers note what they do."""
    folder = tmp_path_factory.mktemp("notes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASKSIFT_WORKERS", "2")
        patch.setenv(NOTES, str(folder))
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # workers import this folder's modules
        with using("ray"):
            yield folder


def engine_of(folder: Path) -> dict[str, Any]:
    """Take out of a manifest what an engine did."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    engine: dict[str, Any] = manifest.pop("engine")
    path.write_text(json.dumps(manifest))
    return engine


def test_the_same_cells(
    notes: Path, compared: Compared, trainees: list[ToyTrainee], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    here = compared(**GRID, out=tmp_path / "here", engine="local")
    monkeypatch.setattr("tasksift.evaluate.compare.Bench", ToyBench)
    there = compared(**GRID, out=tmp_path / "there", engine="ray")
    assert there.failed == {}
    assert [cell.scores["loss"].tolist() for cell in there.cells] == [
        cell.scores["loss"].tolist() for cell in here.cells
    ]
    engine = engine_of(tmp_path / "there")
    assert without_seconds(tmp_path / "there") == without_seconds(tmp_path / "here")
    # One unit died with its worker twice; all seeds of a selection are one part.
    assert count(notes, "tries") == 2 + 2
    assert len(engine["retried"]) >= 2
    assert all("of with_state: its worker or machine was lost" in each for each in engine["retried"])
    assert engine["total"]["parts"] >= 8
    assert len(engine["workers"]) >= 2
    # Workers find the index that was made for all.
    assert count(notes, "units") >= 16
    assert count(notes, "embedding the pool") > 0
    assert count(notes, "reading the pool") == 0
    # The cells that are there are found, by whatever engine.
    before = count(notes, "units")
    again = compared(**GRID, out=tmp_path / "there", engine="ray")
    assert (again.summary, count(notes, "units")) == (there.summary, before)
