"""Representations: what is computed for an example before anything is selected.

A representation turns examples into rows of numbers whose distances mean something; selectors never ask which one it
was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.rows.example import Example

__all__ = ["REPRESENTATIONS", "Embedder", "Representation", "check_finite"]


class Embedder(Protocol):
    """What turns examples into rows of numbers.

    Attributes
    ----------
    dim : int
        Numbers of a row.
    identity : mapping
        As JSON, whatever decides about the numbers: equal identities, equal vectors.
    """

    @property
    def dim(self) -> int: ...  # noqa: D102

    @property
    def identity(self) -> Mapping[str, Any]: ...  # noqa: D102

    def transform(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """Return float32 (len(examples), dim); a row depends on its own example only."""
        ...


def check_finite(rows: NDArray[Any], examples: Sequence[Example], what: str) -> None:
    """Raise an `InputError` that names the first example whose row is not finite; `what` is or are so."""
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        where = examples[int(np.argmin(finite))].where
        raise InputError(f"{where}: {what} not finite; use --dtype float32 or another model, or remove the row")


@dataclass(frozen=True)
class Representation:
    """One line of the list of representations.

    Attributes
    ----------
    summary, cost : str
        One line each, for people.
    options : frozenset of str
        The fields of `tasksift.feature_config.FeatureConfig` that apply to it.
    needs : str or None
        The field without which it cannot work.
    kind : str
        ``direction``: rows are compared by their cosine; ``scalars``: every column is standardised on the pool first.
    """

    summary: str
    cost: str
    options: frozenset[str]
    needs: str | None = "model"
    kind: str = "direction"


_MODEL = frozenset({"model", "revision", "trust_remote_code", "device", "dtype", "max_length"})
_KEPT = frozenset({"store_dtype"})
_CAUSAL = _MODEL | {"score"}
_GRADIENT = frozenset(
    {"dim", "checkpoints", "params", "objective", "target_objective", "beta", "optimizer", "momentum", "less_compat"}
    | {"projection", "combine"}
)
_SERVER = frozenset(
    {"model", "dim", "url", "api_key_env", "concurrency", "requests_per_minute", "tokens_per_minute"}
    | {"max_characters", "timeout", "price"}
)

REPRESENTATIONS: dict[str, Representation] = {
    "tfidf": Representation(
        "TF-IDF of words and word pairs, reduced by a truncated SVD fitted on a sample of the pool; no download",
        "about 10,000 rows a second on one core",
        frozenset({"dim"}),
        None,
    ),
    "encoder": Representation(
        "a sentence encoder: sentence-transformers or model2vec",
        "one forward pass of a small model",
        _MODEL | _KEPT | {"prompt", "target_prompt"},
    ),
    "endpoint": Representation(
        "embeddings from an OpenAI-compatible server",
        "what the server takes, in time and money",
        _SERVER | _KEPT,
        "url",
    ),
    "hidden": Representation(
        "RDS+: the last hidden states of a language model, later tokens weighing more",
        "one forward pass without the output layer",
        _MODEL | _KEPT | {"weighting"},
    ),
    "loss": Representation(
        "loss, perplexity, entropy, EL2N, IFD and forgetting of a language model, standardised",
        "one forward pass, two with ifd, for each checkpoint",
        _CAUSAL | {"metrics", "checkpoints", "stride"},
        kind="scalars",
    ),
    "gradient": Representation(
        "gradients of a language model's loss, margin or preference, projected (LESS, ROSE, TRAK)",
        "one forward and backward pass for each checkpoint",
        _CAUSAL | _KEPT | _GRADIENT,
    ),
    "sketch": Representation(
        "a sketch of the output layer's gradient, without a backward pass",
        "one forward pass",
        _CAUSAL | _KEPT | {"sketch", "dim"},
    ),
}
"""The representations that can be asked for by name. Vectors of your own need no name."""
