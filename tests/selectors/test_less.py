"""LESS against its definition, checkpoint by checkpoint and task by task, and on rows whose worth is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from tasksift.errors import InputError
from tasksift.geometry import task_means
from tasksift.represent.gradient import unit_blocks
from tasksift.selectors import less
from tasksift.vectors import Vectors


def cosines(a, b):
    return (a @ b.T) / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)


def definition(steps, grads, rates, tasks):
    """sum_i rate_i cos(mean gradient of a task, step on a row) / sum_i rate_i, tasks × rows."""
    total = 0
    for step, grad, rate in zip(steps, grads, rates, strict=True):
        means = np.stack([grad[tasks == t].mean(0) for t in np.unique(tasks)])
        total = total + rate * cosines(means, step)
    return total / sum(rates)


def vectors(steps, grads, rates, tasks):
    """The pool and the tasks as one vector each."""
    shares = np.array(rates) / sum(rates)
    return unit_blocks(np.hstack(steps), shares), unit_blocks(task_means(np.hstack(grads), tasks), shares)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_the_definition(seed):
    rng = np.random.default_rng(seed)
    checkpoints, n, m, d = rng.integers(1, 5), rng.integers(1, 30), rng.integers(1, 10), rng.integers(2, 8)
    # Lengths that differ by orders of magnitude, as those of short and long answers do.
    steps = [rng.normal(size=(n, d)) * 10.0 ** rng.uniform(-4, 4, size=(n, 1)) for _ in range(checkpoints)]
    grads = [rng.normal(size=(m, d)) * 10.0 ** rng.uniform(-2, 2, size=(m, 1)) for _ in range(checkpoints)]
    rates = rng.uniform(1e-6, 1e-4, checkpoints)
    tasks = np.unique(rng.integers(0, 4, m), return_inverse=True)[1]
    expected = definition(steps, grads, rates, tasks)
    pool, towards = vectors(steps, grads, rates, tasks)
    plan = less.fit(pool, towards)
    assert plan.kind == "score"
    np.testing.assert_array_equal(plan.ids, np.arange(n))
    np.testing.assert_allclose(plan.values, expected.max(0), atol=1e-5)
    np.testing.assert_allclose(less.fit(pool, towards, aggregate="mean").values, expected.mean(0), atol=1e-5)
    if len(expected) > 1:
        assert sum(plan.info["best_for"].values()) == n


def test_it_is_the_cosine_with_the_mean_gradient_and_not_the_mean_of_cosines():
    """The published code averages the cosines of single shots: one of small gradient counts as much as the others."""
    shots, rows = np.array([[10.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [1.0, 1.0]])
    plan = less.fit(rows, task_means(shots, np.zeros(2, dtype=int)))
    np.testing.assert_allclose(plan.values, [10 / 101**0.5, 11 / 202**0.5], rtol=1e-12)
    per_shot = cosines(rows, shots).mean(1)
    assert plan.values[0] > plan.values[1]
    assert per_shot[0] < per_shot[1]


def test_tasks_may_have_any_number_of_shots():
    """The published code reshapes to equal numbers; shots must neither mix nor weigh their task."""
    rng = np.random.default_rng(0)
    shots, rows = rng.normal(size=(7, 5)), rng.normal(size=(40, 5))
    tasks = np.array([0, 1, 1, 1, 1, 2, 2])
    found = less.fit(rows, task_means(shots, tasks)).values
    np.testing.assert_allclose(found, definition([rows], [shots], [1.0], tasks).max(0), rtol=1e-12)
    # Neither the order of the shots nor repeating all those of a task changes anything.
    shuffle = rng.permutation(7)
    again = less.fit(rows, task_means(shots[shuffle], tasks[shuffle])).values
    np.testing.assert_allclose(again, found, rtol=1e-12)
    more = less.fit(rows, task_means(np.vstack([shots, shots[1:5]]), np.append(tasks, tasks[1:5]))).values
    np.testing.assert_allclose(more, found, rtol=1e-12)


def test_max_and_mean_over_tasks():
    tasks, rows = np.array([[1.0, 0], [0, 1]]), np.array([[1.0, 0], [1, 1], [0, -1]])
    best = less.fit(rows, tasks, names=("reading", "writing"))
    assert best.values.argmax() == 0
    assert best.info == {"tasks": 2, "aggregate": "max", "best_for": {"reading": 3, "writing": 0}}
    assert best.links is None
    mean = less.fit(rows, tasks, aggregate="mean")
    assert mean.values.argmax() == 1
    assert "best_for" not in mean.info
    assert less.SELECTOR.settle({}, "less") == {"aggregate": "max"}


def test_one_task_is_noted():
    assert "one task" in less.fit(np.eye(3), np.ones((1, 3))).info["note"]
    assert "note" not in less.fit(np.eye(3), np.eye(3)).info


def test_positive_values_lower_the_loss():
    """A small step against the gradient of a row lowers the target's loss exactly where the value is positive."""
    rng = np.random.default_rng(1)
    here, rows, target = rng.normal(size=4), rng.normal(size=(200, 4)), rng.normal(size=(1, 4))
    values = less.fit(here - rows, here - target).values  # of the losses ||theta - z||² / 2

    def loss(theta):
        return ((theta - target) ** 2).sum(-1) / 2

    change = loss(here - 1e-6 * (here - rows)) - loss(here)
    np.testing.assert_array_equal(values > 0, change < 0)


