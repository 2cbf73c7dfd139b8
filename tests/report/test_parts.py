"""Parts of a selection's report against slow definitions: all that look at vectors or ranks, and its sources."""

from __future__ import annotations

import numpy as np
import pytest

from tasksift.neighbors.groups import content_keys
from tasksift.report.basis import Basis
from tasksift.report.coverage import coverage
from tasksift.report.histograms import edges_of, shares
from tasksift.report.layout_map import layout_map, plane
from tasksift.report.near_copies import near_copies
from tasksift.report.nearness import distances, measure
from tasksift.report.ranking_path import ranking_path
from tasksift.report.sources import Sources
from tasksift.rows.index import index_vectors
from tasksift.vectors import Vectors


def table(left, right):
    return np.sqrt(np.square(left[:, None] - right).sum(axis=-1))


def basis_of(pool, target, *, kept=None, seed=0):
    index = index_vectors(content_keys(Vectors(pool)), "pool")
    rows = np.arange(len(pool)) if kept is None else kept
    order = np.argsort(np.argsort(index.order[rows]))
    return Basis(index, kept, order, Vectors(pool[rows]), Vectors(target), seed=seed)


@pytest.fixture
def made():
    rng = np.random.default_rng(0)
    pool, target = rng.normal(size=(700, 3)), rng.normal(size=(9, 3))
    pool[100:103] = target[4]
    pool[:60] *= 0.1
    return pool, target, np.sort(rng.choice(700, 60, replace=False))


def test_measure_is_exact(made, monkeypatch):
    pool, target, chosen = made
    monkeypatch.setattr("tasksift.vectors.BLOCK_BYTES", 4 * 3 * 4)
    near = measure(Vectors(pool), Vectors(target), chosen)
    far = table(pool[chosen], target)
    np.testing.assert_array_equal(near.target, far.argmin(axis=1))
    np.testing.assert_array_equal(near.selected, far.argmin(axis=0))
    np.testing.assert_allclose(near.distance, far.min(axis=1))
    np.testing.assert_allclose(near.selected_distance, far.min(axis=0))


def test_distances_count_copies(made):
    pool, target, chosen = made
    copies = np.arange(len(chosen)) % 3 + 1
    basis = basis_of(pool, target)
    near = measure(basis.pool, basis.target, chosen)
    part = distances(basis, near, copies, unit=False)
    every = np.repeat(near.distance, copies)
    np.testing.assert_allclose(part["selected"], np.histogram(every, part["edges"])[0] / len(every))
    np.testing.assert_allclose(part["pool"], np.histogram(table(pool, target).min(axis=1), part["edges"])[0] / 700)
    assert sum(part["pool"]) == pytest.approx(1)
    assert part["median_selected"] == np.median(every)


@pytest.mark.parametrize("kept", [None, np.arange(0, 700, 2)])
def test_coverage_lists_the_worst_served(made, kept):
    pool, target, _ = made
    basis = basis_of(pool, target, kept=kept)
    rows = np.arange(700) if kept is None else kept
    chosen = np.arange(0, len(rows), 7)
    near = measure(basis.pool, basis.target, chosen)
    part, around = coverage(basis, near, chosen, [f"t{k}" for k in range(9)], None)
    far = table(target, pool[rows])
    nearest = far[:, chosen].min(axis=1)
    assert [each["target"] for each in part["worst"]] == np.argsort(-nearest).tolist()
    assert sum(part["distance"]["counts"]) == 9
    served = table(pool[rows][chosen], target).argmin(axis=1)
    for each, places in zip(part["worst"], around, strict=True):
        k = each["target"]
        assert each["text"] == f"t{k}"
        assert each["selected_near"] == (served == k).sum()
        assert each["nearest_selected"] == pytest.approx(nearest[k])
        assert each["nearest_pool"] == pytest.approx(far[k].min())
        distinct = np.unique(np.round(far[k], 9))[:3]
        np.testing.assert_allclose([one["distance"] for one in each["neighbours"]], distinct, atol=1e-8)
        np.testing.assert_allclose(far[k][places], distinct, atol=1e-8)
        for one, place in zip(each["neighbours"], places, strict=True):
            same = np.flatnonzero((pool[rows] == pool[rows][place]).all(axis=1))
            assert one["selected"] == bool(np.isin(same, chosen).any())


