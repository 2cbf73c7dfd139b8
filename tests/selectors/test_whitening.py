"""Joint whitening against its definition."""

import numpy as np
import pytest

from tasksift.errors import InputError
from tasksift.selectors import whitening
from tasksift.selectors.whitening import whiten
from tasksift.vectors import Vectors


def features(n, d, condition, seed=0):
    """Rows whose covariance has this condition, off the origin."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return (rng.normal(size=(n, d)) * np.geomspace(1, condition**-0.5, d)) @ turn + rng.normal(size=d)


def definition(pool, target, ridge):
    """Whitened rows by the symmetric root, which has the same cosines."""
    both = np.vstack([pool, target])
    both = both - both.mean(0)
    sigma = both.T @ both / len(both)
    sigma += ridge * np.trace(sigma) / len(sigma) * np.eye(len(sigma))
    values, vectors = np.linalg.eigh(sigma)
    return both @ vectors / np.sqrt(values) @ vectors.T


def gram(rows):
    return rows @ rows.T


def test_inner_products_are_those_of_the_symmetric_root():
    x = features(90, 6, 1e3)
    np.testing.assert_allclose(
        gram(np.vstack(whiten(x[:70], x[70:]))), gram(definition(x[:70], x[70:], 1e-5)), atol=1e-9
    )


@pytest.mark.parametrize(("d", "condition"), [(8, 1e1), (16, 1e2), (32, 1e3)])
def test_the_whitened_covariance_is_the_identity_up_to_the_ridge(d, condition):
    """A7: within 1e-2, and by exactly the ridge times the inverse of the covariance."""
    x = features(51 * d, d, condition)
    pool, target = whiten(x[d:], x[:d])
    both = np.vstack([pool, target])
    off = np.linalg.norm(np.cov(both.T, bias=True) - np.eye(d))
    sigma = np.cov(x.T, bias=True)
    ridge = 1e-5 * np.trace(sigma) / d
    assert off <= 1e-2
    assert off == pytest.approx(ridge * np.linalg.norm(np.linalg.inv(sigma + ridge * np.eye(d))), rel=1e-6)


def test_the_factor_is_not_transposed_twice():
    """Fault 1: X·L^-1 in place of X·L^-T leaves a covariance worse than the raw one."""
    x = features(900, 16, 1.8e4)
    right = np.vstack(whiten(x[16:], x[:16], 1e-9))
    found = whitening.fit(x[16:], x[:16], ridge=1e-9)
    wrong = (x - x.mean(0)) @ found.inverse
    raw, good, bad = (np.linalg.cond(np.cov(rows.T)) for rows in (x, right, wrong))
    assert good < 1.01 < raw < bad


def test_no_factor_on_the_features_matters():
    """Fault 8: a loss divided by 1000 changes nothing, because the ridge scales; nor do numbers without squares."""
    x = features(60, 5, 1e4)
    for factor in (1e-3, 1e-250, 1e200):
        np.testing.assert_allclose(np.vstack(whiten(x[9:] * factor, x[:9] * factor)), np.vstack(whiten(x[9:], x[:9])))


def test_rows_of_zeros_count_for_nothing_and_stay_zero():
    x = features(40, 4, 10)
    pool, target = whiten(x[10:], x[:10])
    empty = np.zeros((3, 4))
    more, more_target = whiten(np.vstack([x[10:], empty]), np.vstack([empty, x[:10]]))
    np.testing.assert_allclose(more[:30], pool)
    np.testing.assert_allclose(more_target[3:], target)
    assert not more[30:].any()
    assert not more_target[:3].any()
    assert whitening.fit(np.vstack([x[10:], empty]), x[:10]).info["rows_of_zeros"] == 3


def test_order_shards_and_blocks_change_no_bit(monkeypatch):
    monkeypatch.setattr(whitening, "BLOCK_ROWS", 16)
    x = features(150, 7, 1e2).astype(np.float32)
    pool, target = x[20:], x[:20]
    order = np.random.default_rng(1).permutation(130)
    one = whiten(pool, target, order=order)
    shuffle = np.random.default_rng(2).permutation(130)
    other = whiten(pool[shuffle], target, order=order[shuffle])
    np.testing.assert_array_equal(one[0][shuffle], other[0])
    np.testing.assert_array_equal(one[1], other[1])
    monkeypatch.setattr("tasksift.vectors.BLOCK_BYTES", 200)
    monkeypatch.setenv("TASKSIFT_WORKERS", "3")
    other = whiten(Vectors(np.split(pool, [1, 40, 41])), target, order=order)
    np.testing.assert_array_equal(one[0], other[0])


def test_blocks_add_up(monkeypatch):
    x = features(150, 7, 1e2)
    one = whiten(x[20:], x[:20])
    monkeypatch.setattr(whitening, "BLOCK_ROWS", 11)
    np.testing.assert_allclose(np.vstack(whiten(x[20:], x[:20])), np.vstack(one), rtol=1e-9, atol=1e-12)


def test_what_is_kept_in_a_temporary_file_is_what_is_kept_in_memory(monkeypatch):
    x = features(50, 4, 10)
    x[13] = 0
    found = whitening.fit(x[10:], x[:10])
    ranked = np.random.default_rng(0).permutation(40)
    one, answered = whitening.store(Vectors(x[10:]), ranked, found)
    monkeypatch.setattr(whitening, "IN_MEMORY", 0)
    other, also = whitening.store(Vectors(x[10:]), ranked, found)
    np.testing.assert_array_equal(one.take(np.arange(40)), other.take(np.arange(40)))
    np.testing.assert_array_equal(answered, also)
    assert ranked[~answered].tolist() == [3]


@pytest.mark.parametrize(("n", "note"), [(5, "the ridge decides"), (30, "amplifies noise"), (60, None)])
def test_too_few_rows_are_told(n, note):
    found = whitening.fit(features(n, 8, 10), features(3, 8, 10)).info.get("note")
    assert note in found if note else found is None


def test_what_cannot_be_whitened():
    with pytest.raises(InputError, match="are the same"):
        whiten(np.full((3000, 3), 0.1), np.full((2, 3), 0.1))
    with pytest.raises(InputError, match="are the same"):
        whiten(np.zeros((3, 3)), np.zeros((2, 3)))
    with pytest.raises(InputError, match="ridge 0"):
        whiten(np.eye(2, 4), np.eye(1, 4), 0.0)
