"""From a configuration to what embeds: every option is for some representations and refused by name elsewhere."""

import pytest

from tasksift.checked import option_name
from tasksift.cli_options import METAVARS, PANELS
from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.feature_config import FeatureConfig
from tasksift.represent import REPRESENTATIONS
from tasksift.represent import opening as module
from tasksift.represent.opening import ALWAYS, for_targets, open_embedder, resolve, say_usage

NEEDS = {
    "tfidf": {},
    "encoder": {"model": "m"},
    "endpoint": {"model": "m", "url": "http://127.0.0.1:1"},
    "hidden": {"model": "m"},
    "loss": {"model": "m"},
    "gradient": {"model": "m"},
    "sketch": {"model": "m"},
}
OTHER = {
    "dim": 8, "store_dtype": "float16", "model": "other", "revision": "v1", "trust_remote_code": True,
    "device": "cuda", "dtype": "bfloat16", "max_length": 64, "prompt": "passage: ", "target_prompt": "",
    "score": "text", "weighting": "last", "metrics": "tokens", "sketch": "kron", "checkpoints": "tuned",
    "url": "http://127.0.0.1:2", "api_key_env": "KEY", "concurrency": 3, "requests_per_minute": 5.0,
    "tokens_per_minute": 7.0, "max_characters": 11, "timeout": 13.0, "price": 0.0, "params": "all",
    "objective": "margin", "target_objective": "dpo", "beta": 0.5, "optimizer": "sgd", "momentum": "none",
    "less_compat": True, "projection": "factored", "combine": "mean", "stride": 32,
}  # fmt: skip
"""A value other than the default for every option that is not for all representations."""

TAKES = {
    "tfidf": "dim",
    "encoder": "store_dtype model revision trust_remote_code device dtype max_length prompt target_prompt",
    "endpoint": "dim store_dtype model url api_key_env concurrency requests_per_minute tokens_per_minute "
    "max_characters timeout price",
    "hidden": "store_dtype model revision trust_remote_code device dtype max_length weighting",
    "loss": "model revision trust_remote_code device dtype max_length score metrics checkpoints stride",
    "gradient": "dim store_dtype model revision trust_remote_code device dtype max_length score checkpoints params "
    "objective target_objective beta optimizer momentum less_compat projection combine",
    "sketch": "dim store_dtype model revision trust_remote_code device dtype max_length score sketch",
}
WITH = {
    "momentum": {"checkpoints": "tuned"},
    "less_compat": {"checkpoints": "tuned"},
    "beta": {"target_objective": "dpo"},
}
"""What some options need besides."""


def config(name, **options):
    return RunConfig.create(**{"representation": name, **NEEDS[name], **options})


def test_every_option_is_known_here_and_in_the_help():
    fields = set(FeatureConfig.model_fields)
    assert set(OTHER) == fields - ALWAYS
    assert all(value != FeatureConfig.model_fields[field].default for field, value in OTHER.items())
    assert set(NEEDS) == set(TAKES) == set(REPRESENTATIONS)
    assert set().union(*(about.options for about in REPRESENTATIONS.values())) == set(OTHER)
    shown = [field for panel in PANELS.values() for field in panel]
    assert len(shown) == len(set(shown))
    assert set(shown) == {*OTHER, "representation"}
    assert set(METAVARS) <= set(shown)


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_options_apply_or_are_refused_by_name(name):
    for field, value in OTHER.items():
        wanted = config(name, **{field: value, **(WITH.get(field, {}) if name == "gradient" else {})})
        if field in TAKES[name].split():
            assert resolve(wanted, "tfidf")["representation"] == name
        else:
            with pytest.raises(InputError) as raised:
                resolve(wanted, "tfidf")
            message = f"{option_name(field)} does not apply to --representation {name}; leave it out"
            assert str(raised.value) == message


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_what_is_needed_is_named_with_its_help(name):
    for need in NEEDS[name]:
        left = {field: value for field, value in NEEDS[name].items() if field != need}
        with pytest.raises(InputError, match=rf"^--representation {name} needs --{need}: [A-Z]") as raised:
            resolve(RunConfig.create(representation=name, **left), "tfidf")
        assert "\n" not in str(raised.value)
        if name in ("loss", "gradient"):  # checkpoints know their model
            resolve(RunConfig.create(representation=name, checkpoints="tuned"), "tfidf")