def test_near_copies_are_counted_once():
    rng = np.random.default_rng(1)
    pool = np.concatenate([10 * rng.normal(size=(5, 3)), np.ones((10, 3)) + 1e-5 * rng.normal(size=(10, 3))])
    chosen = np.array([0, 1, 5, 6, 7])
    density = np.array([1.0, 1.0, 10.0, 10.0, 10.0])
    part = near_copies(density, np.arange(5), Vectors(pool), chosen, 0.5)
    assert (part["rows_sharing"], part["mean_density"], part["avoided"]) == (3, 10.0, 7)
    assert [each["place"] for each in part["examples"]] == [2, 3, 4]
    assert near_copies(density, np.arange(5), None, chosen, 0.5)["avoided"] is None
    alone = near_copies(np.ones(5), np.arange(5), None, chosen, None)
    assert (alone["rows_sharing"], alone["avoided"], alone["examples"]) == (0, 0, [])


def test_plane_is_principal_components():
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(700, 600)) * np.append([9.0, 5.0], np.ones(598))
    for some in (rows, rows[:, :40], rows[:4]):
        at, explained = plane(some)
        spread_out = some - some.mean(axis=0)
        _, sizes, directions = np.linalg.svd(spread_out, full_matrices=False)
        wanted = spread_out @ directions[:2].T
        np.testing.assert_allclose(np.abs(at), np.abs(wanted), atol=1e-6)
        assert explained == pytest.approx((sizes[:2] ** 2).sum() / (sizes**2).sum())
    huge, _ = plane(1e200 * rows[:50, :5])
    assert np.isfinite(huge).all()


@pytest.mark.parametrize("rows", [np.zeros((1, 3)), np.ones((5, 4)), np.arange(4.0)[:, None]])
def test_plane_of_almost_nothing(rows):
    at, explained = plane(rows)
    assert at.shape == (len(rows), 2)
    assert np.isfinite(at).all()
    assert explained is None or explained == pytest.approx(1)


def test_samples_go_with_the_rows(made):
    pool, target, chosen = made
    rng = np.random.default_rng(5)
    to = rng.permutation(len(pool))
    moved = np.empty_like(pool)
    moved[to] = pool
    here, there = basis_of(pool, target), basis_of(moved, target)
    np.testing.assert_array_equal(pool[here.sample(50, 9)], moved[there.sample(50, 9)])
    assert len(set(here.sample(50, 9).tolist())) == 50
    assert set(here.sample(50, 9)) != set(here.sample(50, 8)) != set(basis_of(pool, target, seed=1).sample(50, 8))
    first, at = layout_map(here, chosen)
    second, _ = layout_map(there, to[chosen])
    for name in ("x", "y", "kind", "explained"):
        np.testing.assert_array_equal(first[name], second[name])
    assert (at[first["kind"] == 1] < 0).all()
    assert set(at[first["kind"] == 2]) == set(chosen)
    assert not set(at[first["kind"] == 0]) & set(chosen)


def test_ranking_path():
    rng = np.random.default_rng(3)
    ranking, sources = rng.permutation(900), rng.integers(0, 3, 900)
    target, distance = rng.integers(0, 8, 900), rng.random(900)
    path = ranking_path(ranking, sources, 3, 100, target, distance, 9)
    assert (path["values"][0], path["values"][path["current"]], path["values"][-1]) == (10, 100, 400)
    columns = (path[name] for name in ("values", "composition", "coverage", "distance"))
    for k, share, reached, far in zip(*columns, strict=True):
        first = ranking[:k]
        np.testing.assert_allclose(share, [(sources[first] == s).mean() for s in range(3)])
        assert reached == pytest.approx(len(set(target[first])) / 9)
        assert far == pytest.approx(distance[first].mean())
    one = ranking_path(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64), 1, 1, None, None, 0)
    assert (list(one["values"]), one["coverage"], one["distance"]) == ([1], [None], [None])


def test_sources_are_bounded():
    pool = {f"s{k:02d}": 100 - k for k in range(60)}
    sources = Sources.of(pool, {"s50": 7, "s03": 1})
    assert sources.names[:3] == ["s50", "s03", "s00"]
    assert (len(sources.names), sources.names[-1]) == (40, None)
    assert (sum(sources.pool), sum(sources.selected)) == (sum(pool.values()), 8)
    assert sources.codes(["s50", "s59", "s58"]).tolist() == [0, 39, 39]
    assert None not in Sources.of({"a": 1}, {"a": 1}).names


def test_shares_and_edges():
    one = np.array([4.0])
    assert shares(one, edges_of(one)).sum() == 1
    tokens = np.array([1, 10, 1000])
    edges = edges_of(tokens, log=True)
    assert (edges[0], round(edges[-1])) == (1, 1000)
    assert shares(tokens, edges).sum() == pytest.approx(1)
