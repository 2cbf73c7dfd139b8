from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksift.draw import draw
from tasksift.errors import InputError, ShortPlanError
from tasksift.plan import LEGAL_DRAWS, DrawName, Plan


def plan_of(values, kind="mass", ids=None, **more):
    values = np.asarray(values, dtype=float)
    if kind == "mass" and len(values):
        values = values / values.sum()
    ids = np.arange(len(values)) if ids is None else np.asarray(ids)
    return Plan(kind=kind, selector="tsds", ids=ids, values=values, **more)


def in_order(n):
    return np.arange(n)


@st.composite
def problems(draw_, kind="mass"):
    """A plan over part of a shuffled pool, some values equal, some tiny, with sources."""
    pool = draw_(st.integers(1, 30))
    rng = np.random.default_rng(draw_(st.integers(0, 2**32)))
    n = draw_(st.integers(1, pool))
    skew = draw_(st.sampled_from([0.0, 1.0, 8.0, 25.0]))
    values = np.exp(skew * rng.standard_normal(n).round(1))
    ids = np.sort(rng.choice(pool, n, replace=False))
    sources = rng.integers(0, draw_(st.integers(1, 4)), size=pool)
    return plan_of(values, kind, ids), rng.permutation(pool), sources


def largest_without_repeats(plan):
    return min(len(plan.ids), int((1 + 1e-9) / plan.values.max()))


def check(drawn, plan, k, order):
    assert drawn.copies.sum() == k
    assert drawn.copies.min() >= 1
    assert len(set(drawn.ids.tolist())) == drawn.distinct == len(drawn.ids)
    value = plan.dense(len(order))[drawn.ids]
    keys = list(zip(-value, order[drawn.ids], strict=True))
    assert keys == sorted(keys)
    assert (drawn.weight * drawn.copies).sum() == pytest.approx(k)


@given(problems(), st.data())
def test_systematic_is_exact_for_every_budget_it_serves(problem, data):
    plan, order, _ = problem
    most = largest_without_repeats(plan)
    k = data.draw(st.integers(1, most))
    drawn = draw(plan, k, seed=data.draw(st.integers(0, 99)), order=order)
    check(drawn, plan, k, order)
    assert drawn.distinct == k
    assert drawn.inclusion == pytest.approx(np.minimum(1, k * plan.dense(len(order))[drawn.ids]))
    with pytest.raises(InputError, match=f"at most {most} of its {len(plan.ids)} rows without repeats"):
        draw(plan, most + 1, seed=0, order=order)


@given(problems(), st.integers(1, 60), st.integers(0, 99))
def test_multinomial_is_exact(problem, k, seed):
    plan, order, _ = problem
    drawn = draw(plan, k, seed=seed, order=order, method="multinomial")
    check(drawn, plan, k, order)
    assert drawn.inclusion == pytest.approx(k * plan.dense(len(order))[drawn.ids])
    assert np.all(drawn.weight == 1)


@given(problems("score"), st.data())
def test_top_is_the_best_k(problem, data):
    plan, order, _ = problem
    k = data.draw(st.integers(1, len(plan.ids)))
    drawn = draw(plan, k, seed=0, order=order)
    check(drawn, plan, k, order)
    best = sorted(zip(-plan.values, order[plan.ids], plan.ids, strict=True))[:k]
    assert drawn.ids.tolist() == [i for _, _, i in best]
    assert np.all(drawn.inclusion == 1)


def test_how_far_a_probability_may_exceed_one():
    for excess, fits in ((1e-10, True), (1e-8, False)):
        p = np.array([0.5 + excess / 2, 0.2, 0.3 - excess / 2])
        if fits:
            assert 0 in draw(plan_of(p), 2, seed=0, order=in_order(3)).ids
        else:
            with pytest.raises(InputError, match="at most 1 of its 3 rows"):
                draw(plan_of(p), 2, seed=0, order=in_order(3))


