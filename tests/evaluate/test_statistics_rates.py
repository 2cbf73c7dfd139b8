"""How often arms are named better or worse, by simulation: nulls as rarely as stated, planted effects as often."""

import numpy as np
import pytest
from scipy import stats

from tasksift.evaluate.statistics import Pair, over_tasks, paired

RUNS = 300


def differences(rng, seeds, rows, *, row=1.0, seed=0.0, both=0.0, skewed=False, uneven=False):
    """Differences of two arms that do not differ: standard deviations of rows, of seeds, of either at once."""
    by_row = rng.exponential(size=rows) - 1 if skewed else rng.normal(size=rows)
    by_seed = seed * (rng.choice([0.3, 1.5], size=(seeds, 1)) if uneven else 1) * rng.normal(size=(seeds, 1))
    return row * by_row + by_seed + both * rng.normal(size=(seeds, rows))


def judged(draw, runs=RUNS, effect=0.0):
    rng = np.random.default_rng(11)
    found = []
    for run in range(runs):
        d, w = draw(rng)
        zero = np.zeros((1, d.shape[1]))
        found.append(paired(d + effect, zero, w, higher_is_better=True, replicates=250, seed=run))
    return found


def named(found):
    return np.mean([each.verdict != "tie" for each in found])


def error(rate, runs=RUNS):
    """Three standard errors of a rate that is simulated."""
    return 3 * np.sqrt(rate * (1 - rate) / runs)


SOURCES = {
    "rows": {"row": 1},
    "rows and both": {"row": 1, "both": 2},
    "both": {"row": 0, "both": 1},
    "a little of seeds": {"row": 1, "seed": 0.07, "both": 1},
    "seeds": {"row": 1, "seed": 0.7, "both": 1},
    "skewed rows, uneven seeds": {"row": 1, "seed": 0.15, "both": 1, "skewed": True, "uneven": True},
}


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("source", SOURCES)
def test_arms_that_do_not_differ_are_named_as_rarely_as_stated(seeds, source):
    found = judged(lambda rng: (differences(rng, seeds, 60, **SOURCES[source]), None))
    assert named(found) <= 0.05 + error(0.05)


def test_the_interval_is_not_absurdly_wide():
    for seeds, most in ((3, 2.1), (5, 1.5), (10, 1.25)):
        for row, seed in ((1, 0.0), (1, 0.1), (0.1, 1.0)):
            found = judged(lambda rng, n=seeds, r=row, s=seed: (differences(rng, n, 60, row=r, seed=s), None), 80)
            known = 2 * 1.96 * np.sqrt(row**2 / 60 + seed**2 / seeds)
            assert np.mean([each.high - each.low for each in found]) < most * known


def test_weighted_rows_are_named_as_rarely():
    found = judged(lambda rng: (differences(rng, 3, 300, skewed=True), rng.lognormal(0, 0.7, size=300)))
    assert named(found) <= 0.05 + error(0.05)


def test_rare_right_answers_are_named_as_rarely():
    """Differences of shares right: most rows are 0."""
    found = judged(lambda rng: (rng.choice([-1.0, 0.0, 1.0], p=[0.04, 0.92, 0.04], size=(1, 60)).repeat(3, 0), None))
    assert named(found) <= 0.05 + error(0.05)


def test_rows_alone_would_name_too_many():
    """What the seeds are for: with them drawn over, and rows only to go by, half of all nulls would be named."""
    found = judged(lambda rng: (differences(rng, 3, 300, seed=0.3), None))
    rows_only = 1.96 / np.sqrt(300)
    assert np.mean([abs(each.mean) > rows_only for each in found]) > 0.3
    assert named(found) <= 0.05 + error(0.05)


def test_an_effect_over_rows_is_found_as_often_as_the_normal_distribution_says():
    effect = 3 / np.sqrt(300)
    found = judged(lambda rng: (differences(rng, 5, 300), None), effect=effect)
    power = stats.norm.sf(1.96 - 3)
    assert np.mean([each.verdict == "better" for each in found]) == pytest.approx(power, abs=error(power) + 0.02)
    assert all(each.verdict != "worse" for each in found)


@pytest.mark.parametrize("seeds", [3, 5])
def test_an_effect_over_seeds_is_found_as_often_as_the_noncentral_t_says(seeds):
    shift = 4.0
    found = judged(lambda rng: (differences(rng, seeds, 20, row=0, seed=1), None), effect=shift / np.sqrt(seeds))
    power = stats.nct.sf(stats.t.ppf(0.975, seeds - 1), seeds - 1, shift)
    assert 0.3 < power < 0.95
    assert named(found) == pytest.approx(power, abs=error(power) + 0.01)


def test_a_seed_that_serves_all_tasks_is_one_seed():
    """Tasks that share trainings do not make three seeds twenty-four."""
    rng, found = np.random.default_rng(12), []
    for run in range(RUNS):
        shared = 0.5 * rng.normal(size=(3, 1))
        pairs = [Pair(shared + differences(rng, 3, 40), np.zeros((1, 40))) for _ in range(8)]
        found.append(over_tasks(pairs, higher_is_better=True, replicates=200, seed=run))
    assert named(found) <= 0.05 + error(0.05)
    assert named(found) >= 0.01


def test_tasks_together_find_what_one_does_not():
    rng, single, together = np.random.default_rng(13), [], []
    for run in range(100):
        d = [0.2 + differences(rng, 3, 60, both=0.1) for _ in range(8)]
        pairs = [Pair(each, np.zeros((1, 60))) for each in d]
        single.append(over_tasks(pairs[:1], higher_is_better=True, replicates=200, seed=run))
        together.append(over_tasks(pairs, higher_is_better=True, replicates=200, seed=run))
    assert named(together) > 0.9
    assert named(single) < 0.6
