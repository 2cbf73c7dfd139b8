"""Proof of optimality: the objective of a transport plan and a lower bound on every plan's objective."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasksift.transport.sweep import DUST, Lists, Transport


@dataclass(frozen=True)
class Certificate:
    """How far a plan can be from the optimum: `primal - lower_bound` at most, in units of the objective."""

    primal: float
    lower_bound: float

    @property
    def gap(self) -> float:
        """Upper bound of the distance to the optimum, never below zero."""
        return max(0.0, self.primal - self.lower_bound)


def certify(lists: Lists, transport: Transport, breadth: float, alpha: float, scale: float) -> Certificate:
    """Certify `transport` for the objective (alpha/C) Σ γd + (1 - alpha) M max ργ (the one-sided penalty).

    The dual gives each target i a price v_i = (alpha/C) τ_i; it is feasible when Σ_ij (v_i - (alpha/C) d_ij)+ / ρ_j
    <= (1 - alpha) M, and then Σ v_i / M bounds every plan from below. At the optimum τ_i is the distance of the first
    neighbour that is not full; targets whose breakpoint lies on the breadth itself may take anything up to the next
    neighbour, and one common fraction of that step makes the constraint tight. Whole lists can pay more than their
    farthest distance. Cost: one look at the list entries that carry mass.
    """
    m = len(lists.ids)
    # C = 0 leaves the transport cost alone, which is alpha = 1.
    cost, spread = (alpha / scale, 1.0 - alpha) if scale > 0 else (1.0, 0.0)
    caps = float((transport.mass / transport.weight).max()) * m
    primal = cost * float(transport.mass @ transport.distance) + spread * caps

    base, step = np.empty(m), np.zeros(m)
    used, reach = np.empty(m), np.zeros(m)
    for i, (d, total) in enumerate(zip(lists.distances, lists.cumulative, strict=True)):
        k = int(np.searchsorted(total, breadth * (1 - DUST), side="left"))
        k = min(k, len(d) - 1)
        base[i] = d[k]
        used[i] = float(((d[k] - d[:k]) * lists.weights[i][:k]).sum())
        if total[k] <= breadth * (1 + DUST):
            reach[i] = total[k]
            step[i] = d[k + 1] - d[k] if k + 1 < len(d) else 0.0
    price = cost * base
    spent = cost * float(used.sum())
    room = spread * m - spent
    extra = cost * float((step * reach).sum())
    if room > 0 and extra > 0:
        fraction = min(1.0, room / extra)
        price += cost * fraction * step
        spent += fraction * extra
        room -= fraction * extra
    if room > 0 and lists.whole and breadth >= lists.full_breadth * (1 - DUST):
        price += room / (m * lists.full_breadth)
        spent += room
    # Whatever rounding overdraws the budget is paid for at the largest price an optimal spread can have.
    excess = max(0.0, spent - spread * m)
    bound = float(price.mean())
    if excess > 0:
        bound -= excess / m * (primal / spread if spread > 0 else caps)
    return Certificate(primal, bound)
