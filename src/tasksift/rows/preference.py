"""Preference pairs in the layouts that people have: one prompt, a chosen and a rejected answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tasksift.errors import InputError

Turns = list[tuple[str, str]]

_PROMPTS = ("prompt", "question", "instruction")
_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):[ \t]?")


def is_pair(record: Mapping[str, Any]) -> bool:
    """Tell whether a record holds a chosen and a rejected answer."""
    return record.get("chosen") is not None and record.get("rejected") is not None


def pair(
    record: Mapping[str, Any], where: str, chat: Callable[[Any, str, str], Turns], text: Callable[[Any], str]
) -> tuple[Turns, Turns]:
    """Return the turns of the conversation with the chosen answer, and with the rejected one.

    Either column is a list of messages, which may begin with the prompt; or text, with the prompt in a column of its
    own (``prompt``, ``question`` or ``instruction``: text, or messages); or text in which ``Human:`` and
    ``Assistant:`` speak in turn.

    Parameters
    ----------
    chat, text : callable
        How messages, and single values, are read.

    Raises
    ------
    InputError
        If an answer is missing or the two conversations do not share their prompt.
    """
    asked: Turns = []
    for name in _PROMPTS:
        if record.get(name) is not None:
            asked = (
                chat(record[name], name, where) if isinstance(record[name], list) else [("user", text(record[name]))]
            )
            break
    sides = []
    for name in ("chosen", "rejected"):
        value = record[name]
        if isinstance(value, list):
            turns = chat(value, name, where)
        elif not asked and _SPEAKER.search(text(value)):
            turns = _spoken(text(value))
        else:
            turns = [("assistant", text(value))]
        if asked and turns[: len(asked)] != asked and turns[:1] != asked[-1:]:
            turns = asked + turns
        if not turns or turns[-1][0] != "assistant":
            raise InputError(f"{where}: {name!r} has no answer of the assistant; give an answer, or messages with one")
        sides.append(turns)
    if sides[0][:-1] != sides[1][:-1]:
        raise InputError(
            f"{where}: 'chosen' and 'rejected' answer different prompts; they should differ in the last turn"
        )
    return sides[0], sides[1]


def _spoken(dialogue: str) -> Turns:
    parts = _SPEAKER.split(dialogue)[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    return [(roles[who], said.strip()) for who, said in zip(parts[::2], parts[1::2], strict=True)]
