"""The text of a record: prompt and response, found in the usual layouts or laid out by a template."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tasksift.errors import InputError
from tasksift.rows.encode import compact, plain, well_formed
from tasksift.rows.example import Example, Turn
from tasksift.rows.preference import is_pair, pair

EXAMPLE = "--text-template '{question}\\n{answer}'"

CHATS = ("messages", "conversations", "conversation")
"""Columns that hold a chat; the first that is there counts."""

_ROLES = dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model"), "assistant") | {"system": "system"}
# Column of the prompt, columns that may follow it in the prompt, columns of the response; the first that exists counts.
_PAIRS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("instruction", ("input",), ("output",)),
    ("prompt", (), ("response", "completion", "output", "answer")),
    ("question", (), ("answer", "response")),
)
_WHOLE = ("text", "content")

# Literal braces, a field, a brace that is neither, or text without braces.
_PART = re.compile(r"(?P<brace>\{\{|\}\})|\{(?P<field>[^{}]*)\}|(?P<stray>[{}])|(?P<text>[^{}]+)")


class TextReader:
    r"""Finds prompt and response of a record.

    Parameters
    ----------
    template : str or None
        How the text is put together, for records of no usual layout: ``{question}\n{answer}``. Fields are columns;
        ``{meta.topic}`` and ``{answers[0]}`` reach into nested values; ``{{`` and ``}}`` are braces; a backslash
        followed by n is a newline. The whole text then is the response.
    option : str
        What messages call the template.

    Raises
    ------
    InputError
        The template has no field, or a brace without its partner.
    """

    def __init__(self, template: str | None = None, *, option: str = "--text-template") -> None:
        self.template = template
        self.option = option
        self._parts: list[tuple[str, list[str]]] | None = None if template is None else _parse(template, option)

    def read(self, record: Mapping[str, Any], where: str) -> tuple[str, str]:
        """Return (prompt, response) of `record`; `where` names its file and row in messages.

        Layouts are tried in this order: ``messages``; ShareGPT ``conversations`` or ``conversation``; ``instruction``
        with ``input`` and ``output``; ``prompt`` with ``response``, ``completion``, ``output`` or ``answer``;
        ``question`` with ``answer`` or ``response``; ``text``; ``content``. In a chat the response is the last turn of
        the assistant and the prompt is every turn before it. Lone surrogates become U+FFFD.

        Raises
        ------
        InputError
            The record has none of these layouts, a chat is malformed, or a field of the template is missing.
        """
        example = self.example(record, where)
        return example.prompt, example.response

    def example(self, record: Mapping[str, Any], where: str) -> Example:
        """Return `record` as the turns of a conversation; layouts and errors as in `read`.

        Prompt and response are a turn of the user and one of the assistant. Text without that division is one turn
        with the role ``document``. Turns after the last answer are left out. A record with ``chosen`` and ``rejected``
        is a preference pair, whose turns are the chosen ones (see `tasksift.rows.preference`).
        """
        if self._parts is not None:
            text = "".join(text or to_string(_lookup(record, field, where, self.option)) for text, field in self._parts)
            return Example((Turn("document", well_formed(text)),), where)
        if is_pair(record):
            chosen, rejected = pair(record, where, _chat, to_string)
            return Example(_well_formed(chosen), where, _well_formed(rejected))
        return Example(_well_formed(_detect(record, where)), where)

    @staticmethod
    def join(prompt: str, response: str) -> str:
        """Return prompt, newline, response; without the newline when one of them is empty."""
        return f"{prompt}\n{response}" if prompt and response else prompt or response


def _well_formed(turns: list[tuple[str, str]]) -> tuple[Turn, ...]:
    return tuple(Turn(role, well_formed(text)) for role, text in turns)


def _detect(record: Mapping[str, Any], where: str) -> list[tuple[str, str]]:
    for name in CHATS:
        if record.get(name) is not None:
            turns = _chat(record[name], name, where)
            answers = [k for k, (role, _) in enumerate(turns) if role == "assistant"]
            return turns[: answers[-1] + 1] if answers else turns
    for first, more, responses in _PAIRS:
        if first in record:
            for name in responses:
                if name in record:
                    asked = [to_string(record[column]) for column in (first, *more) if column in record]
                    return [("user", join_parts(asked)), ("assistant", to_string(record[name]))]
    for name in _WHOLE:
        if name in record:
            return [("document", to_string(record[name]))]
    raise InputError(f"{where}: no text is recognised in {_columns(record)}; say how to build it, e.g. {EXAMPLE}")


def _chat(turns: Any, name: str, where: str) -> list[tuple[str, str]]:
    if isinstance(turns, str):
        try:
            turns = json.loads(turns)
        except (ValueError, RecursionError):
            raise InputError(f"{where}: {name!r} is text but not JSON; mend it, or use {EXAMPLE}") from None
    if not isinstance(turns, list):
        raise InputError(f"{where}: {name!r} is not a list of turns; mend it, or use {EXAMPLE}")
    said: list[tuple[str, str]] = []
    for k, turn in enumerate(turns):
        role = turn.get("role", turn.get("from")) if isinstance(turn, Mapping) else None
        if role is None or not ("content" in turn or "value" in turn):
            raise InputError(
                f"{where}: turn {k} of {name!r} lacks role and content (or from and value); mend it, or use {EXAMPLE}"
            )
        said.append((_ROLES.get(str(role).lower(), "user"), _spoken(turn.get("content", turn.get("value")))))
    return said


def _spoken(content: Any) -> str:
    """Return the text of a turn; of a list of parts the parts that have text, so that images are passed over."""
    if not isinstance(content, list):
        return to_string(content)
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
    return "\n".join(to_string(text) for text in texts if text is not None)


def join_parts(parts: Iterable[str]) -> str:
    """Return the parts of a prompt, such as an instruction and its input, a line each; empty ones are left out."""
    return "\n".join(part for part in parts if part)


def to_string(value: Any) -> str:
    """Return a value as text: numbers by `str`, lists of text joined by newlines, other nested values as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "\n".join(value)
    if not isinstance(value, list | tuple | Mapping):
        value = plain(value)
        return value if isinstance(value, str) else to_string(value)
    return compact(value)


def _parse(template: str, option: str) -> list[tuple[str, list[str]]]:
    """Return the parts of a template: (text, []) or ('', [name of the field, path into it])."""
    parts: list[tuple[str, list[str]]] = []
    for match in _PART.finditer(template.replace("\\n", "\n")):
        field = match["field"]
        if match["stray"] or (field is not None and not field.strip()):
            raise InputError(
                f"{option} {template!r}: {match[0]!r} is not a field; write {{column}}, and {{{{ for a brace"
            )
        if field is not None:
            parts.append(("", [field, *re.sub(r"\[(\w+)\]", r".\1", field).split(".")]))
        else:
            parts.append(((match["brace"] or match["text"])[: 1 if match["brace"] else None], []))
    if not any(field for _, field in parts):
        example = EXAMPLE.replace("--text-template", option)
        raise InputError(f"{option} {template!r} names no column; write e.g. {example}")
    return parts


def _lookup(record: Mapping[str, Any], field: list[str], where: str, option: str) -> Any:
    name, *path = field
    if name in record:  # a column may itself be called "meta.topic"
        return record[name]
    value: Any = record
    for step in path:
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        elif value is None:  # tables fill what is missing with nulls
            return None
        else:
            raise InputError(f"{where}: the field {name!r} is not in {_columns(record)}; correct {option}")
    return value


def _columns(record: Mapping[str, Any]) -> str:
    names = list(record)
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"the columns {', '.join(names[:20])}{more}" if names else "a row without columns"
