"""What servers of the `/v1/embeddings` protocol answer: rows of numbers, or words about what went wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


class BadAnswerError(Exception):
    """An answer that is worth another attempt."""


class RefusedError(Exception):
    """The server refuses these texts, or so many of them."""


@dataclass(frozen=True)
class Answer:
    """An answer as it came.

    Attributes
    ----------
    model : str or None
        The model that the server reports.
    tokens : int
        What the server counted; 0 if it does not say.
    """

    model: str | None
    tokens: int
    _table: NDArray[np.float32]
    _places: tuple[Any, ...]

    @classmethod
    def read(cls, body: bytes) -> Answer:
        """Read the body of an answer.

        Raises
        ------
        BadAnswerError
            If it is cut off or holds no table of numbers.
        """
        try:
            answer = json.loads(body)
            items, usage = answer["data"], answer.get("usage") or {}
            tokens = int(usage.get("total_tokens") or usage.get("prompt_tokens") or 0)
            places = tuple(item.get("index", k) for k, item in enumerate(items))
            with np.errstate(over="ignore"):
                table = np.array([item["embedding"] for item in items], dtype=np.float64).astype(np.float32)
            return cls(answer.get("model"), tokens, table, places)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            raise BadAnswerError("the answer is cut off, or holds no table of embeddings") from None

    def rows(self, where: Sequence[str], *, dim: int, model: str | None) -> NDArray[np.float32]:
        """Return float32 (texts, dim) in the order of the texts.

        Parameters
        ----------
        where : sequence of str
            The file and row of every text.
        dim : int
            Numbers that a row must have; 0 for any.
        model : str or None
            The model that earlier answers were of.

        Raises
        ------
        BadAnswerError
            If the rows are not one for each text, not of `dim` numbers, not finite, or not of that model.
        """
        table = self._table
        if table.ndim != 2 or len(table) != len(where) or table.shape[1] != (dim or max(table.shape[1], 1)):
            raise BadAnswerError(f"the answer has shape {table.shape} for {len(where)} texts of {dim} numbers")
        if sorted(map(str, self._places)) != sorted(map(str, range(len(where)))):
            raise BadAnswerError("the answer does not give every text one embedding")
        if self.model != model:
            raise BadAnswerError(f"the answer is of model {self.model!r}, earlier ones are of {model!r}")
        rows = np.empty_like(table)
        rows[np.array(self._places, dtype=np.int64)] = table
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            raise BadAnswerError(f"the embedding of {where[int(np.argmin(finite))]} is not finite")
        return rows


def words(body: str) -> str:
    """Return what a server says about an error: OpenAI's layout, vLLM's, TEI's, FastAPI's, or the body as it is."""
    try:
        value = json.loads(body)
    except ValueError:
        return body
    while isinstance(value, dict):
        value = next((value[name] for name in ("error", "message", "detail") if name in value), json.dumps(value))
    return value if isinstance(value, str) else json.dumps(value)


def one_line(text: str, key: str) -> str:
    """Return at most 300 characters of a text on one line, without the key."""
    line = " ".join(text.split())
    return (line.replace(key, "***") if key else line)[:300]
