"""DsDm through TRAK: against dense algebra, against retraining, and free of the published code's faults."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import spearmanr

from tasksift.draw import draw
from tasksift.errors import InputError
from tasksift.presets import PRESETS
from tasksift.selectors import trak
from tasksift.vectors import Vectors


def dense(pool, target, margins, ridge=1e-3, q=True):
    """The paper's equation, n × m."""
    total = 0
    for rows, answers in zip(pool, target, strict=True):
        rows, answers = rows.astype(float), answers.astype(float)
        kernel = rows.T @ rows
        kernel += ridge * np.trace(kernel) / len(kernel) * np.eye(len(kernel))
        total = total + rows @ np.linalg.solve(kernel, answers.T)
    chance = (1 / (1 + np.exp(margins))).mean(0) if q else np.ones(len(pool[0]))
    return total / len(pool) * chance[:, None]


def problem(n=60, m=7, dims=(9, 9, 9), seed=0):
    rng = np.random.default_rng(seed)
    pool = [rng.normal(size=(n, d)).astype(np.float32) * rng.exponential(size=d) for d in dims]
    target = [rng.normal(size=(m, d)).astype(np.float32) for d in dims]
    return pool, target, rng.normal(size=(len(dims), n)) * 2


def near(found, expected, rel=1e-9):
    np.testing.assert_allclose(found, expected, rtol=rel, atol=rel * np.abs(expected).max())


@pytest.mark.parametrize("q", ["outside", "none"])
@pytest.mark.parametrize("dims", [(1,), (12,), (5, 30, 12), (600,)])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (40, 1), (700, 9)])
def test_against_dense(n, m, dims, q):
    pool, target, margins = problem(n, m, dims)
    expected = dense(pool, target, margins, q=q == "outside")
    plan = trak.fit(pool, target, margins, q=q)
    near(plan.values, expected.mean(1))
    near(trak.scores(pool, target, margins, q=q), expected)
    assert plan.kind == "score"
    np.testing.assert_array_equal(plan.ids, np.arange(n))
    assert plan.info["dims"] == list(dims)
    assert plan.info["lambda"] == pytest.approx([1e-3 * (rows**2).sum() / rows.shape[1] for rows in pool])


@settings(max_examples=40)
@given(
    n=st.integers(1, 30), m=st.integers(1, 5), d=st.integers(1, 20), ridge=st.floats(1e-4, 10), seed=st.integers(0, 99)
)
def test_against_dense_at_random(n, m, d, ridge, seed):
    pool, target, margins = problem(n, m, (d, d + 1), seed)
    near(trak.fit(pool, target, margins, ridge=ridge).values, dense(pool, target, margins, ridge).mean(1), 1e-8)


def test_what_is_selected_has_the_lowest_estimated_loss():
    pool, target, margins = problem()
    loss = -dense(pool, target, margins).mean(1)
    plan = trak.fit(pool, target, margins)
    for k in (1, 20, 60):
        assert set(draw(plan, k, seed=0, order=np.arange(60)).ids) == set(np.argsort(loss)[:k])


# Bits: neither the order of the pool, nor shards, blocks, threads and copies change any.


def test_order_shards_blocks_and_threads_change_no_bit(monkeypatch):
    monkeypatch.setattr(trak, "CHUNK_ENTRIES", 900)
    monkeypatch.setattr(trak, "TILE", 7)
    pool, target, margins = problem(500, 5, (30, 30), seed=3)
    order = np.random.default_rng(1).permutation(500)
    expected = trak.fit(pool, target, margins, order=order).values
    near(expected, dense(pool, target, margins).mean(1))
    shuffle = np.random.default_rng(2).permutation(500)
    other = trak.fit([rows[shuffle] for rows in pool], target, margins[:, shuffle], order=order[shuffle]).values
    np.testing.assert_array_equal(other, expected[shuffle])
    monkeypatch.setattr("tasksift.vectors.BLOCK_BYTES", 4 * 30 * 11)
    cut = [Vectors(np.split(rows, [1, 200, 203])) for rows in pool]
    np.testing.assert_array_equal(trak.fit(cut, target, margins, order=order).values, expected)
    monkeypatch.setenv("TASKSIFT_WORKERS", "4")
    np.testing.assert_array_equal(trak.fit(cut, target, margins, order=order).values, expected)


