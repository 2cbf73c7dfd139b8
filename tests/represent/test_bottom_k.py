from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasksift.represent.sample import DIGEST_BYTES, BottomK

TEXTS = st.lists(st.text(max_size=6), max_size=40)


def sample_of(texts, size, seed):
    sample = BottomK(size, seed)
    sample.add(texts)
    return sample.texts()


def oracle(texts, size, seed):
    def digest(text):
        data = text.encode("utf-8", "surrogatepass")
        return blake2b(data, digest_size=DIGEST_BYTES, key=str(seed).encode()).digest()

    return sorted(set(texts), key=digest)[:size]


@given(TEXTS, st.integers(1, 12), st.integers(0, 3))
def test_is_the_smallest_hashes_of_the_distinct_texts(texts, size, seed):
    assert sample_of(texts, size, seed) == oracle(texts, size, seed)


@given(TEXTS, TEXTS, st.integers(1, 12), st.randoms(use_true_random=False))
def test_order_copies_batches_and_merging_change_nothing(first, second, size, random):
    expected = sample_of(first + second, size, 0)
    shuffled = first + second + first
    random.shuffle(shuffled)
    assert sample_of(shuffled, size, 0) == expected
    one, other = BottomK(size, 0), BottomK(size, 0)
    for text in first:
        one.add([text])
    other.add(second)
    one.merge(other)
    assert one.texts() == expected
    one.add(second)
    assert one.texts() == expected


def test_seeds_give_different_samples():
    texts = [str(number) for number in range(1000)]
    assert set(sample_of(texts, 100, 0)) != set(sample_of(texts, 100, 1))


def test_is_uniform():
    # Each of 40 texts is kept by half of 400 seeds, give or take five standard deviations.
    texts = [str(number) for number in range(40)]
    kept = [text for seed in range(400) for text in sample_of(texts, 20, seed)]
    assert all(abs(kept.count(text) - 200) <= 50 for text in texts)


def test_memory_stays_bounded():
    sample = BottomK(10, 0)
    for number in range(5000):
        sample.add([str(number)])
        assert len(sample._kept) <= 20


def test_lone_surrogates_are_texts_too():
    assert sample_of(["\ud800", "a"], 5, 0) == oracle(["\ud800", "a"], 5, 0)


def test_refuses_what_makes_no_sense():
    with pytest.raises(ValueError, match="at least 1"):
        BottomK(0, 0)
    with pytest.raises(ValueError, match="do not merge"):
        BottomK(5, 0).merge(BottomK(5, 1))
