"""Plans of several tasks joined to one, against the plans of each and the shares that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksift.draw import draw
from tasksift.plan import Kind, Links, Plan
from tasksift.presets import PRESETS
from tasksift.selectors import SELECTORS, Context, Selector
from tasksift.selectors.contract import Margins, Texts
from tasksift.several import joined_kind, of_task, prepare_each
from tasksift.vectors import Vectors

N, BUDGET = 150, 30
RNG = np.random.default_rng(4)
POOL = RNG.normal(size=(N, 5)).astype(np.float32)
TARGET = (POOL[:9] + 0.1 * RNG.normal(size=(9, 5))).astype(np.float32)
TASKS = np.array([0, 1, 2, 0, 1, 0, 2, 0, 0])
ORDER = RNG.permutation(N)
SHARES = np.array([0.5, 0.3, 0.2])


def context_of(pool: np.ndarray = POOL, order: np.ndarray = ORDER) -> Context:
    means = np.stack([TARGET[k == TASKS].mean(0) for k in range(3)])
    return Context(
        order=order, sources=np.zeros(len(pool), dtype=np.int64), pool=Vectors(pool, normalize=True),
        target=Vectors(TARGET, normalize=True), lengths=Vectors(pool), target_lengths=Vectors(TARGET), tasks=TASKS,
        task_names=("a", "b", "c"), task_target=Vectors(means, normalize=True),
    )  # fmt: skip


def joined(preset: str, budget: int = BUDGET, shares: np.ndarray = SHARES, **given: Any) -> Plan:
    selector = SELECTORS[PRESETS[preset].selector]
    parameters = selector.settle(PRESETS[preset].parameters, preset)
    return prepare_each(selector, context_of(**given), parameters, shares)(budget)


def each_alone(preset: str, budget: int = BUDGET) -> list[Plan]:
    """The plans of contexts that were made with one task's targets only."""
    selector = SELECTORS[PRESETS[preset].selector]
    parameters = selector.settle(PRESETS[preset].parameters, preset)
    plans = []
    for k in range(3):
        some = TARGET[k == TASKS]
        alone = Context(
            order=ORDER, sources=np.zeros(N, dtype=np.int64), pool=Vectors(POOL, normalize=True),
            target=Vectors(some, normalize=True), lengths=Vectors(POOL), target_lengths=Vectors(some),
            tasks=np.zeros(len(some), dtype=np.int64), task_names=("abc"[k],),
            task_target=Vectors(some.mean(0)[None], normalize=True),
        )  # fmt: skip
        plans.append(selector.prepare(alone, parameters)(budget))
    return plans


def ranking(plan: Plan, order: np.ndarray = ORDER) -> list[int]:
    return plan.ids[np.lexsort((order[plan.ids], -plan.values))].tolist()


@pytest.mark.parametrize("preset", ["tsds", "tsds-uniform", "tarot-weighted"])
def test_probabilities_are_mixed_in_the_shares(preset: str):
    plan, plans = joined(preset), each_alone(preset)
    expected = sum(share * each.dense(N).clip(0) / each.values.sum() for share, each in zip(SHARES, plans, strict=True))
    np.testing.assert_allclose(plan.dense(N).clip(0), expected, rtol=1e-12, atol=1e-15)
    assert plan.values.sum() == pytest.approx(1, abs=1e-12)
    assert plan.kind == plans[0].kind == joined_kind(plans[0].kind)
    assert plan.info["tasks"] == ["a", "b", "c"]
    assert [each.get("sigma") for each in plan.info["plans"]] == [each.info.get("sigma") for each in plans]


@pytest.mark.parametrize("budget", [1, 7, 60])
def test_no_row_of_a_mixture_is_more_probable_than_a_draw_admits(budget: int):
    plan = joined("tsds", budget)
    assert budget * plan.values.max() <= 1 + 1e-9
    drawn = draw(plan, budget, seed=0, order=ORDER)
    assert drawn.copies.tolist() == [1] * budget


