"""Decontamination against its definition."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksift.errors import InputError
from tasksift.filters import contamination
from tasksift.filters.contamination import Reference, find_overlaps

TEXT = st.lists(st.sampled_from(["a", "B", "cd", "é", "7", "x_1", "other"]), max_size=14).map(" ".join)


def naive(pool, references, words):
    """Row to the first run that it shares, and the first reference that holds it; then equal texts."""
    found = {}
    split = [re.findall(r"\w+", reference.lower()) for reference in references]
    for row, text in enumerate(pool):
        own = re.findall(r"\w+", text.lower())
        for at in range(len(own) - words + 1):
            run = own[at : at + words]
            holds = [q for q, other in enumerate(split) if run in [other[k : k + words] for k in range(len(other))]]
            if holds:
                found[row] = (holds[0], "shared words", " ".join(run))
                break
        if row not in found and own in split and own:
            found[row] = (split.index(own), "same text", " ".join(own))
    return found


def as_dict(found):
    assert (np.diff(found.rows) > 0).all()
    return {
        row: (reference, reason, shared)
        for row, reference, reason, shared in zip(
            found.rows.tolist(), found.references.tolist(), found.reasons, found.shared, strict=True
        )
    }


@given(st.lists(TEXT, max_size=12), st.lists(TEXT, max_size=4), st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=200)
def test_it_is_the_naive_search(pool, references, words, batch):
    batches = [pool[at : at + batch] for at in range(0, len(pool), batch)]
    found = find_overlaps(batches, [Reference(str(k), text) for k, text in enumerate(references)], words=words)
    assert as_dict(found) == naive(pool, references, words)
    assert found.names == [str(k) for k in found.references]


@given(st.lists(TEXT, min_size=1, max_size=12), st.lists(TEXT, max_size=4), st.integers(1, 4))
@settings(max_examples=60)
def test_a_collision_of_hashes_neither_drops_nor_misses_a_row(pool, references, words):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contamination, "MULTIPLIER", np.uint64(0))  # the last word alone decides about a hash
        found = find_overlaps([pool], [Reference(str(k), text) for k, text in enumerate(references)], words=words)
    assert as_dict(found) == naive(pool, references, words)


TALE = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


@pytest.mark.parametrize(
    ("text", "shared"),
    [
        (f"Prose before. {TALE}, and after.", True),
        (TALE.upper().replace(" ", ",\n "), True),
        (TALE.replace("one ", "").replace("fourteen", "and"), False),
        (" ".join(TALE.split()[:12]), False),
        (TALE.replace("seven", "7"), False),
    ],
)
def test_runs_of_13_words_whatever_case_and_symbols(text, shared):
    assert (len(find_overlaps([[text]], [Reference("test.jsonl row 3", TALE)]).rows) == 1) == shared


def test_a_run_does_not_cross_from_one_row_to_the_next():
    half = TALE.split()
    batch = [" ".join(half[:7]), " ".join(half[7:])]
    assert not len(find_overlaps([batch], [Reference("t", TALE)]).rows)
    assert not len(find_overlaps([[TALE]], [Reference("t", half) for half in batch]).rows)


def test_short_references_are_found_by_equality_only():
    references = [Reference("t 0", "What is 2 + 2?\n4", "What is 2 + 2?"), Reference("t 1", "!!!", "")]
    texts = ["What is 2 + 2?\n4", "what is 2 2 4", "So what is 2 + 2? 4 of course", "What is 2 + 2? 5", "", "???"]
    prompts = ["", "", "So what is 2 + 2?", "What is 2 + 2?", "", ""]
    found = find_overlaps([texts[:4], texts[4:]], references, pool_prompts=[prompts[:4], prompts[4:]])
    assert found.rows.tolist() == [0, 1, 3]
    assert found.reasons == ["same text", "same text", "same prompt"]
    left = found.left_out()
    assert left.counts() == {"same prompt": 1, "same text": 2}
    assert left.because_of[2] == "t 0: what is 2 2"


def test_a_script_without_spaces_is_counted_by_characters():
    poem = "床前明月光疑是地上霜举头望明月低头思故乡"
    assert find_overlaps([[f"诗：{poem}。"]], [Reference("t", poem)]).shared == [" ".join(poem[:13])]


def test_nothing_to_look_for_and_nowhere_to_look():
    assert not len(find_overlaps([["some words"]], []).rows)
    assert not len(find_overlaps([], [Reference("t", TALE)]).rows)
    assert not len(find_overlaps([[], ["", TALE[:20]]], [Reference("t", TALE)]).left_out().rows)


def test_what_does_not_fit_is_said():
    with pytest.raises(InputError, match="runs of 0 words"):
        find_overlaps([["a"]], [], words=0)
