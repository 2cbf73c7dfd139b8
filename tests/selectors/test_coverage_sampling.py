"""Coverage-centric sampling against its definition: exact counts, even bins, nothing by position."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksift.errors import InputError
from tasksift.selectors.coverage_sampling import in_coverage_order
from tasksift.selectors.pruning import equal_shares

SCORES = {
    "normal": np.random.default_rng(1).normal(size=5000),
    "lognormal": np.exp(3 * np.random.default_rng(2).normal(size=5000)),
    "uniform": np.random.default_rng(3).random(5000),
    "constant": np.full(5000, 2.5),
    "two values": np.arange(5000) % 2 * 1.0,
}


@pytest.mark.parametrize("name", SCORES)
def test_every_budget_is_met_exactly(name):
    """Published: 101 -> 150, 1001 -> 1050 or 1021, 4000 -> 3733; nothing from constant scores."""
    place = in_coverage_order(SCORES[name], seed=0)
    for budget in (1, 49, 50, 51, 101, 250, 1001, 4000, 4500, 4501, 5000):
        assert (place < budget).sum() == budget
    np.testing.assert_array_equal(np.sort(place), np.arange(5000))


@pytest.mark.parametrize("name", ["normal", "lognormal", "uniform"])
def test_bins_get_equal_shares_and_tails_come_last(name):
    scores = SCORES[name]
    place = in_coverage_order(scores, seed=0)
    inner = np.sort(scores)[250:4750]
    kept = (scores >= inner[0]) & (scores <= inner[-1])
    edges = np.linspace(inner[0], inner[-1], 51)
    bins = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, 49)
    sizes = np.bincount(bins[kept], minlength=50)
    for budget in (250, 1001, 4000):
        got = np.bincount(bins[place < budget], minlength=50)
        # The remainder is drawn by lot, so counts are compared in order of size.
        assert (np.abs(got - equal_shares(sizes, budget)) <= 1).all()
        assert got.sum() == budget
        assert kept[place < budget].all()
    assert kept[place < 4500].all()
    assert not kept[place >= 4500].any()
    # Cut rows come back from the inside out.
    depth = np.maximum(inner[0] - scores, scores - inner[-1])
    low = (place >= 4500) & (scores < inner[0])
    assert np.corrcoef(np.argsort(np.argsort(place[low])), np.argsort(np.argsort(depth[low])))[0, 1] > 0.999


def test_the_lowest_edge_is_in_a_bin():
    """Published: the lowest value of the first bin is left out."""
    place = in_coverage_order(np.arange(10.0), cut=0.0, bins=10)
    assert sorted(place) == list(range(10))
    firsts = {int(np.argmin(in_coverage_order(np.arange(10.0), cut=0.0, bins=10, seed=s))) for s in range(200)}
    assert firsts == set(range(10))


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.integers(0, 5), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_permuting_the_rows_permutes_the_answer(values, seed, random):
    scores = np.array(values, dtype=float)
    order = np.array(random.sample(range(len(values)), len(values)))
    labels = order % 3
    shuffle = np.array(random.sample(range(len(values)), len(values)))
    one = in_coverage_order(scores, labels, order=order, seed=seed, bins=4, cut=0.2)
    other = in_coverage_order(scores[shuffle], labels[shuffle], order=order[shuffle], seed=seed, bins=4, cut=0.2)
    np.testing.assert_array_equal(one[shuffle], other)
    for k in range(3):
        assert sorted(one[labels == k]) == list(range((labels == k).sum()))


def test_seeds_differ_and_repeat():
    """Published: an unseeded generator."""
    one, again, other = (in_coverage_order(SCORES["normal"], seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.9


@pytest.mark.parametrize(("options", "message"), [({"bins": 0}, "bins=0"), ({"cut": 0.5}, "cut=0.5")])
def test_bad_parameters(options, message):
    with pytest.raises(InputError, match=message):
        in_coverage_order(np.arange(4.0), **options)
