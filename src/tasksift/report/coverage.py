"""How well each target is served: the nearest selected row, and for the worst-served what the pool has for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.neighbors import search
from tasksift.neighbors.groups import collapse
from tasksift.report.basis import Basis
from tasksift.report.histograms import edges_of
from tasksift.report.nearness import Nearness

Int = NDArray[np.int64]

WORST = 25
"""Targets that are listed."""

NEIGHBOURS = 3
"""Distinct rows of the pool that are shown for each of them."""


def coverage(
    basis: Basis, near: Nearness, selected: Int, targets: Sequence[str], tasks: Sequence[str] | None
) -> tuple[dict[str, Any], list[Int]]:
    """Say which targets are served worst.

    Parameters
    ----------
    selected : int64 (s,)
        The selected rows, as places among the kept rows.
    targets, tasks : sequences of m str

    Returns
    -------
    dict, list of int64 arrays
        The part of the report, its neighbours without ``text`` and ``source``, and the places of these neighbours
        among the kept rows, an array for each target listed.

    Notes
    -----
    Worst-served are the targets whose nearest selected row is farthest. Neighbours are exact; copies of one row are
    one neighbour. Cost: one pass over the pool for at most `WORST` targets.
    """
    assert basis.pool is not None
    assert basis.target is not None
    edges = edges_of(near.selected_distance)
    counts = np.histogram(near.selected_distance, edges)[0]
    worst = np.argsort(-near.selected_distance, kind="stable")[:WORST]
    groups = collapse(basis.pool, basis.order, keys=basis.keys)
    found = search.nearest(basis.pool, groups, basis.target.take(worst), NEIGHBOURS)
    taken = groups.of_row[selected]
    served = np.bincount(near.target, minlength=len(near.selected))
    listed = []
    for target, neighbours in zip(worst.tolist(), found, strict=True):
        chosen_ones = np.isin(neighbours.ids, taken)
        listed.append(
            {
                "target": target,
                "task": None if tasks is None else tasks[target],
                "text": targets[target],
                "nearest_selected": near.selected_distance[target],
                "nearest_pool": float(neighbours.distances[0]),
                "selected_near": served[target],
                "neighbours": [
                    {"distance": far, "selected": chosen}
                    for far, chosen in zip(neighbours.distances.tolist(), chosen_ones.tolist(), strict=True)
                ],
            }
        )
    part = {
        "distance": {"edges": edges, "counts": counts},
        "targets": len(served),
        "served": int((served > 0).sum()),
        "worst": listed,
    }
    return part, [groups.representative[each.ids] for each in found]
