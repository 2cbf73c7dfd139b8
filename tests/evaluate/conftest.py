"""Comparisons of a toy model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy_comparison import ToyTrainee, write_toys

from tasksift.evaluate.compare import Comparison, compare


@pytest.fixture
def toys(tmp_path: Path) -> dict[str, Any]:
    """Options of a comparison of 60 rows for two tasks, whose files are in `tmp_path`."""
    return write_toys(tmp_path)


@pytest.fixture
def trainees(monkeypatch: pytest.MonkeyPatch) -> list[ToyTrainee]:
    """The toy models that comparisons load from now on."""
    made: list[ToyTrainee] = []

    def load(training: Any, classes: Any) -> ToyTrainee:
        made.append(ToyTrainee(training, classes))
        return made[-1]

    monkeypatch.setattr("tasksift.evaluate.work.load_trainee", load)
    return made


@pytest.fixture
def compared(tmp_path: Path, toys: dict[str, Any], trainees: list[ToyTrainee]) -> Callable[..., Comparison]:
    """Compare with the toy model; options given win. Without ``out`` the folder is `tmp_path / "out"`."""

    def run(**options: Any) -> Comparison:
        return compare(**{"out": tmp_path / "out", **toys, **options})

    return run
