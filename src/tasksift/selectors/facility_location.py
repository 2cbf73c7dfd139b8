"""Facility location: rows that together resemble the whole pool, or the part of it that resembles the targets.

For data selection: Wei, Iyer, Bilmes 2015 (ICML). The targeted form, the mutual information FLMI: Kothawade, Kaushal,
Ramakrishnan, Bilmes, Iyer 2022 (arXiv 2103.00128).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tasksift.errors import InputError
from tasksift.neighbors import search
from tasksift.neighbors.backends import check_backend
from tasksift.neighbors.groups import Groups, collapse
from tasksift.plan import Links, Plan
from tasksift.progress import Progress, silent
from tasksift.selectors import nearest
from tasksift.selectors.contract import Context, Planner, Selector, Size
from tasksift.selectors.facility_kernel import UNIT, in_units, kernel_of, lazy_greedy
from tasksift.selectors.inputs import check_pair, check_pool, not_zero
from tasksift.selectors.parameter import Parameter
from tasksift.vectors import Vectors, VectorsLike

Int = NDArray[np.int64]


def fit(
    pool: VectorsLike,
    target: VectorsLike | None = None,
    *,
    budget: int,
    neighbours: int = 64,
    eta: float = 1.0,
    reach: int = 64,
    order: Int | None = None,
    progress: Progress = silent,
) -> Plan:
    """Pick `budget` rows that serve the pool best, one after the other.

    Parameters
    ----------
    pool : array (n, d), memory map, list of shards, or Vectors
        Unit vectors.
    target : array (m, d), optional
        With targets, only rows near them are to be served, and each only as well as the targets resemble it.
    budget : int
        Rows to pick; at most n.
    neighbours : int
        How many of its nearest distinct rows, itself among them, may serve a row.
    eta : float
        What the similarity to the nearest target is multiplied by, to cap how well a row is to be served.
    reach : int
        How many of a target's nearest distinct rows are to be served.
    order : int64 (n,), optional
        Rank of every pool row, for breaking ties and for what is left when nothing is to be gained any more.

    Returns
    -------
    Plan of kind "score" over the picked rows: minus the place at which each was picked, so that the best rows of a plan
    are the plan of a smaller budget.

    Raises
    ------
    InputError
        For rows that do not fit together, or parameters out of range.

    Notes
    -----
    Greedy picks for ``f(S) = Σ_i max_{j in S} K_ij``, which reach 1 - 1/e of the best f that so many rows can have.
    K_ij = max(0, 1 - ||x_i - x_j||²/2), for unit vectors the cosine where it is positive, if j is among the
    `neighbours` nearest of i, else 0. With targets ``f(S) = Σ_i min(max_{j in S} K_ij, eta·max_q K_iq)`` over the rows
    i among the `reach` nearest of any target; with `reach` = n it is FLMI. Similarities are rounded to 1e-9. Copies are
    one row that counts as often as it stands there; a row of zeros is similar to nothing.

    When no row gains anything, the rest follows by similarity to the nearest target, if there are any, and by order.

    Cost: 2·u·n·d operations for the u rows to be served (n without targets), and memory for u·`neighbours` entries of 8
    bytes, three times over while they are sorted; then a few looks at each pick's neighbours.
    """
    return prepare(pool, target, neighbours=neighbours, eta=eta, reach=reach, order=order, progress=progress).plan(
        budget
    )


def prepare(
    pool: VectorsLike,
    target: VectorsLike | None = None,
    *,
    neighbours: int = 64,
    eta: float = 1.0,
    reach: int = 64,
    order: Int | None = None,
    keys: NDArray[np.uint64] | None = None,
    backend: str = "numpy",
    progress: Progress = silent,
) -> Sites:
    """Measure who can serve whom; the returned `Sites` serves any budget. Parameters as in `fit`."""
    for name, value in (("neighbours", neighbours), ("reach", reach)):
        if value < 1:
            raise InputError(f"{name} {value}: it should be at least 1")
    if not (np.isfinite(eta) and eta > 0):
        raise InputError(f"eta {eta}: it should be a positive number")
    check_backend(backend)
    vectors, targets = (check_pool(pool), None) if target is None else check_pair(pool, target)
    everyone = collapse(vectors, order, keys=keys)
    if order is None:
        order = np.argsort(np.argsort(everyone.of_row, kind="stable"))
    some = not_zero(vectors)
    says = some[everyone.representative]
    groups = Groups(everyone.representative[says], everyone.size[says], everyone.of_row)
    ranked, served = np.argsort(order), np.arange(len(groups))
    caps: Int | None = None
    links: Links | None = None
    if targets is not None:
        kept = np.flatnonzero(targets.any(axis=1))
        if not len(kept):
            raise InputError("target: every row is all zeros, so nothing is known of the task; give other examples")
        found = nearest.fit(vectors, targets[kept], progress=progress)
        assert found.links is not None
        links = Links(found.ids, kept[found.links.target], found.links.mass, found.links.distance)
        ranked = np.lexsort((order, -found.values, ~some))
        with progress(f"searching {reach} neighbours of each target", len(vectors)) as tick:
            lists = search.nearest(vectors, groups, targets[kept], reach, tick, backend=backend)
        served = np.unique(np.concatenate([each.ids for each in lists]))
        caps = in_units(eta * found.values[groups.representative[served]])
        served, caps = served[caps > 0], caps[caps > 0]
    kernel = kernel_of(vectors, groups, served, caps, neighbours, backend, progress)
    return Sites(groups, kernel, groups.size[served], ranked, links, {"neighbours": neighbours, "served": len(served)})


@dataclass
class Sites:
    """Rows to be served, rows that may serve them, and the picks so far.

    Attributes
    ----------
    groups : Groups
        The distinct rows that are not all zeros.
    kernel : csc_matrix, int32 (u, groups)
        How well each may serve each row to be served, in units.
    weights : int64 (u,)
        How often each row to be served stands in the pool.
    ranked : int64 (n,)
        The pool's rows in the order in which they follow when nothing is to be gained.
    links : Links or None
        The nearest target of every row.
    """

    groups: Groups
    kernel: sparse.csc_matrix
    weights: Int
    ranked: Int
    links: Links | None
    info: dict[str, Any]
    picks: list[int] = field(default_factory=list)
    gains: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rest = lazy_greedy(self.kernel, self.weights)

    def plan(self, budget: int) -> Plan:
        """Pick `budget` rows (fewer only when the pool is smaller)."""
        while len(self.picks) < budget:
            found = next(self._rest, None)
            if found is None:
                break
            self.picks.append(found[0])
            self.gains.append(found[1])
        gains = self.gains[:budget]
        chosen = self.groups.representative[self.picks[:budget]]
        free = np.ones(len(self.ranked), dtype=bool)
        free[chosen] = False
        rows = np.concatenate([chosen, self.ranked[free[self.ranked]][: budget - len(chosen)]])
        ids = np.sort(rows)
        links = None
        if self.links is not None:
            links = Links(ids, self.links.target[ids], self.links.mass[ids], self.links.distance[ids])
        return Plan.ranked(
            "facility-location" if links is None else "facility-location-mi",
            rows,
            complete=len(rows) == len(self.ranked),
            links=links,
            info={
                **self.info,
                "value": sum(gains) / UNIT,
                "last_gain": gains[-1] / UNIT if len(gains) == len(rows) else 0.0,
                "picked_for_gain": len(gains),
            },
        )


def _prepare(context: Context, parameters: Mapping[str, Any]) -> Planner:
    return _sites(context, None, parameters)


def _prepare_targeted(context: Context, parameters: Mapping[str, Any]) -> Planner:
    return _sites(context, context.pair()[1], parameters)


def _sites(context: Context, target: Vectors | None, parameters: Mapping[str, Any]) -> Planner:
    if context.pool is None:
        raise ValueError("this selector needs features of the pool")
    return prepare(
        context.pool,
        target,
        **parameters,
        order=context.order,
        keys=context.keys,
        backend=context.backend,
        progress=context.progress,
    ).plan


def _all_pairs(size: Size) -> float:
    return 2.0 * size.rows * size.rows * size.dim


def _near_pairs(size: Size) -> float:
    served = min(size.rows, 64 * size.targets)
    return 2.0 * (2 * size.targets + served) * size.rows * size.dim


_NEIGHBOURS = Parameter(64, "how many of its nearest distinct rows may serve a row", low=1)

SELECTOR = Selector(_prepare, "score", {"neighbours": _NEIGHBOURS}, needs=frozenset({"vectors"}), flops=_all_pairs)

TARGETED = Selector(
    _prepare_targeted,
    "score",
    {
        "neighbours": _NEIGHBOURS,
        "eta": Parameter(1.0, "times the similarity to its nearest target: how well a row is to be served", low=1e-6),
        "reach": Parameter(64, "how many of each target's nearest distinct rows are to be served", low=1),
    },
    flops=_near_pairs,
)
