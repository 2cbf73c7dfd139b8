"""Rows in the layouts that trainers know."""

from __future__ import annotations

from typing import Any

import pytest

from tasksift.errors import InputError
from tasksift.mix.row_layout import convert, in_turn, lay_out, unite
from tasksift.rows import TextReader

USER, ANSWER = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}


@pytest.mark.parametrize(
    ("record", "kind", "laid"),
    [
        ({"messages": [USER, ANSWER, USER], "n": 1}, "messages", {"messages": [USER, ANSWER]}),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, "messages",
         {"messages": [USER, ANSWER]}),
        ({"instruction": "a", "input": None, "output": "b"}, "alpaca",
         {"instruction": "a", "input": "", "output": "b"}),
        ({"instruction": "a", "output": 3}, "alpaca", {"instruction": "a", "input": "", "output": "3"}),
        ({"prompt": "a", "completion": "b", "text": "c"}, "pair", {"prompt": "a", "response": "b"}),
        ({"question": "a", "answer": "b"}, "pair", {"prompt": "a", "response": "b"}),
        ({"content": "a"}, "text", {"text": "a"}),
    ],
)  # fmt: skip
def test_layouts(record: dict[str, Any], kind: str, laid: dict[str, Any]):
    assert lay_out(record, TextReader(), "here") == (kind, laid)


def test_a_template_makes_text():
    record = {"chosen": "a", "rejected": "b", "tools": ["c"]}
    assert lay_out(record, TextReader("{chosen}: {rejected}"), "here") == ("text", {"text": "a: b"})


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [USER, {"role": "tool", "content": "x"}, ANSWER]},
        {"messages": [USER, {"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image"}]}, ANSWER]},
        {"messages": [USER, ANSWER], "tools": "[]x"},
        {"instruction": "a", "output": "b", "system": "c"},
        {"prompt": [USER], "completion": [ANSWER]},
        {"prompt": "a", "chosen": "b", "rejected": "c"},
    ],
)
def test_what_would_lose_something_is_refused(record: dict[str, Any]):
    with pytest.raises(InputError, match=r"^here: .*use --format jsonl, which keeps rows as they are$"):
        lay_out(record, TextReader(), "here")


@pytest.mark.parametrize(
    ("roles", "regular"),
    [
        ("sua", True),
        ("uaua", True),
        ("ua", True),
        ("", False),
        ("u", False),
        ("suua", False),
        ("a", False),
        ("usa", False),
    ],
)
def test_in_turn(roles: str, regular: bool):
    names = {"s": "system", "u": "user", "a": "assistant"}
    assert in_turn([{"role": names[letter], "content": ""} for letter in roles]) == regular


def test_different_layouts_become_chats():
    assert unite(["alpaca", "alpaca"], "x") == "alpaca"
    assert unite(["alpaca", "pair"], "x") == "messages"
    with pytest.raises(InputError, match="the domain x has rows of plain text and rows with an answer"):
        unite(["text", "pair"], "the domain x")
    row = {"instruction": "do", "input": "this", "output": "done"}
    assert convert("alpaca", row, "pair") == {"prompt": "do\nthis", "response": "done"}
    said = [turn["content"] for turn in convert("alpaca", row, "messages")["messages"]]
    assert said == ["do\nthis", "done"]
    with pytest.raises(ValueError, match="no row of text"):
        convert("text", {"text": "a"}, "messages")
