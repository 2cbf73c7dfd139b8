"""Slow definitions of a few lines each, against which the fast paths are tested."""

import heapq
from pathlib import Path

import numpy as np
from scipy.optimize import linprog

from tasksift.transport.sweep import Lists, transport_at

SHARED = Path(__file__).resolve().parents[2] / "shared"


def distances(pool, targets):
    """L2 distances, targets × pool."""
    return np.sqrt(((targets[:, None, :].astype(float) - pool[None, :, :].astype(float)) ** 2).sum(axis=2))


def density(pool, sigma):
    """Kernel sums over the whole pool; 1 everywhere for sigma = 0."""
    if sigma == 0:
        return np.ones(len(pool))
    return np.maximum(0, 1 - distances(pool, pool) ** 2 / sigma**2).sum(axis=1)


def whole_lists(d, rho):
    """The complete neighbour lists of a distance table (M × N) and densities (N,)."""
    order = np.argsort(d, axis=1, kind="stable")
    return Lists(
        list(order), list(np.take_along_axis(d, order, 1)), [1 / np.asarray(rho)[row] for row in order], whole=True
    )


def dense_transport(lists, breadth, n):
    """The transport plan as a table, targets × pool."""
    transport = transport_at(lists, breadth)
    gamma = np.zeros((len(lists.ids), n))
    gamma[transport.target, transport.ids] = transport.mass
    return gamma


def queue_breadth(d, rho, alpha, scale):
    """The corrected published algorithm: a queue of breakpoints, one target filled by one neighbour at a time."""
    m, n = d.shape
    order = np.argsort(d, axis=1, kind="stable")
    near, w = np.take_along_axis(d, order, 1), 1 / np.asarray(rho)[order]
    total, spent = np.cumsum(w, 1), np.cumsum(w * near, 1)
    slope = np.zeros(m)
    queue = [(total[i, 0], 0, i) for i in range(m)]
    heapq.heapify(queue)
    while queue:
        s, k, i = heapq.heappop(queue)
        if k + 1 == n:
            return None
        slope[i] = near[i, k + 1] * s - spent[i, k]
        if alpha * slope.sum() >= (1 - alpha) * scale * m:
            return s
        heapq.heappush(queue, (total[i, k + 1], k + 1, i))
    raise AssertionError


def objective(gamma, d, rho, alpha, scale, *, two_sided=False):
    """(alpha/C) Σ γd + (1 - alpha) M max ρ(γ - u), with u = 0 or the uniform-by-density plan."""
    m = len(d)
    u = (1 / rho) / (m * (1 / rho).sum()) if two_sided else 0
    return alpha / scale * (gamma * d).sum() + (1 - alpha) * m * (rho * np.abs(gamma - u)).max()


def lp_value(d, rho, alpha, scale, *, two_sided=False):
    """The optimum of the same problem by linear programming."""
    m, n = d.shape
    cost = np.append(alpha / scale * d.ravel(), 1 - alpha)
    rows = np.kron(np.eye(m), np.ones(n))
    cap = np.hstack([m * np.diag(np.tile(rho, m)), -np.ones((m * n, 1))])
    limit = np.zeros(m * n)
    if two_sided:
        u = np.tile((1 / rho) / (m * (1 / rho).sum()), m)
        limit = m * np.tile(rho, m) * u
        cap = np.vstack([cap, np.hstack([-cap[:, :-1], -np.ones((m * n, 1))])])
        limit = np.append(limit, -limit)
    result = linprog(
        cost, A_ub=cap, b_ub=limit, A_eq=np.hstack([rows, np.zeros((m, 1))]), b_eq=np.full(m, 1 / m), bounds=(0, None)
    )
    return result.fun


def cheapest_transport(cost, a=None, b=None):
    """The cost of the cheapest plan with marginals a and b, uniform by default, by linear programming."""
    p, q = cost.shape
    a, b = (np.full(k, 1 / k) if x is None else x for k, x in ((p, a), (q, b)))
    rows, columns = np.kron(np.eye(p), np.ones(q)), np.kron(np.ones(p), np.eye(q))
    return linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.append(a, b)).fun


def smallest_breadth(lists, budget, n):
    """The smallest s with budget · max p <= 1: in every interval p is linear in 1/s, so solve there for every row."""
    breaks = np.unique(np.concatenate(lists.cumulative))
    for low, high in zip(np.append(breaks[0], breaks[:-1]), breaks, strict=True):
        at_low, at_high = (dense_transport(lists, s, n).sum(0) for s in (low, high))
        first, last = 0.0, 1.0  # place in the interval, in units of 1/s from low to high
        for a, b in zip(at_low, at_high, strict=True):
            room, rise = 1 / budget + 1e-13 - a, b - a
            if rise > 0:
                last = min(last, room / rise)
            elif rise < 0:
                first = max(first, room / rise)
            elif room < 0:
                first = 2.0
        if first <= last:
            return 1 / (1 / low + first * (1 / high - 1 / low))
    return None


def round_robin(similarity, budget):
    """Targets take turns; each takes its most similar free row, ties to the first."""
    free = similarity.astype(float).copy()
    picks = []
    for turn in range(budget):
        row = int(np.argmax(free[turn % len(free)]))
        picks.append(row)
        free[:, row] = -np.inf
    return picks
