"""The laws that every selector obeys, run on each preset through the list of selectors and the draws."""

from typing import get_args

import numpy as np
import pytest

from tasksift.draw import draw
from tasksift.plan import LEGAL_DRAWS, DrawName, Kind, Plan
from tasksift.presets import PRESETS
from tasksift.selectors import SELECTORS, Context
from tasksift.selectors.contract import Margins, Texts
from tasksift.vectors import Vectors

N, BUDGET = 240, 24
RNG = np.random.default_rng(11)
CENTRES = RNG.normal(size=(12, 6))
POOL = CENTRES[RNG.integers(0, 12, N)] + 0.4 * RNG.normal(size=(N, 6))
POOL = (POOL / np.linalg.norm(POOL, axis=1, keepdims=True)).astype(np.float32)
TARGETS = POOL[:8] + 0.05 * RNG.normal(size=(8, 6)).astype(np.float32)
ORDER = RNG.permutation(N)
SOURCES = RNG.integers(0, 4, N)

ONE_OF_THE_COPIES = {"facility-location", "facility-location-mi"}
"""Copies raise a row's place, and one of them stands for all."""

BY_LOT = {"adapt-infinity"}
"""Rows of a bin come by lot, so that copies share its turns: nothing holds for one row and its copies."""

every_preset = pytest.mark.parametrize("name", list(PRESETS))


TASKS = np.arange(8) % 2


def words(row):
    """A text that says roughly where a vector lies."""
    return " ".join(f"x{j}{'p' if v > 0 else 'n'}" for j, v in enumerate(row) for _ in range(round(abs(8 * v))))


def features(rows, seed):
    """Another view of the same vectors, as of another checkpoint."""
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(6, 6)))[0]
    return (rows @ turn).astype(np.float32)


def margins(rows):
    """How far each vector lies in one direction."""
    return np.tile(rows[:, 0].astype(np.float64), (2, 1))


def plan_of(name, pool=POOL, order=ORDER, sources=SOURCES, budget=BUDGET, cuts=(), groups=None, seed=0):
    """The plan of a preset for everything that a selector may ask for, all of it made of the vectors."""
    preset = PRESETS[name]
    selector = SELECTORS[preset.selector]
    vectors, target = Vectors(np.split(pool, list(cuts))), Vectors(TARGETS)
    texts = [words(row) for row in pool]
    means = np.stack([TARGETS[k == TASKS].mean(0) for k in range(2)])
    context = Context(
        order=order, sources=sources, groups=sources if groups is None else groups, group_names=("a", "b", "c", "d"),
        pool=vectors, target=target, lengths=vectors, target_lengths=target,
        tasks=TASKS, task_names=("one", "two"), task_target=Vectors(means, normalize=True),
        margins=Margins(
            [Vectors(np.split(features(pool, k), list(cuts))) for k in range(2)],
            [features(TARGETS, k) for k in range(2)], margins(pool), margins(TARGETS),
        ),
        scores=Vectors(np.split(np.abs(pool)[:, [0, 1, 2, 3, 4, 5, 0]], list(cuts))),
        score_names=("loss", "perplexity", "entropy", "el2n", "forgetting", "ifd", "score"),
        texts=Texts(lambda: iter([texts[:100], texts[100:]]), [words(row) for row in TARGETS]), seed=seed,
    )  # fmt: skip
    return selector.prepare(context, selector.settle(preset.parameters, name))(budget)


@every_preset
def test_order(name):
    """Permuting the pool permutes the answer, of the plan and of the draw."""
    shuffle = np.random.default_rng(0).permutation(N)
    one, other = plan_of(name), plan_of(name, POOL[shuffle], ORDER[shuffle], SOURCES[shuffle])
    np.testing.assert_array_equal(one.dense(N)[shuffle], other.dense(N))
    drawn, again = draw(one, BUDGET, seed=1, order=ORDER), draw(other, BUDGET, seed=1, order=ORDER[shuffle])
    np.testing.assert_array_equal(drawn.ids, shuffle[again.ids])


@every_preset
@pytest.mark.parametrize("cuts", [(1,), (100, 101), (60, 120, 180)])
def test_shards(name, cuts):
    """Cutting the pool into shards changes nothing."""
    one, other = plan_of(name), plan_of(name, cuts=cuts)
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.values, other.values)


@every_preset
def test_block_size(name, monkeypatch):
    """The size of the blocks in which the pool is read changes nothing."""
    one = plan_of(name)
    monkeypatch.setattr("tasksift.vectors.BLOCK_BYTES", 7 * 4 * 6)
    other = plan_of(name)
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.values, other.values)


