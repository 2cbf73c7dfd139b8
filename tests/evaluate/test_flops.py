"""Operations of a cell: those of the cost model, with sizes as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasksift.costs import ENCODER_PARAMETERS, estimate
from tasksift.evaluate.arms import Arm
from tasksift.evaluate.flops import model_parameters, selection_flops, training_flops
from tasksift.selectors import SELECTORS
from tasksift.selectors.contract import Size

ROWS, TARGETS, TOKENS, BUDGET, PARAMETERS = 5000, 10, 40, 50, 1e6

ARMS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("tsds", {}, {"dim": 256}),
    ("bm25", {}, {}),
    ("random", {}, {}),
    ("tsds", {"representation": "encoder", "model": "somewhere"}, {"dim": 384}),
    ("tsds", {"representation": "hidden", "model": "somewhere"}, {"dim": 64}),
    ("less", {"checkpoints": "warm"}, {"dim": 64, "parameters": 3e4, "checkpoints": [1, 2]}),
]


@pytest.mark.parametrize(("preset", "options", "about"), ARMS, ids=lambda each: str(each)[:30])
def test_shared_and_own_are_the_estimate(preset: str, options: dict[str, Any], about: dict[str, Any]):
    """What others share and what is a cell's own add up to the cost model's, with the targets' vectors besides."""
    arm = Arm("a", {"preset": preset, **options})
    config = arm.config({"pool": ["p.jsonl"], "target": ["t.jsonl"], "budget": "50"}, None)
    manifest = {"pool": {"rows": ROWS}, "target": {"rows": TARGETS}, "representation": about or None}
    shared, own = selection_flops(arm, config, manifest, parameters=int(PARAMETERS), tokens=TOKENS, budget=BUDGET)
    size = Size(
        rows=ROWS, targets=TARGETS, tokens=TOKENS, dim=about.get("dim", 0), parameters=PARAMETERS,
        trained=about.get("parameters", PARAMETERS), checkpoints=len(about.get("checkpoints", [1])), budget=BUDGET,
    )  # fmt: skip
    if "representation" not in options:
        assert shared + own == pytest.approx(estimate(preset, size).flops + shared * TARGETS / ROWS)
    of_rows = ROWS * TOKENS
    known = {"bm25": 0.0, "random": 0.0}
    by_name = {"encoder": 2 * ENCODER_PARAMETERS * of_rows, "hidden": 2 * PARAMETERS * of_rows}
    if preset in known or "representation" in options:
        assert shared == pytest.approx(by_name.get(options.get("representation", ""), 0.0))
    assert own == pytest.approx(SELECTORS[arm.preset.selector].flops(size) + shared * TARGETS / ROWS)


def test_training():
    assert training_flops(7, 100, 3) == 6 * 7 * 100 * 3


def test_parameters_of_a_folder(tmp_path: Path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    (tmp_path / "part").mkdir()
    save_file({"a": np.zeros((3, 4), np.float32), "b": np.zeros(5, np.float16)}, tmp_path / "part" / "x.safetensors")
    save_file({"c": np.zeros((2, 2, 2), np.float32)}, tmp_path / "y.safetensors")
    assert model_parameters(str(tmp_path)) == 12 + 5 + 8
    assert model_parameters(str(tmp_path / "nowhere")) is None
    assert model_parameters(None) is None
    assert model_parameters("owner/name") is None
