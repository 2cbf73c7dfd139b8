"""The automatic bandwidth: scale, copies, and the cases with nothing to measure."""

import numpy as np
import pytest
from oracles import distances

from tasksift.neighbors.bandwidth import SHARE, automatic_bandwidth
from tasksift.neighbors.groups import collapse
from tasksift.neighbors.search import nearest
from tasksift.vectors import Vectors

RNG = np.random.default_rng(0)
POOL, TARGETS = RNG.normal(size=(400, 20)), RNG.normal(size=(12, 20))


def bandwidth(pool, targets):
    vectors = Vectors(pool)
    groups = collapse(vectors)
    return automatic_bandwidth(vectors, groups, targets, nearest(vectors, groups, targets, 400))


def test_it_is_the_smaller_spacing_of_targets_and_pool():
    # Independent rows are all apart: the ten nearest count as they are.
    around = np.median(np.sort(distances(POOL, TARGETS), axis=1)[:, :10], axis=1)
    d = distances(TARGETS, TARGETS) + np.diag(np.full(12, np.inf))
    assert (around < d.min(1)).any()
    assert (around > d.min(1)).any()
    assert bandwidth(POOL, TARGETS) == pytest.approx(SHARE * np.median(np.minimum(around, d.min(1))))


def test_it_scales_with_the_vectors():
    assert bandwidth(POOL * 4, TARGETS * 4) == pytest.approx(4 * bandwidth(POOL, TARGETS))


@pytest.mark.parametrize("copies", [10, 100])
def test_copies_of_near_rows_hardly_move_it(copies):
    targets = TARGETS[:3]
    near = np.unique(np.argsort(distances(POOL, targets), axis=1)[:, :3])
    edits = 0.2 * RNG.normal(size=(copies * len(near), 20))
    crowded = np.vstack([POOL, np.repeat(POOL[near], copies, axis=0) + edits])
    naive = np.median(np.sort(distances(crowded, targets), axis=1)[:, :10])
    clean = np.median(np.sort(distances(POOL, targets), axis=1)[:, :10])
    assert naive < 0.9 * clean, "the copies must fill the first ten, or this shows nothing"
    assert bandwidth(crowded, targets) == pytest.approx(bandwidth(POOL, targets), rel=0.07)


def test_equal_targets_count_as_one():
    assert bandwidth(POOL, np.repeat(TARGETS, 3, axis=0)) == pytest.approx(bandwidth(POOL, TARGETS))


def test_targets_that_stand_in_the_pool_are_not_their_own_neighbours():
    around = np.median(np.sort(distances(POOL, POOL[:1]), axis=1)[:, 1:11])
    assert bandwidth(POOL, POOL[:1]) == pytest.approx(SHARE * around)


def test_nothing_differs():
    assert bandwidth(np.ones((5, 3)), np.ones((2, 3))) == 0
