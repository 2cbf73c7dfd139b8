"""How vectors of models are compared, by plain formulas."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tasksift import geometry as geometries
from tasksift.config import RunConfig
from tasksift.geometry import CLIP
from tasksift.vectors import Vectors


def geometry(config, embedder, pool, target, work):
    """Pool and targets of one task, as they are compared."""
    found = geometries.geometry(config, embedder, pool, target, np.zeros(len(target), dtype=np.int64), work)
    return found.pool, found.target


def rows_of(vectors: Vectors) -> np.ndarray:
    return np.concatenate([vectors.exact(vectors.raw(span)) for span in vectors.spans()])


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Several blocks for a few rows, so that sums over blocks are sums over rows."""
    monkeypatch.setattr("tasksift.vectors.BLOCK_BYTES", 64)


def losses(**options):
    return RunConfig.create(representation="loss", model="m", **options)


def centred(**options):
    return RunConfig.create(representation="gradient", model="m", optimizer="adam", momentum="centred", **options)


def test_scalars_are_standardised_by_the_pool(tmp_path):
    rng = np.random.default_rng(0)
    pool = (rng.normal(size=(50, 3)) * [1, 100, 1e-3] + [5, -700, 0]).astype(np.float32)
    pool[7] = [400, -700, 0]
    target = (rng.normal(size=(4, 3)) + np.array([5, -700, 1])).astype(np.float32)
    shards = Vectors([pool[:20], pool[20:21], pool[21:]])
    found, towards = geometry(losses(), SimpleNamespace(), shards, target, tmp_path)
    wide = pool.astype(np.float64)

    def plain(rows):
        return np.clip((rows - wide.mean(axis=0)) / wide.std(axis=0), -CLIP, CLIP)

    np.testing.assert_allclose(rows_of(found), plain(wide), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(rows_of(towards), plain(target.astype(np.float64)), rtol=1e-6, atol=1e-6)
    assert rows_of(found).max() == CLIP
    assert not found.normalize
    assert not towards.normalize


@pytest.mark.parametrize("rounding", [0.0, 1e-7])
def test_a_column_that_is_constant_counts_for_nothing(tmp_path, rounding):
    rng = np.random.default_rng(1)
    pool = np.stack([rng.normal(size=33), np.full(33, 0.1), np.zeros(33)], axis=1).astype(np.float32)
    pool[:, 1] *= 1 + rounding * rng.integers(-1, 2, 33).astype(np.float32)
    target = np.array([[0.0, 0.2, -3.0]], dtype=np.float32)
    found, towards = geometry(losses(), SimpleNamespace(), Vectors(pool), target, tmp_path)
    assert rows_of(found)[:, 0].std() == pytest.approx(1)
    assert not rows_of(found)[:, 1:].any()
    assert not rows_of(towards)[:, 1:].any()


def test_one_row_is_a_pool(tmp_path):
    found, _ = geometry(losses(), SimpleNamespace(), Vectors(np.ones((1, 2))), np.ones((1, 2)), tmp_path)
    assert rows_of(found).tolist() == [[0, 0]]


WEIGHTS = np.array([0.75, 0.25])


def adams(n=30, dim=6, checkpoints=2):
    """Rows as a store has them: steps that share a large momentum, and the axis of rows without a gradient."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(n, dim * checkpoints)) + 10 * rng.normal(size=dim * checkpoints)
    axis = np.zeros((n, 1))
    for k in (3, 17):
        rows[k], axis[k] = 0, 1
    return np.hstack([rows, axis]).astype(np.float32)


def test_centred_gradients_over_two_checkpoints(tmp_path):
    """Cosines to a target are LESS's, with every row less the mean of those that have a gradient."""
    pool, rng = adams(), np.random.default_rng(3)
    some = np.setdiff1d(np.arange(30), [3, 17])
    target = np.zeros((2, 13), dtype=np.float32)
    for k, weight in enumerate(WEIGHTS):  # as `Gradients` leaves them
        block = rng.normal(size=(2, 6))
        target[:, 6 * k : 6 * k + 6] = np.sqrt(weight) * block / np.linalg.norm(block, axis=1, keepdims=True)
    shards = Vectors([pool[:11], pool[11:]])
    embedder = SimpleNamespace(weights=WEIGHTS)
    found, towards = geometry(centred(), embedder, shards, target, tmp_path)
    wide = pool.astype(np.float64)
    expected = np.zeros((2, 28))
    for k, weight in enumerate(WEIGHTS):
        block = wide[some, 6 * k : 6 * k + 6] - wide[some, 6 * k : 6 * k + 6].mean(axis=0)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        side = target[:, 6 * k : 6 * k + 6] / np.sqrt(weight)
        expected += weight * side @ block.T
    cosines = rows_of(towards) @ rows_of(found).T
    np.testing.assert_allclose(cosines[:, some], expected, atol=1e-5)
    assert np.abs(cosines[:, [3, 17]]).max() == 0
    np.testing.assert_allclose(rows_of(found)[[3, 17]], np.eye(13)[[12, 12]])
    # Without centring everything is alike, which is what it is for.
    shared, _ = geometry(RunConfig.create(representation="gradient", model="m"), embedder, shards, target, tmp_path)
    assert (rows_of(shared)[some] @ rows_of(shared)[some].T).min() > 0.9
    assert (rows_of(found)[some] @ rows_of(found)[some].T).min() < 0


def test_centred_means_of_checkpoints_are_one_block(tmp_path):
    pool = adams(checkpoints=1)
    some = np.setdiff1d(np.arange(30), [3, 17])
    embedder = SimpleNamespace(weights=WEIGHTS)
    found, _ = geometry(centred(combine="mean"), embedder, Vectors(pool), pool[:1], tmp_path)
    expected = pool[some].astype(np.float64) - pool[some].astype(np.float64).mean(axis=0)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(rows_of(found)[some], expected, atol=1e-6)


def test_plain_gradients_are_not_centred(tmp_path):
    pool = adams()
    config = RunConfig.create(representation="gradient", model="m", optimizer="sgd", momentum="centred")
    found, _ = geometry(config, SimpleNamespace(weights=WEIGHTS), Vectors(pool), pool[:1], tmp_path)
    np.testing.assert_array_equal(found.shards[0], pool)


def test_a_pool_without_any_gradient_is_alike_throughout(tmp_path):
    pool = np.zeros((5, 13), dtype=np.float32)
    pool[:, -1] = 1
    found, _ = geometry(centred(), SimpleNamespace(weights=WEIGHTS), Vectors(pool), pool[:1], tmp_path)
    np.testing.assert_array_equal(rows_of(found), pool)


def test_directions_are_scaled_as_they_are_read(tmp_path):
    pool = np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 1.0], [1e-6, 0.0, 0.0]], dtype=np.float32)
    config = RunConfig.create(representation="hidden", model="m")
    found, towards = geometry(config, SimpleNamespace(), Vectors(pool), pool[:1] * 7, tmp_path)
    np.testing.assert_allclose(rows_of(found), [[0.6, 0.8, 0], [0, 0, 1], [1, 0, 0]], atol=1e-7)
    np.testing.assert_allclose(rows_of(towards), [[0.6, 0.8, 0]], atol=1e-7)
    assert not list(tmp_path.iterdir())
    assert geometries.CLIP == 4
