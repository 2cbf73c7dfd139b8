"""Presets: a paper's method under its name, as a representation, a selector, its parameters and its citation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tasksift.errors import InputError


@dataclass(frozen=True)
class Preset:
    """One published method.

    Attributes
    ----------
    selector : str
        Name in `tasksift.selectors.SELECTORS`.
    representation : str or None
        What it looks at by default; None when it looks at nothing.
    summary, needs, cost, paper : str
        One line each, for people.
    parameters : mapping
        What differs from the selector's defaults.
    scores : str or None
        Numbers of each row that it looks at besides: metrics of the representation ``loss``, by commas. The user may
        name a column of the pool instead.
    options : mapping
        Options of the representation that differ from its defaults.
    """

    selector: str
    representation: str | None
    summary: str
    needs: str
    cost: str
    paper: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    scores: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the preset as plain data."""
        return {**asdict(self), "parameters": dict(self.parameters), "options": dict(self.options)}


_TSDS = (
    "Liu, Karbasi, Rekatsinas. TSDS: Data Selection for Task-Specific Model Finetuning. NeurIPS 2024. arXiv 2410.11303"
)
_ROUND_ROBIN = (
    "Ivison, Zhang, Brahman, Koh, Dasigi. Large-Scale Data Selection for Instruction Tuning. 2025. arXiv 2503.01807"
)
_EMBED = "text, or vectors of your own"
_SEARCH = "one pass over the vectors (2·targets·rows·dims operations)"

PRESETS: dict[str, Preset] = {
    "tsds": Preset(
        "tsds",
        "tfidf",
        "optimal transport from the targets, spread out, near-duplicates share one place (KNN-KDE)",
        _EMBED,
        f"{_SEARCH}, and one more for the densities of the rows reached",
        _TSDS,
    ),
    "tsds-uniform": Preset(
        "tsds",
        "tfidf",
        "the same without densities: every distinct row counts alike (KNN-Uniform)",
        _EMBED,
        _SEARCH,
        _TSDS,
        {"sigma": 0.0},
    ),
    "nearest": Preset("nearest", "tfidf", "the rows most similar to any target", _EMBED, _SEARCH, "baseline"),
    "nearest-mean": Preset(
        "nearest",
        "tfidf",
        "the rows with the largest mean similarity to all targets",
        _EMBED,
        "one pass over the vectors (2·rows·dims operations)",
        "baseline",
        {"aggregate": "mean"},
    ),
    "round-robin": Preset(
        "round-robin",
        "tfidf",
        "targets take turns, each picking its nearest free row (the paper's Algorithm 1)",
        _EMBED,
        _SEARCH,
        _ROUND_ROBIN,
    ),
    "round-robin-skip": Preset(
        "round-robin",
        "tfidf",
        "the same, but a target whose row is taken loses its turn (the released code)",
        _EMBED,
        _SEARCH,
        _ROUND_ROBIN,
        {"tie": "skip"},
    ),
    "random": Preset("random", None, "every row with the same chance", "nothing", "none", "baseline"),
    "random-balanced": Preset(
        "random",
        None,
        "every source with the same chance",
        "the source of each row",
        "none",
        "baseline",
        {"balanced": True},
    ),
}


def get_preset(name: str) -> Preset:
    """Return a preset by name, or say which exist."""
    if name not in PRESETS:
        raise InputError(f"--preset {name} does not exist; use one of {', '.join(PRESETS)}")
    return PRESETS[name]