def test_links_of_a_mixture_say_which_target_of_all_sent_what():
    plan, plans = joined("tsds"), each_alone("tsds")
    links = plan.links
    assert links is not None
    sent = np.zeros((N, 9))
    np.add.at(sent, (links.row, links.target), links.mass)
    np.testing.assert_allclose(sent.sum(axis=1), plan.dense(N), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose([sent[:, k == TASKS].sum() for k in range(3)], SHARES, rtol=1e-9)
    pool, target = (Vectors(rows, normalize=True) for rows in (POOL, TARGET))
    d = np.linalg.norm(pool.take(links.row) - target.take(links.target), axis=1)
    np.testing.assert_allclose(links.distance, d, atol=1e-5)
    assert len(links.row) == sum(len(each.links.row) for each in plans if each.links is not None)


def test_expected_copies_are_mixed_as_shares_of_their_plan():
    plans = [Plan("quota", "x", np.array([0, 1]), np.array([3.0, 1.0])), Plan("quota", "x", np.array([1]), np.ones(1))]
    plan = prepare_each(stub(plans, "quota"), stub_context(2, 2), {}, np.array([0.4, 0.6]))(4)
    np.testing.assert_allclose(plan.values, [0.3, 0.7])
    assert plan.ids.tolist() == [0, 1]


def test_status_of_a_mixture_is_the_worst_of_its_plans():
    statuses = ["converged", "exhausted", "pool_exhausted"]
    plans = [
        Plan("mass", "x", np.array([k]), np.ones(1), status=status, complete=k != 1)  # type: ignore[arg-type]
        for k, status in enumerate(statuses)
    ]
    plan = prepare_each(stub(plans, "mass"), stub_context(3), {}, SHARES)(3)
    assert (plan.status, plan.complete) == ("exhausted", False)
    assert plan.links is None


def stub(plans: Sequence[Plan], kind: Kind = "score") -> Selector:
    """A selector with a plan for each task, whatever the budget."""
    return Selector(lambda context, parameters: lambda budget: plans[int(context.task_names[0])], kind)


def stub_context(n: int, tasks: int = 3, order: np.ndarray | None = None) -> Context:
    return Context(
        order=np.arange(n) if order is None else order, sources=np.zeros(n, dtype=np.int64), tasks=np.arange(tasks),
        task_names=tuple(map(str, range(tasks))),
    )  # fmt: skip


def scores(values: Sequence[float], ids: Sequence[int] | None = None, **more: Any) -> Plan:
    places = np.arange(len(values)) if ids is None else np.array(ids)
    return Plan("score", "x", places, np.array(values, dtype=float), **more)


def merged(
    plans: Sequence[Plan], shares: Sequence[float], n: int, order: np.ndarray | None = None
) -> Callable[..., Plan]:
    weights = np.array(shares, dtype=float)
    return prepare_each(stub(plans), stub_context(n, len(plans), order), {}, weights / weights.sum())


@settings(max_examples=60)
@given(weights=st.lists(st.integers(1, 40), min_size=1, max_size=9), seed=st.integers(0, 99))
def test_every_prefix_holds_each_share_rounded_down_or_up(weights: list[int], seed: int):
    n, rng = 60, np.random.default_rng(seed)
    plans = [scores(rng.normal(size=n)) for _ in weights]
    planner = merged(plans, weights, n)
    picked = np.array([planner(k).info["picked"] for k in range(n // len(weights) + 1)])
    for k, counts in enumerate(picked):
        assert counts.sum() == k
        assert np.abs(counts - k * np.array(weights) / sum(weights)).max() < 1
    assert (np.diff(picked, axis=0) >= 0).all()


def test_taking_the_furthest_behind_is_not_enough():
    """With these shares that rule leaves a task more than a row short."""
    weights = np.array(shares := [38, 38, 5, 5, 5])
    n = int(weights.sum())
    plans = [scores(-np.arange(n)) for _ in shares]
    for k in range(n + 1):
        counts = np.array(merged(plans, shares, n)(k).info["picked"])
        assert np.abs(counts - k * weights / n).max() < 1


@pytest.mark.parametrize("preset", ["nearest", "nearest-mean", "round-robin", "less"])
def test_each_task_takes_its_best_free_row(preset: str):
    """Against turns told by hand: who takes when is what the counts say, what it takes is its best row left."""
    wanted = [ranking(each) for each in each_alone(preset, N)]
    before, taken = [0, 0, 0], []
    for k in range(1, BUDGET + 1):
        plan = joined(preset, k)
        turn = int(np.argmax(np.array(plan.info["picked"]) - before))
        before = plan.info["picked"]
        taken.append(next(row for row in wanted[turn] if row not in taken))
        assert ranking(plan) == taken
        assert len(np.unique(plan.ids)) == k == sum(before)
    assert before == [15, 9, 6]
    assert plan.kind == "score"
    assert not plan.complete
    assert draw(plan, BUDGET, seed=0, order=ORDER).ids.tolist() == taken


def test_ties_go_to_the_first_in_order():
    order = np.array([3, 0, 4, 1, 2])
    plan = merged([scores([1, 1, 1, 1, 1])] * 2, [1, 1], 5, order)(5)
    assert ranking(plan, order) == [1, 3, 4, 0, 2]
    assert plan.complete is False


def test_a_task_without_a_free_row_passes():
    plans = [scores([5, 4], [0, 1]), scores([9, 8, 7, 6], [0, 1, 2, 3])]
    plan = merged(plans, [9, 1], 6)(5)
    assert ranking(plan, np.arange(6)) == [0, 1, 2, 3]
    assert plan.info["picked"] == [2, 2]
    assert plan.complete
    cut = merged([scores([5, 4], [0, 1], complete=False), plans[1]], [9, 1], 6)(5)
    assert ranking(cut, np.arange(6)) == [0, 1, 2, 3]
    assert not cut.complete  # more is to be had where the plans are longer


def test_tasks_that_are_left_share_what_another_leaves():
    n = 40
    plans = [scores([1], [0]), *(scores(RNG.normal(size=n)) for _ in range(2))]
    picked = merged(plans, [6, 3, 1], n)(33).info["picked"]
    assert picked[0] == 1
    assert picked[1] / picked[2] == pytest.approx(3, abs=0.6)


def test_nothing_is_asked_for():
    plan = merged([scores([1, 2])] * 2, [1, 1], 2)(0)
    assert len(plan.ids) == 0


@pytest.mark.parametrize("preset", ["tsds", "nearest", "round-robin", "less", "tarot-weighted"])
def test_permuting_the_pool_permutes_the_answer(preset: str):
    shuffle = np.random.default_rng(1).permutation(N)
    one, other = joined(preset), joined(preset, pool=POOL[shuffle], order=ORDER[shuffle])
    np.testing.assert_allclose(one.dense(N)[shuffle], other.dense(N), rtol=1e-12)
    assert ranking(one) == shuffle[ranking(other, ORDER[shuffle])].tolist()


def test_one_task_is_that_task_alone():
    context = stub_context(5, 1, np.arange(5)[::-1])
    plan = prepare_each(stub([scores([3, 1, 3, 0, 2])]), context, {}, np.ones(1))(4)
    assert ranking(plan, context.order) == [2, 0, 4, 1]


def test_a_task_is_told_of_its_own_targets_only():
    margins = Margins(
        [Vectors(POOL)] * 2, [TARGET, 2 * TARGET], np.zeros((2, N)), np.arange(18, dtype=float).reshape(2, 9)
    )
    whole = Context(
        **{**vars(context_of()), "margins": margins, "texts": Texts(lambda: iter([["x"]]), list("ABCDEFGHI"))}
    )
    rows = np.flatnonzero(TASKS == 2)
    alone = of_task(whole, 2, rows)
    assert alone.task_names == ("c",)
    assert alone.tasks is not None
    assert alone.tasks.tolist() == [0, 0]
    for name in ("target", "target_lengths"):
        np.testing.assert_array_equal(getattr(alone, name).take(np.arange(2)), getattr(whole, name).take(rows))
    assert alone.task_target is not None
    assert whole.task_target is not None
    np.testing.assert_array_equal(alone.task_target.take(np.arange(1)), whole.task_target.take(np.array([2])))
    assert alone.texts is not None
    assert alone.texts.target == ["C", "G"]
    assert alone.margins is not None
    np.testing.assert_array_equal(alone.margins.target[1], 2 * TARGET[rows])
    assert alone.margins.target_values.tolist() == [[2, 6], [11, 15]]
    assert alone.pool is whole.pool


def test_links_without_mass_are_left_out():
    linked = Links(np.array([0]), np.array([0]), np.zeros(1), np.zeros(1))
    plan = merged([scores([1.0], [0], links=linked)] * 2, [1, 1], 2)(1)
    assert plan.links is None
