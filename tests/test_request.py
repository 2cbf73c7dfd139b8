"""What a request is settled to before anything starts: the preset's representation, or that of features on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.feature_config import FeatureConfig
from tasksift.represent.store import FeatureStore
from tasksift.request import settle


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
