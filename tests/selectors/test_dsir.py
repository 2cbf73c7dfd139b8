from __future__ import annotations

import math
import re
from collections import Counter
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from tasksift.draw import draw
from tasksift.draw.lot import lay_out
from tasksift.errors import InputError
from tasksift.selectors import Context, dsir, ngrams
from tasksift.selectors.contract import Texts
from tasksift.selectors.ngrams import Hashed

RAW = ["Alice went to the store", "the cat sat on the mat", "store prices went up, again!", "alice and the cat"]
TARGET = ["Alice went to the shop", "the shop had a cat"]
PUBLISHED = {
    0: [-26.6466389584, -118.2314789923, -177.3694067630, -59.3042722429],
    1: [-47.9170426538, -62.0234487491, -72.4942706895, -39.6431119814],
}
"""log w of the published package, by its Laplace pseudo-count."""
DELTAS = {
    "alice": (0.1053604957, -5.5232094111),
    "alice went": (0.7985074762, -4.8300624305),
    "the": (0.1053605057, -5.8109080795),
    "shop": (16.2234562566, 10.3071876715),
    "cat": (0.1053604957, -5.5232094111),
    "the cat": (-15.4249486704, -6.2163065054),
}
BUCKETS = {"alice": 6720, "alice went": 114, "the": 8288, "shop": 1712, "cat": 2366, "the cat": 143}


def bucket(gram, buckets=10_000):
    return int(sha256(gram.encode()).hexdigest(), 16) % buckets


def vector(text, buckets=10_000):
    """The whole vector of counts of one text, as published."""
    words = re.findall(r"\w+|[^\w\s]+", text.lower())
    found = Counter(bucket(gram, buckets) for gram in words + [f"{a} {b}" for a, b in zip(words, words[1:])])  # noqa: B905, RUF007
    return np.array([found[j] for j in range(buckets)])


def prose(rng, count, words, *, ahead):
    """Texts of so many words of a vocabulary of 400, some likelier than others; `ahead` turns the ranking over."""
    chance = 1.0 / np.arange(1, 401)
    chance = (chance[::-1] if ahead else chance) + 0.01
    return [" ".join(f"w{j}" for j in rng.choice(400, words, p=chance / chance.sum())) for _ in range(count)]


def prepare(texts, targets, budget, *, order=None, tasks=None, names=(), seed=0, **given):
    order = np.arange(len(texts)) if order is None else order
    half = len(texts) // 2
    context = Context(
        order=order,
        sources=np.zeros(len(texts), dtype=np.int64),
        tasks=tasks,
        task_names=names,
        texts=Texts(lambda: iter([texts[:half], texts[half:]]), targets),
        seed=seed,
    )
    return dsir.SELECTOR.prepare(context, dsir.SELECTOR.settle(given, "dsir"))(budget)


def test_buckets_of_the_published_package():
    hashed = Hashed()
    for gram, where in BUCKETS.items():
        assert hashed.read(gram)[0][-1] == where == bucket(gram)
    assert len(hashed.read("Alice went to the store")[0]) == 9
    assert [hashed.read(text)[1] for text in RAW] == [5, 6, 7, 4]
    assert sum(len(hashed.read(text)[0]) for text in RAW) == 40
    assert sum(len(hashed.read(text)[0]) for text in TARGET) == 18


@pytest.mark.parametrize("laplace", [0, 1])
def test_weights_of_the_published_package(laplace):
    hashed = Hashed()
    delta = dsir.log_ratio(hashed.count(TARGET), hashed.count(RAW), float(laplace))
    for gram, values in DELTAS.items():
        assert delta[bucket(gram)] == pytest.approx(values[laplace], abs=1e-9)
    plan = dsir.fit(RAW, TARGET, smoothing=laplace)
    np.testing.assert_allclose(plan.values, PUBLISHED[laplace], atol=1e-9, rtol=0)


@given(st.lists(st.text("ab c,!\n", max_size=30), min_size=1, max_size=8), st.integers(2, 40))
def test_against_whole_vectors(texts, buckets):
    texts = ["a b", *texts]
    table, target = np.stack([vector(text, buckets) for text in texts]), vector("b c a!", buckets)
    delta = dsir.log_ratio(target, table.sum(axis=0))
    plan = dsir.fit(texts, ["b c a!"], buckets=buckets)
    assert plan.ids.tolist() == np.flatnonzero(table.sum(axis=1)).tolist()
    np.testing.assert_allclose(plan.values, (table @ delta)[plan.ids], atol=1e-9)


