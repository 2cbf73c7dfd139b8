"""Adapt-∞ on one pool: clusters, the choice of scorers, exact budgets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from tasksift.errors import InputError
from tasksift.selectors import adapt
from tasksift.selectors.clustering import cluster
from tasksift.selectors.contract import Context
from tasksift.selectors.pruning import equal_shares
from tasksift.vectors import Vectors

RNG = np.random.default_rng(0)
SKILLS = np.repeat(np.arange(6), [250, 180, 140, 90, 40, 20])
CENTRES = RNG.normal(size=(6, 32))
POOL = CENTRES[SKILLS] + 0.2 * RNG.normal(size=(len(SKILLS), 32))
POOL /= np.linalg.norm(POOL, axis=1, keepdims=True)
SCORES = np.column_stack([np.exp(RNG.normal(size=720)), RNG.random(720), RNG.normal(size=720)])
NAMES = ("perplexity", "el2n", "entropy")


def slow_entropy(values, inside, bins=50):
    z = (values - values.mean()) / values.std()
    p = np.histogram(np.clip(z[inside], -4, 4), bins, (-4, 4))[0] / inside.sum()
    return -sum(x * np.log(x) for x in p if x > 0)


def test_entropies_are_those_of_the_definition():
    entropies = adapt.spread(SCORES, SKILLS)
    slow = [[slow_entropy(SCORES[:, j], k == SKILLS) for j in range(3)] for k in range(6)]
    np.testing.assert_allclose(entropies, slow, rtol=1e-12)


@given(
    st.integers(-30, 30).map(lambda e: 10.0 ** (e / 10)),
    st.floats(-100, 100),
    st.integers(0, 2),
    st.sampled_from(["normal", "lognormal", "whole numbers"]),
)
@settings(max_examples=25)
def test_the_choice_does_not_depend_on_the_unit(a, b, j, kind):
    """Published: one normal sample has entropies from 5.59 to 0, as its unit changes."""
    rng = np.random.default_rng(7)
    values = {"normal": rng.normal(size=720), "lognormal": np.exp(rng.normal(size=720))}
    values["whole numbers"] = rng.integers(0, 9, size=720).astype(float)
    scores = SCORES.copy()
    scores[:, j] = values[kind]
    moved = scores.copy()
    moved[:, j] = a * scores[:, j] + b
    np.testing.assert_array_equal(adapt.spread(scores, SKILLS), adapt.spread(moved, SKILLS))
    plans = [adapt.fit(POOL, each, budget=50, clusters=6) for each in (scores, moved)]
    chosen = [[facts["scorer"] for facts in plan.info["clusters"]] for plan in plans]
    assert chosen[0] == chosen[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e30, -3.3])
def test_a_constant_score_is_never_chosen(value, dtype):
    """Published: it divides by zero, and NaN wins or loses by chance."""
    scores = SCORES.astype(dtype)
    scores[:, 0] = dtype(value)
    scores[::2, 0] *= 1 + np.finfo(dtype).eps  # rounding is no spread
    plan = adapt.fit(POOL, scores, names=NAMES, budget=50, clusters=6)
    assert all(facts["scorer"] in NAMES[1:] for facts in plan.info["clusters"])
    assert all(facts["entropy"]["perplexity"] is None for facts in plan.info["clusters"])
    # Also where the others say nothing of a cluster of one row.
    assert adapt.spread(scores[:2], np.array([0, 1])).argmax(axis=1).tolist() == [1, 1]


def test_all_scores_constant():
    plan = adapt.fit(POOL, np.ones((720, 2)), budget=100, clusters=6)
    assert len(plan.ids) == 100
    assert {facts["scorer"] for facts in plan.info["clusters"]} == {None}


def test_the_widest_score_of_a_cluster_is_chosen():
    scores = np.column_stack([np.where(SKILLS == 0, 1.0, 0.0), np.where(SKILLS == 1, 1.0, 0.0)])
    scores[SKILLS == 0, 0] += RNG.normal(size=250)
    scores[SKILLS == 1, 1] += RNG.normal(size=180)
    assert adapt.spread(scores, SKILLS)[:2].argmax(axis=1).tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(4))
def test_planted_skills_are_found(seed):
    rng = np.random.default_rng(seed)
    gradients = rng.normal(size=(6, 32))[SKILLS] + 0.2 * rng.normal(size=(len(SKILLS), 32))
    labels = cluster(Vectors(gradients, normalize=True), 6, seed=0).labels
    assert adjusted_rand_score(SKILLS, labels) >= 0.9


@pytest.mark.parametrize("budget", [1, 5, 95, 101, 250, 719, 720])
def test_budgets_sum_exactly_and_small_clusters_pass_on_what_they_lack(budget):
    plan = adapt.fit(POOL, SCORES, names=NAMES, budget=budget, clusters=6)
    assert len(plan.ids) == budget
    assert plan.complete == (budget == 720)
    facts = plan.info["clusters"]
    sizes, budgets = (np.array([each[name] for each in facts]) for name in ("rows", "budget"))
    assert sizes.tolist() != sorted(sizes)
    assert budgets.sum() == budget
    assert sorted(budgets) == sorted(equal_shares(sizes, budget))
    assert (np.abs(budgets - equal_shares(sizes, budget)) <= 1).all()
    np.testing.assert_array_equal(np.sort(-plan.values), np.arange(budget))


def test_a_smaller_budget_is_the_beginning_of_a_larger_one():
    ranked = adapt.prepare(POOL, SCORES, NAMES, clusters=6)
    small, large = ranked.plan(40), ranked.plan(300)
    np.testing.assert_array_equal(small.ids, large.ids[large.values > -40])


def test_permuting_the_pool_permutes_the_answer():
    """Published: what is kept depends on the order of the files."""
    order, shuffle = RNG.permutation(720), RNG.permutation(720)
    one = adapt.fit(POOL, SCORES, budget=100, clusters=6, order=order)
    other = adapt.fit(POOL[shuffle], SCORES[shuffle], budget=100, clusters=6, order=order[shuffle])
    np.testing.assert_array_equal(one.dense(720)[shuffle], other.dense(720))
    assert one.info == other.info


def test_no_row_twice():
    """Published: draws inside a cluster are with replacement, and crash below 10 rows."""
    pool = POOL[:7]
    assert adapt.fit(pool, SCORES[:7], budget=7, clusters=3).ids.tolist() == list(range(7))
    assert len(adapt.fit(pool[:1], SCORES[:1], budget=1).ids) == 1


def test_clusters_are_of_the_features_that_are_given():
    """Published: labels come from a saved k-means even when other features are loaded."""
    other = CENTRES[np.arange(720) % 6]
    plans = [adapt.fit(pool, SCORES, budget=60, clusters=6) for pool in (POOL, other)]
    assert [sorted(each["rows"] for each in plan.info["clusters"]) for plan in plans] == [
        [20, 40, 90, 140, 180, 250],
        [120] * 6,
    ]


def test_through_the_contract():
    context = Context(
        order=np.arange(720), sources=np.zeros(720, dtype=np.int64), pool=Vectors(POOL),
        scores=Vectors([SCORES[:100].astype(np.float32), SCORES[100:].astype(np.float32)]), score_names=NAMES,
    )  # fmt: skip
    planner = adapt.SELECTOR.prepare(context, adapt.SELECTOR.settle({"scorers": "el2n, entropy", "clusters": "6"}, "x"))
    plan = planner(30)
    assert plan.info["scorers"] == ["el2n", "entropy"]
    assert len(plan.ids) == 30
    with pytest.raises(InputError, match="there is no ifd; there are"):
        adapt.SELECTOR.prepare(context, adapt.SELECTOR.settle({"scorers": "ifd"}, "x"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        # Published: division by zero.
        (lambda: adapt.fit(POOL, SCORES, budget=721), "the budget is 721 rows and the pool has 720"),
        (lambda: adapt.fit(POOL, SCORES[:5], budget=2), r"the scores have shape \(5, 3\); 720 rows and 3 names"),
        (lambda: adapt.fit(POOL, SCORES * [1, np.inf, 1], budget=2, names=NAMES), "row 0 has no finite el2n"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
