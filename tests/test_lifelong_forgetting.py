"""A pool carried by Adapt-∞ keeps old skills better than uniform draws do, at equal budgets of training and of storage.

Data sets of one skill each arrive, every one larger than those before; one model is trained from step to step.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tasksift.selectors import adapt
from tasksift.selectors.pruning import prune
from tasksift.vectors import Vectors

SIZES = [100, 300, 600, 1000, 1500]
"""Rows of each skill, in the order in which they arrive: every data set drowns those before it."""

CAP, EACH, INPUTS, UNITS = 900, 100, 6, 300
SCORERS = ("perplexity", "el2n", "entropy")


def trained(seed: int, *, adaptive: bool) -> tuple[float, float]:
    """Train one logistic regression, from step to step, on a subset of the pool after each arrival.

    Returns by how much its accuracy on all skills but the last fell since it was best, and what it is at the end.
    """
    rng, lots = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    skills = len(SIZES)
    centres, rules = 2 * rng.normal(size=(skills, INPUTS)), rng.normal(size=(skills, INPUTS))
    mix, shift = rng.normal(size=(INPUTS, UNITS)) / 2, rng.normal(size=UNITS)

    def draw(skill: int, n: int) -> tuple[Any, ...]:
        x = rng.normal(size=(n, INPUTS))
        vectors = centres[skill] + x
        # One layer of fixed units for all skills, so that training on one moves the answers of the others.
        return np.tanh(vectors @ mix + shift), (x @ rules[skill] > 0).astype(float), vectors

    tests = [draw(k, 500) for k in range(skills)]
    weights, best, last = np.zeros(UNITS), np.zeros(skills), np.zeros(skills)
    pool: tuple[Any, ...] = ()
    for t, n in enumerate(SIZES):
        arrived = draw(t, n)
        pool = tuple(map(np.concatenate, zip(pool, arrived, strict=True))) if pool else arrived
        inputs, labels, vectors = pool
        order, keep = lots.permutation(len(labels)), min(CAP, len(labels))
        p = np.clip(1 / (1 + np.exp(-inputs @ weights)), 1e-6, 1 - 1e-6)
        right = np.where(labels > 0, p, 1 - p)
        entropy = -p * np.log(p) - (1 - p) * np.log(1 - p)
        scores = np.column_stack([1 / right, np.sqrt(2) * (1 - right), entropy])
        if adaptive:
            ranked = adapt.prepare(Vectors(vectors, normalize=True), scores, SCORERS, clusters=8, order=order)
            picked = ranked.rows[:EACH]
            kept = prune(Vectors(vectors, normalize=True), keep, ranked.clusters.labels, order=order)
        else:
            picked, kept = order[:EACH], np.sort(lots.permutation(len(labels))[:keep])
        x, y = inputs[picked], labels[picked]
        for _ in range(300):
            weights = weights - 0.03 * (x.T @ (1 / (1 + np.exp(-x @ weights)) - y) / EACH + 0.001 * weights)
        last = np.array([np.mean((x @ weights > 0) == (y > 0)) for x, y, *_ in tests])
        best[: t + 1] = np.maximum(best, last)[: t + 1]
        pool = tuple(column[kept] for column in pool)
    return float((best - last)[:-1].mean()), float(last[:-1].mean())


def test_old_skills_are_forgotten_less_than_with_uniform_draws():
    runs = np.array([[trained(seed, adaptive=adaptive) for adaptive in (True, False)] for seed in range(8)])
    ours, uniform = runs.mean(axis=0)
    assert ours[0] < 0.8 * uniform[0]
    assert ours[1] > uniform[1]