@given(st.text("ab ,", max_size=20), st.integers(1, 4))
def test_longer_ngrams(text, longest):
    words = re.findall(r"\w+|[^\w\s]+", text)
    grams = [" ".join(words[i : i + size]) for size in range(1, longest + 1) for i in range(len(words) - size + 1)]
    found, count = Hashed(ngrams=longest).read(text)
    assert found.tolist() == [bucket(gram) for gram in grams]
    assert count == len(words) == (len(found) + longest * (longest - 1) // 2) // longest or len(words) < longest


def test_a_full_cache_changes_nothing(monkeypatch):
    plan = dsir.fit(RAW * 3, TARGET)
    monkeypatch.setattr(ngrams, "CACHED", 3)
    np.testing.assert_array_equal(dsir.fit(RAW * 3, TARGET).values, plan.values)


def test_text_that_is_not_quite_utf8():
    assert len(Hashed().read("a \ud800 b")[0]) == 5


def test_words_of_scripts_without_spaces():
    assert Hashed().read("猫が好き")[1] == 1
    assert Hashed(tokenizer="words").read("猫が好き")[1] == 4


def test_planted_rows_are_found():
    rng = np.random.default_rng(0)
    texts = prose(rng, 50, 120, ahead=True) + prose(rng, 150, 120, ahead=False)
    order = rng.permutation(200)
    targets = prose(rng, 10, 120, ahead=True)
    for options in ({}, {"normalize": "equal"}, {"smoothing": 0}, {"smoothing": 1}):
        plan = prepare(texts, targets, 50, order=order, **options)
        for seed in range(5):
            assert set(draw(plan, 50, seed=seed, order=order).ids.tolist()) == set(range(50))


def test_the_first_row_drawn_has_softmax_chances():
    plan = prepare(RAW, TARGET, 1, smoothing=0, temperature=40)
    np.testing.assert_allclose(plan.values, np.array(PUBLISHED[0]) / 40, atol=1e-9)
    lot = lay_out(plan, order=np.array([2, 0, 3, 1]))
    found = np.bincount([lot.draw(1, seed).ids[0] for seed in range(20_000)], minlength=4)
    p = np.exp(plan.values) / np.exp(plan.values).sum()
    assert chisquare(found, 20_000 * p).pvalue > 1e-3


def test_all_rows_can_be_drawn_and_one_more_is_an_error():
    texts = [*RAW, "", " \n", "one two three"]
    plan, order = prepare(texts, TARGET, 5), np.arange(7)
    assert set(draw(plan, 5, seed=0, order=order).ids.tolist()) == {0, 1, 2, 3, 6}
    with pytest.raises(InputError, match="has 5 rows to draw and the budget is 6"):
        draw(plan, 6, seed=0, order=order)


def test_no_row_is_dropped_silently():
    """Short rows stay by default; what a minimum leaves out is counted, and nothing left is an error."""
    assert prepare(RAW, TARGET, 1).info["too_short"] == 0
    plan = prepare(RAW, TARGET, 1, min_length=6)
    assert plan.ids.tolist() == [1, 2]
    assert (plan.info["eligible"], plan.info["too_short"]) == (2, 2)
    np.testing.assert_array_equal(plan.values, prepare(RAW, TARGET, 1).values[1:3])
    with pytest.raises(InputError, match="no row of the pool has min_length=100 words or more; lower it"):
        prepare(RAW, TARGET, 1, min_length=100)


def test_a_row_without_words_is_never_drawn():
    """Its log-weight would be 0, above that of most rows."""
    plan = prepare(["", *RAW], TARGET, 1)
    assert plan.ids.tolist() == [1, 2, 3, 4]


def test_the_fit_does_not_hang_on_the_order():
    """Both distributions are fitted on all texts, not on those that come first."""
    rng = np.random.default_rng(1)
    texts = prose(rng, 30, 40, ahead=False) + prose(rng, 30, 40, ahead=True)
    shuffle = rng.permutation(60)
    one = prepare(texts, TARGET, 1)
    other = prepare([texts[i] for i in shuffle], TARGET, 1)
    np.testing.assert_array_equal(one.values[shuffle], other.values)


def test_smoothing_does_not_explode_and_a_pseudo_count_does():
    """One count a bucket is 10,000 on 18 real ones: it measures length and makes another row the best."""
    assert dsir.fit(RAW, TARGET, smoothing=0).values.argmax() == 0
    assert dsir.fit(RAW, TARGET).values.argmax() == 0
    assert dsir.fit(RAW, TARGET, smoothing=1).values.argmax() == 3
    delta = dsir.log_ratio(Hashed().count(TARGET), Hashed().count(RAW))
    # 18 n-grams, 15 of them different.
    assert delta.min() == pytest.approx(math.log(15 / 33))
    assert delta.max() < math.log(40)


def test_a_target_like_the_pool_says_nothing():
    np.testing.assert_allclose(dsir.fit(RAW, RAW).values, 0, atol=1e-12)


def test_smoothing_vanishes_as_the_target_grows():
    hashed = Hashed()
    target, pool = hashed.count(RAW[:2]), hashed.count(RAW)
    held = target > 0
    exact = np.log(target[held] / target.sum() * pool.sum() / pool[held])
    np.testing.assert_allclose(dsir.log_ratio(target * 10**6, pool)[held], exact, atol=1e-5)


def test_length_decides_sums_only():
    text = "Alice went to the store . "
    texts = [text, text * 20, "the cat sat on the mat"]
    total, mean, equal = (dsir.fit(texts, TARGET, normalize=how) for how in ("sum", "mean", "equal"))
    assert total.values[1] < 15 * total.values[0] < 0
    assert equal.values[1] == pytest.approx(equal.values[0], rel=0.1)
    count = np.array([11, 239, 11])
    np.testing.assert_allclose(mean.values, total.values / count)
    np.testing.assert_allclose(equal.values, mean.values * count.mean())


def test_temperature_divides():
    one, other = dsir.fit(RAW, TARGET), dsir.fit(RAW, TARGET, temperature=8.0)
    np.testing.assert_array_equal(one.values / 8, other.values)


TASKS = np.array([0, 1, 1])
TASK_TARGETS = [prose(np.random.default_rng(words), 1, words, ahead=words < 50)[0] for words in (50, 25, 20)]


def separate(budget, **given):
    rng = np.random.default_rng(2)
    texts = prose(rng, 40, 30, ahead=True) + prose(rng, 40, 30, ahead=False)
    names = ("easy", "hard")
    return texts, prepare(texts, TASK_TARGETS, budget, tasks=TASKS, names=names, separate=True, **given)


def test_separate_tasks_share_the_budget_by_their_ngrams():
    for budget in (1, 2, 7, 40, 79, 80):
        plan = separate(budget)[1]
        assert len(plan.ids) == budget == sum(plan.info["rows_of_tasks"])
        assert plan.complete == (budget == 80)
        assert draw(plan, budget, seed=0, order=np.arange(80)).distinct == budget
    assert plan.info["target_ngrams"] == [99, 49 + 39]
    _, plan = separate(17)
    assert plan.info["rows_of_tasks"] == [9, 8]


def test_separate_tasks_are_fitted_on_all_their_targets():
    """Each row carries the weight that the task which took it gives alone; no row is taken twice."""
    texts, plan = separate(40, temperature=1e-6)
    alone = [prepare(texts, t, 1, temperature=1e-6).values for t in (TASK_TARGETS[:1], TASK_TARGETS[1:])]
    first = np.argsort(-alone[0], kind="stable")[:21]
    second = [i for i in np.argsort(-alone[1], kind="stable") if i not in first][:19]
    assert plan.info["rows_of_tasks"] == [21, 19]
    assert set(plan.ids.tolist()) == set(first.tolist()) | set(second)
    values = plan.dense(80)
    np.testing.assert_array_equal(values[first], alone[0][first])
    np.testing.assert_array_equal(values[second], alone[1][second])


def test_separate_tasks_are_seeded_and_do_not_hang_on_the_order():
    texts, one = separate(20, temperature=5.0)
    assert np.array_equal(separate(20, temperature=5.0)[1].ids, one.ids)
    assert not np.array_equal(separate(20, temperature=5.0, seed=1)[1].ids, one.ids)
    shuffle = np.random.default_rng(3).permutation(80)
    other = prepare(
        [texts[i] for i in shuffle], TASK_TARGETS, 20, order=shuffle, tasks=TASKS, names=("easy", "hard"),
        separate=True, temperature=5.0,
    )  # fmt: skip
    np.testing.assert_array_equal(one.dense(80)[shuffle], other.dense(80))


def test_wrong_requests():
    with pytest.raises(InputError, match=r"the texts of the target hold no words"):
        dsir.fit(RAW, ["", " "])
    with pytest.raises(InputError, match="separate=true: the target rows name no tasks"):
        prepare(RAW, TARGET, 1, separate=True)
    with pytest.raises(InputError, match="a task of the target hold no words"):
        prepare(RAW, [*TARGET, ""], 1, tasks=np.array([0, 0, 1]), names=("a", "b"), separate=True)
    for wrong in ({"normalize": "length"}, {"tokenizer": "bpe"}, {"temperature": 0}):
        with pytest.raises(InputError):
            dsir.fit(RAW, TARGET, **wrong)
        with pytest.raises(InputError):
            dsir.SELECTOR.settle(wrong, "dsir")
