"""Kernels in whole units: a product and a subtraction give the same integers, or the product says that it may not."""

import numpy as np
import pytest
from adversarial import NAMES, cases, exact

from tasksift.neighbors import kernel as module
from tasksift.neighbors.kernel import MOST_UNSURE, UNIT, Rows, pair_units, product_error, table_units, tile_units
from tasksift.vectors import Vectors


def all_units(left, right, sigma):
    return np.array([pair_units(left, row[None], sigma) for row in right]).T


@pytest.mark.parametrize("factor", [1.0, 3.0, 30.0, 1e3])
@pytest.mark.parametrize("dim", [1, 3, 200])
@pytest.mark.parametrize("name", NAMES)
def test_products_and_subtractions_agree(name, dim, factor):
    pool, sigma = cases(dim)[name]
    rows = exact(pool)
    found = table_units(rows[::7], rows, factor * sigma)
    if found is None:
        return
    units, unsure = found
    expected = all_units(rows[::7], rows, factor * sigma)
    assert (units[~unsure] == expected[~unsure]).all()
    assert (np.abs(units - expected) <= 1).all()
    assert unsure.mean() <= 2 * MOST_UNSURE + 0.02


def test_at_the_rounding_borders_of_bandwidths_large_and_small():
    # Steps of one roundoff in x, around an x whose kernel is half a unit more than a whole one. Where the bandwidth is
    # much larger than the vectors, what is rounded is the difference from 1 and no longer the product.
    rng = np.random.default_rng(0)
    seen = 0
    for sigma in np.repeat([0.1, 1.0, 5.0, 30.0, 80.0, 200.0], 25):
        left = rng.normal(size=(1, 2)) * min(sigma, 1.0)
        across = 0.3 * min(sigma, 1.0)
        border = np.floor(UNIT * rng.uniform(1 - min(0.5, 9 / sigma**2), 1 - 0.01 / max(sigma, 1) ** 2)) + 0.5
        along = (1 - border / UNIT) * sigma**2 - across**2
        if along <= 0:
            continue
        x = left[0, 0] + np.sqrt(along)
        right = np.column_stack([x + np.arange(-2000, 2000) * np.spacing(x), np.full(4000, left[0, 1] + across)])
        found = table_units(left, right, sigma)
        expected = pair_units(left, right, sigma)
        assert np.ptp(expected) >= 0
        if found is not None:
            units, unsure = found
            seen += bool(unsure.any())
            assert (units[0, ~unsure[0]] == expected[~unsure[0]]).all()
    assert seen > 50


def test_a_bandwidth_too_small_for_products():
    assert product_error(10, 2.0, 1e-3) is None
    assert product_error(10, 2.0, 1.0) < MOST_UNSURE
    assert product_error(10, 0.0, 1.0) > 0
    assert table_units(1e3 + np.zeros((1, 3)), 1e3 + np.zeros((2, 3)), 1e-3) is None


@pytest.mark.parametrize("exact_sums", [True, False])
@pytest.mark.parametrize("refine", [True, False])
@pytest.mark.parametrize(("many", "dense"), [(0.0, -1.0), (0.0, 2.0), (2.0, 2.0), (2.0, -1.0), (0.01, 0.05)])
@pytest.mark.parametrize("unsure", [1e-9, 0.05, 0.5])
def test_every_way_to_the_same_sums(monkeypatch, exact_sums, refine, many, dense, unsure):
    pool, sigma = cases(40)["clustered"]
    pool = pool.astype(np.float32)
    rows = exact(pool)
    sizes = np.random.default_rng(0).integers(1, 10**6, 120)
    names = np.arange(120)
    expected = all_units(rows[:20], rows, sigma)
    expected[names[:20, None] == names] = 0
    monkeypatch.setattr(module, "MANY", many)
    monkeypatch.setattr(module, "DENSE", dense)
    if not exact_sums:
        monkeypatch.setattr(module, "EXACT", 0.0)
    if unsure != 0.05:
        # As if products were much worse, or hardly good enough.
        monkeypatch.setattr(module, "product_error", lambda *_: unsure if unsure == 0.5 else None)
    right = Rows(Vectors(pool), pool, names, sizes if not exact_sums else sizes % 7 + 1)
    i, j = np.nonzero(expected + (np.random.default_rng(1).random(expected.shape) < 0.01))
    found = tile_units(rows[:20], names[:20], right, i, j, sigma, refine=refine)
    assert found.tolist() == (expected @ right.sizes).tolist()


def test_sums_beyond_what_float64_counts():
    pool = np.zeros((3, 2))
    sizes = np.array([1, 2**20 + 1, 2**28 + 3])
    i, j = np.divmod(np.arange(3), 3)
    rows = Rows(Vectors(pool), pool, np.array([0, 1, 2]), sizes)
    found = tile_units(pool[:1], np.array([0]), rows, i, j, 1.0, refine=False)
    assert found.tolist() == [2**34 * (2**20 + 1 + 2**28 + 3)]
