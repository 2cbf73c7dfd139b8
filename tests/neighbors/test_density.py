"""Kernel densities against the definition."""

import numpy as np
import pytest
from adversarial import NAMES, ROWS, bfloat16, cases, exact
from oracles import density, distances

from tasksift.neighbors import balls, frame, kernel
from tasksift.neighbors import density as module
from tasksift.neighbors.density import densities, prefetched_densities
from tasksift.neighbors.groups import collapse, singletons
from tasksift.vectors import Vectors

RNG = np.random.default_rng(0)
CLUSTERED = np.repeat(RNG.normal(size=(25, 6)), 12, axis=0) + 0.1 * RNG.normal(size=(300, 6))


def of_rows(pool, sigma, *, normalize=False):
    vectors = Vectors(pool, normalize=normalize)
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


# Problems large enough to be cut into balls and looked at along a few directions are made of small ones.
CUT = {(balls, "SIMPLE"): 0, (module, "FEW_PAIRS"): -1}
SETTINGS = {
    "looks without cuts": {(module, "FEW_PAIRS"): -1},
    "balls": {(balls, "SIMPLE"): 0},
    "balls and looks": CUT,
    "32 directions": {**CUT, (frame, "DIRECTIONS"): (32,), (frame, "_DIRECT"): 0.0},
    "64 directions": {**CUT, (frame, "DIRECTIONS"): (64,), (frame, "_DIRECT"): 0.0},
    "128 directions": {**CUT, (frame, "DIRECTIONS"): (128,), (frame, "_DIRECT"): 0.0},
    "a small sample": {**CUT, (frame, "SAMPLE"): 7},
    "refined": {**CUT, (frame, "DIRECTIONS"): (32,), (frame, "_DIRECT"): 0.0, (kernel, "MANY"): 0.0},
    "products": {(kernel, "DENSE"): -1.0},
    "subtractions": {**CUT, (kernel, "DENSE"): 2.0},
    "whole numbers": {(kernel, "DENSE"): -1.0, (kernel, "EXACT"): 0.0},
    "nearly all unsure": {(kernel, "DENSE"): -1.0, (kernel, "MOST_UNSURE"): np.inf},
    "small tiles": {**CUT, (balls, "TILE_ROWS"): 3, (balls, "TILE_COLUMNS"): 11},
    "small spans": {**CUT, (module, "SPAN_ROWS"): 17},
    "small tables": {(module, "TABLE_ENTRIES"): 64},
    "small batches": {**CUT, (module, "CANDIDATE_VALUES"): 2000},
}


@pytest.mark.parametrize(("dim", "normalize"), [(3, True), (140, False)])
@pytest.mark.parametrize("name", NAMES)
def test_the_definition_and_the_same_bits_on_every_way_to_it(monkeypatch, name, dim, normalize):
    pool, sigma = cases(dim)[name]
    sigma = 0.2 if normalize else sigma
    squares = distances(*[exact(pool, normalize=normalize)] * 2) ** 2
    expected = np.maximum(0, 1 - squares / sigma**2).sum(axis=1)
    found = of_rows(pool, sigma, normalize=normalize)
    # Each term is rounded to whole units.
    assert (np.abs(found - expected) <= 0.5 / kernel.UNIT * (squares < sigma**2).sum(axis=1) + 1e-12 * expected).all()
    for setting in SETTINGS.values():
        with monkeypatch.context() as patch:
            for (of, constant), value in setting.items():
                patch.setattr(of, constant, value)
            np.testing.assert_array_equal(of_rows(pool, sigma, normalize=normalize), found)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("setting", [{}, CUT])
def test_bandwidths_far_too_small_and_far_too_large(monkeypatch, name, setting):
    for (of, constant), value in setting.items():
        monkeypatch.setattr(of, constant, value)
    pool, sigma = cases(20)[name]
    for factor in (1e-5, 1e5, 1e30):
        np.testing.assert_allclose(of_rows(pool, factor * sigma), density(exact(pool), factor * sigma), rtol=1e-9)


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize(("setting", "normalize"), [("small spans", False), ("32 directions", True)])
def test_workers_shards_order_and_layout_leave_no_trace(monkeypatch, workers, setting, normalize):
    pool, sigma = cases(140)["clustered"]
    pool = np.vstack([pool, pool[::3], pool[:1].repeat(40, axis=0)]).astype(np.float32)
    expected = of_rows(pool, sigma, normalize=normalize)
    monkeypatch.setenv("TASKSIFT_WORKERS", str(workers))
    for (of, constant), value in SETTINGS[setting].items():
        monkeypatch.setattr(of, constant, value)
    shuffle = np.random.default_rng(workers).permutation(len(pool))
    for other in (pool[shuffle], np.asfortranarray(pool[shuffle]), pool[shuffle].astype(np.float64)):
        for cuts in ([], [1, 100, 101]):
            found = of_rows(np.split(other, cuts), sigma, normalize=normalize)
            np.testing.assert_array_equal(found, expected[shuffle])


@pytest.mark.parametrize("normalize", [False, True])
def test_shards_of_many_types(normalize):
    pool, sigma = cases(40)["clustered"]
    whole = np.rint(60 * pool)
    parts = [
        whole[:30].astype(np.int8),
        bfloat16(whole[30:60]),
        whole[60:90].astype(np.float16),
        whole[90:].astype(np.float64),
    ]
    sigma = 0.3 if normalize else 60 * sigma
    expected = of_rows(whole, sigma, normalize=normalize)
    np.testing.assert_array_equal(of_rows(parts, sigma, normalize=normalize), expected)
    assert expected.max() > 2


def test_some_groups_are_as_good_as_all():
    pool, sigma = cases(40)["clustered"]
    vectors = Vectors(pool)
    groups = collapse(vectors)
    every = densities(vectors, groups, np.arange(ROWS), sigma)
    some = np.random.default_rng(0).permutation(ROWS)[:50]
    np.testing.assert_array_equal(densities(vectors, groups, some, sigma), every[some])
    assert densities(vectors, groups, some[:0], sigma).shape == (0,)


def test_a_span_of_nothing_but_copies(monkeypatch):
    monkeypatch.setattr(module, "SPAN_ROWS", 10)
    pool = np.vstack([np.ones((50, 3)), 1.1 * np.ones((3, 3))])
    np.testing.assert_allclose(of_rows(pool, 0.5), density(pool, 0.5))


def test_every_kernel_term_is_reported(monkeypatch):
    monkeypatch.setattr(module, "SPAN_ROWS", 50)
    vectors = Vectors(cases(3)["clustered"][0])
    done = []
    densities(vectors, collapse(vectors), np.arange(20), 0.2, done.append)
    assert sum(done) == 20 * ROWS
    assert len(done) == 3


def test_prefetched_densities_without_a_bandwidth_count_own_copies():
    vectors = Vectors(np.vstack([CLUSTERED[:5], CLUSTERED[:1], CLUSTERED[:1]]))
    groups = collapse(vectors, np.arange(7))
    assert prefetched_densities(vectors, groups, np.arange(5), 0.0).tolist() == [3.0, 1.0, 1.0, 1.0, 1.0]
    assert prefetched_densities(vectors, groups, np.arange(5), 0.0, max_neighbors=2).tolist() == [2.0, 1, 1, 1, 1]


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