def test_top_of_masses_carries_them_in_weights():
    drawn = draw(plan_of([1, 3, 2, 2]), 3, seed=0, order=np.array([0, 1, 3, 2]), method="top")
    assert drawn.ids.tolist() == [1, 3, 2]
    assert drawn.weight == pytest.approx([9 / 7, 6 / 7, 6 / 7])


def test_quota_values_are_expected_counts():
    plan = plan_of([1.0, 0.5, 0.0, 0.5, 1.0], "quota")
    for seed in range(20):
        drawn = draw(plan, 3, seed=seed, order=in_order(5), method="systematic")
        check(drawn, plan, 3, in_order(5))
        assert set(drawn.ids.tolist()) in ({0, 4, 1}, {0, 4, 3})
    drawn = draw(plan, 3, seed=0, order=in_order(5), method="systematic")
    assert drawn.inclusion == pytest.approx([1, 1, 0.5])
    ways = "ask for a smaller budget or --draw apportion"
    with pytest.raises(InputError, match=rf"at most 3 of its 4 rows without repeats; {ways}$"):
        draw(plan, 4, seed=0, order=in_order(5), method="systematic")


def test_negative_quotas():
    with pytest.raises(InputError, match=r"-0\.5 copies"):
        draw(plan_of([1.0, -0.5], "quota"), 1, seed=0, order=in_order(2))


@pytest.mark.parametrize("method", get_args(DrawName))
@pytest.mark.parametrize("kind", list(LEGAL_DRAWS))
def test_every_pair_of_plan_and_draw(kind, method):
    plan = plan_of(np.full(6, 1 / 6), kind)
    if method in LEGAL_DRAWS[kind]:
        assert draw(plan, 4, seed=0, order=in_order(6), method=method).method == method
        assert draw(plan, 4, seed=0, order=in_order(6)).method == LEGAL_DRAWS[kind][0]
    else:
        with pytest.raises(InputError, match=f"--draw {method} does not fit a {kind} plan"):
            draw(plan, 4, seed=0, order=in_order(6), method=method)


METHODS = st.sampled_from([(kind, m) for kind in ("mass", "score", "logprob", "quota") for m in LEGAL_DRAWS[kind]])


@given(METHODS, st.data())
@settings(max_examples=200)
def test_order_and_seed(pair, data):
    """Law 1 and law 5: a permuted pool, with its order and sources permuted along, gives the permuted rows."""
    kind, method = pair
    plan, order, sources = data.draw(problems(kind))
    n, names = len(order), ["b", "a", "d", "c"]
    sizes = np.bincount(sources[plan.ids], minlength=4)
    if data.draw(st.booleans()):
        maximum = data.draw(st.integers(1, 30))
        k = min(int(np.minimum(sizes, maximum).sum()), 4 * maximum)
        options = {"maximum": maximum, "source_names": names}
    else:
        k = len(plan.ids) if method != "systematic" else int(plan.values.sum() / plan.values.max())
        options = {}
    k = data.draw(st.integers(1, k))
    seed = data.draw(st.integers(0, 2**63))
    first = draw(plan, k, seed=seed, order=order, method=method, sources=sources, **options)
    again = draw(plan, k, seed=np.random.SeedSequence(seed), order=order, method=method, sources=sources, **options)
    to = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(n)  # row i moves to place to[i]
    back = np.argsort(to)
    by = np.argsort(to[plan.ids])
    moved = Plan(kind=kind, selector="tsds", ids=to[plan.ids][by], values=plan.values[by])
    recode = np.array([1, 3, 0, 2])
    if options:
        options["source_names"] = [names[i] for i in np.argsort(recode)]
    other = draw(moved, k, seed=seed, order=order[back], method=method, sources=recode[sources[back]], **options)
    for drawn, ids in ((again, first.ids), (other, to[first.ids])):
        assert np.array_equal(drawn.ids, ids)
        assert np.array_equal(drawn.copies, first.copies)
        assert np.array_equal(drawn.weight, first.weight)
        assert np.array_equal(drawn.inclusion, first.inclusion, equal_nan=True)


def test_seeds_differ():
    plan = plan_of(np.ones(100))
    ids = [frozenset(draw(plan, 10, seed=s, order=in_order(100)).ids.tolist()) for s in range(20)]
    assert len(set(ids)) == 20


