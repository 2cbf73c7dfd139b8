"""Acceptance D1: both published rankings; and the card of one run by hand."""

import numpy as np
import pytest

from tasksift.evaluate.cells import Costs
from tasksift.evaluate.score_card import (
    Line,
    dense_rank,
    feasibility,
    flags,
    flexibility,
    flops_share,
    local_line,
    on_one_scale,
    performance_ratio,
    residual,
    selection_time_ratio,
    simplicity,
)
from tasksift.presets import PRESETS

EFFICIENCY = """
IFD 0.05 1.747 0.3144 1
LESS 0.05 1.491 0.0584 2
Superfiltering 0.05 1.475 0.0424 3
SelectIT 0.2 1.653 0.0250 4
Instruction-Mining 0.025 1.400 0 5
InstructionGPT-4 0.058 1.443 0 5
SHED 0.09 1.460 -0.0247 7
Nuggets 0.145 1.519 -0.0374 8
InsTag 0.02 1.344 -0.0495 9
CaR 0.0196 1.343 -0.0500 10
DEITA 0.1 1.426 -0.0717 11
AlpaGasus 0.173 1.284 -0.3088 12
"""

# models trained, steps, reproducible, free of a model, a data set, GPT; rank
FEASIBILITY = """
AlpaGasus 0 2 0 1 1 0 1
CaR 0 4 1 1 1 1 1
Nuggets 0 4 1 1 1 1 1
SelectIT 0 4 1 1 1 1 1
InsTag 0 3 0 1 1 0 2
Superfiltering 1 3 1 0 0 1 3
IFD 1 3 1 0 0 1 4
LESS 1 4 1 0 0 1 5
InstructionGPT-4 30 4 1 0 1 0 6
DEITA 2 5 1 0 0 0 7
Instruction-Mining 129 4 0 0 1 0 7
SHED 500 3 1 0 0 1 8
"""

ANCHORS = Line.through((0.025, 1.400), (0.058, 1.443))


def lines(table):
    return [(name, *map(float, numbers)) for name, *numbers in map(str.split, table.strip().splitlines())]


def test_the_published_line():
    assert round(ANCHORS.intercept, 5) == 1.36742
    assert round(ANCHORS.slope, 5) == 1.30303


def test_the_published_efficiency_ranking():
    found = [(name, residual(ratio, fraction, ANCHORS)) for name, fraction, ratio, _, _ in lines(EFFICIENCY)]
    for (_, ours), (_, _, _, theirs, _) in zip(found, lines(EFFICIENCY), strict=True):
        assert round(ours, 4) == pytest.approx(theirs, abs=1e-9)
    rounded = [round(ours, 9) for _, ours in found]
    assert rounded == sorted(rounded, reverse=True)
    assert [1 + sum(other > ours for other in rounded) for ours in rounded] == [row[-1] for row in lines(EFFICIENCY)]


def test_the_published_feasibility_ranking():
    rows = lines(FEASIBILITY)
    hard = [
        simplicity(int(models), int(steps), bool(again), per_model=1.5 if name == "Superfiltering" else 2)
        for name, models, steps, again, *_ in rows
    ]
    bound = [flexibility(*map(bool, free)) for _, _, _, _, *free, _ in rows]
    assert feasibility(hard, bound).tolist() == [row[-1] for row in rows]


def test_more_than_a_hundred_models_are_200_and_a_hundred_are_counted():
    assert simplicity(101, 9, False) == 200
    assert simplicity(100, 9, False) == 210


@pytest.mark.parametrize(
    ("scale", "published", "ours"),
    [
        ("same_win_rate", 1.3, 1.3),
        ("same_benchmark", 0.949, 1.284),
        ("same_benchmark", 1.01, 1.475),
        ("other_benchmark", 0.985, 1.344),
        ("other_benchmark", 1.0, 1.426),
        ("other_benchmark", 0.97, 1.262),
    ],
)
def test_ratios_are_mapped_to_one_scale(scale, published, ours):
    assert on_one_scale(published, scale) == pytest.approx(ours, abs=1e-12)


def test_dense_ranks_leave_none_out():
    assert dense_rank([3.0, 1.0, 3.0, 2.0, 1.0]).tolist() == [3, 1, 3, 2, 1]


@pytest.mark.parametrize(
    ("score", "reference", "metric", "ratio"),
    [(0.6, 0.5, "accuracy", 1.2), (2.0, 2.5, "loss", 1.25), (0.6, 0.0, "exact-match", None), (0.0, 1.0, "loss", None)],
)
def test_above_one_is_better_whatever_the_metric(score, reference, metric, ratio):
    assert performance_ratio(score, reference, metric) == (None if ratio is None else pytest.approx(ratio))


def test_the_local_line_goes_through_the_two_nearest_random_selections():
    points = [(0.003, 0.7), (0.01, 0.8), (0.05, 0.9)]
    assert local_line(0.012, points).at(0.01) == pytest.approx(0.8)
    assert local_line(0.012, points).at(0.003) == pytest.approx(0.7)
    assert local_line(0.04, points).at(0.05) == pytest.approx(0.9)
    assert local_line(0.04, points).at(0.01) == pytest.approx(0.8)


def test_one_random_selection_goes_with_the_full_pool():
    line = local_line(0.02, [(0.01, 0.8)])
    assert line.at(0.01) == pytest.approx(0.8)
    assert line.at(1) == pytest.approx(1)


def test_random_selections_of_one_size_are_one_point():
    assert local_line(0.02, [(0.01, 0.7), (0.01, 0.9), (0.1, 1.0)]).at(0.01) == pytest.approx(0.8)


@pytest.mark.parametrize("points", [[], [(1.0, 1.0)], [(0.0, 0.5)]])
def test_no_line_without_two_points(points):
    assert local_line(0.02, points) is None


def test_the_residual_to_a_line_through_the_arm_itself_is_0():
    line = local_line(0.01, [(0.01, 0.8), (0.05, 0.9)])
    assert residual(0.8, 0.01, line) == pytest.approx(0, abs=1e-12)
    assert residual(0.85, 0.01, line) == pytest.approx(0.05)


def test_times_and_operations():
    costs = Costs(feature_seconds=30, select_seconds=10, feature_flops=2e9, select_flops=1e9, train_flops=3e9)
    assert selection_time_ratio(costs, Costs(train_seconds=400)) == pytest.approx(0.1)
    assert selection_time_ratio(costs, None) is None
    assert selection_time_ratio(costs, Costs()) is None
    assert flops_share(costs) == pytest.approx(0.5)
    assert flops_share(Costs()) is None


@pytest.mark.parametrize(
    ("preset", "representation", "model_free", "gpt_free"),
    [
        ("tsds", None, True, True),
        ("tsds", "encoder", False, True),
        ("tsds", "endpoint", False, False),
        ("less", None, False, True),
        ("perplexity-lowest", None, False, True),
        ("bm25", None, True, True),
        ("random", None, True, True),
    ],
)
def test_what_a_preset_works_without(preset, representation, model_free, gpt_free):
    expected = {"model_free": model_free, "dataset_free": True, "gpt_free": gpt_free}
    assert flags(preset, representation) == expected


def test_every_preset_that_names_a_model_needs_one():
    named = {name: preset for name, preset in PRESETS.items() if not preset.needs.startswith("as ")}
    for name, preset in named.items():
        assert flags(name)["model_free"] != ("model" in preset.needs), name


def test_nothing_selected_has_no_flags():
    assert flags(None) is None


def test_ranks_are_whole_numbers():
    assert feasibility([1.0], [0.0]).dtype == np.int64
