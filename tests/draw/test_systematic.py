from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasksift.draw.sample import multinomial, systematic, whole_and_rest


def capped(mass, k):
    """min(1, t * mass) that sums to k, by bisection on t."""
    low, high = 0.0, 2.0 * k / mass[mass > 0].min()
    for _ in range(2000):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(1, middle * mass).sum() <= k else (low, middle)
    return np.minimum(1, low * mass)


masses = arrays(
    np.float64,
    st.integers(1, 40),
    elements=st.one_of(st.floats(1e-3, 1), st.floats(1e-12, 1e-8), st.just(1e-14), st.just(1.0)),
)


@given(masses, st.data())
def test_exactly_k_distinct(mass, data):
    k = data.draw(st.integers(1, len(mass)))
    inclusion = capped(mass, k)
    taken = systematic(inclusion, np.random.default_rng(data.draw(st.integers(0, 2**32))))
    assert len(taken) == len(set(taken.tolist())) == k
    assert set(np.flatnonzero(inclusion == 1)) <= set(taken.tolist())


@given(masses, st.data())
def test_groups_get_their_count_rounded_down_or_up(mass, data):
    k = data.draw(st.integers(1, len(mass)))
    inclusion = capped(mass, k)
    groups = data.draw(arrays(np.int64, len(mass), elements=st.integers(0, 5)))
    taken = systematic(inclusion, np.random.default_rng(data.draw(st.integers(0, 2**32))), groups)
    assert len(taken) == len(set(taken.tolist())) == k
    counts, expected = np.bincount(groups[taken], minlength=6), np.bincount(groups, weights=inclusion, minlength=6)
    assert np.all(np.abs(counts - expected) < 1 + 1e-9)
    whole = np.abs(expected - np.rint(expected)) < 1e-10
    assert np.array_equal(counts[whole], np.rint(expected[whole]))


@pytest.mark.parametrize(
    "inclusion",
    [
        np.ones(7),
        np.array([1.0, 0.0, 1.0]),
        np.full(10, 0.1),
        np.full(3, 1 / 3),
        np.array([1 - 1e-16, 1e-16, 1.0]),
        np.array([1 - 2**-53, 2**-53]),
        np.concatenate([np.full(5, 1 - 1e-13), np.full(5, 1e-13)]),
        np.full(1_000_000, 0.1),
        np.full(1_000_000, 0.999999),
        np.concatenate([np.full(999_999, 1 - 1e-14), [999_999e-14]]),
        np.concatenate([np.full(999_999, 1e-14), [1 - 999_999e-14]]),
        np.concatenate([np.full(499_999, 1e-13), np.full(500_000, 1 - 1e-13), [1e-13]]),
        np.linspace(0, 1, 1_000_001)[:-1] + 0.5e-6,
    ],
    ids=str,
)
@pytest.mark.parametrize("grouped", [False, True])
def test_adversarial_floats(inclusion, grouped):
    groups = np.arange(len(inclusion)) % 3 if grouped else None
    k = round(inclusion.sum())
    taken = systematic(inclusion, np.random.default_rng(5), groups)
    assert len(taken) == k
    assert np.all(np.diff(taken) > 0)
    assert not np.any(inclusion[taken] == 0)


class FixedOffset(np.random.Generator):
    """Places the first step at either end of its range, where a rounding error of one unit shows."""

    def __init__(self, seed, at_the_end):
        super().__init__(np.random.PCG64(seed))
        self.at_the_end = at_the_end

    def integers(self, high):
        return high - 1 if self.at_the_end else 0


@pytest.mark.parametrize("at_the_end", [False, True])
@pytest.mark.parametrize("size", [3, 7, 10, 1000])
def test_the_ends_of_the_offset(size, at_the_end):
    inclusion = np.concatenate([[0.0], np.full(5 * size, 1 / size), [0.0, 1.0, 0.0]])
    groups = np.concatenate([[7], np.repeat(np.arange(5), size), [7, 5, 6]])
    for seed in range(50):
        taken = systematic(inclusion, FixedOffset(seed, at_the_end), groups)
        assert np.array_equal(np.bincount(groups[taken], minlength=8), [1, 1, 1, 1, 1, 1, 0, 0])
        taken = systematic(inclusion, FixedOffset(seed, at_the_end))
        assert len(taken) == 6
        assert np.all(inclusion[taken] > 0)


def test_nothing_to_draw():
    assert len(systematic(np.zeros(4), np.random.default_rng(0))) == 0
    assert len(systematic(np.zeros(0), np.random.default_rng(0))) == 0


@pytest.mark.parametrize("inclusion", [[0.5], [1.5, 0.5], [-0.5, 0.5, 1.0], [np.nan, 1.0]])
def test_refuses_what_are_no_probabilities(inclusion):
    with pytest.raises(ValueError, match=r"in \[0, 1\]|cannot convert"):
        systematic(np.array(inclusion), np.random.default_rng(0))


def z_scores(counts, probability, draws):
    between = (probability > 1e-12) & (probability < 1 - 1e-12)
    assert np.array_equal(counts[~between], np.rint(draws * probability[~between]))
    return (counts - draws * probability)[between] / np.sqrt(draws * probability * (1 - probability))[between]


@pytest.mark.parametrize("grouped", [False, True])
def test_inclusion_probabilities(grouped):
    rng = np.random.default_rng(11)
    inclusion = capped(rng.lognormal(sigma=2, size=40), 12)
    groups = rng.integers(0, 4, size=40) if grouped else None
    draws = 6000
    counts = np.zeros(40)
    for _ in range(draws):
        counts[systematic(inclusion, rng, groups)] += 1
    # The largest of 40 standard normal values is above 4 once in 400 seeds.
    assert np.abs(z_scores(counts, inclusion, draws)).max() < 4


def test_every_pair_can_meet():
    rng = np.random.default_rng(3)
    met = np.zeros((6, 6), dtype=bool)
    for _ in range(300):
        taken = systematic(np.full(6, 1 / 3), rng)
        met[np.ix_(taken, taken)] = True
    assert met.all()


def test_multinomial_frequencies():
    rng = np.random.default_rng(2)
    p = rng.dirichlet(np.full(30, 0.5))
    counts = multinomial(p, 40_000, rng)
    assert counts.sum() == 40_000
    assert np.abs(z_scores(counts, p, 40_000)).max() < 4


@given(masses, st.integers(0, 50), st.integers(0, 50))
@settings(max_examples=50)
def test_multinomial_draws_are_nested(p, k, more):
    few, many = (multinomial(p, n, np.random.default_rng(9)) for n in (k, k + more))
    assert few.sum() == k
    assert many.sum() == k + more
    assert np.all(few <= many)


def test_multinomial_with_masses_next_to_nothing():
    assert multinomial(np.array([5e-324]), 10, np.random.default_rng(0)).tolist() == [10]
    assert multinomial(np.array([1.0, 5e-324]), 10, np.random.default_rng(0)).tolist() == [10, 0]


def test_whole_and_rest():
    whole, rest = whole_and_rest(np.array([0.0, 2.0, 3 - 1e-12, 3 + 1e-12, 0.25, 4e5 + 0.5, 1e-6]))
    assert whole.tolist() == [0, 2, 3, 3, 0, 400_000, 0]
    assert rest.tolist() == [0, 0, 0, 0, 0.25, 0.5, 1e-6]
