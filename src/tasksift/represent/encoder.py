"""Vectors of texts from an encoder: sentence-transformers, model2vec, or anything in Python with `.encode`."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.represent.encoder_models import is_static, load_static, load_transformer, wrap_object
from tasksift.represent.forward import by_length
from tasksift.represent.models import Precision, find_model
from tasksift.rows.example import Example

BATCH_TOKENS = 16_384
"""Tokens of a batch at most, padding included, so that long texts do not fill the memory."""


class Encoder:
    """Embeds the text of an example, prompt and response, with a model that was trained to embed texts.

    Parameters
    ----------
    model : str, Path or object
        A folder or hub name of a sentence-transformers or a model2vec model; which of the two is read from the files.
        Or an object whose ``encode(list of str)`` returns (texts, dim): an array, a tensor or lists.
    name : str, optional
        For an object: what stands for it in the identity; by default its class and, if it has one, its ``identity``
        or ``digest``. Whoever changes such a model must change this name, or old features pass for new ones.
    revision : str, optional
        Branch, tag or commit of a hub model.
    device : str
        ``cpu``, ``cuda``, ``cuda:1``; static (model2vec) models and objects stay where they are.
    dtype : str
        What a sentence-transformers model is held and multiplied in; the rows are float32 in any case.
    trust_remote_code : bool
        Whether code that comes with the model may run.
    max_length : int, optional
        Tokens of a text that are read, from its beginning; by default the model's own limit.
    prompt : str, optional
        Set before every text, like ``"passage: "``; by default the model's own default, ``""`` for none.
    target_prompt : str, optional
        The same for targets, see `for_targets`; by default `prompt`.
    batch_size : int
        Texts of a batch at most; fewer where they are long (`BATCH_TOKENS`).

    Attributes
    ----------
    dim, identity
        As of an `Embedder`.

    Raises
    ------
    InputError
        If there is no such model, it has pickled weights only, it wants to run code, or an option does not fit it.

    Notes
    -----
    Rows are the model's own, scaled or not as it leaves them. In float32 a row depends on the other rows by about
    1e-7 (padding); in half precision by its rounding. Batches are cut from the texts sorted by tokens:
    sentence-transformers sorts by characters, which pads a pool of many languages by 83 % in batches of 32, not by 7 %.
    """

    def __init__(
        self,
        model: str | Path | object,
        *,
        name: str | None = None,
        revision: str | None = None,
        device: str = "cpu",
        dtype: Precision = "float32",
        trust_remote_code: bool = False,
        max_length: int | None = None,
        prompt: str | None = None,
        target_prompt: str | None = None,
        batch_size: int = 64,
    ) -> None:
        if batch_size < 1 or (max_length is not None and max_length < 1):
            raise InputError(f"an encoder needs batches and texts of at least 1: {batch_size=}, {max_length=}")
        if isinstance(model, str | Path):
            if name is not None:
                raise InputError(f"name={name!r} is for objects; the name of --model {model} is found by itself")
            folder, found = find_model(model, revision, code=trust_remote_code)
            self._what = f"--model {model}"
            if is_static(folder):
                self._loaded = load_static(self._what, folder, dtype, max_length)
            else:
                self._loaded = load_transformer(self._what, folder, device, dtype, trust_remote_code, max_length)
        else:
            if revision is not None or max_length is not None:
                raise InputError("revision and max_length are for models by name; set them in your object")
            self._what = name or type(model).__name__
            found = {"name": self._what, "revision": None, "digest": _own_digest(model) if name is None else None}
            self._loaded = wrap_object(self._what, model)
        self._prompt = self._loaded.prompt if prompt is None else prompt
        self._target_prompt = self._prompt if target_prompt is None else target_prompt
        self._batch_size = batch_size
        self.dim = 0
        self.dim = self._rows(["a text"], ["the first text"]).shape[1]
        self.identity: dict[str, Any] = {"model": found, **self._loaded.facts, "prompt": self._prompt or None}

    def for_targets(self) -> Encoder:
        """Return the same for targets, whose prompt may be another; the pool's identity knows nothing of it."""
        other = copy.copy(self)
        other._prompt = self._target_prompt
        other.identity = {**self.identity, "prompt": other._prompt or None}
        return other

    def transform(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """Return float32 (len(examples), dim).

        Raises
        ------
        InputError
            If the model gives anything but one finite row of `dim` numbers per text.
        """
        texts = [example.text for example in examples]
        out = np.empty((len(texts), self.dim), dtype=np.float32)
        lengths = self._loaded.lengths
        pieces: Iterable[NDArray[np.int64]] = [np.arange(len(texts))] if texts else []
        if lengths:
            pieces = by_length(np.array(lengths(texts), dtype=np.int64), BATCH_TOKENS, self._batch_size)
        for rows in pieces:
            out[rows] = self._rows([texts[k] for k in rows], [examples[k].where for k in rows])
        return out

    def _rows(self, texts: list[str], where: list[str]) -> NDArray[np.float32]:
        got = self._loaded.encode(texts, self._prompt)
        if hasattr(got, "detach"):
            got = got.detach().float().cpu()
        try:
            with np.errstate(over="ignore"):
                rows = np.asarray(got, dtype=np.float32)
        except (TypeError, ValueError):
            raise InputError(f"{self._what}: .encode gives no table of numbers; it should be (texts, dim)") from None
        if rows.ndim != 2 or len(rows) != len(texts) or not rows.shape[1]:
            raise InputError(f"{self._what}: .encode gives shape {rows.shape} for {len(texts)} texts, not (texts, dim)")
        if self.dim and rows.shape[1] != self.dim:
            raise InputError(f"{self._what}: .encode gives {rows.shape[1]} numbers a row, and gave {self.dim} before")
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            bad = where[int(np.argmin(finite))]
            raise InputError(f"{self._what}: the row of {bad} is not finite; use float32, or remove the example")
        return rows


def _own_digest(model: Any) -> Any:
    own = getattr(model, "identity", None) or getattr(model, "digest", None)
    own = own() if callable(own) else own
    try:
        return json.loads(json.dumps(own))
    except (TypeError, ValueError):
        raise InputError(f"the identity of {type(model).__name__} is not JSON; give name= for the encoder") from None