def test_defaults_are_filled_in():
    assert resolve(RunConfig(), "tfidf") == {"representation": "tfidf", "dim": 256}
    assert resolve(RunConfig(dim=8), "tfidf") == {"representation": "tfidf", "dim": 8}
    assert resolve(RunConfig(model="m"), "hidden") == {"representation": "hidden"}
    assert resolve(config("encoder"), "tfidf") == {"representation": "encoder"}
    assert resolve(config("endpoint"), "tfidf") == {"representation": "endpoint"}
    plain = {"representation": "gradient", "dim": 4096, "optimizer": "sgd", "target_objective": "sft"}
    assert resolve(config("gradient"), "tfidf") == plain
    assert resolve(config("gradient", checkpoints="x"), "tfidf") == {**plain, "optimizer": "adam"}
    assert resolve(config("gradient", checkpoints="x", optimizer="sgd"), "tfidf") == plain
    margin = {**plain, "target_objective": "margin"}
    assert resolve(config("gradient", objective="margin"), "tfidf") == margin
    assert resolve(config("loss", metrics=" loss, ifd,"), "tfidf") == {"representation": "loss", "metrics": "loss,ifd"}
    # What is resolved stays so.
    for name in REPRESENTATIONS:
        once = config(name, **resolve(config(name), "tfidf"))
        assert config(name, **resolve(once, "tfidf")) == once


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("loss", {"metrics": "loss,foo"}, "--metrics foo does not exist; use some of loss, perplexity, entropy"),
        ("gradient", {"optimizer": "adam"}, "--optimizer adam needs --checkpoints, whose moments it takes"),
        ("gradient", {"objective": "dpo"}, "--objective dpo is for targets, as pools have no pairs; use --target-obj"),
        ("gradient", {"momentum": "centred"}, "--momentum applies to --optimizer adam only; leave it out"),
        ("gradient", {"less_compat": True}, "--less-compat applies to --optimizer adam only; leave it out"),
        ("gradient", {"beta": 0.5}, "--beta applies to --target-objective dpo only; leave it out"),
        (
            "loss",
            {"checkpoints": "tuned", "revision": "v1"},
            "--revision does not apply with --checkpoints, which know their model; leave it out",
        ),
    ],
)
def test_options_that_do_not_go_together(name, options, message):
    with pytest.raises(InputError) as raised:
        resolve(config(name, **options), "tfidf")
    assert str(raised.value).startswith(message)


def test_a_representation_that_is_none():
    with pytest.raises(InputError, match=r"^--representation bert does not exist; use one of tfidf, encoder, endpoint"):
        resolve(RunConfig(representation="bert"), "tfidf")


@pytest.mark.parametrize("option", ["requests_per_minute", "tokens_per_minute", "timeout", "price"])
def test_numbers_of_servers_are_numbers(option):
    for value in (-1, "nan", "inf"):
        with pytest.raises(InputError, match=f"^{option_name(option)} {value!r}: it should be "):
            config("endpoint", **{option: value})


def test_an_encoder_gets_what_was_asked(monkeypatch):
    asked = {}
    monkeypatch.setattr("tasksift.represent.encoder.Encoder", lambda model, **options: asked.update(options))
    wanted = {field: OTHER[field] for field in TAKES["encoder"].split() if field not in ("store_dtype", "model")}
    open_embedder(config("encoder", **wanted))
    assert asked == wanted


def test_a_server_gets_what_was_asked(monkeypatch):
    asked = {}
    monkeypatch.setattr("tasksift.represent.endpoint.Endpoint", lambda url, model, **options: asked.update(options))
    wanted = {
        field: OTHER[field] for field in TAKES["endpoint"].split() if field not in ("store_dtype", "model", "url")
    }
    open_embedder(config("endpoint", **wanted), print)
    assert asked.pop("price_per_million") == wanted.pop("price")
    assert asked.pop("say") is print
    assert asked == wanted


def test_a_key_that_is_not_there_is_named_before_anything_is_sent(monkeypatch):
    pytest.importorskip("openai")
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(InputError, match=r"^--api-key-env NO_SUCH_KEY: that environment variable holds no key"):
        open_embedder(config("endpoint", api_key_env="NO_SUCH_KEY"))


def test_features_do_not_know_what_targets_were_given():
    told = config(
        "encoder", **{field: OTHER[field] for field in ("target_prompt", "target_objective", "beta", "prompt")}
    )
    kept = told.feature_options()
    assert kept["prompt"] == OTHER["prompt"]
    assert set(kept) == set(FeatureConfig.model_fields) - {"target_prompt", "target_objective", "beta"}


class Plain:
    """What treats pool and targets alike and asks no server."""


def test_sides_and_usage():
    plain, lines = Plain(), []
    assert for_targets(plain) is plain
    say_usage(plain, lines.append)
    plain.for_targets = lambda: "another"
    plain.usage = 12
    assert for_targets(plain) == "another"
    say_usage(plain, lines.append)
    assert lines == ["12"]


def test_the_model_before_a_full_tune(tmp_path, monkeypatch):
    class Loaded:
        identity = {"digest": "d"}  # noqa: RUF012

    asked = []
    monkeypatch.setattr(
        "tasksift.represent.models.load_causal", lambda place, **options: asked.append((place, options)) or Loaded()
    )
    record = {"path": None, "name": "org/model", "revision": "abc", "digest": "d"}
    assert isinstance(module._base(record, None, {"device": "cpu"}), Loaded)
    assert isinstance(module._base({**record, "path": "here", "revision": None}, None, {}), Loaded)
    assert isinstance(module._base(record, "moved", {}), Loaded)
    assert asked == [
        ("org/model", {"revision": "abc", "device": "cpu"}),
        ("here", {"revision": None}),
        ("moved", {"revision": None}),
    ]
    with pytest.raises(InputError, match=r"^moved is not the model that was tuned; bring that model back"):
        module._base({**record, "digest": "e"}, "moved", {})


def test_a_length_that_the_model_cannot_take(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from small_models import make_gpt2, save

    options = {"representation": "hidden", "model": str(save(tmp_path / "lm", make_gpt2()))}
    with pytest.raises(InputError, match="--max-length 300: the model takes 256 tokens at most"):
        open_embedder(FeatureConfig(**options, max_length=300))
    assert open_embedder(FeatureConfig(**options)).identity["tokens"]["max_length"] == 256
