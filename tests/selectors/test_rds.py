"""Round-robin as RDS+ uses it: tasks that take turns, and what is asked of it at the size of real pools."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import distances, round_robin

from tasksift.errors import InputError
from tasksift.selectors import SELECTORS, Context, nearest
from tasksift.selectors import round_robin as turns
from tasksift.vectors import Vectors


def picked(plan):
    """Rows in the order of their turns."""
    return plan.ids[np.argsort(-plan.values)].tolist()


def by_task(pool, targets, tasks):
    """A row is as near to a task as to the nearest of its targets."""
    d = distances(pool, targets)
    return np.stack([d[tasks == t].min(0) for t in np.unique(tasks)])


def skipping(similarity, budget):
    """Who finds the best row of its list taken loses the turn."""
    lists = [np.argsort(-row, kind="stable").tolist() for row in similarity]
    picks, turn = [], 0
    while len(picks) < budget:
        wanted = lists[turn % len(lists)]
        turn += 1
        row = wanted.pop(0) if wanted else None
        if row is not None and row not in picks:
            picks.append(row)
    return picks


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=80)
def test_tasks_take_turns_by_their_nearest_target(seed):
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(1, 60)), int(rng.integers(2, 9))
    # Few distinct values make ties, which go to the first row.
    pool, targets = rng.integers(0, 4, size=(n, 2)) * 1.0, rng.integers(0, 4, size=(m, 2)) * 1.0
    tasks = rng.integers(0, 3, m)
    tasks[:2] = 0, 1
    budget = int(rng.integers(1, n + 1))
    for tie, oracle in (("next", round_robin), ("skip", skipping)):
        plan = turns.fit(pool, targets, budget=budget, tie=tie, tasks=tasks, order=np.arange(n))
        assert picked(plan) == oracle(-by_task(pool, targets, tasks), budget)
        near = distances(pool, targets)
        for row, target, distance in zip(plan.links.row, plan.links.target, plan.links.distance, strict=True):
            same = tasks == tasks[target]
            assert distance == pytest.approx(near[target, row])
            assert near[target, row] == pytest.approx(near[same, row].min())


@pytest.mark.parametrize("budget", [1, 150, 600])
def test_a_list_ends_where_another_target_could_have_something_nearer(budget):
    """Every task has a target in the same crowd, and one elsewhere, whose list goes beyond what the first left out."""
    rng = np.random.default_rng(1)
    pool = np.vstack([0.1 * rng.normal(size=(700, 3)), 5 + 2 * rng.normal(size=(500, 3))])
    targets = np.vstack([0.1 * rng.normal(size=(6, 3)), 5 + rng.normal(size=(6, 3))])
    tasks = np.tile(np.arange(6), 2)
    plan = turns.fit(pool, targets, budget=budget, tasks=tasks, order=np.arange(len(pool)))
    assert picked(plan) == round_robin(-by_task(pool, targets, tasks), budget)


def test_every_task_gets_its_share_whatever_its_number_of_targets():
    rng = np.random.default_rng(2)
    pool, targets = rng.normal(size=(300, 4)), rng.normal(size=(9, 4))
    tasks = np.array([2, 2, 2, 2, 2, 2, 0, 1, 1])
    plan = turns.fit(pool, targets, budget=50, tasks=tasks)
    assert sorted(np.bincount(tasks[plan.links.target])) == [16, 17, 17]
    assert plan.info == {"tie": "next", "targets": 9, "tasks": 3}
    assert not plan.complete


@pytest.mark.parametrize("tasks", [None, np.full(5, 3), np.arange(5)])
def test_targets_of_one_task_take_turns_themselves(tasks):
    rng = np.random.default_rng(3)
    pool, targets = rng.normal(size=(80, 3)), rng.normal(size=(5, 3))
    plan = turns.fit(pool, targets, budget=20, tasks=tasks, order=np.arange(80))
    assert picked(plan) == round_robin(-distances(pool, targets), 20)


def test_the_parameter_decides_who_takes_turns():
    rng = np.random.default_rng(4)
    pool, targets, tasks = rng.normal(size=(60, 3)), rng.normal(size=(6, 3)), np.array([0, 0, 0, 0, 0, 1])
    context = Context(order=np.arange(60), sources=np.zeros(60, int), pool=Vectors(pool), target=Vectors(targets),
                      tasks=tasks, task_names=("a", "b"))  # fmt: skip
    selector = SELECTORS["round-robin"]
    for given_, expected in (("targets", distances(pool, targets)), ("tasks", by_task(pool, targets, tasks))):
        plan = selector.prepare(context, selector.settle({"turns": given_}, "rds+"))(12)
        assert picked(plan) == round_robin(-expected, 12)


def test_one_row_and_the_whole_pool():
    one = turns.fit(np.ones((1, 3)), np.eye(3), budget=1, tasks=np.array([0, 0, 1]))
    assert one.ids.tolist() == [0]
    assert one.complete
    pool = np.repeat(np.eye(3), 2, axis=0)
    assert turns.fit(pool, np.eye(3), budget=6, tasks=np.array([0, 1, 1])).ids.tolist() == list(range(6))


def test_tasks_that_do_not_fit_the_targets():
    with pytest.raises(InputError, match="give one task for each of the 3 targets"):
        turns.fit(np.eye(3), np.eye(3), budget=1, tasks=np.array([0, 1]))


def halves(rows):
    """As bfloat16, the upper half of a float32 rounded to even, as two opaque bytes."""
    bits = np.ascontiguousarray(rows, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).view("V2")


@pytest.fixture(scope="module")
def crowd():
    """Rows in clusters, and targets in some of them, at unit length."""
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(60, 64))
    pool = centres[rng.integers(0, 60, 20_000)] + 0.7 * rng.normal(size=(20_000, 64))
    targets = centres[rng.integers(0, 15, 50)] + 0.7 * rng.normal(size=(50, 64))
    return tuple((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (pool, targets))


def test_at_the_size_of_real_pools_it_is_the_naive_masking_loop(crowd):
    pool, targets = crowd
    exact = -np.stack([((pool.astype(float) - q.astype(float)) ** 2).sum(1) for q in targets])
    picks = round_robin(exact, 1000)
    plan = turns.fit(pool, targets, budget=1000, order=np.arange(len(pool)))
    assert picked(plan) == picks
    assert set(np.bincount(plan.links.target, minlength=50)) == {20}
    assert set(np.bincount(turns.fit(pool, targets, budget=1010).links.target)) == {20, 21}
    # Doubly greedy, by the largest similarity to any target, is another thing.
    greedy = np.argsort(nearest.fit(pool, targets).values)[-1000:]
    assert len(set(picks) & set(greedy)) < 800


def test_storage_in_bfloat16_changes_hardly_any_pick(crowd):
    pool, targets = crowd
    full = turns.fit(pool, targets, budget=1000, order=np.arange(len(pool)))
    half = turns.fit(halves(pool), halves(targets), budget=1000, order=np.arange(len(pool)))
    assert half.links.distance.dtype == np.float64
    assert len(np.intersect1d(full.ids, half.ids)) > 990