@given(problems(), st.data())
@settings(max_examples=200)
def test_limits_hold(problem, data):
    plan, order, sources = problem
    names = ["a", "b", "c", "d"][: sources.max() + 1]
    sizes = np.bincount(sources[plan.ids], minlength=len(names))
    minimum = data.draw(st.none() | st.integers(0, int(sizes.min())))
    maximum = data.draw(st.integers(max(minimum or 0, 1), 30))
    low = len(names) * (minimum or 0)
    k = data.draw(st.integers(max(1, low), int(np.minimum(sizes, maximum).sum())))
    for method in LEGAL_DRAWS["mass"]:
        drawn = draw(
            plan,
            k,
            seed=data.draw(st.integers(0, 99)),
            order=order,
            method=method,
            sources=sources,
            source_names=names,
            minimum=minimum,
            maximum=maximum,
        )
        check(drawn, plan, k, order)
        if method != "multinomial":
            assert drawn.distinct == k
        counts = np.bincount(sources[drawn.ids], weights=drawn.copies, minlength=len(names))
        assert np.all((counts >= (minimum or 0)) & (counts <= maximum))


@given(problems("score"), st.data())
def test_top_under_limits_is_the_greedy_answer(problem, data):
    plan, order, sources = problem
    n = sources.max() + 1
    sizes = np.bincount(sources[plan.ids], minlength=n)
    minimum = data.draw(st.integers(0, int(sizes.min())))
    maximum = data.draw(st.integers(max(minimum, 1), 30))
    k = data.draw(st.integers(max(1, n * minimum), int(np.minimum(sizes, maximum).sum())))
    best = [i for _, _, i in sorted(zip(-plan.values, order[plan.ids], plan.ids, strict=True))]
    taken, counts = [], dict.fromkeys(range(n), 0)
    for bound, size in ((minimum, n * minimum), (maximum, k)):
        for i in best:
            if i not in taken and counts[sources[i]] < bound and len(taken) < size:
                taken.append(i)
                counts[sources[i]] += 1
    drawn = draw(plan, k, seed=0, order=order, sources=sources, minimum=minimum, maximum=maximum)
    assert set(drawn.ids.tolist()) == set(taken)


def test_loose_limits_change_no_probability():
    plan = plan_of([1, 2, 3, 4, 5, 6])
    drawn = draw(plan, 3, seed=1, order=in_order(6), sources=np.array([0, 1, 0, 1, 0, 1]), maximum=3)
    assert drawn.inclusion == pytest.approx(3 * plan.values[drawn.ids])


@pytest.mark.parametrize("method", ["systematic", "multinomial"])
@pytest.mark.parametrize("limits", [{}, {"maximum": 5}, {"minimum": 2, "maximum": 6}])
def test_frequencies_are_the_stated_inclusion(method, limits):
    rng = np.random.default_rng(7)
    n, k, draws = 30, 12, 4000
    # Source 0 has mass for more than either maximum; the others share the rest in fractions.
    sources = np.repeat([0, 1, 2], 10)
    p = rng.uniform(1, 2, n) * np.array([8.0, 3.0, 2.0])[sources]
    plan = plan_of(p)
    counts, squares, expected = np.zeros(n), np.zeros(n), np.full(n, np.nan)
    per_source = set()
    for seed in range(draws):
        drawn = draw(plan, k, seed=seed, order=in_order(n), method=method, sources=sources, **limits)
        counts[drawn.ids] += drawn.copies
        squares[drawn.ids] += drawn.copies**2
        expected[drawn.ids] = drawn.inclusion
        per_source.add(tuple(np.bincount(sources[drawn.ids], weights=drawn.copies, minlength=3).tolist()))
    assert expected.sum() == pytest.approx(k)
    if not limits:
        assert expected == pytest.approx(k * plan.values)
    else:
        quota = np.bincount(sources, weights=expected)
        for drawn_counts in per_source:
            assert np.all(np.abs(np.array(drawn_counts) - quota) < 1 + 1e-9)
    certain = expected > 1 - 1e-9 if method == "systematic" else np.zeros(n, dtype=bool)
    assert np.all(counts[certain] == draws)
    mean = counts / draws
    spread = np.sqrt((squares / draws - mean**2) / draws)
    # The largest of 30 standard normal values is above 4.3 once in 2000 seeds.
    assert np.abs((mean - expected)[~certain] / spread[~certain]).max() < 4.3


