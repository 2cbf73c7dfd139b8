"""Estimates of fine-tuning on subsets, against general minimisers, real training, and the published code's slips."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit

from tasksift.selectors.gradex_estimates import Linearised, descend, minimise, target_loss

RNG = np.random.default_rng(0)
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def make(k=4, rows=30, d=5, m=9, seed=0, **more):
    rng = np.random.default_rng(seed)
    gradients = [rng.normal(size=(rows + j, d)) for j in range(k)]
    margins = [rng.normal(size=rows + j) + 1 for j in range(k)]
    sizes = np.array([float(rows + j) for j in range(k)])
    known = {"ridge": 0.01} | more
    return Linearised(gradients, margins, sizes, rng.normal(size=(m, d)), rng.normal(size=m), **known)


def oracle(x, b, share, ridge):
    """The objective as it is written, minimised by a library."""

    def objective(w):
        f = b + x @ w
        return (share * np.logaddexp(0, -f)).sum() + ridge * w @ w, 2 * ridge * w - (share * expit(-f)) @ x

    return minimize(objective, np.zeros(x.shape[1]), jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 2000}).x


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-4, 1e-2, 1.0, 100.0]), st.sampled_from([0.01, 1.0, 30.0]))
@settings(max_examples=40)
def test_the_minimum_is_the_minimum(seed, ridge, scale):
    rng = np.random.default_rng(seed)
    n, d = rng.integers(1, 40), rng.integers(1, 6)
    x, b = rng.normal(size=(n, d)) * scale, rng.normal(size=n) * 3
    share = rng.random(n)
    share /= share.sum()
    w = minimise(x, b, share, ridge)
    slope = 2 * ridge * w - (share * expit(-(b + x @ w))) @ x
    assert np.abs(slope).max() < 1e-9 * max(1.0, np.abs(x).max())
    np.testing.assert_allclose(minimise(x, b, share, ridge, rng.normal(size=d)), w, rtol=1e-6, atol=1e-9)


def test_an_estimate_is_the_formula():
    linear = make()
    subset = (1, 3)
    x, b = np.vstack([linear.gradients[j] for j in subset]), np.concatenate([linear.margins[j] for j in subset])
    w = oracle(x, b, np.full(len(b), 1 / len(b)), 0.01)
    found = linear.estimate(subset)
    np.testing.assert_allclose(found.weights, w, rtol=1e-5, atol=1e-8)
    f = linear.target_margins + linear.target_gradients @ w
    np.testing.assert_allclose(found.margins, f, rtol=1e-5)
    assert found.loss == pytest.approx(np.log(1 + np.exp(-f)).mean(), rel=1e-6)
    assert found.accuracy == (f > 0).mean()
    assert found.check is None


def test_a_sample_stands_for_its_group():
    """A group that stands for twice its rows counts like its rows twice."""
    linear = make(2)
    doubled = Linearised(
        [np.vstack([linear.gradients[0]] * 2), linear.gradients[1]], [np.tile(linear.margins[0], 2), linear.margins[1]],
        linear.sizes * [2, 1], linear.target_gradients, linear.target_margins, 0.01,
    )  # fmt: skip
    weighted = Linearised(
        linear.gradients, linear.margins, linear.sizes * [2, 1], linear.target_gradients, linear.target_margins, 0.01
    )
    np.testing.assert_allclose(weighted.estimate((0, 1)).weights, doubled.estimate((0, 1)).weights, rtol=1e-9)


def test_steps_are_the_fine_tuning_of_a_linear_model():
    """Without a projection, and where margins are linear, the estimate is what training really ends at."""
    linear = make(steps=37, rate=0.3, ridge=0.0)
    x, b = linear.gradients[2], linear.margins[2]
    theta = np.zeros(5)
    for _ in range(37):
        theta += 0.3 * np.mean([(1 - expit(f)) * g for f, g in zip(b + x @ theta, x, strict=True)], axis=0)
    np.testing.assert_allclose(linear.estimate((2,)).weights, theta, rtol=1e-12)


def test_many_steps_reach_the_minimum():
    x, b = RNG.normal(size=(40, 3)), RNG.normal(size=40)
    share = np.full(40, 1 / 40)
    np.testing.assert_allclose(descend(x, b, share, 0.05, 5000, 0.5), minimise(x, b, share, 0.05), rtol=1e-8)


def test_the_offset_counts():
    """Random signs as labels give Σ log(1 + exp(-g·w)), whatever the signs: the margins at θ* are lost."""
    linear = make(1)
    x, b = linear.gradients[0], linear.margins[0]
    share = np.full(len(b), 1 / len(b))
    signs = RNG.choice([-1.0, 1.0], len(b))

    def published(w):
        return (share * np.logaddexp(0, -signs * ((signs[:, None] * x) @ w))).sum() + 0.01 * w @ w

    without = minimize(published, np.zeros(5), method="BFGS", options={"gtol": 1e-8}).x
    np.testing.assert_allclose(minimise(x, np.zeros(len(b)), share, 0.01), without, rtol=1e-3, atol=1e-5)
    assert np.linalg.norm(linear.estimate((0,)).weights - without) > 0.1 * np.linalg.norm(without)


def test_there_is_no_intercept():
    """Gradients of zero move nothing, although every label is 1."""
    linear = make(1)
    still = Linearised([0 * linear.gradients[0]], linear.margins, linear.sizes, *make_targets(linear), 0.01)
    np.testing.assert_array_equal(still.estimate((0,)).weights, 0)


def make_targets(linear):
    return linear.target_gradients, linear.target_margins


def test_the_length_of_the_solution_is_an_estimate():
    """It is not rescaled: rows that are right already move little, and the model is asked at P w itself."""
    asked = []

    def moved(w):
        asked.append(w)
        return 0.5 * float(np.linalg.norm(w)), np.ones(9)

    linear = make(2, moved=moved)
    sure = Linearised(
        linear.gradients, [b + 8 for b in linear.margins], linear.sizes, *make_targets(linear), 0.01, moved=moved
    )
    far, near = (each.checked(each.estimate((0, 1))) for each in (linear, sure))
    assert np.linalg.norm(near.weights) < 0.1 * np.linalg.norm(far.weights)
    for weights, each in zip(asked, (far, near), strict=True):
        np.testing.assert_array_equal(weights, each.weights)
        assert each.check.distance == 0.5 * np.linalg.norm(each.weights)


def test_a_check_has_both_errors():
    """The relative error of the loss, and the mean squared relative difference of margins: not the same quantity."""
    linear = make(moved=lambda w: (0.25, 2.0 * np.arange(9) + w[0]))
    found = linear.checked(linear.estimate((0,)))
    true = 2.0 * np.arange(9) + found.weights[0]
    check = found.check
    loss = np.log(1 + np.exp(-true)).mean()
    assert check.distance == 0.25
    assert check.loss == pytest.approx(loss)
    assert check.loss_error == pytest.approx(abs(found.loss - loss) / loss)
    assert check.squared_difference == pytest.approx((((found.margins - true) / true) ** 2).mean())
    missed, changed = ((true - found.margins) ** 2).sum(), ((true - linear.target_margins) ** 2).sum()
    assert check.taylor_error == pytest.approx(missed / changed)


def test_a_linear_model_has_no_taylor_error():
    linear = make()
    asked = make(moved=lambda w: (1.0, linear.target_margins + linear.target_gradients @ w))
    check = asked.checked(asked.estimate((0, 2))).check
    assert check.taylor_error == pytest.approx(0, abs=1e-25)
    assert check.loss_error == pytest.approx(0, abs=1e-12)
    nowhere = asked.checked(asked.estimate(()))
    assert nowhere.check.taylor_error == 0
    assert nowhere.loss == target_loss(linear.target_margins)


@pytest.mark.parametrize("size", [0.0, 800.0, 1e6])
def test_extreme_margins_stay_finite(size):
    """p of 0 or 1 to the last bit: nothing is clamped, nothing is a NaN."""
    linear = make(2)
    extreme = Linearised(
        linear.gradients, [size * np.sign(b) for b in linear.margins], linear.sizes,
        linear.target_gradients, size * np.sign(linear.target_margins), 0.01,
    )  # fmt: skip
    found = extreme.estimate((0, 1))
    assert np.isfinite(found.weights).all()
    assert np.isfinite(found.loss)
    assert target_loss(np.array([-1e6])) == 1e6
    assert target_loss(np.array([1e6])) == 0


def test_many_at_once_are_the_same_in_order():
    linear = make()
    subsets = [(0,), (3, 1), (), (0, 1, 2, 3), (3, 1)]
    many = list(linear.estimates(subsets))
    assert [each.subset for each in many] == [(0,), (1, 3), (), (0, 1, 2, 3), (1, 3)]
    for each, subset in zip(many, subsets, strict=True):
        np.testing.assert_allclose(each.weights, linear.estimate(subset).weights, rtol=1e-9)
    np.testing.assert_array_equal(many[1].weights, many[4].weights)


def test_what_cannot_be_asked():
    with pytest.raises(ValueError, match="twice"):
        make().estimate((1, 1))
    with pytest.raises(ValueError, match="infinity"):
        make(ridge=0.0).estimate((1,))


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        digits = importlib.import_module("gradex_digits")
    whole = digits.make_bench(0)
    return digits, whole._replace(target=whole.target[:150], target_labels=whole.target_labels[:150])


def test_estimates_are_near_real_fine_tuning(bench):
    """A15: digits, 20 groups of which 8 are noisy, within a distance of 0.05, 200 dimensions; and A16."""
    digits, rows = bench
    subsets = digits.balanced_subsets(20, 8, 50, np.random.default_rng(0))
    ends = [digits.fine_tuned(rows, subset, 60, 0.05) for subset in subsets]
    assert 0.01 < digits.distance(rows, ends) <= 0.05
    true = np.array([digits.margins(end, rows.target, rows.target_labels) for end in ends])
    losses = np.array([target_loss(each) for each in true])
    true_auc = digits.auc(subsets, losses)
    with_offset, without = (digits.compare(rows, subsets, true, 200, 60, 0.05, offset, 0) for offset in (True, False))
    assert with_offset.loss_error <= 0.02
    assert with_offset.rho >= 0.95
    assert abs(with_offset.auc - true_auc) <= 0.05
    assert with_offset.auc >= 0.9
    assert without.loss_error > 5 * with_offset.loss_error
    assert without.rho < with_offset.rho
    linear = digits.linearised(rows, 200, 60, 0.05, offset=True, seed=0)
    clean, noisy = (linear.estimate(subset).loss for subset in digits.CONTRAST.values())
    assert clean < noisy
    checks = [linear.checked(linear.estimate(subset)).check for subset in subsets[:10]]
    # θ* + P w is √(p/d) further away than fine-tuning is.
    expected = digits.distance(rows, ends) * np.sqrt(len(rows.start) / 200)
    assert np.median([c.distance for c in checks]) == pytest.approx(expected, rel=0.15)


def test_gradients_of_the_bench_are_gradients(bench):
    digits, rows = bench
    slopes = digits.gradients(rows.start, rows.target[:5], rows.target_labels[:5])
    step = 1e-5 * RNG.normal(size=len(rows.start))
    ahead, behind = (digits.margins(rows.start + s * step, rows.target[:5], rows.target_labels[:5]) for s in (1, -1))
    np.testing.assert_allclose(slopes @ step, (ahead - behind) / 2, rtol=1e-5)
