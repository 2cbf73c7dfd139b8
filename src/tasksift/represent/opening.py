"""From a configuration to what embeds pool and targets; what does not fit is refused before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from math import isqrt
from typing import TYPE_CHECKING, Any

from tasksift.checked import option_name
from tasksift.config import RunConfig
from tasksift.engines.current import current
from tasksift.errors import InputError
from tasksift.feature_config import FeatureConfig
from tasksift.represent import REPRESENTATIONS, Embedder

if TYPE_CHECKING:
    from tasksift.represent.models import CausalModel

TFIDF_DIM, GRADIENT_DIM, SKETCH_DIM = 256, 4096, 8192
"""Dimensions unless asked otherwise."""

READING = frozenset({"text_template", "source_column"})
"""How rows are read, whatever is computed for them."""

ALWAYS = READING | {"representation"}


def resolve(config: FeatureConfig, default: str, more: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return the fields of a configuration that its representation decides, defaults filled in.

    Parameters
    ----------
    default : str
        The representation where the configuration names none.
    more : frozenset of str
        Fields that something else of the run takes.

    Raises
    ------
    InputError
        If there is no such representation, it lacks what it needs, or an option is not for it.
    """
    name = config.representation or default
    if name not in REPRESENTATIONS:
        raise InputError(f"--representation {name} does not exist; use one of {', '.join(REPRESENTATIONS)}")
    about = REPRESENTATIONS[name]
    for field in FeatureConfig.model_fields:
        if field not in ALWAYS | about.options | more and _given(config, field):
            raise InputError(f"{option_name(field)} does not apply to --representation {name}; leave it out")
    for need in filter(None, (about.needs, "model" if name == "endpoint" else None)):
        if getattr(config, need) is None and not (need == "model" and config.checkpoints):
            raise InputError(f"--representation {name} needs {option_name(need)}: {RunConfig.help_of(need)}")
    if config.checkpoints is not None and config.revision is not None:
        raise InputError("--revision does not apply with --checkpoints, which know their model; leave it out")
    found: dict[str, Any] = {"representation": name}
    if name == "tfidf":
        found["dim"] = config.dim or TFIDF_DIM
    if name == "sketch":
        found["dim"] = config.dim or SKETCH_DIM
    if name == "loss":
        found["metrics"] = ",".join(_metrics(config))
    if name == "gradient":
        found |= _gradient_fields(config)
    return found


def _given(config: FeatureConfig, field: str) -> bool:
    return bool(getattr(config, field) != FeatureConfig.model_fields[field].default)


def _metrics(config: FeatureConfig) -> tuple[str, ...]:
    """The metrics of `loss`; what does not fit is refused before the model is loaded."""
    from tasksift.represent.loss import check_metrics

    names = tuple(name.strip() for name in config.metrics.split(",") if name.strip())
    check_metrics(names, score=config.score, checkpoints=None if config.checkpoints else 0)
    return names


def _gradient_fields(config: FeatureConfig) -> dict[str, Any]:
    optimizer = config.optimizer or ("adam" if config.checkpoints else "sgd")
    target_objective = config.target_objective or config.objective
    if optimizer == "adam" and not config.checkpoints:
        raise InputError("--optimizer adam needs --checkpoints, whose moments it takes; run tasksift tune")
    if config.objective == "dpo":
        raise InputError("--objective dpo is for targets, as pools have no pairs; use --target-objective dpo")
    for field, used, where in (
        ("momentum", optimizer == "adam", "--optimizer adam"),
        ("less_compat", optimizer == "adam", "--optimizer adam"),
        ("beta", target_objective == "dpo", "--target-objective dpo"),
    ):
        if _given(config, field) and not used:
            raise InputError(f"{option_name(field)} applies to {where} only; leave it out")
    if config.store_dtype == "float16":
        for option, asked in (("--momentum centred", config.momentum), ("--combine separate", config.combine)):
            if option.endswith(asked):
                raise InputError(
                    f"--store-dtype float16 keeps directions only, and {option} needs lengths; use float32"
                )
    return {"dim": config.dim or GRADIENT_DIM, "optimizer": optimizer, "target_objective": target_objective}


