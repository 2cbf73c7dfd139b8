"""Costs against figures that were worked out before, and against what presets are counted by."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasksift.costs import represent, warm_up
from tasksift.evaluate import cost_models
from tasksift.presets import get_preset
from tasksift.selectors.contract import Size

P, TRAINED, ROWS, TOKENS, WIDTH = 6_738_415_616, 134_217_728, 197_196, 86_343_509, 8192


def test_the_worked_example_of_less_and_a_sketch():
    less = cost_models.less(P, TRAINED, ROWS, TOKENS, projection=WIDTH, warm_up=0)
    sketch = cost_models.forward(P, TOKENS)
    assert f"{less:.4e}" == "1.1322e+19"
    assert f"{sketch:.4e}" == "1.1636e+18"
    assert f"{less / sketch:.2f}" == "9.73"
    assert 4 * cost_models.training(P, TOKENS) / sketch == pytest.approx(12)
    extra = less - 4 * 2 * sketch
    assert f"{(4 * cost_models.training(P, TOKENS) + extra) / sketch:.2f}" == "13.73"
    warm = cost_models.less(P, TRAINED, ROWS, TOKENS, projection=WIDTH)
    assert (f"{warm:.4e}", f"{warm / sketch:.2f}") == ("1.2020e+19", "10.33")
    for selection, shares in ((less, (0.997, 0.970)), (sketch, (0.970, 0.767))):
        for rows, share in zip((1_000, 10_000), shares, strict=True):
            train = cost_models.training(P, TOKENS / ROWS * rows, 2)
            assert selection / (selection + train) == pytest.approx(share, abs=5e-4)


def test_the_conventions_of_papers():
    assert cost_models.less_in_papers(P, ROWS) == 3 * 2048 * 6 * ROWS * P
    full = cost_models.training(P, TOKENS)
    assert cost_models.less_in_the_study(P, TOKENS) / full == pytest.approx(1.8)
    assert cost_models.forward(P, TOKENS) / full == pytest.approx(1 / 3)
    assert cost_models.reference(P, 1000) == 25 * 6 * P * 1000


def test_an_encoder_reads_so_many_tokens_only():
    assert cost_models.embedding(1e8, 100, 10) == 2e8 * 1000
    assert cost_models.embedding(1e8, 500, 10) == 2e8 * 2560
    assert cost_models.embedding(1e8, 500, 10, max_length=512) == 2e8 * 5000


@pytest.mark.parametrize(("projection", "width"), [("rademacher", 512), ("auto", 1)])
def test_presets_are_counted_alike(projection: str, width: int):
    preset = get_preset("less")
    preset = replace(preset, options={**preset.options, "projection": projection})
    size = Size(rows=ROWS, tokens=300, dim=4 * 512, parameters=P, trained=TRAINED)
    counted = represent(preset, size) + warm_up(preset, size)
    assert cost_models.less(P, TRAINED, ROWS, 300 * ROWS, projection=width) == pytest.approx(counted)
