"""What a method costs before it runs: floating-point operations and bytes, from sizes alone.

Operations of language models are counted as 2 a parameter and token for a forward pass and as many for each of the two
halves of a backward pass; a frozen base with adapters needs no gradients of its own weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log2

from tasksift.presets import Preset, get_preset
from tasksift.selectors import SELECTORS
from tasksift.selectors.contract import Size
from tasksift.warm_up import SHARE

MILLION = 1_000_000

ENCODER_PARAMETERS = 22.7e6
"""Of a small sentence encoder."""

VOCABULARY = 50_000
"""Of a language model, where only the output layer's width matters."""

WARM_UP_EPOCHS = 4
"""Of the part of the pool that LESS trains on before; `tasksift.tune.Settings` has as many."""

DIMS = {"tfidf": 256, "encoder": 384, "endpoint": 1536, "hidden": 2048, "loss": 4, "sketch": 8192, "gradient": 4096}
"""Dimensions that representations have by default, or where the model decides, often; of gradients at a checkpoint."""


@dataclass(frozen=True)
class Cost:
    """What a method takes.

    Attributes
    ----------
    flops : float
        Floating-point operations.
    bytes : float
        Of the features that are kept, in float32.
    """

    flops: float
    bytes: float


def estimate(preset: str | Preset, size: Size, *, encoder_parameters: float = ENCODER_PARAMETERS) -> Cost:
    """Return what a preset costs for a size: its representation, the warm-up that this needs, and its selector.

    Parameters
    ----------
    preset : str or Preset
    size : Size
        ``dim`` is that of the features as they are kept, all checkpoints together; see `typical`.
    encoder_parameters : float
        Of the encoder, where the representation is one; ``size.parameters`` are those of the language model.

    Notes
    -----
    What a server embeds (``endpoint``) is not counted, nor is what a representation is fitted on.
    """
    method = get_preset(preset) if isinstance(preset, str) else preset
    selector = SELECTORS[method.selector]
    flops = warm_up(method, size) + selector.flops(size)
    kept = 0.0
    if method.representation is not None and selector.needs_features:
        flops += represent(method, size, encoder_parameters)
        kept += size.dim
    if method.scores is not None:
        metrics = method.scores.split(",")
        flops += _losses(size, metrics)
        kept += len(metrics)
    return Cost(flops, 4.0 * kept * size.rows)


def represent(method: Preset, size: Size, encoder_parameters: float = ENCODER_PARAMETERS) -> float:
    """Operations of computing the features of every row."""
    tokens = float(size.rows * size.tokens)
    forward = 2 * size.parameters * tokens
    if method.representation == "tfidf":  # a word and a pair for each token, times the SVD's matrix
        return 2 * 2 * size.dim * tokens
    if method.representation == "encoder":
        return 2 * encoder_parameters * tokens
    if method.representation == "hidden":
        return forward
    if method.representation == "loss":
        return _losses(size, str(method.options.get("metrics", "")).split(","))
    if method.representation == "sketch":  # a pass over the vocabulary, and three FFTs a token
        return forward + (2 * VOCABULARY + 3 * 2.5 * size.dim * log2(max(2, size.dim))) * tokens
    if method.representation == "gradient":
        dense = method.options.get("projection") == "rademacher"
        width = size.dim / size.checkpoints if method.options.get("combine") != "mean" else size.dim
        projection = 2 * size.trained * (width if dense else 1.0) * size.rows
        return size.checkpoints * (2 * forward + 6 * size.trained * tokens + projection)
    return 0.0


def warm_up(method: Preset, size: Size) -> float:
    """Operations of the training that a method begins with."""
    if not method.warm_up:
        return 0.0
    return 6 * size.parameters * size.rows * size.tokens * SHARE / 100 * WARM_UP_EPOCHS


def _losses(size: Size, metrics: list[str]) -> float:
    """Forward passes of the metrics of the representation loss."""
    passes = size.checkpoints if "forgetting" in metrics else 1
    return 2 * size.parameters * size.rows * size.tokens * (passes + ("ifd" in metrics))


def typical(preset: str | Preset, size: Size | None = None) -> Size:
    """Return a size, by default that of a million rows, with the dimensions that the preset's features have."""
    method = get_preset(preset) if isinstance(preset, str) else preset
    size = replace(size or Size(), rows=MILLION)
    dim = int(method.options.get("dim", DIMS.get(method.representation or "", 0)))
    if method.representation == "gradient" and method.options.get("combine") != "mean":
        dim *= size.checkpoints
    return replace(size, dim=dim)


def describe(preset: str | Preset, size: Size | None = None) -> str:
    """Say in one line what a preset costs for a million rows; `typical` unless a size is given."""
    method = get_preset(preset) if isinstance(preset, str) else preset
    size = replace(size, rows=MILLION) if size else typical(method)
    cost = estimate(method, size)
    if not cost.flops and not cost.bytes:
        return "nothing to speak of"
    uses = [f"{size.tokens} tokens each"] if method.representation or method.scores else []
    if "target" in SELECTORS[method.selector].needs:
        uses.append(f"{size.targets} targets")
    if method.scores or method.representation in ("hidden", "loss", "sketch", "gradient"):
        uses.append(f"a model of {size.parameters:.0e} parameters".replace("e+0", "e").replace("e+", "e"))
    kept = f" and {cost.bytes / 1e9:.3g} GB" if cost.bytes else ""
    return f"{cost.flops:.1e} FLOPs{kept} per million examples ({', '.join(uses)})".replace(" ()", "")