def open_embedder(config: FeatureConfig, say: Callable[[str], None] = lambda line: None) -> Embedder:
    """Load what embeds the rows of a pool; `config` is resolved. Not for tfidf, which is fitted to the pool.

    Raises
    ------
    InputError
        If a model cannot be loaded, a package is missing or a server does not answer.
    """
    config = _beside_workers(config)
    if config.representation == "encoder":
        from tasksift.represent.encoder import Encoder

        return Encoder(
            config.model, revision=config.revision, device=config.device, dtype=config.dtype,
            trust_remote_code=config.trust_remote_code, max_length=config.max_length, prompt=config.prompt,
            target_prompt=config.target_prompt,
        )  # fmt: skip
    if config.representation == "endpoint":
        from tasksift.represent.endpoint import Endpoint

        return Endpoint(
            str(config.url), str(config.model), api_key_env=config.api_key_env, dim=config.dim,
            max_characters=config.max_characters, concurrency=config.concurrency,
            requests_per_minute=config.requests_per_minute, tokens_per_minute=config.tokens_per_minute,
            price_per_million=config.price, timeout=config.timeout, say=say,
        )  # fmt: skip
    return _of_language_model(config)


def _beside_workers(config: FeatureConfig) -> FeatureConfig:
    """On an engine the GPUs are the workers'; where this machine has none, it embeds targets on the CPU."""
    if current() is None or not config.device.startswith("cuda"):
        return config
    from tasksift.represent.models import need_models

    torch, _ = need_models("--device")
    return config if torch.cuda.is_available() else config.model_copy(update={"device": "cpu"})


def for_targets(embedder: Embedder) -> Embedder:
    """Return what embeds the targets: the same, but where a method treats the two sides differently."""
    side = getattr(embedder, "for_targets", None)
    return embedder if side is None else side()


def say_usage(embedder: Embedder, say: Callable[[str], None]) -> None:
    """Say what a run has asked of a server, where there is one."""
    usage = getattr(embedder, "usage", None)
    if usage is not None:
        say(str(usage))


def _of_language_model(config: FeatureConfig) -> Embedder:
    from tasksift.represent.models import load_causal, longest_input

    options: dict[str, Any] = {"device": config.device, "dtype": config.dtype}
    options["trust_remote_code"] = config.trust_remote_code

    tuned = None
    if config.checkpoints is not None:
        from tasksift.represent.checkpoints import load_tuned, read_all

        tuned = read_all(config.checkpoints)
        causal = load_tuned(tuned, base=config.model, **options)
    else:
        assert config.model is not None
        causal = load_causal(config.model, revision=config.revision, **options)
    positions = getattr(causal.model.config, "max_position_embeddings", None)
    if positions and config.max_length and config.max_length > positions:
        raise InputError(f"--max-length {config.max_length}: the model takes {positions} tokens at most; give fewer")
    longest = config.max_length or longest_input(causal.model.config)
    if config.representation == "hidden":
        from tasksift.represent.hidden import HiddenStates

        return HiddenStates(causal, max_length=longest, weighting=config.weighting)
    if config.representation == "sketch":
        from tasksift.represent.sketch import HeadSketch

        dim = int(config.dim or 0)
        side = max(1, isqrt(dim // 2))  # the paper's 64 for its 8192
        sides = {"hidden_dims": side, "vocabulary_dims": dim // side}
        return HeadSketch(causal, sketch=config.sketch, max_length=longest, score=config.score, **sides)
    if config.representation == "loss":
        from tasksift.represent.checkpoints import apply
        from tasksift.represent.loss import Losses

        checkpoints = tuned.checkpoints if tuned else ()
        return Losses(
            causal,
            metrics=_metrics(config),
            max_length=longest,
            score=config.score,
            stride=config.stride,
            checkpoints=[partial(apply, causal.model, each) for each in checkpoints],
            checkpoints_identity=[each.digest for each in checkpoints] or None,
        )
    from tasksift.represent.gradient import Gradients

    reference: Callable[[], CausalModel] | None = None
    if tuned is not None and not tuned.is_adapter:
        # Every parameter was trained, so what they were before is loaded, once, when it is asked for.
        reference = cache(partial(_base, tuned.record["model"], config.model, options))
    return Gradients(
        causal, checkpoints=tuned.checkpoints if tuned else (), params=config.params, objective=config.objective,
        target_objective=config.target_objective, optimizer=config.optimizer or "sgd", momentum=config.momentum,
        less_compat=config.less_compat, projection=config.projection, dim=int(config.dim or 0), combine=config.combine,
        max_length=longest, score=config.score, beta=config.beta, reference=reference,
    )  # fmt: skip


def _base(record: dict[str, Any], moved: str | None, options: dict[str, Any]) -> CausalModel:
    """Load the model that a tune began with, where it was or where it lies now."""
    from tasksift.represent.models import load_causal

    place, revision = (moved, None) if moved else (record["path"] or record["name"], record["revision"])
    base = load_causal(place, revision=revision, **options)
    if base.identity["digest"] != record["digest"]:
        raise InputError(f"{place} is not the model that was tuned; bring that model back, or tune again")
    return base
