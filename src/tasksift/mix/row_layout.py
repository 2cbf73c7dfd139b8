"""Rows in a layout that trainers know: chats, instructions, prompts with a response, or plain text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from tasksift.errors import InputError
from tasksift.rows.preference import is_pair
from tasksift.rows.text import CHATS, TextReader, join_parts, to_string

Kind = Literal["messages", "alpaca", "pair", "text"]
Record = dict[str, Any]

COLUMNS: dict[Kind, tuple[str, ...]] = {
    "messages": ("messages",),
    "alpaca": ("instruction", "input", "output"),
    "pair": ("prompt", "response"),
    "text": ("text",),
}
"""What a row of each layout holds; all is text but messages, a list of role (system, user, assistant) and content."""

ELSEWHERE = "use --format jsonl, which keeps rows as they are"

_TOOLS = frozenset({"tool", "tools", "function", "function_call", "observation", "ipython"})
_MORE = ("tools", "images", "videos", "audios", "history", "system")


def lay_out(record: Mapping[str, Any], reader: TextReader, where: str) -> tuple[Kind, Record]:
    """Return the layout of a row and the row in it, without columns that are not trained on.

    Parameters
    ----------
    record : mapping
    reader : TextReader
        With a template every row is plain text.
    where : str
        File and row, for messages.

    Raises
    ------
    InputError
        If the row has no text, is a preference pair, or holds what these layouts would lose: tools, images, a history
        or system prompt in a column of its own.
    """
    if reader.template is None:
        _refuse_more(record, where)
    turns = reader.example(record, where).turns
    if turns and turns[0].role == "document":
        return "text", {"text": turns[0].text}
    if any(record.get(name) is not None for name in CHATS):
        return "messages", {"messages": [{"role": turn.role, "content": turn.text} for turn in turns]}
    if "instruction" in record and "output" in record:
        return "alpaca", {name: to_string(record.get(name)) for name in COLUMNS["alpaca"]}
    return "pair", {"prompt": turns[0].text, "response": turns[-1].text}


def unite(kinds: Iterable[Kind], what: str) -> Kind:
    """Return the layout in which all rows fit: their own, or that of chats.

    Raises
    ------
    InputError
        If plain text, of which nobody says what is asked and what is answered, stands among others.
    """
    found = set(kinds)
    if len(found) == 1:
        return found.pop()
    if "text" in found:
        raise InputError(
            f"{what} has rows of plain text and rows with an answer, which no trainer takes together; split the pool, "
            f"or {ELSEWHERE}"
        )
    return "messages"


def convert(kind: Kind, record: Record, to: Kind) -> Record:
    """Return a row of layout `kind` in that of chats or of prompts, or as it is."""
    if kind == to:
        return record
    if kind == "alpaca":
        asked = (record["instruction"], record["input"])
        kind, record = "pair", {"prompt": join_parts(asked), "response": record["output"]}
    if kind == to:
        return record
    if to != "messages" or kind != "pair":
        raise ValueError(f"no row of {kind} becomes one of {to}")
    return {
        "messages": [
            {"role": "user", "content": record["prompt"]},
            {"role": "assistant", "content": record["response"]},
        ]
    }


def in_turn(messages: list[dict[str, str]]) -> bool:
    """Whether user and assistant speak in turn, perhaps after a system message, and the assistant last."""
    roles = [turn["role"] for turn in messages]
    roles = roles[roles[:1] == ["system"] :]
    return bool(roles) and roles == ["user", "assistant"] * (len(roles) // 2)


def _refuse_more(record: Mapping[str, Any], where: str) -> None:
    if is_pair(record):
        raise InputError(f"{where}: a preference pair; {ELSEWHERE}")
    for name in _MORE:
        if record.get(name):
            raise InputError(f"{where}: the column {name!r} would be lost; {ELSEWHERE}")
    for name in ("prompt", "response", "completion", "answer"):
        if isinstance(record.get(name), list):
            raise InputError(f"{where}: {name!r} is a list; put its turns into a column 'messages', or {ELSEWHERE}")
    for name in CHATS:
        for turn in record[name] if isinstance(record.get(name), list) else ():
            if not isinstance(turn, Mapping):
                continue  # the reader says what is wrong
            role = str(turn.get("role", turn.get("from"))).lower()
            content = turn.get("content", turn.get("value"))
            if role in _TOOLS or turn.get("tool_calls") or isinstance(content, list):
                raise InputError(f"{where}: {name!r} holds more than text; {ELSEWHERE}")
