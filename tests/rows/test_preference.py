"""Preference pairs: the usual layouts give one prompt and two answers."""

import pytest

from tasksift.errors import InputError
from tasksift.rows import TextReader

ASKED = [("user", "What is 2 + 2?")]
GOOD, BAD = ("assistant", "4"), ("assistant", "5")


def message(role, text):
    return {"role": role, "content": text}


QUESTION, FOUR, FIVE = message("user", "What is 2 + 2?"), message("assistant", "4"), message("assistant", "5")


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "What is 2 + 2?", "chosen": "4", "rejected": "5"},
        {"question": "What is 2 + 2?", "chosen": "4", "rejected": "5", "score": 1},
        {"prompt": [QUESTION], "chosen": [FOUR], "rejected": [FIVE]},
        {"chosen": [QUESTION, FOUR], "rejected": [QUESTION, FIVE]},
        {"prompt": "What is 2 + 2?", "chosen": [QUESTION, FOUR], "rejected": [QUESTION, FIVE]},
        {"prompt": "x", "prompt_id": 3, "messages": [QUESTION, FOUR], "chosen": [QUESTION, FOUR], "rejected": [FIVE]},
        {
            "chosen": "\n\nHuman: What is 2 + 2?\n\nAssistant: 4",
            "rejected": "\n\nHuman: What is 2 + 2?\n\nAssistant: 5",
        },
    ],
)
def test_layouts(record):
    if record.get("prompt") == "x":  # answers to different prompts
        with pytest.raises(InputError, match=r"row 3: 'chosen' and 'rejected' answer different prompts"):
            TextReader().example(record, "pairs.parquet, row 3")
        return
    example = TextReader().example(record, "here")
    assert list(example.turns) == [*ASKED, GOOD]
    assert list(example.rejected) == [*ASKED, BAD]
    assert TextReader().read(record, "here") == ("What is 2 + 2?", "4")


def test_a_prompt_of_several_turns_is_kept_whole():
    prompt = [QUESTION, FIVE, message("user", "Sure?")]
    example = TextReader().example({"prompt": prompt, "chosen": [FOUR], "rejected": [FIVE]}, "here")
    assert [turn.text for turn in example.turns] == ["What is 2 + 2?", "5", "Sure?", "4"]


def test_a_pair_needs_two_answers():
    with pytest.raises(InputError, match=r"a\.jsonl, line 2: 'rejected' has no answer of the assistant"):
        TextReader().example({"chosen": [QUESTION, FOUR], "rejected": [QUESTION]}, "a.jsonl, line 2")
    assert TextReader().example({"text": "t", "chosen": None, "rejected": "x"}, "here").rejected is None
