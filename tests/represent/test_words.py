"""Counting of words and pairs against scikit-learn's, and the choice of words against its definition."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer

from tasksift.represent import words

TEXTS = st.lists(
    st.lists(st.sampled_from(["a", "B", "ab", "c,", "é", "你", "x_1", "??", "\n"]), max_size=9).map(" ".join)
    | st.text(max_size=9),
    min_size=1,
    max_size=8,
)


def reference(**options):
    return CountVectorizer(
        token_pattern=words.TOKEN, ngram_range=(1, 2), lowercase=False, preprocessor=str.lower, **options
    )


def test_what_a_word_is():
    found = re.findall(words.TOKEN, "x_1 = 3.5 你好abc カナ 한국 naïve $\\frac")
    expected = ["x_1", "=", "3", ".", "5", "你", "好", "abc", "カ", "ナ", "한", "국", "naïve", "$", "\\", "frac"]
    assert found == expected


@given(TEXTS, st.integers(1, 12))
@settings(max_examples=150)
def test_the_words_in_the_most_texts_are_chosen_and_counted(texts, limit):
    analyze = reference().build_analyzer()
    frequency = Counter(word for text in texts for word in set(analyze(text)))
    expected = sorted(sorted(frequency, key=lambda word: (-frequency[word], word))[:limit])
    found, counts = words.frequent(texts, limit)
    assert found == expected
    if expected:
        assert_same(counts, reference(vocabulary=expected, dtype=np.float32).transform(texts))


@given(TEXTS, st.lists(st.sampled_from(["a", "b", "a b", "b a", "ab a", "é", "c ,", "? ?", "你"]), unique=True))
@settings(max_examples=150)
def test_counts_in_other_texts(texts, vocabulary):
    chosen = words.Vocabulary(vocabulary)
    counts = chosen.count(chosen.encode(texts))
    if vocabulary:
        assert_same(counts, reference(vocabulary=vocabulary, dtype=np.float32).transform(texts))
    else:
        assert counts.shape == (len(texts), 0)


def assert_same(counts, expected):
    """Equal to the last bit and in the same order, on which the sums of a product depend."""
    expected.sort_indices()
    assert counts.shape == expected.shape
    assert counts.dtype == np.float32
    for name in ("indptr", "indices", "data"):
        assert np.array_equal(getattr(counts, name), getattr(expected, name))


@pytest.mark.parametrize("block", [1, 2, 5])
def test_blocks_do_not_show(block, monkeypatch):
    texts = ["a b a b", "b a", "c a b", "", "b c", "a", "c c c"]
    chosen, counts = words.frequent(texts, 6)
    monkeypatch.setattr(words, "BLOCK_TEXTS", block)
    again, recounted = words.frequent(texts, 6)
    assert again == chosen
    assert_same(recounted, counts)