def test_multinomial_may_exceed_a_sources_rows():
    drawn = draw(
        plan_of([1, 1, 1]), 12, seed=0, order=in_order(3), method="multinomial", sources=np.array([0, 0, 1]), minimum=6
    )
    assert dict(zip(drawn.ids.tolist(), drawn.copies.tolist(), strict=True))[2] == 6


def test_too_large_a_budget_names_the_ways_out():
    plan = plan_of([6, 2, 1, 1], breadth=4.0)
    with pytest.raises(InputError) as caught:
        draw(plan, 3, seed=0, order=in_order(4))
    assert str(caught.value) == (
        "a budget of 3 is too large for --draw systematic: the tsds plan serves at most 1 of its 4 rows without "
        "repeats; ask for a smaller budget, --breadth auto, --draw multinomial or --draw top"
    )
    with pytest.raises(InputError, match=r"a smaller budget or --draw multinomial$"):
        draw(plan_of([1, 1]), 3, seed=0, order=in_order(2))


@pytest.mark.parametrize(("kind", "method"), [("mass", "systematic"), ("mass", "top"), ("score", "top")])
def test_a_plan_that_was_cut_can_be_lengthened(kind, method):
    cut = plan_of([0.5, 0.5], kind, complete=False)
    with pytest.raises(ShortPlanError, match="names 2 rows and the budget is 3"):
        draw(cut, 3, seed=0, order=in_order(9), method=method)
    with pytest.raises(InputError) as caught:
        draw(plan_of([0.5, 0.5], kind), 3, seed=0, order=in_order(9), method=method)
    assert not isinstance(caught.value, ShortPlanError)


def test_a_cut_plan_may_lack_a_source():
    options = {"seed": 0, "order": in_order(9), "sources": np.arange(9) // 3, "source_names": ["x", "y", "z"]}
    with pytest.raises(ShortPlanError, match="z has none"):
        draw(plan_of([3, 2, 1, 0], "score", complete=False), 3, minimum=1, **options)
    with pytest.raises(ShortPlanError, match="can give 3 rows under --max-per-source 2"):
        draw(plan_of([3, 2, 1, 0], "score", complete=False), 4, maximum=2, **options)


@pytest.mark.parametrize("kind", list(LEGAL_DRAWS))
def test_an_empty_plan(kind):
    for method in LEGAL_DRAWS[kind]:
        with pytest.raises(InputError, match="has 0 rows to draw and the budget is 1"):
            draw(plan_of([], kind, ids=np.empty(0, dtype=np.int64)), 1, seed=0, order=in_order(3), method=method)


def test_wrong_requests():
    plan, order = plan_of([1, 1]), in_order(2)
    with pytest.raises(InputError, match="the budget is 0 rows"):
        draw(plan, 0, seed=0, order=order)
    with pytest.raises(InputError, match="the seed is -1"):
        draw(plan, 1, seed=-1, order=order)
    with pytest.raises(InputError, match="need the source of every pool row"):
        draw(plan, 1, seed=0, order=order, maximum=1)
    with pytest.raises(ValueError, match="3 sources and 2 pool rows"):
        draw(plan, 1, seed=0, order=order, maximum=1, sources=np.zeros(3, dtype=int))
    with pytest.raises(ValueError, match="index the 1 source names"):
        draw(plan, 1, seed=0, order=order, maximum=1, sources=np.array([0, 1]), source_names=["a"])
    with pytest.raises(ValueError, match="rank of its own"):
        draw(plan, 1, seed=0, order=np.zeros(2, dtype=int))


def test_the_global_generator_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    draw(plan_of(np.ones(50)), 7, seed=0, order=in_order(50))
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
