"""TAROT's layers of rows around targets, and the size that it estimates, against loops."""

import numpy as np
import pytest
from oracles import distances

from tasksift.selectors.tarot_layers import Surroundings
from tasksift.selectors.tarot_size import estimate
from tasksift.vectors import Vectors


def around(n=70, m=5, dim=4, seed=0, kept=None):
    rng = np.random.default_rng(seed)
    pool, targets = rng.normal(size=(n, dim)), rng.normal(size=(m, dim))
    pool[: n // 4] = targets[0] + 0.2 * rng.normal(size=(n // 4, dim))
    pool, targets = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (pool, targets))
    kept = np.arange(n) if kept is None else kept
    return Surroundings(Vectors(pool), kept, targets), distances(pool, targets)


def by_layers(apart, kept):
    """Rows with the target that brings each: the i-th nearest of every target, the nearest of them first."""
    ranked = [sorted(kept, key=lambda row, each=each: (each[row], row)) for each in apart]
    seen = {}
    for layer in range(len(kept)):
        for _, row, target in sorted((apart[q][rows[layer]], rows[layer], q) for q, rows in enumerate(ranked)):
            seen.setdefault(int(row), target)
    return list(seen.items())


@pytest.mark.parametrize("kept", [None, np.arange(0, 70, 3)])
@pytest.mark.parametrize("budget", [1, 5, 6, 20, 70])
def test_layers_are_those_of_a_loop(budget, kept, monkeypatch):
    monkeypatch.setattr("tasksift.selectors.tarot_layers.FIRST_LENGTH", 1)  # so that lists have to grow
    some, apart = around(kept=kept)
    expected = by_layers(apart, range(70) if kept is None else kept.tolist())[:budget]
    rows, target, distance = some.first(budget)
    assert list(zip(rows.tolist(), target.tolist(), strict=True)) == expected
    np.testing.assert_allclose(distance, apart[target, rows], rtol=1e-12)


def test_fewer_rows_are_a_prefix_of_more():
    some, _ = around(seed=1)
    all_rows = some.first(70)[0]
    for budget in (1, 9, 33):
        assert some.first(budget)[0].tolist() == all_rows[:budget].tolist()


def test_the_estimate_is_the_union_of_what_the_folds_chose():
    some, apart = around(m=6, seed=2)
    rows, trace = estimate(some, folds=3, most=40, seed=5)
    parts = np.array_split(np.random.default_rng(5).permutation(6), 3)
    chosen = set()
    for anchors, fold in zip(parts, trace, strict=True):
        for q in anchors:
            nearest = np.argsort(apart[q], kind="stable")[: fold["k"]]
            chosen |= {int(row) for row in nearest if apart[q, row] < np.sqrt(2)}
        at = fold["tried"].index(fold["k"])
        assert fold["costs"][at] <= min(fold["costs"]) * (1 + 1e-9)
        assert fold["stop"] != "rose" or fold["costs"][-1] > fold["costs"][at]
    assert rows.tolist() == sorted(chosen)
