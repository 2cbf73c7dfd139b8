"""Held-out rows with answers to choose from: which options a row has, which is right, and how an answer is written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any, NamedTuple

from tasksift.errors import InputError
from tasksift.rows.encode import well_formed
from tasksift.rows.example import Example
from tasksift.rows.text import to_string

OPTIONS = ("choices", "options")
"""Columns that hold the options of a row."""

ANSWERS = ("answerKey", "answer_key", "answer_idx", "answer_index", "answer", "gold", "label")
"""Columns that may say which option is right; the first that names one counts."""

_NESTED = ("meta", "metadata")

FORMS = ("({0}) {1}", "{0}) {1}", "{0}. {1}", "{0}: {1}", "{1}", "({0})", "{0}")
"""How responses write an option, of its label and its text; the first that fits every row counts."""

_TEXT_FORM, _LABEL_FORMS = "{1}", ("({0})", "{0}")
_LINE = re.compile(r"(?:(\()([A-Z])\)|([A-Z])([).:]))\s+(\S.*)")
_NAMED = re.compile(r"\(([A-Za-z0-9]{1,2})\)|([A-Za-z0-9]{1,2})[).:](?=\s|$)")


class _Options(NamedTuple):
    labels: list[str]
    texts: list[str]


Found = tuple[tuple[tuple[str, ...], ...], tuple[int, ...]]


def find_options(records: Sequence[Mapping[str, Any]], examples: Sequence[Example]) -> Found | None:
    """Find the options of held-out rows and the right one of each, where all rows have them.

    Two layouts are known. Columns: ``choices`` or ``options`` (a list of texts, lists ``text`` and ``label``, a list of
    objects with these, or an object from labels to texts) with one of `ANSWERS`, which gives the label, the text, or
    the position from 0; both may lie in ``meta``. Prompts: the last lines ``(A) ...``, ``(B) ...`` (or ``A)``, ``A.``,
    ``A:``) of each, with a response that begins with a label or is the text of an option.

    Parameters
    ----------
    records, examples : sequences of I
        The rows as they are stored, and as conversations.

    Returns
    -------
    options : tuple of I tuples of str
        Each written as the responses write the right one (`FORMS`), so that it can take a response's place. Responses
        that only begin with it count too; a label alone is taken only where every prompt shows the texts.
    answers : tuple of I int
        The place of the right one.

    None where a row has no options, or is no question with an answer.

    Raises
    ------
    InputError
        If all rows have options in a column, and what should tell the right one of a row tells none.

    Notes
    -----
    Time is linear in the text. A few short responses that come again and again (yes, no) are not taken for options.
    """
    if not examples or any(not each.turns or each.turns[-1].role != "assistant" for each in examples):
        return None
    columns = _all([_of_columns(record) for record in records])
    prompts = _all([_of_prompt(example.prompt) for example in examples]) if columns is None else None
    if columns is not None:
        found = columns
        answers = [_told(*each) for each in zip(records, examples, columns, strict=True)]
    elif prompts is not None:
        found = prompts
        answers = [_which(example.response, each) for example, each in zip(examples, prompts, strict=True)]
    else:
        return None
    if min(answers) < 0:
        return None
    form = _common_form(examples, found, answers)
    return tuple(tuple(form.format(*each) for each in zip(*one, strict=True)) for one in found), tuple(answers)


def _all(found: list[_Options | None]) -> list[_Options] | None:
    there = [each for each in found if each is not None]
    return there if len(there) == len(found) else None


def _of_columns(record: Mapping[str, Any]) -> _Options | None:
    for scope in _scopes(record):
        for name in OPTIONS:
            found = _listed(scope.get(name))
            if found is not None:
                return found
    return None


def _scopes(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [record, *(record[name] for name in _NESTED if isinstance(record.get(name), Mapping))]


def _listed(value: Any) -> _Options | None:
    labels: Any = None
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        value, labels = value["text"], value.get("label")
    elif isinstance(value, Mapping):
        value, labels = list(value.values()), list(value)
    elif isinstance(value, list) and value and all(isinstance(each, Mapping) and "text" in each for each in value):
        labels = [each.get("label", each.get("key")) for each in value]
        value = [each["text"] for each in value]
    if not isinstance(value, list) or len(value) < 2 or not all(isinstance(each, str | int | float) for each in value):
        return None
    if not isinstance(labels, list) or len(labels) != len(value) or None in labels:
        labels = [ascii_uppercase[k] if k < len(ascii_uppercase) else str(k + 1) for k in range(len(value))]
    return _Options(*([well_formed(to_string(each)).strip() for each in part] for part in (labels, value)))


def _of_prompt(prompt: str) -> _Options | None:
    """Return the last run of at least two lettered lines; lines between two of them belong to the upper one."""
    last: list[list[str]] = []
    run: list[list[str]] = []
    style: tuple[str | None, str | None] = (None, None)
    for line in prompt.split("\n"):
        match = _LINE.match(line.strip())
        letter = (match[2] or match[3]) if match else ""
        if match and letter == "A":
            run, style = [[match[5]]], (match[1], match[4])
        elif match and run and (match[1], match[4]) == style and letter == ascii_uppercase[len(run) % 26]:
            run.append([match[5]])
            last = run
        elif run:
            run[-1].append(line)
    if not last:
        return None
    texts = ["\n".join(lines).strip() for lines in last[:-1]] + [last[-1][0].strip()]
    return _Options(list(ascii_uppercase[: len(texts)]), texts)


def _told(record: Mapping[str, Any], example: Example, options: _Options) -> int:
    """Return which option the record's columns call right, else which the response names; -1 where nothing should."""
    said = [(name, scope[name]) for scope in _scopes(record) for name in ANSWERS if scope.get(name) is not None]
    for value in [*(value for _, value in said), example.response]:
        which = _which(value, options)
        if which >= 0:
            return which
    if not said:
        return -1
    name, value = said[0]
    raise InputError(
        f"{example.where}: {name} is {to_string(value)[:40]!r}, none of the {len(options.texts)} options; give a "
        "label, a text or a position from 0, remove the row, or rename the column if it is not of options"
    )


def _which(value: Any, options: _Options) -> int:
    """Return which option a label, a text, or a position names; -1 for none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return -1
    if isinstance(value, float):
        if not value.is_integer():
            return -1
        value = int(value)
    text = str(value).strip()
    if text in options.labels:
        return options.labels.index(text)
    if isinstance(value, str):
        if text in options.texts:
            return options.texts.index(text)
        match = _NAMED.match(text)
        if match:
            label = match[1] or match[2]
            return options.labels.index(label) if label in options.labels else -1
    at = int(text) if len(text) <= 3 and text.isascii() and text.isdecimal() else -1
    return at if at < len(options.texts) else -1


def _common_form(examples: Sequence[Example], options: Sequence[_Options], answers: Sequence[int]) -> str:
    shown = all(text in example.prompt for example, each in zip(examples, options, strict=True) for text in each.texts)
    for form in FORMS:
        if form in _LABEL_FORMS and not shown:
            continue
        rights = (form.format(each.labels[k], each.texts[k]) for each, k in zip(options, answers, strict=True))
        if all(_begins(example.response.strip(), right) for example, right in zip(examples, rights, strict=True)):
            return form
    return _TEXT_FORM


def _begins(response: str, option: str) -> bool:
    return bool(option) and response.startswith(option) and not response[len(option) : len(option) + 1].isalnum()
