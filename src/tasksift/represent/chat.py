"""Tokens of an example as a causal model sees them, and which of them are scored.

A tokenizer with a chat template lays conversations out by it. Without one the plain layout is used: turns one below the
other, and the end-of-text token after every answer. Pool and targets take the same way, answers end alike in both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.rows.example import Example, Turn

Score = Literal["response", "text"]

PLAIN = "plain: turns joined by newlines, end-of-text after answers and documents"


@dataclass(frozen=True, slots=True)
class Tokens:
    """One example as tokens.

    Attributes
    ----------
    ids : int64 (length,)
        Token ids.
    scored : bool (length,)
        Tokens whose loss counts; never the first, which nothing predicts.
    """

    ids: NDArray[np.int64]
    scored: NDArray[np.bool_]


class ChatTokens:
    """Turns examples into tokens.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        A fast one: it must tell which characters a token stands for.
    max_length : int
        Tokens of an example at most. Of a longer one the beginning is kept; but where the first scored token lies
        beyond the middle, the beginning of the prompt is cut instead, so that half of the tokens may be scored.
    score : str
        ``response``: every answer, its end-of-turn token included, and documents whole; ``text``: everything.
    """

    def __init__(self, tokenizer: Any, max_length: int, *, score: Score = "response") -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise InputError("the model's tokenizer is not a fast one (tokenizer.json); convert it with transformers")
        if max_length < 2:
            raise InputError(f"--max-length {max_length} leaves nothing to predict; give at least 2")
        self.tokenizer, self.max_length, self.score = tokenizer, max_length, score
        self.template: str | None = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else None
        if self.template is None and tokenizer.chat_template:
            self.template = tokenizer.get_chat_template()
        start = tokenizer.bos_token_id
        self._start: list[int] = [start] if start is not None and tokenizer("")["input_ids"][:1] == [start] else []
        self._end: str = tokenizer.eos_token or ""

    @property
    def identity(self) -> dict[str, Any]:
        """What decides about the tokens, as JSON: digests of tokenizer and template, length, what is scored."""
        backend = json.loads(self.tokenizer.backend_tokenizer.to_str())
        backend["truncation"] = backend["padding"] = None  # what earlier calls left there
        made_of = [backend, self.tokenizer.bos_token, self.tokenizer.eos_token, self._start]
        digest = blake2b(json.dumps(made_of, sort_keys=True).encode(), digest_size=16).hexdigest()
        template = PLAIN if self.template is None else blake2b(self.template.encode(), digest_size=16).hexdigest()
        return {"tokenizer": digest, "chat_template": template, "max_length": self.max_length, "score": self.score}

    def encode(self, example: Example, *, last: bool = False) -> Tokens:
        """Return the tokens of an example.

        Parameters
        ----------
        last : bool
            Score its last answer (or document) only, whatever else is scored otherwise.

        Raises
        ------
        InputError
            If the chat template refuses the conversation; the message names the row.
        """
        return self.encode_turns(example.turns, example.where, last=last)

    def prompt(self, example: Example, room: int) -> NDArray[np.int64]:
        """Return the tokens after which the response of an example begins, int64 (length,).

        Of a prompt that leaves less than `room` tokens of the maximal length, the beginning is cut.
        """
        turns = example.turns[:-1] if example.response else example.turns
        if self._is_plain(turns):
            text = self._plain(turns)[0]
            text += "\n" if text else ""
            start = self._start if text else []
        else:
            text, start = self._laid_out(_merged(turns), example.where, ask=True)[1], []
        ids = np.array(start + self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"], np.int64)
        skip = len(ids) - max(1, self.max_length - room)
        if skip > 0:
            ids = ids[skip:]
            ids[: len(self._start)] = self._start
        return ids

    def _is_plain(self, turns: Sequence[Turn]) -> bool:
        return self.template is None or not turns or any(turn.role == "document" for turn in turns)

    def encode_turns(self, turns: Sequence[Turn], where: str, *, last: bool = False) -> Tokens:
        """Return the tokens of a conversation; `where` names its file and row, `last` is as in `encode`."""
        if self._is_plain(turns):
            text, spans = self._plain(turns)
            start = self._start if text else []
        else:
            text, spans = self._chat(_merged(turns), where)
            start = []
        coded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ids = np.array(start + coded["input_ids"], dtype=np.int64)
        scored = np.ones(len(ids), dtype=bool)
        if self.score == "response" or last:
            scored[:] = False
            offsets = np.array(coded["offset_mapping"], dtype=np.int64).reshape(-1, 2)
            begin, end = offsets.T
            for left, right in spans[-1:] if last else spans:
                scored[len(start) :] |= (end > left) & (begin < right) & (end > begin)
        scored[:1] = False
        return self._cut(ids, scored)

    def _cut(self, ids: NDArray[np.int64], scored: NDArray[np.bool_]) -> Tokens:
        if len(ids) <= self.max_length:
            return Tokens(ids, scored)
        first = int(np.argmax(scored)) if scored.any() else 0
        skip = min(max(0, first - self.max_length // 2), len(ids) - self.max_length)
        ids, scored = ids[skip : skip + self.max_length], scored[skip : skip + self.max_length].copy()
        if skip and self._start:
            ids = np.append(self._start, ids[1:])
        scored[0] = False
        return Tokens(ids, scored)

    def _plain(self, turns: Sequence[Turn]) -> tuple[str, list[tuple[int, int]]]:
        text, spans = "", []
        for turn in turns:
            if not turn.text:
                continue
            text += "\n" if text else ""
            first = len(text)
            text += turn.text
            if turn.role in ("assistant", "document"):
                text += self._end
                spans.append((first, len(text)))
        return text, spans

    def _chat(self, turns: list[dict[str, str]], where: str) -> tuple[str, list[tuple[int, int]]]:
        turns, whole = self._laid_out(turns, where)
        spans, at = [], 0
        for k, turn in enumerate(turns):
            if turn["role"] != "assistant" or not turn["content"].strip():
                continue
            before = self._render(turns[:k], where, ask=True) if k else ""
            after = self._render(turns[: k + 1], where)
            if k and after.startswith(before) and whole.startswith(after):
                spans.append((len(before), len(after)))
            else:
                # Templates that change earlier turns by what follows: the answer is looked for as it is.
                found = whole.find(turn["content"].strip(), at)
                if found < 0:
                    raise InputError(
                        f"{where}: the chat template does not show the answer {turn['content'][:40]!r} as it is; "
                        "give a tokenizer with another template"
                    )
                spans.append((found, found + len(turn["content"].strip())))
            at = spans[-1][1]
        return whole, spans

    def _laid_out(
        self, turns: list[dict[str, str]], where: str, *, ask: bool = False
    ) -> tuple[list[dict[str, str]], str]:
        """Render turns as the template can, and return them as they were rendered, too."""
        try:
            return turns, self._render(turns, where, ask=ask)
        except InputError:
            if [turn["role"] for turn in turns[:2]] != ["system", "user"]:
                raise
            # Templates without system turns: what it says opens the first question.
            first = {"role": "user", "content": f"{turns[0]['content']}\n{turns[1]['content']}"}
            turns = [first, *turns[2:]]
            return turns, self._render(turns, where, ask=ask)

    def _render(self, turns: list[dict[str, str]], where: str, *, ask: bool = False) -> str:
        from jinja2.exceptions import TemplateError

        try:
            text: str = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=ask)
        except TemplateError as error:
            raise InputError(
                f"{where}: the model's chat template refuses this conversation ({' '.join(str(error).split())}); "
                "remove the row, or write it as the template wants"
            ) from None
        return text


def _merged(turns: Sequence[Turn]) -> list[dict[str, str]]:
    """Turns as templates take them; two in a row of one side become one, which many templates insist on."""
    merged: list[dict[str, str]] = []
    for turn in turns:
        if merged and merged[-1]["role"] == turn.role:
            merged[-1]["content"] += "\n" + turn.text
        else:
            merged.append({"role": turn.role, "content": turn.text})
    return merged
