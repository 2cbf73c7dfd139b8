"""Arms: how methods are spelled, which model each is given, and which folder its features have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.evaluate.arms import Arm, features_name, parse_arms, random_arm

LANGUAGE = {"model": "llama", "max_length": 64, "device": "cpu"}
ENCODER = {"model": "minilm", "device": "cpu"}
BASE = {"pool": ["pool.jsonl"], "target": ["dev.jsonl"], "budget": "5%", "seed": 0}


def parsed(presets: str, *more: str, **options: Any) -> dict[str, Arm]:
    models = {"model": LANGUAGE, "encoder": ENCODER, **options}
    return {arm.label: arm for arm in parse_arms(presets.split(","), more, **models)}


def test_presets_get_the_model_that_their_representation_wants():
    arms = parsed("tsds,bm25,tsds:encoder,tsds:hidden,less,perplexity-middle,tsds@folder")
    options = {label: {k: v for k, v in arm.options.items() if k != "preset"} for label, arm in arms.items()}
    assert options == {
        "tsds": {},
        "bm25": {},
        "tsds:encoder": {"representation": "encoder", **ENCODER},
        "tsds:hidden": {"representation": "hidden", **LANGUAGE},
        "less": LANGUAGE,
        "perplexity-middle": {"score_model": "llama", "max_length": 64, "device": "cpu"},
        "tsds@folder": {},
    }
    assert arms["tsds@folder"].features == "folder"
    assert [arm.looks_at_targets for arm in (arms["tsds"], random_arm("random"))] == [True, False]
    assert [arm.has_features for arm in (arms["tsds"], arms["perplexity-middle"], arms["bm25"])] == [True, True, False]


def test_a_spelled_arm_has_options_of_its_own():
    arms = parsed(
        "tsds",
        "near: preset=tsds alpha=0.3 set.folds=5",
        "α / 'odd' : preset=tsds representation=encoder model=other max-length=32",
        "kept: preset=tsds features='my folder' ",
        "tuned: preset=less checkpoints=warm",
        "given: preset=perplexity-middle score_column=rating",
    )
    assert arms["near"].options == {"preset": "tsds", "alpha": "0.3", "parameters": {"folds": "5"}}
    odd = arms["α / 'odd'"].options
    assert (odd["model"], odd["max_length"], odd["device"]) == ("other", "32", "cpu")
    assert (arms["kept"].features, arms["kept"].options) == ("my folder", {"preset": "tsds"})
    # The model of checkpoints is their own; a column takes the place of a model.
    assert "model" not in arms["tuned"].options
    assert arms["given"].options == {"preset": "perplexity-middle", "score_column": "rating"}
    config = arms["near"].config(BASE, Path("features"))
    assert (config.alpha, config.budget, config.features) == (0.3, "5%", "features")


def test_baselines_are_not_arms():
    assert list(parsed("random,tsds,random-balanced", "random: preset=tsds")) == ["tsds"]
    assert parsed("") == {}


@pytest.mark.parametrize(
    ("presets", "more", "words"),
    [
        ("tsds", ["tsds: preset=bm25"], "two arms are called 'tsds'"),
        ("", ["zero-shot: preset=tsds"], "'zero-shot' is the name of a baseline"),
        ("", ["full: preset=tsds"], "'full' is the name of a baseline"),
        ("nothing", [], "nothing"),
        ("tsds:nothing", [], "there is no representation nothing"),
        ("", ["preset=tsds"], "write it as 'LABEL: preset=NAME"),
        ("", [": preset=tsds"], "write it as"),
        ("", ["a: tsds"], "'tsds' is not of the form NAME=VALUE"),
        ("", ["a: =3"], "'=3' is not of the form"),
        ("", ["a: alpha=0.3"], "--arm a: it names no preset"),
        ("", ["a: preset=nothing"], "nothing"),
        ("", ["a: preset=tsds seed=3"], "seed is the same for every arm"),
        ("", ["a: preset=tsds budget=3"], "budget is the same for every arm"),
        ("", ["a: preset=tsds text_template={x}"], "text_template is the same for every arm"),
        ("", ["a: preset=tsds frob=3"], "--frob '3': there is no such option"),
        ("", ["a: preset=tsds alpha=much"], "--alpha"),
        ("", ["a: preset=tsds 'open"], "--arm a: a quotation is not closed"),
    ],
    ids=str,
)
def test_refusals(presets: str, more: list[str], words: str):
    with pytest.raises(InputError) as raised:
        parsed(presets, *more)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_features_have_one_name_for_equal_options():
    def name(**options: Any) -> str:
        return features_name(Arm("a", {"preset": "tsds", **options}).config(BASE, None))

    assert name() == name(alpha=0.3) == features_name(Arm("b", {"preset": "tsds"}).config({**BASE, "seed": 7}, None))
    assert name() == name(representation="tfidf")
    others = [name(dim=8), name(representation="hidden", model="a"), name(representation="hidden", model="b")]
    assert len({name(), *others}) == 4
    assert isinstance(Arm("a", {"preset": "tsds"}).config(BASE, None), RunConfig)
