"""Held-out rows: drawn in their order, with options where all have some, and refused without a response."""

import json

import pytest

from tasksift.errors import InputError
from tasksift.evaluate.held_out import read_held_out
from tasksift.rows import expand

LETTERED = {"prompt": "What is red?\n(A) sky\n(B) blood", "response": "(B) blood"}
ASK = {"prompt": "What is red?", "response": "blood"}


def test_reading(tmp_path):
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps({**LETTERED, "prompt": f"{k}: {LETTERED['prompt']}"}) + "\n" for k in range(40)))
    whole = read_held_out(expand(path))
    assert len(whole.examples) == len(whole.options) == 40
    assert (whole.options[0], whole.answers) == (("(A) sky", "(B) blood"), (1,) * 40)
    some = [read_held_out(expand(path), most=15, seed=seed) for seed in (0, 0, 1)]
    numbers = [[int(each.prompt.split(":")[0]) for each in held.examples] for held in some]
    assert numbers[0] == numbers[1] == sorted(set(numbers[0])) != numbers[2]
    assert [len(each) for each in numbers] == [len(held.options) for held in some] == [15, 15, 15]
    assert read_held_out(expand(path), most=40) == whole
    with pytest.raises(InputError, match="at most 0 held-out rows"):
        read_held_out(expand(path), most=0)
    plain = read_held_out(expand([ASK]))
    assert (plain.options, plain.answers, plain.examples[0].response) == (None, None, "blood")
    assert (
        read_held_out(expand([ASK]), text_template="{prompt} {response}").examples[0].response == "What is red? blood"
    )


@pytest.mark.parametrize("record", [{**ASK, "response": " \n"}, {"messages": [{"role": "user", "content": "Hi"}]}])
def test_a_row_without_response(tmp_path, record):
    path = tmp_path / "test.jsonl"
    path.write_text(json.dumps(LETTERED) + "\n\n" + json.dumps(record) + "\n")
    with pytest.raises(InputError, match=r"test.jsonl, line 3: the held-out row has no response"):
        read_held_out(expand(path))
