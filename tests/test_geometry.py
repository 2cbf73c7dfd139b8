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


def gradients(**options):
    return RunConfig.create(representation="gradient", model="m", **{"optimizer": "sgd", **options})


def test_means_of_tasks():
    rng = np.random.default_rng(5)
    target, tasks = rng.normal(size=(7, 3)).astype(np.float32), np.array([2, 0, 1, 2, 2, 0, 1])
    expected = [target[tasks == k].astype(np.float64).mean(axis=0) for k in range(3)]
    np.testing.assert_allclose(geometries.task_means(target, tasks), expected, rtol=1e-12)
    assert geometries.task_means(np.empty((0, 3)), tasks[:0]).shape == (0, 3)


def test_a_task_of_concatenated_checkpoints_is_less(tmp_path):
    """max over tasks of sum_i w_i cos(mean gradient of the task, step of the row): LESS, equation 3 and section 4.2."""
    rng, dim = np.random.default_rng(6), 5
    pool, raw = adams(dim=dim), rng.normal(size=(4, 2 * dim)) * [*[1.0] * dim, *[30.0] * dim]
    raw *= np.array([1, 100, 1, 1])[:, None]  # long gradients weigh more in a mean
    target, tasks = np.hstack([raw, np.zeros((4, 1))]).astype(np.float32), np.array([0, 0, 1, 1])
    expected = np.zeros((2, 30))
    stored = pool.copy()
    for k, weight in enumerate(WEIGHTS):
        block = slice(k * dim, (k + 1) * dim)
        means = np.stack([raw[:2, block].mean(axis=0), raw[2:, block].mean(axis=0)])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        steps = pool[:, block].astype(np.float64)
        length = np.linalg.norm(steps, axis=1, keepdims=True)
        steps = np.divide(steps, length, out=np.zeros_like(steps), where=length > 0)
        stored[:, block] = np.sqrt(weight) * steps
        expected += weight * means @ steps.T
    config, embedder = gradients(), SimpleNamespace(weights=WEIGHTS)
    found = geometries.geometry(config, embedder, Vectors([stored[:9], stored[9:]]), target, tasks, tmp_path)
    np.testing.assert_allclose(rows_of(found.task_target) @ rows_of(found.pool).T, expected, atol=1e-6)
    # The mean of the targets' directions would be another one.
    directions = np.stack([rows_of(found.target)[tasks == k].mean(axis=0) for k in range(2)])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    assert (directions @ rows_of(found.task_target).T).diagonal().min() < 0.99


def test_lengths_are_what_was_stored_without_the_axis_of_rows_that_say_nothing(tmp_path):
    pool = adams(checkpoints=1)
    target = 3 * pool[:2]
    for config in (gradients(combine="mean"), RunConfig.create(representation="hidden", model="m")):
        found = geometries.geometry(
            config,
            SimpleNamespace(weights=np.ones(1)),
            Vectors([pool[:7], pool[7:]]),
            target,
            np.zeros(2, int),
            tmp_path,
        )
        np.testing.assert_array_equal(rows_of(found.lengths), pool[:, :-1])
        np.testing.assert_array_equal(rows_of(found.target_lengths), target[:, :-1])
        assert not rows_of(found.lengths)[[3, 17]].any()
        np.testing.assert_allclose(np.linalg.norm(rows_of(found.pool), axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("checkpoints", [1, 3])
def test_separate_checkpoints_leave_values_and_the_last_axis_out(tmp_path, checkpoints):
    """The columns are gradients of every checkpoint, their values, and the axis of rows that say nothing."""
    rng, dim, n = np.random.default_rng(7), 4, 12
    grads, values = rng.normal(size=(n, checkpoints * dim)), 100 * rng.normal(size=(n, checkpoints))
    grads[5], values[5] = 0, 0
    nothing = (np.arange(n) == 5)[:, None]
    pool = np.hstack([grads, values, nothing]).astype(np.float32)
    target, tasks = pool[[1, 2, 3]] * 2, np.array([0, 1, 1])
    config, embedder = gradients(combine="separate"), SimpleNamespace(weights=np.ones(checkpoints) / checkpoints)
    shards = Vectors([pool[:5], pool[5:6], pool[6:]])
    found = geometries.geometry(config, embedder, shards, target, tasks, tmp_path)
    kept = pool[:, : checkpoints * dim].astype(np.float64)
    length = np.linalg.norm(kept, axis=1, keepdims=True)
    np.testing.assert_allclose(rows_of(found.pool), kept / np.where(length > 0, length, 1), atol=1e-6)
    np.testing.assert_array_equal(rows_of(found.lengths), kept)
    np.testing.assert_array_equal(rows_of(found.target_lengths), 2 * kept[[1, 2, 3]])
    mean = kept[[2, 3]].mean(axis=0)
    np.testing.assert_allclose(rows_of(found.task_target)[1], mean / np.linalg.norm(mean), rtol=1e-6)
    pools, targets, pool_values, target_values = geometries.margins_of(shards, target, checkpoints, dim)
    for k in range(checkpoints):
        block = slice(k * dim, (k + 1) * dim)
        np.testing.assert_array_equal(np.concatenate(pools[k].shards), pool[:, block])
        np.testing.assert_array_equal(targets[k], target[:, block])
        assert not pools[k].normalize
    np.testing.assert_array_equal(pool_values, values.T.astype(np.float32))
    np.testing.assert_array_equal(target_values, 2 * values[[1, 2, 3]].T.astype(np.float32))
    assert pool_values.dtype == target_values.dtype == np.float64


def test_scalars_of_a_task_are_averaged_as_they_are_compared(tmp_path):
    rng = np.random.default_rng(8)
    pool, target = rng.normal(size=(20, 2)).astype(np.float32), rng.normal(size=(4, 2)).astype(np.float32)
    tasks = np.array([0, 1, 0, 1])
    found = geometries.geometry(losses(), SimpleNamespace(), Vectors(pool), target, tasks, tmp_path)
    expected = np.stack([rows_of(found.target)[tasks == k].mean(axis=0) for k in range(2)])
    np.testing.assert_allclose(rows_of(found.task_target), expected, rtol=1e-6)
    assert not found.task_target.normalize
