"""Options of held-out rows: in columns and prompts, written as responses are, and where there are none."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasksift.errors import InputError
from tasksift.evaluate.choices import find_options
from tasksift.rows import TextReader

LETTERED = {"prompt": "What is red?\n(A) sky\n(B) blood\n(C) a lawn", "response": "(B) blood", "meta": {"answer": "B"}}
ASK = {"prompt": "What is red?", "response": "blood"}
TEXTS = ["sky", "blood", "a lawn"]
WHOLE = ("(A) sky", "(B) blood", "(C) a lawn")


def found(*records):
    examples = [TextReader().example(record, f"test.jsonl, row {k}") for k, record in enumerate(records)]
    return find_options(records, examples)


def shown(response, style="({}) {}"):
    lines = "\n".join(style.format(label, text) for label, text in zip("ABC", TEXTS, strict=True))
    return {"prompt": f"What is red?\n{lines}", "response": response}


def test_lettered_lines_of_prompts():
    assert found(LETTERED) == ((WHOLE,), (1,))
    assert found(shown("(C) a lawn"), shown("(A) sky\nIt burns at dusk.")) == ((WHOLE, WHOLE), (2, 0))


@pytest.mark.parametrize(
    ("response", "style", "options"),
    [
        ("B) blood", "{}) {}", ("A) sky", "B) blood", "C) a lawn")),
        ("B. blood, of course", "({}) {}", ("A. sky", "B. blood", "C. a lawn")),
        ("B: blood", "{}: {}", ("A: sky", "B: blood", "C: a lawn")),
        (" blood\n", "{}. {}", ("sky", "blood", "a lawn")),
        ("(B)", "({}) {}", ("(A)", "(B)", "(C)")),
        ("B", "  {}.  {}  ", ("A", "B", "C")),
        ("(B) blo", "({}) {}", ("(A)", "(B)", "(C)")),  # the letter is all that is written alike
    ],
)
def test_options_are_written_as_responses_are(response, style, options):
    assert found(shown(response, style)) == ((options,), (1,))


def test_one_form_fits_all_rows():
    assert found(shown("(B) blood"), shown("(C)")) == ((("(A)", "(B)", "(C)"),) * 2, (1, 2))


@pytest.mark.parametrize(
    "columns",
    [
        {"choices": TEXTS, "answer_idx": 1},
        {"choices": TEXTS, "label": "1"},
        {"options": TEXTS, "label": 1.0},
        {"options": TEXTS, "answerKey": "B"},
        {"options": TEXTS, "answer": " blood"},
        {"options": TEXTS, "answer": "(B) blood is red"},
        {"options": TEXTS},
        {"choices": {"text": TEXTS, "label": ["1", "2", "3"]}, "answerKey": "2"},
        {"choices": {"text": TEXTS, "label": ["1", "2", "3"]}, "answerKey": 2},
        {"choices": [{"label": k, "text": text} for k, text in zip("xyz", TEXTS, strict=True)], "answerKey": "y"},
        {"options": dict(zip("ABC", TEXTS, strict=True)), "answer_idx": "B"},
        {"meta": {"choices": TEXTS, "answer": "B"}},
        {"options": TEXTS, "metadata": {"gold": 1}},
        {"options": TEXTS, "label": "colours", "answer_idx": 1},
    ],
)
def test_columns(columns):
    assert found({**ASK, **columns}) == ((tuple(TEXTS),), (1,))


def test_letters_count_only_where_the_prompt_shows_the_texts():
    record = {"question": "What is red?", "choices": TEXTS, "answer": "B"}
    assert found(record) == ((tuple(TEXTS),), (1,))
    assert found({**record, "question": shown("")["prompt"]}) == ((("A", "B", "C"),), (1,))
    numbered = {"question": "How many?", "choices": ["2", "0", "1"], "answer": 1}
    assert found(numbered) == ((("2", "0", "1"),), (1,))  # a number is a position, a text a text
    assert found({**numbered, "answer": "1"}) == ((("2", "0", "1"),), (2,))


def test_the_last_list_of_a_prompt_is_its_own():
    example = "Which?\n(A) one\n(B) two\n(B) two\n\nWhat is A. Smith?\nA. Smith\n"
    assert found({**LETTERED, "prompt": example + LETTERED["prompt"] + "\nAnswer:"}) == ((WHOLE,), (1,))
    lines = {"prompt": "Which runs?\n(A) if x:\n  go()\n(B) go(\n(C) y\nSay why.", "response": "(C) y"}
    assert found(lines) == ((("(A) if x:\n  go()", "(B) go(", "(C) y"),), (2,))


@pytest.mark.parametrize(
    "record",
    [
        ASK,
        {"prompt": "Is it?\nAnswer yes, no or maybe.", "response": "yes"},
        {"prompt": "Which?\n(A) one", "response": "(A) one"},
        {"prompt": "Which?\n(B) one\n(C) two", "response": "(B) one"},
        shown("(D) none"),
        shown("A lawn is green."),
        shown("Blood"),
        {"text": LETTERED["prompt"], "choices": TEXTS, "label": 1},
        {**ASK, "options": {"shuffle": True}},
        {**ASK, "options": ["one"], "label": 0},
        {**ASK, "options": [["a"], ["b"]], "label": 0},
        {**ASK, "options": ["red", "green"]},
    ],
)
def test_rows_without_options(record):
    assert found(record) is None
    assert found(LETTERED, record) is None
    assert find_options([], []) is None


@pytest.mark.parametrize("label", ["", "E", 3, -1, 0.5, "(F) none"])
def test_an_answer_that_is_no_option(label):
    records = [{**ASK, "options": TEXTS, "label": 1}, {**ASK, "response": "?", "options": TEXTS, "label": label}]
    with pytest.raises(InputError, match=r"test.jsonl, row 1: label is '.*', none of the 3 options; give a label"):
        found(*records)


HOSTILE = st.text(alphabet="AB()\n. :{}0\ud800é", max_size=60)


@given(st.lists(st.tuples(HOSTILE, HOSTILE), min_size=1, max_size=3))
def test_any_text_is_taken_or_left(pairs):
    result = found(*({"prompt": prompt, "response": response} for prompt, response in pairs))
    if result is not None:
        options, answers = result
        assert len(options) == len(answers) == len(pairs)
        assert all(len(each) >= 2 and 0 <= k < len(each) for each, k in zip(options, answers, strict=True))


@given(st.lists(HOSTILE.filter(str.strip), min_size=2, max_size=40), st.data())
def test_any_options_in_a_column(texts, data):
    k = data.draw(st.integers(0, len(texts) - 1))
    options, answers = found({**ASK, "response": "?!", "choices": texts, "label": k})
    assert answers == (k,)
    clean = [re.sub("[\ud800]", "\N{REPLACEMENT CHARACTER}", text).strip() for text in texts]
    assert options == (tuple(clean),)
