"""The arms of a comparison: labelled methods, each a preset with options of its own."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.evaluate.names import BALANCED, FULL, RANDOM, ZERO_SHOT
from tasksift.presets import Preset, get_preset
from tasksift.represent import REPRESENTATIONS
from tasksift.request import settle
from tasksift.scores import scored
from tasksift.selectors import SELECTORS
from tasksift.warm_up import warms_up

_OF_LANGUAGE_MODELS = ("hidden", "loss", "gradient", "sketch")

NOT_OF_AN_ARM = frozenset(
    {
        "pool", "target", "budget", "seed", "task_column", "task_weights", "test", "decontaminate", "features",
        "scores", "text_template", "vectors", "target_vectors",
    }
)  # fmt: skip
"""Fields of a configuration that the comparison sets, alike for every arm."""


@dataclass(frozen=True)
class Arm:
    """One method of a comparison.

    Attributes
    ----------
    label : str
        What tables call it.
    options : mapping
        Fields of `RunConfig`, the preset among them.
    features : str or None
        A folder of features that is there already.
    """

    label: str
    options: Mapping[str, Any] = field(default_factory=dict)
    features: str | None = None

    @property
    def name(self) -> str:
        """The name of the preset."""
        return str(self.options["preset"])

    @property
    def preset(self) -> Preset:
        """The preset."""
        return get_preset(self.name)

    @property
    def looks_at_targets(self) -> bool:
        """Whether the selection depends on the task."""
        return "target" in SELECTORS[self.preset.selector].needs

    @property
    def has_features(self) -> bool:
        """Whether vectors or numbers of the pool's rows are computed for it."""
        return self.preset.representation is not None or self.preset.scores is not None

    def config(self, base: Mapping[str, Any], features: Path | None) -> RunConfig:
        """Return the settled configuration of a selection; `features` is where it keeps what it computes."""
        values = {**base, **self.options}
        place = self.features or (str(features) if features is not None and self.has_features else None)
        return settle(RunConfig.create(**values, features=place))


def parse_arms(
    presets: Sequence[str], more: Sequence[str] = (), *, model: Mapping[str, Any], encoder: Mapping[str, Any]
) -> list[Arm]:
    """Read the arms that a user names, without the baselines.

    Parameters
    ----------
    presets : sequence of str
        ``PRESET``, ``PRESET:REPRESENTATION`` or ``PRESET@FOLDER``, a folder of features.
    more : sequence of str
        ``LABEL: preset=NAME representation=NAME ...``: any options of `select`; ``set.folds=5`` is a parameter.
    model, encoder : mapping
        Fields of `RunConfig` for representations of a language model and of a sentence encoder: ``model``, and how it
        runs. An arm's own options win.

    Raises
    ------
    InputError
        If an arm is no method, or two have one label.
    """
    arms = [_plain(name, model, encoder) for name in presets if name]
    arms += [_spelled(text, model, encoder) for text in more]
    arms = [arm for arm in arms if arm.label not in (RANDOM, BALANCED)]  # they are in every comparison
    labels = [arm.label for arm in arms]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"two arms are called {label!r}; give one of them another label by --arm 'LABEL: ...'")
        if label in (ZERO_SHOT, FULL):
            raise InputError(f"{label!r} is the name of a baseline, which every comparison has; choose another label")
    return arms


def random_arm(label: str) -> Arm:
    """One of the baselines that are selections."""
    return Arm(label, {"preset": label})


def _plain(text: str, model: Mapping[str, Any], encoder: Mapping[str, Any]) -> Arm:
    name, _, folder = text.partition("@")
    preset, _, representation = name.partition(":")
    get_preset(preset)
    options: dict[str, Any] = {"preset": preset}
    if representation:
        if representation not in REPRESENTATIONS:
            raise InputError(
                f"--presets {text}: there is no representation {representation}; use one of "
                f"{', '.join(REPRESENTATIONS)}"
            )
        options["representation"] = representation
    if folder:
        return Arm(text, options, folder)
    return Arm(text, _with_model(options, model, encoder))


def _spelled(text: str, model: Mapping[str, Any], encoder: Mapping[str, Any]) -> Arm:
    label, sign, rest = text.partition(":")
    label = label.strip()
    if not (label and sign):
        raise InputError(f"--arm {text!r}: write it as 'LABEL: preset=NAME representation=NAME ...'")
    options: dict[str, Any] = {}
    parameters: dict[str, str] = {}
    try:
        words = shlex.split(rest)
    except ValueError:
        raise InputError(f"--arm {label}: a quotation is not closed in {rest.strip()!r}") from None
    for word in words:
        name, sign, value = word.partition("=")
        name = name.strip().replace("-", "_")
        if not (name and sign):
            raise InputError(f"--arm {label}: {word!r} is not of the form NAME=VALUE")
        if name.startswith("set."):
            parameters[name.removeprefix("set.")] = value
        elif name in NOT_OF_AN_ARM - {"features"}:
            raise InputError(f"--arm {label}: {name} is the same for every arm; give it to the comparison")
        else:
            options[name] = value
    if "preset" not in options:
        raise InputError(f"--arm {label}: it names no preset, such as preset=tsds")
    get_preset(options["preset"])
    if parameters:
        options["parameters"] = parameters
    features = options.pop("features", None)
    RunConfig.create(**options)
    return Arm(label, _with_model(options, model, encoder) if features is None else options, features)


def _with_model(options: dict[str, Any], model: Mapping[str, Any], encoder: Mapping[str, Any]) -> dict[str, Any]:
    """Add the model that the representation wants, unless the arm names its own."""
    preset = get_preset(options["preset"])
    representation = options.get("representation") or preset.representation
    if representation == "encoder":
        return {**encoder, **options}
    if representation in _OF_LANGUAGE_MODELS:
        own = {name: value for name, value in model.items() if name != "model" or "checkpoints" not in options}
        return {**own, **options}
    if preset.scores is not None and "score_column" not in options:
        of_scores = {("score_model" if name == "model" else name): value for name, value in model.items()}
        return {**of_scores, **options}
    return options


def features_name(config: RunConfig) -> str:
    """Return a name for the folder of what a settled configuration computes of the pool: equal options, equal name."""
    parts: dict[str, Any] = {**config.feature_options(), "warms_up": warms_up(config), "scored": scored(config)}
    for name in ("revision", "store_dtype"):
        parts[name] = getattr(config, name)
    if scored(config):
        parts["score_model"] = config.score_model
    digest = blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=6).hexdigest()
    return f"{config.representation or 'scores'}-{digest}"


def as_method(arm: Arm, config: RunConfig) -> Preset:
    """Return the preset as it is used here: its representation and the options that decide about its cost."""
    options = {**arm.preset.options, **{name: getattr(config, name) for name in ("combine", "projection", "metrics")}}
    return replace(arm.preset, representation=config.representation, options=options)
