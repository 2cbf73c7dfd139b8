"""Kernel densities against the definition."""

import numpy as np
import pytest
from oracles import density

from tasksift.neighbors import density as module
from tasksift.neighbors.density import densities, prefetched_densities
from tasksift.neighbors.groups import collapse, singletons
from tasksift.vectors import Vectors

RNG = np.random.default_rng(0)
CLUSTERED = np.repeat(RNG.normal(size=(25, 6)), 12, axis=0) + 0.1 * RNG.normal(size=(300, 6))


def of_rows(pool, sigma):
    vectors = Vectors(pool)
    groups = collapse(vectors)
    return densities(vectors, groups, np.arange(len(groups)), sigma)[groups.of_row]


@pytest.mark.parametrize("sigma", [0, 1e-3, 0.3, 0.75, 2.0, 50.0])
def test_the_definition(sigma):
    np.testing.assert_allclose(of_rows(CLUSTERED, sigma), density(CLUSTERED, sigma), rtol=1e-9)


def test_at_the_border_of_the_kernel():
    # Distances of exactly sigma, and a hair to either side, where a float32 product would cancel.
    sigma = 0.5
    pool = 1000.0 + np.array([[0.0], [sigma], [sigma - 1e-9], [sigma + 1e-9], [10.0]])
    np.testing.assert_allclose(of_rows(pool, sigma), density(pool, sigma), atol=1e-10)


def test_exact_copies_have_the_density_of_their_number():
    pool = np.vstack([np.repeat(CLUSTERED[:1], 40, axis=0), CLUSTERED[100:101] + 50])
    assert of_rows(pool, 0.4).tolist() == [40.0] * 40 + [1.0]
    assert of_rows(pool, 0).tolist() == [40.0] * 40 + [1.0]


def test_the_papers_first_figure():
    # Three of five candidates sigma·√3/2 apart have density 3/2, the lone two 1.
    sigma = 1.0
    side = sigma * np.sqrt(3) / 2
    pool = np.array([[0, 0], [side, 0], [side / 2, side * np.sqrt(3) / 2], [5, 5], [9, 9]])
    np.testing.assert_allclose(of_rows(pool, sigma), [1.5, 1.5, 1.5, 1, 1], atol=1e-10)


@pytest.mark.parametrize("table", [1, 500, 10**6])
@pytest.mark.parametrize("cuts", [[], [1, 2], [150]])
def test_blocks_shards_and_order_leave_no_trace(monkeypatch, table, cuts):
    expected = of_rows(CLUSTERED, 0.75)
    monkeypatch.setattr(module, "TABLE_ENTRIES", table)
    shuffle = RNG.permutation(300)
    vectors = Vectors(np.split(CLUSTERED[shuffle], cuts))
    groups = collapse(vectors)
    found = densities(vectors, groups, np.arange(len(groups)), 0.75)[groups.of_row]
    assert (found == expected[shuffle]).all()


def test_pool_wide_and_prefetched_densities_differ_only_by_what_lies_outside():
    vectors = Vectors(CLUSTERED)
    groups = singletons(vectors, np.arange(300))
    some = np.arange(0, 300, 2)
    inside = prefetched_densities(vectors, groups, some, 0.75)
    np.testing.assert_allclose(inside, density(CLUSTERED[some], 0.75))
    assert (densities(vectors, groups, some, 0.75) >= inside - 1e-9).all()
    capped = prefetched_densities(vectors, groups, some, 0.75, max_neighbors=2)
    assert (capped <= 2).all()
    assert (capped <= inside + 1e-12).all()