@pytest.mark.parametrize("name", [name for name in PRESETS if name not in BY_LOT])
@pytest.mark.parametrize("copies", [2, 30])
def test_duplicates(name, copies):
    """Copies of a row together receive what the single row would have received; the exempt are exempt by name."""
    selector = SELECTORS[PRESETS[name].selector]
    single = plan_of(name)
    row = int(single.ids[np.argmax(single.values)])
    pool = np.vstack([POOL, np.repeat(POOL[row : row + 1], copies - 1, axis=0)])
    order = np.append(ORDER, N + np.arange(copies - 1))
    sources = np.append(SOURCES, np.full(copies - 1, SOURCES[row]))
    plan = plan_of(name, pool, order, sources)
    group = np.append(row, N + np.arange(copies - 1))
    if selector.ignores_copies:
        assert plan.dense(len(pool))[group].sum() == pytest.approx(single.dense(N)[row], rel=1e-9)
    elif PRESETS[name].selector in ONE_OF_THE_COPIES:
        assert np.isin(draw(plan, BUDGET, seed=0, order=order).ids, group).sum() == 1
    elif plan.kind == "mass":
        assert plan.dense(len(pool))[group].sum() > 1.3 * single.dense(N)[row]
    elif name == "tarot-weighted":
        assert np.ptp(plan.dense(len(pool))[group]) < 1e-9  # alike, but crowding one another out
    else:
        # Where a row's worth is shared among its copies each may rank low, and together they are worth more.
        drawn = np.isin(draw(plan, BUDGET, seed=0, order=order).ids, group).sum()
        assert drawn > 1 or plan.dense(len(pool))[group].sum() > 1.3 * single.dense(N)[row] > 0


def test_who_ignores_copies():
    assert {name for name, selector in SELECTORS.items() if selector.ignores_copies} == {"tsds"}


@every_preset
def test_budget_and_seed(name):
    """Every legal draw gives exactly the budget, and the same for the same seed."""
    plan = plan_of(name)
    for method in LEGAL_DRAWS[plan.kind]:
        for k in (1, 5, BUDGET):
            if plan.kind == "quota" and method == "systematic" and k * plan.values.max() > plan.values.sum():
                continue  # a row is wanted more than once
            drawn = draw(plan, k, seed=3, order=ORDER, method=method)
            assert drawn.copies.sum() == k
            again = draw(plan, k, seed=3, order=ORDER, method=method)
            np.testing.assert_array_equal(drawn.ids, again.ids)
            np.testing.assert_array_equal(drawn.copies, again.copies)
    if plan.kind == "mass":
        others = [draw(plan, 5, seed=s, order=ORDER).ids for s in range(10)]
        assert len({tuple(sorted(ids)) for ids in others}) > 1


@pytest.mark.parametrize("name", [name for name in PRESETS if not SELECTORS[PRESETS[name].selector].seeded])
def test_plans_of_selectors_without_seed(name):
    """The seed decides about nothing but the draw, so that one plan serves all of them."""
    one, other = plan_of(name, seed=0), plan_of(name, seed=7)
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.values, other.values)


@pytest.mark.parametrize("name", [name for name in PRESETS if "target" in SELECTORS[PRESETS[name].selector].needs])
def test_sign(name):
    """Higher = keep: a row on a target is worth more than a row opposite to all of them."""
    plan = plan_of(name, groups=np.digitize(POOL @ TARGETS.mean(0), [0, 0.2])).dense(N)
    d = np.linalg.norm(POOL[:, None] - TARGETS, axis=2)
    assert plan[d.min(1).argmin()] > plan[d.mean(1).argmax()]


def test_inclusion_is_exactly_the_budget_times_the_probability():
    """Systematic draws from a TSDS plan, many seeds: no row's frequency strays from its chance."""
    plan = plan_of("tsds")
    draws = 3000
    count = np.zeros(N)
    for seed in range(draws):
        count[draw(plan, BUDGET, seed=seed, order=ORDER).ids] += 1
    chance = BUDGET * plan.dense(N)
    spread = np.sqrt(draws * chance * (1 - np.minimum(chance, 1)))
    inner = spread > 1
    z = (count[inner] - draws * chance[inner]) / spread[inner]
    assert np.abs(z).max() < 4.5
    assert 0.7 < z.std() < 1.3
    assert (count[chance >= 1 - 1e-9] == draws).all()
    assert (count[chance == 0] == 0).all()


@pytest.mark.parametrize("kind", ["mass", "score", "similarity", "logprob", "quota"])
def test_every_plan_kind_names_its_draws(kind: Kind):
    values = np.array([0.5, 0.5])
    plan = Plan(kind=kind, selector="test", ids=np.arange(2), values=values)
    assert plan.check_draw(None) == LEGAL_DRAWS[kind][0]
    for method in get_args(DrawName):
        if method in LEGAL_DRAWS[kind]:
            assert plan.check_draw(method) == method
        else:
            with pytest.raises(ValueError, match=f"--draw {method} does not fit a {kind} plan"):
                plan.check_draw(method)
