"""What a request is settled to before anything starts: the preset's representation, or that of features on disk."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.feature_config import FeatureConfig
from tasksift.plan import LEGAL_DRAWS, DrawName
from tasksift.presets import PRESETS
from tasksift.represent.store import FeatureStore
from tasksift.request import check_inputs, selector_parameters, settle
from tasksift.rows import PoolFile
from tasksift.selectors import SELECTORS
from tasksift.several import joined_kind


def settled(**options: Any) -> RunConfig:
    return settle(RunConfig.create(pool=["pool.jsonl"], target=["target.jsonl"], budget=5, **options))


@pytest.fixture
def features(tmp_path: Path) -> Path:
    """A folder as `embed` leaves it."""
    store = FeatureStore(tmp_path, {"representation": "gradient"})
    store.write_shard(0, np.ones((2, 2), dtype=np.float32))
    store.finish(2)
    made = RunConfig.create(
        representation="gradient", model="llama", text_template="{a}", dim=64, max_length=9, checkpoints="warm",
        optimizer="adam", momentum="none", trust_remote_code=True, device="cuda",
    )  # fmt: skip
    (tmp_path / "representation.json").write_text(json.dumps(made.feature_options()))
    return tmp_path


def test_the_default_is_the_presets():
    config = settled()
    assert (config.representation, config.dim) == ("tfidf", 256)
    assert settled(dim=7).dim == 7
    assert settle(config) == config


@pytest.mark.parametrize("options", [{"preset": "random"}, {"vectors": "a.npy", "target_vectors": "b.npy"}])
def test_what_needs_no_representation_gets_none(options: dict[str, Any], features: Path):
    assert settled(**options).representation is None
    assert settled(**options, features=features).representation is None
    for more in ({"representation": "hidden", "model": "m"}, {"model": "m"}, {"device": "cuda"}):
        words = rf"--{next(iter(more))} does not apply to --(preset random|vectors)"
        with pytest.raises(InputError, match=words):
            settled(**options, **more)


def test_features_say_how_they_were_made(features: Path):
    config = settled(features=features)
    assert (config.representation, config.model, config.text_template) == ("gradient", "llama", "{a}")
    assert (config.dim, config.max_length, config.momentum, config.device) == (64, 9, "none", "cuda")
    assert (config.pool, config.budget, config.features) == (["pool.jsonl"], "5", str(features))
    assert not config.trust_remote_code  # whoever wrote the folder may be a stranger
    assert settle(config) == config


def test_the_users_word_counts_even_where_it_is_a_default(features: Path):
    config = settled(features=features, momentum="paper", model="other", device="cpu", trust_remote_code=True)
    assert (config.momentum, config.model, config.device, config.trust_remote_code) == ("paper", "other", "cpu", True)
    assert (config.dim, config.checkpoints) == (64, "warm")


def test_another_representation_takes_nothing_from_the_folder(features: Path):
    config = settled(features=features, representation="hidden", model="m")
    assert (config.representation, config.text_template, config.max_length) == ("hidden", None, None)
    assert settled(features=features, representation="tfidf").dim == 256


def test_a_saved_configuration_replays_over_features(features: Path, tmp_path: Path):
    config = settled(features=features)
    (tmp_path / "config.yaml").write_text(config.dump())
    assert settle(RunConfig.load(tmp_path / "config.yaml")) == config


@pytest.mark.parametrize("content", ["[]", "7", "{", "\xff"])
def test_damaged_options(features: Path, content: str):
    (features / "representation.json").write_bytes(content.encode("latin1"))
    with pytest.raises(InputError, match=r"representation\.json is damaged; give the options"):
        settled(features=features)


def test_options_of_another_version_are_checked(features: Path):
    path = features / "representation.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "unknown": 1}))
    assert settled(features=features).dim == 64
    path.write_text(json.dumps({**values, "dtype": "int3"}))
    with pytest.raises(InputError, match="--dtype 'int3': it should be"):
        settled(features=features)
    path.unlink()
    assert settled(features=features).representation == "tfidf"


def test_a_folder_without_features_says_nothing(tmp_path: Path):
    options = FeatureConfig(representation="hidden", model="m").feature_options()
    (tmp_path / "representation.json").write_text(json.dumps(options))
    assert settled(features=tmp_path).representation == "tfidf"
    assert settled(features=tmp_path / "nowhere").representation == "tfidf"
    (tmp_path / "file").write_text("x")
    assert settled(features=tmp_path / "file").representation == "tfidf"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"representation": "vectors"}, "--representation vectors does not exist; use one of tfidf"),
        ({"model": "m"}, "--model does not apply to --representation tfidf"),
        ({"representation": "hidden"}, "--representation hidden needs --model"),
        ({"representation": "hidden", "model": "m", "dim": 5}, "--dim does not apply to --representation hidden"),
        ({"representation": "encoder", "model": "m", "score": "text"}, "--score does not apply"),
    ],
)
def test_refusals(options: dict[str, Any], words: str):
    with pytest.raises(InputError, match=words):
        settled(**options)


def test_the_preset_says_what_its_method_is_about():
    config = settled(preset="dsdm", model="m")
    assert (config.representation, config.objective, config.combine, config.optimizer) == (
        "gradient", "margin", "separate", "sgd",
    )  # fmt: skip
    assert settled(preset="tarot", model="m").combine == "mean"
    assert settled(preset="rose", model="m", checkpoints="w").target_objective == "dpo"
    assert settled(preset="rds+", model="m").representation == "hidden"
    assert settle(config) == config


def test_the_users_word_counts_more_than_the_presets_and_the_presets_more_than_the_folders(features: Path):
    """The folder is of adam with the momentum none, 64 dimensions, max-length 9, combine concat."""
    stored = settled(preset="nearest", features=features)
    assert (stored.optimizer, stored.combine, stored.dim, stored.max_length) == ("adam", "concat", 64, 9)
    options = {"preset": "dsdm", "features": features, "momentum": "paper"}
    method = settled(**options)
    assert (method.optimizer, method.combine, method.objective) == ("sgd", "separate", "margin")
    assert (method.dim, method.max_length, method.checkpoints) == (64, 9, "warm")
    user = settled(**options, combine="mean", dim=12)
    assert (user.combine, user.dim, user.optimizer) == ("mean", 12, "sgd")


def test_how_many_numbers_are_kept_is_nothing_of_the_method(features: Path):
    assert settled(preset="gradex", model="m").dim == 256
    assert settled(preset="gradex", model="m", dim=9).dim == 9
    assert settled(preset="gradex", features=features, momentum="paper").dim == 64


def test_a_method_says_nothing_of_another_representation():
    config = settled(preset="tarot", representation="hidden", model="m")
    assert (config.combine, config.optimizer) == ("concat", None)
    # Named or not, it is the method's.
    assert settled(preset="tarot", representation="gradient", model="m").combine == "mean"


def test_options_of_the_numbers_go_with_any_representation():
    config = settled(preset="bws", representation="encoder", model="enc", score="text", score_model="m")
    assert (config.representation, config.score, config.score_model) == ("encoder", "text", "m")
    assert settled(preset="perplexity-lowest", model="m", max_length=9).representation is None
    given = {"preset": "bws", "vectors": "a.npy", "target_vectors": "b.npy", "model": "m"}
    assert settled(**given).model == "m"
    with pytest.raises(InputError, match="--weighting does not apply to --preset perplexity-lowest"):
        settled(preset="perplexity-lowest", model="m", weighting="last")
    # A column takes the place of the model, and then there is nothing for it to do.
    with pytest.raises(InputError, match="--model does not apply to --preset perplexity-lowest"):
        settled(preset="perplexity-lowest", model="m", score_column="n")


def parameters(preset: str, *settings: str, **options: Any) -> dict[str, Any]:
    config = {"pool": ["pool.jsonl"], "budget": 5, "preset": preset, "parameters": list(settings), **options}
    return selector_parameters(RunConfig.create(**config))


def test_parameters_are_the_selectors_the_presets_and_the_users():
    assert parameters("round-robin") == {"tie": "next", "turns": "targets"}
    assert parameters("round-robin-skip")["tie"] == "skip"
    assert parameters("rds+", "tie=skip") == {"tie": "skip", "turns": "tasks"}
    assert parameters("round-robin-skip", "tie = next")["tie"] == "next"
    assert parameters("tsds-uniform")["sigma"] == 0
    assert parameters("tsds-uniform", sigma="auto")["sigma"] == "auto"
    assert parameters("random", "balanced=true")["balanced"] is True
    given = RunConfig.create(pool=["p"], budget=1, preset="tsds", parameters={"alpha": 0.25, "breadth": "auto"})
    assert selector_parameters(given)["alpha"] == 0.25


def test_an_option_and_a_setting_of_one_name():
    """The setting wins, as the last word."""
    assert parameters("tsds", "sigma=0.5", sigma=0.25)["sigma"] == 0.5
    assert parameters("tsds", "scale=2", alpha=0.5) == {"alpha": 0.5, "scale": 2.0, "breadth": "auto", "sigma": "auto"}
    assert parameters("tsds", sigma=0.25) == parameters("tsds", "sigma=0.25")
    assert parameters("tsds", "sigma=1", "sigma=2")["sigma"] == 2
    # What says nothing new is no word.
    assert parameters("random", scale=5.0) == {"balanced": False}
    for settings, options in (
        (["alpha=0.5", "breadth=3"], {}),
        (["alpha=0.5"], {"breadth": 3.0}),
        (["breadth=3"], {"alpha": 1}),
    ):
        with pytest.raises(InputError, match="--alpha and --breadth are two names of one knob; give one of them"):
            parameters("tsds", *settings, **options)


@pytest.mark.parametrize(
    ("preset", "setting", "words"),
    [
        ("nearest", "folds=5", r"--set folds: --preset nearest has no such parameter; there are aggregate$"),
        ("less", "x=1", r"--set x: --preset less has no such parameter; "),
        ("nearest", "aggregate=median", "--set aggregate=median: it should be max, mean"),
        ("random", "balanced=maybe", "--set balanced=maybe: it should be true or false"),
        ("tsds", "alpha=1.5", "--set alpha=1.5: it should be a number from 0 to 1"),
        ("tsds", "alpha=nan", "--set alpha=nan: it should be a number from 0 to 1"),
        ("tsds", "sigma=-1", "--set sigma=-1: it should be a number from 0 or auto"),
        ("tsds", "sigma=", "--set sigma=: it should be a number from 0 or auto"),
        ("tsds", "sigma", "--set sigma is not of the form NAME=VALUE, such as --set folds=5"),
        ("tsds", "=3", "--set =3 is not of the form NAME=VALUE"),
        ("tsds", "", "--set  is not of the form NAME=VALUE"),
    ],
)
def test_settings_that_do_not_fit(preset: str, setting: str, words: str):
    with pytest.raises(InputError, match=words):
        parameters(preset, setting)


def test_a_column_takes_the_place_of_the_metrics():
    assert parameters("perplexity-lowest", score_column="n")["metric"] == "score"
    assert parameters("bws", score_column="n")["metric"] == "score"
    assert parameters("adapt-infinity", score_column="n")["scorers"] == "score"
    assert parameters("perplexity-lowest")["metric"] != "score"


@pytest.mark.parametrize("preset", PRESETS)
def test_auto_is_for_those_who_estimate_sizes(preset: str):
    if SELECTORS[PRESETS[preset].selector].sizes_itself:
        parameters(preset, budget="auto")
        with pytest.raises(InputError, match=rf"--budget auto: --preset {re.escape(preset)} does not estimate"):
            parameters(preset, budget="auto", task_weights="1,2")
    else:
        with pytest.raises(
            InputError, match=rf"--budget auto: --preset {re.escape(preset)} does not estimate how many rows"
        ):
            parameters(preset, budget="auto")


@pytest.mark.parametrize("preset", PRESETS)
def test_draws_are_those_of_the_kind_of_plan(preset: str):
    kind = SELECTORS[PRESETS[preset].selector].kind
    for draw in get_args(DrawName):
        for weights, legal in ((None, LEGAL_DRAWS[kind]), ("1,2", LEGAL_DRAWS[joined_kind(kind)])):
            if draw in legal:
                parameters(preset, draw=draw, task_weights=weights)
            else:
                with pytest.raises(
                    InputError, match=rf"--draw {draw} does not fit --preset {re.escape(preset)}, .*use "
                ):
                    parameters(preset, draw=draw, task_weights=weights)


def checked(files: int = 1, targets: int = 1, **options: Any) -> None:
    pool = [PoolFile("pool.jsonl", "jsonl", None)] * files
    target = [PoolFile("target.jsonl", "jsonl", None)] * targets
    config = settle(RunConfig.create(pool=["p"] * files, target=["t"] * targets, budget=1, **options))
    check_inputs(config, pool, target)


VECTORS = {"vectors": "a.npy", "target_vectors": "b.npy"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"files": 0}, "there is no pool"),
        ({"targets": 0}, "there is no target: give --target FILE"),
        ({"vectors": "a.npy"}, "--vectors needs --target-vectors"),
        *(
            (
                {"files": 0, "targets": 0, **VECTORS, field: "x"},
                f"--{field.replace('_', '-')} needs rows, and there are",
            )
            for field in ("id_column", "source_column", "group_column", "score_column", "text_template")
        ),
        ({"preset": "bm25", "files": 0, **VECTORS}, "--preset bm25 reads texts, and there are only vectors"),
        ({"preset": "dsir", "targets": 0, **VECTORS}, "--preset dsir reads texts, and there are only vectors"),
        ({"preset": "dsdm", "representation": "hidden", "model": "m"}, "--preset dsdm needs gradients of margins"),
        ({"preset": "gradex", "combine": "mean", "model": "m"}, "--preset gradex needs gradients of margins"),
        ({"preset": "gradex", **VECTORS}, "--preset gradex needs gradients of margins; leave out .* and --vectors"),
        ({"preset": "tarot", "combine": "concat", "model": "m"}, "--preset tarot needs gradients at their own lengths"),
        ({"preset": "bws", "files": 0, "targets": 0, **VECTORS, "model": "m"}, "bws needs a number of each row, and"),
        ({"preset": "column"}, "--preset column needs --score-column: Column of the pool with a number"),
        ({"preset": "random", "task_weights": "1,2"}, "--task-weights does not apply to --preset random"),
        ({"files": 0, "targets": 0, **VECTORS, "task_weights": "1"}, "--task-weights needs rows of the targets"),
        ({"targets": 0, **VECTORS, "task_column": "kind"}, "--task-column needs rows of the targets; give --target"),
        ({"score_model": "m"}, "--score-model does not apply to --preset tsds without a model's numbers; leave it out"),
        ({"preset": "random", "scores": "s"}, "--scores does not apply to --preset random"),
        ({"preset": "bws", "representation": "tfidf", "score_column": "n", "scores": "s"}, "--scores does not apply"),
        ({"preset": "bm25", "dedup": 0.1}, "--dedup compares vectors, and --preset bm25 has none"),
        ({"preset": "random", "dedup": 0.0}, "--dedup compares vectors, and --preset random has none"),
        ({"files": 0, "targets": 0, **VECTORS, "test": ["t.jsonl"]}, "--decontaminate compares texts, and there are"),
        ({"files": 0, "targets": 0, **VECTORS, "decontaminate": 5}, "--decontaminate compares texts, and there are"),
    ],
    ids=str,
)
def test_what_is_missing_is_said_before_anything_is_read(options: dict[str, Any], words: str):
    with pytest.raises(InputError, match=words):
        checked(**options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"files": 0, "targets": 0, **VECTORS},
        {"preset": "random", "targets": 0},
        {"preset": "random", "files": 0, "targets": 0, "vectors": "a.npy"},
        {"preset": "column", "score_column": "n", "targets": 0},
        {"preset": "facility-location", "targets": 0, "files": 0, "vectors": "a.npy"},
        {"preset": "dsdm", "model": "m"},
        {"preset": "tarot", "model": "m"},
        {"preset": "tarot", "representation": "hidden", "model": "m"},
        {"preset": "bws", "targets": 0, "representation": "tfidf", "score_model": "m", "scores": "s"},
        {"preset": "less", "model": "m", "checkpoints": "w", "task_weights": "1,2"},
        {"preset": "bws", "targets": 0, "score_column": "n", "representation": "tfidf"},
        {"dedup": 0.0, "decontaminate": 3, "test": ["t.jsonl"]},
    ],
    ids=str,
)
def test_what_fits_is_let_through(options: dict[str, Any]):
    checked(**options)
