"""Groups ranked by estimated gains: the ensemble, the forward path, and what the plan makes of them."""

import json
from collections import Counter
from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tasksift.errors import InputError
from tasksift.selectors import gradex
from tasksift.selectors.contract import Context, Margins
from tasksift.selectors.gradex import fit
from tasksift.selectors.gradex_estimates import Linearised
from tasksift.selectors.gradex_ranking import balanced_subsets, ensemble_scores
from tasksift.vectors import Vectors

D = 6


def world(k=8, rows=20, noisy=3, m=15, seed=0):
    """Groups whose rows pull the targets up, but for some whose rows pull both ways at random."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(k), rows)
    signs = np.where(codes < noisy, rng.choice([-1.0, 1.0], k * rows), 1.0)
    direction = np.zeros(D)
    direction[0] = 1
    pool = signs[:, None] * (direction + 0.3 * rng.normal(size=(k * rows, D)))
    target = direction + 0.3 * rng.normal(size=(m, D))
    return {
        "pool": pool, "pool_margins": signs + 0.1 * rng.normal(size=k * rows),
        "target": target, "target_margins": rng.normal(size=m), "groups": codes,
    }  # fmt: skip


def linear_of(known, ridge=1.0):
    codes = known["groups"]
    used = np.unique(codes)
    rows = [codes == j for j in used]
    return Linearised(
        [known["pool"][r] for r in rows], [known["pool_margins"][r] for r in rows],
        np.array([r.sum() for r in rows], dtype=float), known["target"], known["target_margins"],
        ridge * (known["pool"] ** 2).sum() / known["pool"].size,
    )  # fmt: skip


def scores_of(plan):
    return {each["name"]: each["score"] for each in plan.info["groups"]}


def test_the_ensemble_is_its_definition():
    known = world(k=6)
    linear = linear_of(known)
    rest = linear.estimate(()).loss
    plan = fit(**known, keep=0.5)
    for j in range(6):
        gains = [rest - linear.estimate(half).loss for half in combinations(range(6), 3) if j in half]
        assert scores_of(plan)[str(j)] == pytest.approx(np.mean(gains), rel=1e-9)
    assert plan.info["estimates"] == comb(6, 3)
    assert len(plan.info["kept"]) == 3


@pytest.mark.parametrize("way", ["ensemble", "forward"])
def test_noisy_groups_come_last(way):
    known = world(k=12, noisy=5)
    plan = fit(**known, way=way, keep=7 / 12)
    listed = [each["name"] for each in plan.info["groups"]]
    last = [int(name) >= 5 for name in listed]
    assert roc_auc_score(last, -np.arange(12)) >= 0.9
    assert (np.unique(known["groups"][plan.ids]) >= 5).all()
    np.testing.assert_array_equal(plan.values, 1 / len(plan.ids))
    assert plan.kind == "mass"


def test_gains_are_signed_higher_is_better():
    """A group that pulls the targets down has a negative score, and the loss is what it is reported as."""
    known = world(k=4, noisy=0)
    known["pool"][known["groups"] == 2] *= -1
    known["pool_margins"][:] = 0
    plan = fit(**known, keep=0.75)
    assert plan.info["groups"][-1]["name"] == "2"
    forward = fit(**known, way="forward")
    assert scores_of(forward)["2"] < scores_of(forward)["0"]
    assert "2" not in forward.info["kept"]
    assert forward.info["loss"] == pytest.approx(np.logaddexp(0, -known["target_margins"]).mean())


def test_forward_takes_the_best_group_not_the_first_that_helps():
    """Scanned in index order, group 0 helps and is kept, and so is 1; the best is 1, and then nothing helps."""
    codes = np.repeat(np.arange(3), 10)
    known = {
        "pool": np.array([[0.2, 1.0], [1.0, 0.0], [0.0, 1.0]])[codes], "pool_margins": np.zeros(30), "groups": codes,
        "target": np.array([[1.0, 0.0], [1.0, -0.1]]), "target_margins": np.zeros(2),
    }  # fmt: skip
    linear = linear_of(known)
    loss = {subset: linear.estimate(subset).loss for subset in [(), (0,), (1,), (2,), (0, 1)]}
    assert loss[1,] < loss[0, 1] < loss[0,] < loss[()] < loss[2,]
    assert fit(**known, way="forward").info["kept"] == ["1"]


def test_forward_is_greedy_at_every_step():
    known = world(k=6, noisy=2, seed=3)
    linear = linear_of(known)
    chosen, best = [], linear.estimate(()).loss
    while len(chosen) < 6:
        losses = {j: linear.estimate([*chosen, j]).loss for j in range(6) if j not in chosen}
        first = min(losses, key=losses.get)
        if not losses[first] < best:
            break
        chosen.append(first)
        best = losses[first]
    plan = fit(**known, way="forward")
    assert plan.info["kept"] == [str(j) for j in chosen]
    assert [len(line["groups"]) for line in plan.info["table"]][: len(chosen)] == list(range(1, len(chosen) + 1))


def test_forward_keeps_the_best_where_none_helps():
    known = world(k=3, noisy=0)
    known["target"] = -known["target"]
    plan = fit(**known, way="forward")
    assert len(plan.info["kept"]) == 1
    assert max(scores_of(plan).values()) < 0


@given(st.integers(1, 13), st.data())
@settings(max_examples=60)
def test_every_group_is_drawn_equally_often(k, data):
    size = data.draw(st.integers(1, k))
    count = data.draw(st.integers(1, 40))
    subsets = balanced_subsets(k, size, count, np.random.default_rng(data.draw(st.integers(0, 99))))
    assert all(len(set(each)) == len(each) == size for each in subsets)
    times = Counter(j for each in subsets for j in each)
    assert len(times) == k
    assert len(set(times.values())) == 1
    assert min(count, comb(k, size)) <= len(subsets) < count + k
    if comb(k, size) <= count:
        assert len(set(subsets)) == len(subsets) == comb(k, size)


def test_a_subset_that_is_drawn_twice_counts_twice():
    scores = ensemble_scores(2, [(0,), (0,), (0, 1)], np.array([1.0, 2.0, 6.0]))
    np.testing.assert_allclose(scores, [3.0, 6.0])


def test_ids_travel_with_the_rows():
    """Shuffled rows, other codes: the same rows come out, and every estimate is the same to the last bit."""
    known = world(k=5, noisy=2)
    rng = np.random.default_rng(4)
    n = len(known["groups"])
    shuffle, other = rng.permutation(n), rng.permutation(5)
    order = rng.permutation(n)
    moved = {name: known[name][shuffle] for name in ("pool", "pool_margins", "groups")}
    moved["groups"] = other[moved["groups"]]
    names = [f"g{j}" for j in range(5)]
    renamed = [names[j] for j in np.argsort(other)]
    for sample in (0, 30):
        one = fit(**known, order=order, names=names, sample=sample)
        two = fit(**known | moved, order=order[shuffle], names=renamed, sample=sample)
        np.testing.assert_array_equal(np.sort(shuffle[two.ids]), one.ids)
        assert one.info == two.info


def test_a_budget_beyond_the_groups_kept_adds_the_next_best():
    known = world(k=8)
    whole = fit(**known, keep=0.5)
    order = [each["name"] for each in whole.info["groups"]]
    assert len(whole.ids) == 80
    assert not whole.complete
    for budget, count in [(1, 4), (80, 4), (81, 5), (100, 5), (160, 8)]:
        plan = fit(**known, keep=0.5, budget=budget)
        assert len(plan.ids) == 20 * count
        assert set(known["groups"][plan.ids]) == {int(name) for name in order[:count]}
        assert plan.info["added"] == order[4:count]
        assert plan.complete == (count == 8)


def test_every_estimate_shown_has_its_distance_and_error():
    known = world(k=4)

    def moved(w):
        return float(np.linalg.norm(w)), known["target_margins"] + np.tanh(known["target"] @ w)

    for way in ("ensemble", "forward"):
        plan = fit(**known, way=way, moved=moved)
        checks = [line["check"] for line in plan.info["table"]]
        assert all(check["distance"] > 0 and 0 < check["taylor_error"] < 1 for check in checks)
        assert plan.info["taylor_error"] == np.median([check["taylor_error"] for check in checks])
        assert json.loads(json.dumps(plan.info)) == plan.info
        without = fit(**known, way=way)
        assert without.info["distance"] is None
        assert [line["check"] for line in without.info["table"]] == [None] * len(checks)
        np.testing.assert_array_equal(plan.ids, without.ids)


def test_a_smaller_ridge_moves_further():
    known = world(k=4)
    far, near = (
        fit(**known, ridge=ridge, distance=0, moved=lambda w: (float(np.linalg.norm(w)), np.ones(15)))
        for ridge in (1, 9)
    )
    assert far.info["distance"] > near.info["distance"]


def test_the_ridge_keeps_the_whole_pool_within_the_distance():
    """It is one λ for all estimates, not a length that each is brought to."""
    known = world(k=4, noisy=2)
    asked = []

    def moved(w):
        asked.append(float(np.linalg.norm(w)))
        return asked[-1], known["target_margins"]

    plan = fit(**known, moved=moved, distance=0.05)
    linear = linear_of(known, plan.info["lambda"] / linear_of(known).ridge)
    whole = np.linalg.norm(linear.estimate(range(4)).weights)
    assert 0.04 < whole <= 0.05
    lengths = [line["check"]["distance"] for line in plan.info["table"]]
    assert max(lengths) > 1.5 * min(lengths)
    assert fit(**known, moved=moved, distance=100).info["lambda"] == linear_of(known).ridge


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("way", ["ensemble", "forward"])
def test_few_groups_and_rows(k, way):
    known = world(k=k, rows=1, noisy=0, m=1)
    plan = fit(**known, way=way, budget=k)
    np.testing.assert_array_equal(plan.ids, np.arange(k))
    assert plan.complete


def test_clusters_where_no_groups_are_named():
    rng = np.random.default_rng(0)
    axes = np.eye(3)[rng.integers(0, 3, 90)]
    pool = axes * rng.uniform(0.5, 2, size=(90, 1)) + 0.01 * rng.normal(size=(90, 3))
    plan = fit(pool, np.zeros(90), np.eye(3)[:1], np.zeros(1), 3, keep=1 / 3)
    np.testing.assert_array_equal(plan.ids, np.flatnonzero(axes[:, 0]))
    assert plan.info["groups"][0]["name"].startswith("cluster ")


def test_the_last_checkpoint_is_where_fine_tuning_starts():
    known = world(k=4, noisy=2)
    junk = np.random.default_rng(1).normal(size=known["pool"].shape)
    margins = Margins(
        [Vectors(junk), Vectors(known["pool"])], [known["target"][::-1], known["target"]],
        np.stack([junk[:, 0], known["pool_margins"]]), np.stack([np.zeros(15), known["target_margins"]]),
    )  # fmt: skip
    context = Context(
        order=np.arange(80), sources=np.zeros(80, dtype=int), groups=known["groups"], group_names=tuple("abcd"),
        margins=margins,
    )  # fmt: skip
    selector = gradex.SELECTOR
    plan = selector.prepare(context, selector.settle({"groups": "7", "keep": "0.5"}, "gradex"))(0)
    expected = fit(**known, keep=0.5, names="abcd")
    np.testing.assert_array_equal(plan.ids, expected.ids)
    assert plan.info == expected.info


def test_what_cannot_be_ranked():
    known = world(k=2)
    with pytest.raises(InputError, match="every gradient is zero"):
        fit(**known | {"pool": np.zeros((40, D))})
    many = {name: np.repeat(known[name], 30, axis=0) for name in ("pool", "pool_margins")}
    with pytest.raises(InputError, match="1200 groups are more than 1000"):
        fit(**known | many | {"groups": np.arange(1200)})
    with pytest.raises(InputError, match="way 'best' does not exist"):
        fit(**known, way="best")
    with pytest.raises(ValueError, match="margins"):
        fit(**known | {"pool_margins": np.zeros(3)})
