"""Paired differences: the interval against textbook ones, and what must not change it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tasksift.evaluate.statistics import Pair, over_tasks, paired


def two_arms(seed=0, seeds=3, rows=40, effect=0.1):
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=rows)
    return effect + hard + rng.normal(size=(seeds, rows)), hard + rng.normal(size=(seeds, rows))


def ends(difference):
    return np.array([difference.mean, difference.low, difference.high])


def test_seeds_alone_give_students_interval():
    a = np.repeat([[0.3], [0.7], [0.2], [0.4]], 50, axis=1)
    found = paired(a, np.zeros((4, 50)), higher_is_better=True)
    low, high = stats.t.interval(0.95, 3, loc=0.4, scale=stats.sem([0.3, 0.7, 0.2, 0.4]))
    assert found.mean == pytest.approx(0.4)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.01 * (high - low))


def test_rows_alone_give_students_interval():
    rows = np.random.default_rng(1).normal(size=400)
    found = paired(np.tile(rows, (3, 1)), np.zeros((3, 400)), higher_is_better=True, replicates=40_000)
    low, high = stats.t.interval(0.95, 399, loc=rows.mean(), scale=stats.sem(rows))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02 * (high - low))


def test_weighted_rows_give_the_interval_of_a_ratio():
    rng = np.random.default_rng(2)
    rows, w = rng.normal(size=600), rng.integers(1, 5, size=600).astype(float)
    found = paired(rows, np.zeros(600), w, higher_is_better=True, replicates=40_000)
    mean = np.average(rows, weights=w)
    error = np.sqrt(np.sum((w * (rows - mean)) ** 2)) / w.sum()
    assert found.mean == pytest.approx(mean)
    assert (found.low, found.high) == pytest.approx((mean - 1.96 * error, mean + 1.96 * error), abs=0.15 * error)


def test_what_differs_by_row_and_seed_is_counted_once():
    rng = np.random.default_rng(3)
    noise, means = rng.normal(size=(10, 1000)), stats.zscore(rng.normal(size=(10, 1)), ddof=1) / np.sqrt(1000)
    noise += means - noise.mean(axis=1, keepdims=True)
    found = paired(noise, np.zeros((1, 1000)), higher_is_better=True)
    by_seed = stats.t.interval(0.95, 9, loc=noise.mean(), scale=stats.sem(noise.mean(axis=1)))
    assert found.high - found.low < 1.2 * (by_seed[1] - by_seed[0])


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(2, 30), st.booleans())
@settings(max_examples=40)
def test_turned_round_it_has_the_other_sign(seed, seeds, rows, weighted):
    a, b = two_arms(seed, seeds, rows)
    w = np.random.default_rng(seed).integers(1, 9, size=rows) if weighted else None
    one = paired(a, b, w, higher_is_better=True, replicates=100, seed=seed)
    other = paired(b, a, w, higher_is_better=True, replicates=100, seed=seed)
    assert (one.mean, one.low, one.high) == pytest.approx((-other.mean, -other.high, -other.low), rel=1e-9)
    assert one.verdict == {"better": "worse", "worse": "better"}.get(other.verdict, other.verdict)
    assert one == paired(b, a, w, higher_is_better=False, replicates=100, seed=seed)


def test_units_and_what_both_have_in_common_change_nothing_else():
    a, b = two_arms()
    here = ends(paired(a, b, higher_is_better=True))
    assert ends(paired(7 * a, 7 * b, higher_is_better=True)) == pytest.approx(7 * here)
    common = np.random.default_rng(5).normal(size=a.shape)
    assert ends(paired(a + common, b + common, higher_is_better=True)) == pytest.approx(here)


def test_a_weight_is_so_many_copies_in_the_mean_and_a_weight_of_0_is_no_row():
    a, b = two_arms(rows=30)
    w = np.arange(30) % 4
    weighted = paired(a, b, w, higher_is_better=True)
    copies = [np.repeat(each, w, axis=1) for each in (a, b)]
    assert weighted.mean == pytest.approx(paired(*copies, higher_is_better=True).mean)
    assert weighted == paired(a[:, w > 0], b[:, w > 0], w[w > 0], higher_is_better=True)
    assert weighted.rows == np.sum(w > 0)
    assert ends(paired(a, b, 5.0 * w, higher_is_better=True)) == pytest.approx(ends(weighted))


def test_the_seed_decides_to_the_last_bit():
    a, b = two_arms()
    first = paired(a, b, higher_is_better=True, seed=1)
    assert first == paired(a, b, higher_is_better=True, seed=1)
    other = paired(a, b, higher_is_better=True, seed=2)
    assert first.mean == other.mean
    assert first.low != other.low
    assert first.high != other.high
    assert ends(first) == pytest.approx(ends(other), abs=0.05 * (first.high - first.low))


def test_order_of_seeds_and_rows_is_of_no_matter():
    a, b = two_arms(rows=100)
    here = paired(a, b, higher_is_better=True)
    assert ends(paired(a[[2, 0, 1]], b[[2, 0, 1]], higher_is_better=True)) == pytest.approx(ends(here))
    order = np.random.default_rng(6).permutation(100)
    moved = paired(a[:, order], b[:, order], higher_is_better=True)
    assert ends(moved) == pytest.approx(ends(here), abs=0.05 * (here.high - here.low))


def test_pairs_of_seeds_matter():
    rng = np.random.default_rng(7)
    draws = 3 * rng.normal(size=(5, 1))
    a, b = (draws + 0.1 * rng.normal(size=(5, 50)) + shift for shift in (0.2, 0.0))
    assert paired(a, b, higher_is_better=True).verdict == "better"
    assert paired(a, b[[1, 2, 3, 4, 0]], higher_is_better=True).verdict == "tie"


def test_an_arm_without_seeds_goes_with_every_seed():
    a, b = two_arms(seeds=4)
    once = paired(a, b[:1], higher_is_better=True)
    assert once == paired(a, np.repeat(b[:1], 4, axis=0), higher_is_better=True)
    assert once.seeds == 4
    assert once == paired(a, b[0], higher_is_better=True)


@pytest.mark.parametrize(("seeds", "verdict"), [(1, "too few seeds"), (2, "too few seeds"), (3, "better")])
def test_no_verdict_without_three_seeds(seeds, verdict):
    a = np.full((seeds, 50), 0.5)
    assert paired(a, np.zeros((seeds, 50)), higher_is_better=True).verdict == verdict


def test_the_same_scores_are_a_tie():
    a, _ = two_arms()
    found = paired(a, a, higher_is_better=True)
    assert (found.mean, found.low, found.high, found.verdict) == (0, 0, 0, "tie")


def test_one_row_says_nothing():
    found = paired([[1.0], [1.1], [1.2]], [[0.0]] * 3, higher_is_better=True)
    assert (found.low, found.high, found.verdict) == (-np.inf, np.inf, "too few rows")


def test_more_confidence_is_wider():
    a, b = two_arms()
    widths = [np.diff(ends(paired(a, b, higher_is_better=True, confidence=c))[1:])[0] for c in (0.5, 0.9, 0.99)]
    assert widths == sorted(widths)


def test_seeds_that_agree_by_luck_do_not_make_it_narrower_than_the_rows():
    a, b = two_arms(rows=3000)
    a -= (a - b).mean(axis=1, keepdims=True)
    found = paired(a, b, higher_is_better=True)
    error = stats.sem((a - b).mean(axis=0))
    assert (found.low, found.high) == pytest.approx((-1.96 * error, 1.96 * error), abs=0.2 * error)


@pytest.mark.parametrize(
    ("a", "b", "weights"),
    [
        (np.ones((3, 4)), np.ones((3, 5)), None),
        (np.ones((3, 4)), np.ones((2, 4)), None),
        (np.full((3, 4), np.nan), np.ones((3, 4)), None),
        (np.ones((3, 4)), np.ones((3, 4)), [1, 1, 1]),
        (np.ones((3, 4)), np.ones((3, 4)), [1, 1, 1, -1]),
        (np.ones((3, 4)), np.ones((3, 4)), [0, 0, 0, 0]),
    ],
)
def test_what_is_no_pair_is_refused(a, b, weights):
    with pytest.raises(ValueError):
        paired(a, b, weights, higher_is_better=True)


def test_one_task_is_the_mean_over_one_task():
    a, b = two_arms()
    assert over_tasks([Pair(a, b)], higher_is_better=True) == paired(a, b, higher_is_better=True)


def test_every_task_counts_alike_whatever_its_rows():
    small, large = two_arms(1, rows=20), two_arms(2, rows=200)
    found = over_tasks([Pair(*small), Pair(*large)], higher_is_better=False)
    means = [paired(*each, higher_is_better=False).mean for each in (small, large)]
    assert found.mean == pytest.approx(np.mean(means))
    assert found.rows == 220


def test_rows_of_tasks_are_drawn_apart():
    rows = np.random.default_rng(8).normal(size=200)
    a = np.tile(rows, (3, 1))
    one = over_tasks([Pair(a, 0 * a)], higher_is_better=True)
    four = over_tasks([Pair(a, 0 * a)] * 4, higher_is_better=True)
    assert (four.high - four.low) / (one.high - one.low) == pytest.approx(0.5, rel=0.1)


def test_tasks_of_different_seeds_are_refused():
    with pytest.raises(ValueError, match="different numbers of seeds"):
        over_tasks([Pair(*two_arms(seeds=3)), Pair(*two_arms(seeds=4))], higher_is_better=True)
    with pytest.raises(ValueError, match="no task"):
        over_tasks([], higher_is_better=True)
