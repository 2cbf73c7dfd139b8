"""From a configuration to what embeds pool and targets; what does not fit is refused before anything is loaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from tasksift.errors import InputError
from tasksift.feature_config import FeatureConfig
from tasksift.represent import REPRESENTATIONS, Embedder

TFIDF_DIM, GRADIENT_DIM = 256, 4096
"""Dimensions unless asked otherwise."""

ALWAYS = frozenset({"representation", "text_template", "source_column"})


def resolve(config: FeatureConfig, default: str) -> dict[str, Any]:
    """Return the fields of a configuration that its representation decides, defaults filled in.

    Raises
    ------
    InputError
        If there is no such representation, it lacks what it needs, or an option is not for it.
    """
    name = config.representation or default
    if name not in REPRESENTATIONS:
        raise InputError(f"--representation {name} does not exist; use one of {', '.join(REPRESENTATIONS)}")
    about = REPRESENTATIONS[name]
    for field, info in FeatureConfig.model_fields.items():
        if field not in ALWAYS | about.options and getattr(config, field) != info.default:
            option = "--" + field.replace("_", "-")
            raise InputError(f"{option} does not apply to --representation {name}; leave it out")
    for need in filter(None, (about.needs, "model" if name == "endpoint" else None)):
        if getattr(config, need) is None and not (need == "model" and config.checkpoints):
            raise InputError(f"--representation {name} needs --{need}: {_description(need)}")
    found: dict[str, Any] = {"representation": name}
    if name == "tfidf":
        found["dim"] = config.dim or TFIDF_DIM
    if name == "gradient":
        found["dim"] = config.dim or GRADIENT_DIM
        found["optimizer"] = config.optimizer or ("adam" if config.checkpoints else "sgd")
        found["target_objective"] = config.target_objective or config.objective
        if found["optimizer"] == "adam" and not config.checkpoints:
            raise InputError("--optimizer adam needs --checkpoints, whose moments it takes; run tasksift tune")
        if config.objective == "dpo":
            raise InputError("--objective dpo is for targets, as pools have no pairs; use --target-objective dpo")
    return found


def open_embedder(config: FeatureConfig, say: Callable[[str], None] = lambda line: None) -> Embedder:
    """Load what embeds the rows of a pool; `config` is resolved. Not for tfidf, which is fitted to the pool.

    Raises
    ------
    InputError
        If a model cannot be loaded, a package is missing or a server does not answer.
    """
    if config.representation == "encoder":
        from tasksift.represent.encoder import Encoder

        return Encoder(
            config.model, revision=config.revision, device=config.device, dtype=config.dtype,
            trust_remote_code=config.trust_remote_code, max_length=config.max_length,
        )  # fmt: skip
    if config.representation == "endpoint":
        from tasksift.represent.endpoint import Endpoint

        if config.api_key_env is not None and not os.environ.get(config.api_key_env):
            raise InputError(f"--api-key-env {config.api_key_env}: that environment variable is not set; export it")
        return Endpoint(
            str(config.url), str(config.model), api_key_env=config.api_key_env, concurrency=config.concurrency,
            requests_per_minute=config.requests_per_minute, price_per_million=config.price, say=say,
        )  # fmt: skip
    return _of_language_model(config)


def for_targets(embedder: Embedder) -> Embedder:
    """Return what embeds the targets: the same, but where a method treats the two sides differently."""
    side = getattr(embedder, "for_targets", None)
    return embedder if side is None else side()


def _of_language_model(config: FeatureConfig) -> Embedder:
    from tasksift.represent.models import CausalModel, load_causal, longest_input

    options: dict[str, Any] = {"device": config.device, "dtype": config.dtype}
    options["trust_remote_code"] = config.trust_remote_code

    def load(name: str) -> CausalModel:
        return load_causal(name, revision=config.revision, **options)

    tuned = None
    if config.checkpoints is not None:
        from tasksift.represent.checkpoints import load_tuned, read_tuned

        tuned = read_tuned(config.checkpoints)
        causal = load_tuned(tuned, base=config.model, **options)
    else:
        assert config.model is not None
        causal = load(config.model)
    longest = config.max_length or longest_input(causal.model.config)
    if config.representation == "hidden":
        from tasksift.represent.hidden import HiddenStates

        return HiddenStates(causal, max_length=longest, weighting=config.weighting)
    if config.representation == "sketch":
        from tasksift.represent.sketch import HeadSketch

        return HeadSketch(causal, sketch=config.sketch, max_length=longest, score=config.score)
    if config.representation == "loss":
        from tasksift.represent.checkpoints import apply
        from tasksift.represent.loss import Losses

        checkpoints = tuned.checkpoints if tuned else ()
        return Losses(
            causal,
            metrics=tuple(name.strip() for name in config.metrics.split(",") if name.strip()),
            max_length=longest,
            score=config.score,
            checkpoints=[partial(apply, causal.model, each) for each in checkpoints],
            checkpoints_identity=[each.digest for each in checkpoints] or None,
        )
    from tasksift.represent.gradient import Gradients

    reference = None
    if tuned is not None and not tuned.is_adapter:
        # Every parameter was trained, so what they were before is loaded when it is asked for.
        reference = partial(load, config.model or tuned.record["model"]["path"] or tuned.record["model"]["name"])
    return Gradients(
        causal, checkpoints=tuned.checkpoints if tuned else (), params=config.params, objective=config.objective,
        target_objective=config.target_objective, optimizer=config.optimizer or "sgd", momentum=config.momentum,
        less_compat=config.less_compat, projection=config.projection, dim=int(config.dim or 0), combine=config.combine,
        max_length=longest, score=config.score, beta=config.beta, reference=reference,
    )  # fmt: skip


def _description(field: str) -> str:
    return " ".join((FeatureConfig.model_fields[field].description or "").split())
