import datetime
import decimal
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasksift.errors import InputError
from tasksift.rows import TextReader

CHAT = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "U1"},
    {"role": "assistant", "content": "A1"},
    {"role": "user", "content": [{"type": "text", "text": "U2"}, {"type": "image", "url": "x"}, "more"]},
    {"role": "assistant", "content": "A2"},
]
SHARED = [{"from": "system", "value": "S"}, {"from": "human", "value": "U"}, {"from": "gpt", "value": "A"}]


def read(record, template=None):
    return TextReader(template).read(record, "a.jsonl, line 3")


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"messages": CHAT}, ("S\nU1\nA1\nU2\nmore", "A2")),
        ({"messages": json.dumps(CHAT)}, ("S\nU1\nA1\nU2\nmore", "A2")),
        ({"messages": [*CHAT, {"role": "user", "content": "after"}]}, ("S\nU1\nA1\nU2\nmore", "A2")),
        ({"messages": CHAT[:2]}, ("S\nU1", "")),
        ({"messages": [{"role": "user", "content": None}, {"role": "assistant", "content": "A"}]}, ("", "A")),
        ({"messages": []}, ("", "")),
        ({"messages": None, "text": "T"}, ("", "T")),
        ({"messages": CHAT, "text": "T", "prompt": "P", "response": "R"}, ("S\nU1\nA1\nU2\nmore", "A2")),
        ({"conversations": SHARED}, ("S\nU", "A")),
        ({"conversation": SHARED}, ("S\nU", "A")),
        ({"conversations": CHAT[:3]}, ("S\nU1", "A1")),
        ({"instruction": "I", "input": "X", "output": "O"}, ("I\nX", "O")),
        ({"instruction": "I", "input": "", "output": "O", "text": "all"}, ("I", "O")),
        ({"instruction": "I", "output": "O"}, ("I", "O")),
        ({"prompt": "P", "response": "R"}, ("P", "R")),
        ({"prompt": "P", "completion": "R"}, ("P", "R")),
        ({"prompt": "P", "output": "R"}, ("P", "R")),
        ({"prompt": "P", "answer": "R"}, ("P", "R")),
        ({"prompt": "P", "answer": "no", "response": "R"}, ("P", "R")),
        ({"question": "Q", "answer": "A"}, ("Q", "A")),
        ({"question": "Q", "response": "A"}, ("Q", "A")),
        ({"question": "Q", "answer": None}, ("Q", "")),
        ({"prompt": "P", "text": "T"}, ("", "T")),
        ({"text": "T", "content": "C"}, ("", "T")),
        ({"content": "C"}, ("", "C")),
    ],
)
def test_layouts(record, expected):
    assert read(record) == expected


@pytest.mark.parametrize("role", ["assistant", "gpt", "chatgpt", "bot", "model", "Assistant"])
def test_names_of_the_assistant(role):
    assert read({"conversations": [{"from": "human", "value": "U"}, {"from": role, "value": "A"}]}) == ("U", "A")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (3, "3"),
        (2.5, "2.5"),
        (True, "True"),
        (["a", "b"], "a\nb"),
        ([1, {"é": None}], '[1,{"é":null}]'),
        ({"a": [1]}, '{"a":[1]}'),
        (datetime.date(2024, 1, 2), "2024-01-02"),
        (decimal.Decimal("1.50"), "1.50"),
        (b"bytes", "bytes"),
        ("a\ud800b", "a\ufffdb"),
        ("\ud83d\ude00", "\U0001f600"),
    ],
)
def test_values_that_are_no_text(value, expected):
    assert read({"text": value}) == ("", expected)


@pytest.mark.parametrize(
    ("prompt", "response", "text"), [("a", "b", "a\nb"), ("a", "", "a"), ("", "b", "b"), ("", "", "")]
)
def test_join(prompt, response, text):
    assert TextReader.join(prompt, response) == text


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{q}\\n{a}", "Q\nA"),
        ("{q}\n{a}!", "Q\nA!"),
        ("{{{q}}} {{}}", "{Q} {}"),
        ("{meta.topic}", "T"),
        ("{meta.deep.0.x}/{meta.deep[0].x}", "1/1"),
        ("{list[1]}", "b"),
        ("{list}", "a\nb"),
        ("{a.b}", "dotted"),
        ("{two words}", "W"),
        ("{none.topic}|{none}", "|"),
    ],
)
def test_templates(template, expected):
    record = {
        "q": "Q",
        "a": "A",
        "a.b": "dotted",
        "two words": "W",
        "meta": {"topic": "T", "deep": [{"x": 1}]},
        "list": ["a", "b"],
        "none": None,
        "text": "not this",
    }
    assert read(record, template) == ("", expected)


@pytest.mark.parametrize("template", ["{q", "q}", "{}", "{ }", "{q{a}}", "plain", "", "{{q}}"])
def test_malformed_templates(template):
    with pytest.raises(InputError, match="--text-template"):
        TextReader(template)


@pytest.mark.parametrize(
    "field", ["p", "q.__class__", "q!r", "q:>10", "q.upper", "meta.x", "list[5]", "list[-1]", "list.a", "q[0]"]
)
def test_missing_fields_and_tricks_of_str_format(field):
    with pytest.raises(InputError) as error:
        read({"q": "Q", "meta": {"topic": "T"}, "list": ["a"]}, f"{{{field}}}")
    assert str(error.value) == (
        f"a.jsonl, line 3: the field {field!r} is not in the columns q, meta, list; correct --text-template"
    )


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"a": 1, "b": 2}, r"^a\.jsonl, line 3: no text is recognised in the columns a, b; .*--text-template '\{q"),
        ({"prompt": "P"}, "no text is recognised in the columns prompt"),
        ({}, "no text is recognised in a row without columns"),
        ({f"c{i}": 0 for i in range(25)}, "c19 and 5 more"),
        ({"messages": "not json"}, r"line 3: 'messages' is text but not JSON"),
        ({"messages": 5}, "'messages' is not a list of turns"),
        ({"messages": [{"role": "user", "content": "U"}, {"role": "user"}]}, "turn 1 of 'messages' lacks role"),
        ({"messages": ["U"]}, "turn 0 of 'messages' lacks role"),
        ({"conversations": [{"value": "U"}]}, "turn 0 of 'conversations' lacks role"),
    ],
)  # fmt: skip
def test_records_without_text(record, message):
    with pytest.raises(InputError, match=message):
        read(record)


@given(text=st.text(st.characters()), template=st.text(alphabet="{}a.[]0\\n ", max_size=12))
def test_any_template_reads_or_is_refused(text, template):
    try:
        prompt, response = read({"a": text}, template)
    except InputError:
        return
    assert prompt == ""
    response.encode()