def test_copies_have_exactly_the_same_value():
    pool, target, margins = problem()
    for rows in (*pool, margins.T):
        rows[[5, 33]] = rows[17]
    values = trak.fit(pool, target, margins, order=np.random.default_rng(0).permutation(60)).values
    assert values[5] == values[17] == values[33]


@pytest.mark.parametrize("copies", [2, 30])
def test_copies_share_as_far_as_one_of_them_stands_for_the_others(copies):
    """The inverse of a kernel with c - 1 more of the same row, by Sherman and Morrison, at a ridge that stays."""
    pool, target, margins = problem(dims=(9,), m=1)
    kernel = pool[0].T @ pool[0]
    single = trak.fit(pool, target, margins, q="none", ridge=0.1)
    leverage = pool[0][4] @ np.linalg.solve(kernel + single.info["lambda"][0] * np.eye(9), pool[0][4])
    more = [np.vstack([pool[0], np.tile(pool[0][4], (copies - 1, 1))])]
    ridge = single.info["lambda"][0] * 9 / (more[0] ** 2).sum()
    plan = trak.fit(more, target, np.zeros((1, 59 + copies)), q="none", ridge=ridge)
    near(plan.values[[4, *range(60, 59 + copies)]], np.full(copies, single.values[4] / (1 + (copies - 1) * leverage)))


def test_a_row_without_an_answer_is_worth_nothing():
    pool, target, margins = problem()
    for rows in pool:
        rows[3] = 0
    values = trak.fit(pool, target, margins).values
    assert values[3] == 0
    assert (np.delete(values, 3) != 0).all()


# The faults of the published code.


@pytest.mark.parametrize("scale", [1e-4, 3.0, 1e6])
def test_the_scale_of_one_models_gradients_does_not_change_its_weight(scale):
    pool, target, margins = problem()
    expected = trak.fit(pool, target, margins).values
    pool[1], target[1] = pool[1].astype(float) * scale, target[1].astype(float) * scale
    near(trak.fit(pool, target, margins).values, expected)


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_more_dimensions_than_rows_are_no_trouble(kind):
    pool, target, margins = problem(20, 3, (20, 60))
    pool = [rows.astype(kind) for rows in pool]
    plan = trak.fit(pool, target, margins)
    near(plan.values, dense(pool, target, margins).mean(1))
    assert plan.values.std() > 0


def test_no_ridge_and_more_dimensions_than_rows_is_refused():
    pool, target, margins = problem(20, 3, (20, 60))
    pool[1][:, :50] = 0
    with pytest.raises(
        InputError, match=r"--set ridge=0: the kernel of model 1 \(20 rows, 60 dimensions\) has no inverse"
    ):
        trak.fit(pool, target, margins, ridge=0)


def test_q_is_averaged_apart_from_the_scores():
    pool, target, margins = problem()
    inside = np.mean([dense([a], [b], f[None]).mean(1) for a, b, f in zip(pool, target, margins, strict=True)], axis=0)
    plan = trak.fit(pool, target, margins)
    near(plan.values, dense(pool, target, margins).mean(1))
    assert np.abs(plan.values - inside).max() > 0.01 * np.abs(inside).max()


def test_rows_that_the_models_are_sure_of_keep_their_rank():
    pool, target, margins = problem(dims=(9,))
    margins[:] = 60.0  # p is 1 in float64
    found, plain = trak.fit(pool, target, margins), trak.fit(pool, target, margins, q="none")
    np.testing.assert_array_equal(np.argsort(found.values), np.argsort(plain.values))


# Against models that are really trained again.


def logistic(x, y, keep, strength=2.0):
    """Weights of a regularised logistic regression on part of the rows, labels ±1, by Newton's method."""
    x, y = x[keep], y[keep]
    weights = np.zeros(x.shape[1])
    for _ in range(12):
        wrong = expit(-y * (x @ weights))
        slope = strength * weights - x.T @ (y * wrong)
        weights -= np.linalg.solve(x.T @ (x * (wrong * (1 - wrong))[:, None]) + strength * np.eye(len(weights)), slope)
    return weights


