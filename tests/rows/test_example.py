import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasksift.errors import InputError
from tasksift.rows import TextReader
from tasksift.rows.example import Example, Turn

WHERE = "a.jsonl, line 3"
CHAT = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "U1"},
    {"role": "assistant", "content": "A1"},
    {"role": "tool", "content": [{"type": "text", "text": "U2"}, {"type": "image", "url": "x"}, "more"]},
    {"role": "assistant", "content": "A2"},
]
SHARED = [{"from": "system", "value": "S"}, {"from": "human", "value": "U"}, {"from": "gpt", "value": "A"}]


def example(record, template=None):
    return TextReader(template).example(record, WHERE)


@pytest.mark.parametrize(
    ("record", "turns"),
    [
        (
            {"messages": CHAT},
            [("system", "S"), ("user", "U1"), ("assistant", "A1"), ("user", "U2\nmore"), ("assistant", "A2")],
        ),
        ({"messages": CHAT[:4]}, [("system", "S"), ("user", "U1"), ("assistant", "A1")]),
        ({"messages": CHAT[:2]}, [("system", "S"), ("user", "U1")]),
        ({"messages": []}, []),
        ({"messages": [{"role": "document", "content": "D"}]}, [("user", "D")]),
        ({"conversations": SHARED}, [("system", "S"), ("user", "U"), ("assistant", "A")]),
        ({"instruction": "I", "input": "X", "output": "O"}, [("user", "I\nX"), ("assistant", "O")]),
        ({"prompt": "P", "completion": "R"}, [("user", "P"), ("assistant", "R")]),
        ({"question": "Q", "answer": None}, [("user", "Q"), ("assistant", "")]),
        ({"prompt": None, "response": 4}, [("user", ""), ("assistant", "4")]),
        ({"text": "T"}, [("document", "T")]),
        ({"content": ["a", "b"]}, [("document", "a\nb")]),
        ({"text": "a\ud800"}, [("document", "a\ufffd")]),
        ({"messages": [{"role": "user", "content": "\udc00"}]}, [("user", "\ufffd")]),
    ],
)
def test_turns_of_the_layouts(record, turns):
    found = example(record)
    assert found == Example(tuple(Turn(*turn) for turn in turns), WHERE)
    assert (found.prompt, found.response) == TextReader().read(record, WHERE)
    assert found.text == TextReader.join(*TextReader().read(record, WHERE))
    assert found.rejected is None


def test_a_template_makes_a_document():
    assert example({"a": "x", "text": "T"}, "{a}\n\ud800!") == Example((Turn("document", "x\n\ufffd!"),), WHERE)


def test_the_row_is_named():
    with pytest.raises(InputError, match=r"^a\.jsonl, line 3: no text is recognised"):
        example({"a": 1})


@pytest.mark.parametrize(
    ("turns", "prompt", "response", "text"),
    [
        ([], "", "", ""),
        ([("user", "U")], "U", "", "U"),
        ([("assistant", "A")], "", "A", "A"),
        ([("document", "D")], "", "D", "D"),
        ([("system", "S"), ("document", "D")], "S", "D", "S\nD"),
        ([("system", ""), ("user", "U"), ("assistant", "A")], "U", "A", "U\nA"),
        ([("user", "U"), ("assistant", "")], "U", "", "U"),
        ([("user", "U"), ("assistant", "A"), ("user", "V")], "U\nA\nV", "", "U\nA\nV"),
    ],
)
def test_prompt_response_and_text(turns, prompt, response, text):
    found = Example(tuple(Turn(*turn) for turn in turns))
    assert (found.prompt, found.response, found.text) == (prompt, response, text)


texts = st.text(alphabet="ab \n\ud800é", max_size=4)
roles = st.sampled_from(["system", "user", "assistant", "tool", "gpt", "document"])
chats = st.lists(st.fixed_dictionaries({"role": roles, "content": st.none() | texts | st.lists(texts, max_size=2)}))
records = st.one_of(
    st.fixed_dictionaries({"messages": chats}),
    st.fixed_dictionaries({"instruction": texts, "output": texts}, optional={"input": texts}),
    st.fixed_dictionaries({"prompt": texts | st.none(), "response": texts | st.integers()}),
    st.fixed_dictionaries({"question": texts, "answer": texts}),
    st.fixed_dictionaries({"text": texts}),
)


@given(records)
def test_example_and_read_agree(record):
    found = example(record)
    prompt, response = TextReader().read(record, WHERE)
    assert (found.prompt, found.response, found.text) == (prompt, response, TextReader.join(prompt, response))
    found.text.encode()  # no lone surrogate is left
    answers = [turn for turn in found.turns if turn.role == "assistant"]
    assert not answers or found.turns[-1] is answers[-1]
    assert {turn.role for turn in found.turns} <= {"system", "user", "assistant", "document"}


def test_examples_are_values():
    one, other = (Example((Turn("user", "U"),), WHERE) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.where = "elsewhere"