@pytest.mark.parametrize("aggregate", ["max", "mean"])
def test_a_row_without_a_gradient_has_no_influence(aggregate):
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(300, 4))
    rows[[0, 7, 299]] = 0
    tasks = rng.normal(size=(3, 4))
    # A cosine of a half is no row of zeros.
    rows[1] = (half := tasks[0] / np.linalg.norm(tasks[0])) + 3**0.5 * np.linalg.svd(half[None])[2][1]
    values = less.fit(np.split(rows, [5]), tasks, aggregate=aggregate).values
    assert np.flatnonzero(values == 0).tolist() == [0, 7, 299]
    assert less.fit(rows[1:2], tasks[:1]).values == pytest.approx(0.5)


def test_refusals():
    with pytest.raises(InputError, match="task b: its target rows' gradients cancel out"):
        less.fit(np.eye(2), np.array([[1.0, 0], [0, 0]]), names=("a", "b"))
    with pytest.raises(InputError, match="aggregate 'median' does not exist"):
        less.fit(np.eye(2), np.eye(2), aggregate="median")
    with pytest.raises(InputError, match="embed both with the same model"):
        less.fit(np.eye(2), np.eye(3))


def test_neither_lengths_nor_threads_change_anything():
    rng = np.random.default_rng(3)
    rows, tasks = rng.normal(size=(5000, 64)).astype(np.float32), rng.normal(size=(5, 64))
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(less.fit(rows, tasks).values)
    np.testing.assert_array_equal(*found)
    unit = less.fit(Vectors(rows, normalize=True), Vectors(8 * tasks, normalize=True)).values
    np.testing.assert_allclose(unit, found[0], atol=1e-12)


def softmax_gradients(weights, x, y):
    """Of the cross-entropy of a linear classifier, one row for each image."""
    logits = x @ weights
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    return (x[:, :, None] * p[:, None, :]).reshape(len(y), -1)


def test_planted_rows_are_found():  # A20 in small; the whole bench is benchmarks/selection_digits.py
    """Transposed digits among normal ones and wrong labels, by Adam's steps at four checkpoints of a warm-up."""
    torch = pytest.importorskip("torch")
    from tasksift.represent.preconditioner import adam_direction

    found = load_digits()
    images, labels = found.images / 16, found.target
    rng = np.random.default_rng(0)
    order = rng.permutation(len(labels))
    shots = np.concatenate([order[labels[order] == c][:10] for c in range(10)])
    rows = rng.permutation(np.setdiff1d(order, shots))[:1150]
    kind = np.repeat([0, 1, 2, 3], [600, 200, 200, 150])  # normal, transposed; the same with random labels
    turned = (kind == 1) | (kind == 2)
    x = np.where(turned[:, None, None], images[rows].transpose(0, 2, 1), images[rows]).reshape(-1, 64)
    y = np.where(kind >= 2, rng.integers(0, 10, 1150), labels[rows])
    target, classes = images[shots].transpose(0, 2, 1).reshape(-1, 64), labels[shots]

    part = rng.choice(1150, 287, replace=False)
    weights, m, v, step = np.zeros((64, 10)), np.zeros(640), np.zeros(640), 0
    plain, adam, grads = [], [], []
    for _ in range(4):
        for batch in np.array_split(np.tile(rng.permutation(part), 5), 45):
            g, step = softmax_gradients(weights, x[batch], y[batch]).mean(0), step + 1
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            weights -= 0.01 * (m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)).reshape(64, 10)
        plain.append(softmax_gradients(weights, x, y))
        moments = torch.from_numpy(m), torch.from_numpy(v)
        adam.append(adam_direction(torch.from_numpy(plain[-1].copy()), *moments, step).numpy())
        grads.append(softmax_gradients(weights, target, classes))

    def precision(steps, aggregate="max"):
        values = less.fit(*vectors(steps, grads, np.ones(4), classes), aggregate=aggregate).values
        return (kind[np.argsort(-values, kind="stable")[:172]] == 1).mean()

    centred = [each - each.mean(0) for each in adam]
    got = {"sgd": precision(plain), "adam": precision(adam), "centred": precision(centred)}
    mean = precision(adam, "mean")
    assert got["adam"] > 0.6, got
    assert got["centred"] > got["adam"]  # what all of Adam's steps share is noise
    assert got["sgd"] > 0.75
    assert mean < got["adam"] - 0.15  # the aggregation moves more than the formula of the gradient