def labelled(n, m, features, seed=0):
    """Rows of unequal spread, a fifth of the pool with a wrong label."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + m, features)) * np.geomspace(2, 0.2, features)
    y = np.sign(x @ rng.normal(size=features) + 0.3 * rng.normal(size=n + m))
    y[: n // 5] *= -1
    return x[:n], y[:n], x[n:], y[n:]


def test_positive_means_that_keeping_the_row_raises_the_targets_margins():
    x, y, target, answers = labelled(60, 10, 5)
    everything = logistic(x, y, np.arange(60))
    found = trak.scores([x * y[:, None]], [target * answers[:, None]], (y * (x @ everything))[None])
    lost = np.stack([(everything - logistic(x, y, np.arange(60) != i)) @ target.T * answers for i in range(60)])
    clear = np.abs(lost) > np.quantile(np.abs(lost), 0.5)
    assert (np.sign(found[clear]) == np.sign(lost[clear])).mean() > 0.95
    assert spearmanr(found.mean(1), lost.mean(1)).statistic > 0.9


def test_foretells_retraining_on_halves_better_than_the_gradient_cosine():
    x, y, target, answers = labelled(200, 40, 40)
    rng = np.random.default_rng(1)
    halves = np.stack([rng.permutation(200) < 100 for _ in range(60)])
    true = np.stack([logistic(x, y, half) @ target.T * answers for half in halves])
    pool, query, margins = [], [], []
    for _ in range(3):
        weights = logistic(x, y, rng.permutation(200) < 150)
        sketch = rng.choice([-1.0, 1.0], size=(40, 25)) / 5
        pool.append(x * y[:, None] @ sketch)
        query.append(target * answers[:, None] @ sketch)
        margins.append(y * (x @ weights))

    def lds(scores):
        return np.mean([spearmanr(a, b).statistic for a, b in zip((halves @ scores).T, true.T, strict=True)])

    def unit(rows):
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    cosine = np.mean([unit(a) @ unit(b).T for a, b in zip(pool, query, strict=True)], axis=0)
    found = lds(trak.scores(pool, query, np.stack(margins)))
    assert found > 0.75
    assert found > lds(cosine) + 0.15
    assert found > lds(trak.scores(pool, query, np.stack(margins), q="none")) + 0.05


# What a user can mend.


def test_refusals():
    pool, target, margins = problem(20, 3, (4, 4))
    with pytest.raises(InputError, match="at 2 models, of the targets at 1, and margins at 2"):
        trak.fit(pool, target[:1], margins)
    with pytest.raises(InputError, match="model 1 has gradients of 19 rows and 3 targets, model 0 of 20 and 3"):
        trak.fit([pool[0], pool[1][1:]], target, margins)
    with pytest.raises(InputError, match=r"shape \(2, 19\), not \(2, 20\)"):
        trak.fit(pool, target, margins[:, 1:])
    with pytest.raises(InputError, match="4 dimensions and target has 3"):
        trak.fit(pool, [target[0], target[1][:, 1:]], margins)
    with pytest.raises(InputError, match="q 'inside' does not exist"):
        trak.fit(pool, target, margins, q="inside")
    with pytest.raises(InputError, match="all gradients of the pool at model 1 are zero"):
        trak.fit([pool[0], 0 * pool[1]], target, margins)
    with pytest.raises(InputError, match="all gradients of the targets are zero"):
        trak.fit(pool, [0 * answers for answers in target], margins)
    with pytest.raises(InputError, match="ridge -1: it should be"):
        trak.fit(pool, target, margins, ridge=-1)
    margins[1, 7] = np.nan
    with pytest.raises(InputError, match="the margin of row 7 at model 1 is NaN or infinite"):
        trak.fit(pool, target, margins)


def test_preset_asks_for_gradients_of_margins_checkpoint_by_checkpoint():
    options = PRESETS["dsdm"].options
    assert options == {"objective": "margin", "combine": "separate", "optimizer": "sgd"}
