from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import round_robin

from tasksift.errors import InputError
from tasksift.selectors import Context, bm25
from tasksift.selectors.contract import Texts

POOL = [
    "the cat sat on the mat",
    "a cat , a dog",
    "the market fell",
    "prices rose and the market fell again",
    "dog",
    "",
]
TARGET = ["cat and dog and bird", "market prices prices"]


def words(text):
    return re.findall(r"\w+|[^\w\s]", text.lower())


def scores(pool, target, k1=1.5, b=0.75):
    """The definition, a loop over targets, rows and words: float64 (m, n)."""
    rows = [words(text) for text in pool]
    average = sum(map(len, rows)) / len(rows) or 1.0
    out = np.zeros((len(target), len(pool)))
    for q, query in enumerate(target):
        for x, row in enumerate(rows):
            for t in words(query):
                f, df = row.count(t), sum(t in other for other in rows)
                idf = math.log((len(rows) - df + 0.5) / (df + 0.5) + 1)
                if f:
                    out[q, x] += idf * f * (k1 + 1) / (f + k1 * (1 - b + b * len(row) / average))
    return out


def prose(rng, count, longest=30, vocabulary=50):
    return [" ".join(f"w{j}" for j in rng.zipf(1.5, rng.integers(1, longest)) % vocabulary) for _ in range(count)]


TEXT = st.lists(st.sampled_from(["a", "b", "B", "c", "dd", ",", "e"]), max_size=8).map(" ".join)


@given(
    st.lists(TEXT, min_size=1, max_size=6),
    st.lists(TEXT, min_size=1, max_size=4),
    st.floats(0, 3),
    st.floats(0, 1),
)
def test_against_the_definition(pool, target, k1, b):
    target = ["b", *target]
    table = scores(pool, target, k1, b)
    mean, best = (bm25.fit(pool, target, aggregate=how, k1=k1, b=b) for how in ("mean", "max"))
    np.testing.assert_allclose(mean.values, table.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(best.values, table.max(axis=0), atol=1e-9)
    np.testing.assert_allclose(table[best.links.target, best.links.row], best.values, atol=1e-9)


def test_a_copy_changes_how_many_rows_hold_a_word():
    one, two = bm25.fit(POOL, ["dog"]), bm25.fit([*POOL, "dog"], ["dog"])
    before, after = math.log(4.5 / 2.5 + 1), math.log(4.5 / 3.5 + 1)
    total = sum(len(words(text)) for text in POOL)
    ratio = (1 + 1.5 * (0.25 + 0.75 * 6 / total)) / (1 + 1.5 * (0.25 + 0.75 * 7 / (total + 1)))
    assert two.values[4] == two.values[6] == pytest.approx(one.values[4] * after / before * ratio, rel=1e-12)


def test_a_word_that_no_row_holds_adds_nothing():
    with_it, without = (bm25.fit(POOL, ["market prices" + more], aggregate="max") for more in (" unicorn", ""))
    np.testing.assert_array_equal(with_it.values, without.values)
    assert not bm25.fit(POOL, ["unicorn"]).values.any()


def test_words_of_the_target_count_as_often_as_they_occur():
    once, twice = bm25.fit(POOL, ["market"]), bm25.fit(POOL, ["market, Market"])
    np.testing.assert_allclose(twice.values - bm25.fit(POOL, [","]).values, 2 * once.values)


def test_a_word_in_most_rows_does_not_count_against_them():
    assert (bm25.fit(["the cat", "the dog", "the"], ["the"]).values > 0).all()


def test_turns_against_masking():
    rng = np.random.default_rng(0)
    pool, target = prose(rng, 120), prose(rng, 7)
    table = scores(pool, target)
    # Rounded, so that the two ways of adding up agree on ties.
    picks = round_robin(np.round(table, 9), 120)
    for budget in (1, 7, 50, 120):
        plan = bm25.fit(pool, target, aggregate="turns", budget=budget)
        assert plan.ids[np.argsort(-plan.values)].tolist() == picks[:budget]
        assert plan.complete == (budget == 120)
        turn = -plan.values.astype(int)
        np.testing.assert_array_equal(plan.links.target, turn % 7)
        np.testing.assert_allclose(-plan.links.distance, table[plan.links.target, plan.ids], atol=1e-9)


def test_turns_when_all_want_the_same_rows():
    """The lists start shorter than the pool and must grow."""
    rng = np.random.default_rng(1)
    pool, target = prose(rng, 300), prose(rng, 1) * 5
    index = bm25.prepare(lambda: iter([pool]), target)
    short = index.plan("turns", 10)
    assert len(index.lists[0][0]) == 68
    plan = index.plan("turns", 250)
    ranked = np.argsort(-np.round(scores(pool, target[:1])[0], 9), kind="stable")
    assert plan.ids[np.argsort(-plan.values)].tolist() == ranked[:250].tolist()
    assert short.ids[np.argsort(-short.values)].tolist() == ranked[:10].tolist()


def test_ties_go_by_order():
    pool = ["dog", "cat", "dog", "bird", "dog"]
    order = np.array([3, 0, 1, 4, 2])
    plan = bm25.fit(pool, ["dog"], aggregate="turns", budget=5, order=order)
    assert plan.ids[np.argsort(-plan.values)].tolist() == [2, 4, 0, 1, 3]


@pytest.mark.parametrize("aggregate", ["mean", "max", "turns"])
def test_batches_blocks_and_order_change_nothing(aggregate, monkeypatch):
    rng = np.random.default_rng(2)
    pool, target, shuffle, order = prose(rng, 90), prose(rng, 4), rng.permutation(90), rng.permutation(90)

    def plan(texts, order, cut):
        context = Context(
            order=order,
            sources=np.zeros(90, dtype=np.int64),
            texts=Texts(lambda: iter([texts[:cut], [], texts[cut:]]), target),
        )
        given = bm25.SELECTOR.settle({"aggregate": aggregate}, "bm25")
        return bm25.SELECTOR.prepare(context, given)(40).dense(90)

    one = plan(pool, order, 45)
    np.testing.assert_array_equal(plan([pool[i] for i in shuffle], order[shuffle], 3), one[shuffle])
    monkeypatch.setattr(bm25, "TABLE_ENTRIES", 17)
    np.testing.assert_array_equal(plan(pool, order, 1), one)


def test_one_row_and_one_target():
    plan = bm25.fit(["cat"], ["cat"], aggregate="turns", budget=1)
    assert plan.ids.tolist() == [0]
    assert bm25.fit(["cat"], ["cat"]).values == pytest.approx(math.log(0.5 / 1.5 + 1))


def test_wrong_requests():
    with pytest.raises(InputError, match="the texts of the target hold no words"):
        bm25.fit(POOL, ["", "\n"])
    with pytest.raises(InputError, match="the pool is empty"):
        bm25.fit([], TARGET)
    with pytest.raises(InputError, match="'turns' needs a budget"):
        bm25.fit(POOL, TARGET, aggregate="turns")
    with pytest.raises(InputError, match="aggregate 'min' does not exist"):
        bm25.fit(POOL, TARGET, aggregate="min")
