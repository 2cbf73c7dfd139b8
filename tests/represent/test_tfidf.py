import itertools
import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from tasksift.errors import InputError
from tasksift.represent import tfidf, tfidf_model, words

RANDOM = random.Random(0)
WORDS = [f"w{k}" for k in range(300)]
TOPICS = [RANDOM.sample(WORDS, 30) for _ in range(8)]
TEXTS = [" ".join(RANDOM.choices(RANDOM.choice(TOPICS), k=RANDOM.randint(1, 40))) for _ in range(1500)]


@pytest.fixture(scope="module")
def model():
    return tfidf.fit(TEXTS, dim=16, vocabulary=2000)


def lengths(vectors):
    return np.linalg.norm(vectors.astype(np.float64), axis=1)


def test_agrees_with_the_scikit_learn_pipeline():
    model = tfidf.fit(TEXTS, dim=8, vocabulary=10**6)
    weigh = TfidfVectorizer(token_pattern=words.TOKEN, ngram_range=(1, 2), sublinear_tf=True)
    weights = weigh.fit_transform(sorted(set(TEXTS)))
    reduce = TruncatedSVD(8, algorithm="arpack", random_state=0).fit(weights)
    expected = normalize(reduce.transform(weigh.transform(TEXTS)))
    found = model.transform(TEXTS)
    assert model.words == sorted(weigh.vocabulary_)
    np.testing.assert_allclose(found[:, :-1] @ found[:, :-1].T, expected @ expected.T, atol=2e-3)


@given(st.lists(st.text(max_size=12) | st.sampled_from(TEXTS), min_size=1, max_size=6))
@settings(max_examples=50)
def test_every_row_is_a_unit_vector_and_does_not_see_its_batch(model, texts):
    together = model.transform(texts)
    assert together.dtype == np.float32
    assert together.shape == (len(texts), model.dim + 1)
    np.testing.assert_allclose(lengths(together), 1, atol=1e-6)
    for row, text in zip(together, texts, strict=True):
        assert np.array_equal(model.transform([text])[0], row)


def test_blocks_do_not_show(model, monkeypatch):
    whole = model.transform(TEXTS)
    monkeypatch.setattr(tfidf_model, "BLOCK_TEXTS", 7)
    assert np.array_equal(model.transform(TEXTS), whole)


def test_texts_without_a_known_word_stand_apart(model):
    vectors = model.transform(["", "unheard of", "w1 w2", "42"])
    apart = np.zeros(model.dim + 1)
    apart[-1] = 1
    assert np.array_equal(vectors[[0, 1, 3]], [apart] * 3)
    assert vectors[2, -1] == 0


def test_a_projection_that_vanishes_is_unknown():
    projection = np.array([[1e-9], [1.0]], dtype=np.float32)
    assert tfidf.Tfidf(["a", "b"], projection, {}).transform(["a", "b"]).tolist() == [[0, 1], [1, 0]]


def test_order_and_copies_change_no_bit(model):
    texts = TEXTS + TEXTS[:100]
    random.Random(1).shuffle(texts)
    again = tfidf.fit(texts, dim=16, vocabulary=2000)
    assert again.digest == model.digest
    assert np.array_equal(again.projection, model.projection)


def test_parameters_change_the_digest(model):
    others = [tfidf.fit(TEXTS, **{"dim": 16, "vocabulary": 2000, **new}) for new in ({"seed": 1}, {"dim": 15})]
    assert len({model.digest, *(other.digest for other in others)}) == 3


def test_threads_change_no_bit(model):
    with threadpool_limits(4):
        assert tfidf.fit(TEXTS, dim=16, vocabulary=2000).digest == model.digest


def test_hash_randomisation_changes_no_bit():
    code = (
        "from tasksift.represent.tfidf import fit; print(fit(['a b c', 'b c', 'd a, b'], dim=2, vocabulary=5).digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_save_and_load(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = tfidf.Tfidf.load(tmp_path / "model")
    assert loaded.describe() == model.describe()
    assert np.array_equal(loaded.transform(TEXTS[:50]), model.transform(TEXTS[:50]))
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["tfidf.json", "tfidf.npy"]
    json.dumps(model.describe())


@pytest.mark.parametrize("damage", ["missing", "text", "changed", "truncated", "pickled", "keys"])
def test_a_damaged_model_is_refused(model, tmp_path, damage):
    model.save(tmp_path)
    array, words = tmp_path / "tfidf.npy", tmp_path / "tfidf.json"
    if damage == "missing":
        words.unlink()
    elif damage == "text":
        words.write_text("{")
    elif damage == "changed":
        words.write_text(words.read_text().replace('"w1"', '"w01"'))
    elif damage == "truncated":
        array.write_bytes(array.read_bytes()[:-100])
    elif damage == "pickled":
        np.save(array, np.array([None]), allow_pickle=True)
    else:
        words.write_text("{}")
    with pytest.raises(InputError, match="fit it again"):
        tfidf.Tfidf.load(tmp_path)


@pytest.mark.parametrize(
    "texts", [["one"], ["one one"], ["?"], ["one", "two"], [" ".join(WORDS)], [" ".join(WORDS), "w1 w2"], ["𝐀 𝐁", "ß"]]
)
def test_small_pools(texts):
    model = tfidf.fit(texts, dim=8)
    vectors = model.transform([*texts, "nowhere"])
    assert 1 <= model.dim <= 8
    np.testing.assert_allclose(lengths(vectors), 1, atol=1e-6)
    assert np.all(vectors[:-1] @ vectors[-1] == 0)
    assert np.all(vectors[:-1, -1] == 0)


def test_a_pool_without_words(tmp_path):
    tfidf.fit(["", "  "]).save(tmp_path)
    model = tfidf.Tfidf.load(tmp_path)
    assert model.dim == 0
    assert model.transform(["", "word"]).tolist() == [[1.0], [1.0]]


def test_few_words_are_not_reduced():
    texts = ["a", "b", "c", "a b"]
    model = tfidf.fit(texts, dim=8)
    vectors = model.transform(texts)
    expected = TfidfVectorizer(token_pattern=words.TOKEN, ngram_range=(1, 2), sublinear_tf=True).fit_transform(texts)
    np.testing.assert_allclose(vectors @ vectors.T, (expected @ expected.T).toarray(), atol=1e-6)


def test_directions_without_texts_are_dropped():
    # Twenty texts in the span of two: the solver is asked for ten directions and finds two.
    texts = [("a b c d e f g h i j k l " * k) + "." for k in range(1, 21)]
    assert tfidf.fit(texts, dim=10).dim < 10


def test_the_commonest_words_count():
    model = tfidf.fit(["b a", "b c", "b d", "c"], vocabulary=2)
    assert model.words == ["b", "c"]
    backwards = WORDS[::-1]
    ties = [*WORDS, *(f"{one} {other}" for one, other in itertools.pairwise(backwards))]
    assert tfidf.fit([" ".join(backwards)], vocabulary=20).words == sorted(ties)[:20]


def test_refuses_what_makes_no_sense():
    with pytest.raises(InputError, match="at least one text"):
        tfidf.fit([])
    with pytest.raises(InputError, match="dim=0"):
        tfidf.fit(["a"], dim=0)
