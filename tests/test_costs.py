"""Costs against the published arithmetic for LESS and an output-layer sketch, and what must hold for every preset."""

from dataclasses import replace

import pytest

from tasksift.costs import describe, estimate, represent, typical, warm_up
from tasksift.presets import PRESETS, Preset
from tasksift.selectors import SELECTORS, Size

ROWS, TOKENS, WIDTH = 197_196, 86_343_509, 8192
PAPER = Size(
    rows=ROWS, tokens=TOKENS / ROWS, parameters=6_738_415_616, trained=134_217_728, checkpoints=4, dim=4 * WIDTH
)


def gradient(**options):
    return Preset("less", "gradient", "", "", "", "", options=options, warm_up=options.get("optimizer") == "adam")


DENSE = gradient(optimizer="adam", projection="rademacher")


def test_published_figures_of_a_dense_projection():
    less = represent(DENSE, PAPER)
    sketch = 2 * PAPER.parameters * TOKENS
    assert less == pytest.approx(1.1322e19, rel=5e-5)
    assert sketch == pytest.approx(1.1636e18, rel=5e-5)
    assert less / sketch == pytest.approx(9.73, abs=0.005)
    # Pooled hidden states and losses are one forward pass.
    for name in ("hidden", "loss"):
        assert represent(Preset("nearest", name, "", "", "", ""), PAPER) == pytest.approx(sketch)
    assert represent(Preset("nearest", "sketch", "", "", "", ""), PAPER) == pytest.approx(sketch, rel=1e-3)


def test_the_warm_up_is_counted():
    whole = represent(DENSE, PAPER) + warm_up(DENSE, PAPER)
    assert whole == pytest.approx(1.2020e19, rel=5e-5)
    assert whole / (2 * PAPER.parameters * TOKENS) == pytest.approx(10.33, abs=0.005)
    assert warm_up(gradient(optimizer="sgd"), PAPER) == 0


def test_a_count_sketch_costs_a_number_of_operations_for_each_parameter():
    sketched = represent(gradient(optimizer="adam"), PAPER)
    assert sketched / (2 * PAPER.parameters * TOKENS) == pytest.approx(8.24, abs=0.01)
    projection = represent(DENSE, PAPER) - sketched
    assert projection == pytest.approx(4 * 2 * PAPER.trained * (WIDTH - 1) * ROWS)


def test_the_mean_over_checkpoints_keeps_one_vector():
    options = {"optimizer": "adam", "projection": "rademacher"}
    one = represent(gradient(**options, combine="mean"), replace(PAPER, dim=WIDTH))
    assert one == pytest.approx(represent(DENSE, PAPER))
    assert typical(gradient(combine="mean")).dim == 4096
    assert typical(gradient()).dim == 4 * 4096
    assert typical(gradient(dim=256)).dim == 4 * 256


def test_shares_of_total_compute():
    """Training 2 epochs on k rows next to what selecting them took."""
    for k, share in ((1000, 0.997), (10_000, 0.970)):
        train = 6 * PAPER.parameters * PAPER.tokens * k * 2
        less = represent(DENSE, PAPER)
        assert less / (less + train) == pytest.approx(share, abs=5e-4)
        sketch = 2 * PAPER.parameters * TOKENS
        assert sketch / (sketch + train) == pytest.approx({1000: 0.970, 10_000: 0.767}[k], abs=1e-3)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_a_cost_in_one_line(name):
    cost = estimate(name, typical(name))
    assert cost.flops >= 0
    assert cost.bytes >= 0
    line = describe(name)
    assert "\n" not in line
    assert "per million examples" in line or cost.flops == cost.bytes == 0
    twice = estimate(name, replace(typical(name), rows=2_000_000))
    assert twice.bytes == 2 * cost.bytes
    assert twice.flops >= cost.flops


def test_the_line_for_people():
    line = describe("less", Size(dim=4 * 4096))
    assert line.endswith("65.5 GB per million examples (300 tokens each, 100 targets, a model of 1e9 parameters)")
    assert describe("random") == "nothing to speak of"
    assert "model" not in describe("nearest")
    assert SELECTORS["less"].flops(Size()) < 1e-3 * estimate("less", typical("less")).flops


def test_metrics_that_need_further_passes():
    size = Size()
    plain = estimate(Preset("random", None, "", "", "", "", scores="loss"), size)
    assert plain.flops == pytest.approx(2 * size.parameters * size.tokens * size.rows)
    assert plain.bytes == 4 * size.rows
    both = estimate(Preset("random", None, "", "", "", "", scores="ifd,forgetting"), size)
    assert both.flops == pytest.approx(5 * plain.flops)
    assert both.bytes == 2 * plain.bytes


def test_encoders_have_their_own_parameters():
    size = typical("nearest")
    preset = Preset("nearest", "encoder", "", "", "", "")
    small, large = (estimate(preset, size, encoder_parameters=p).flops for p in (1e6, 1e8))
    assert large - small == pytest.approx(2 * (1e8 - 1e6) * size.rows * size.tokens)
