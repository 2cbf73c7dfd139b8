"""TAROT: the rows around the targets in whitened features, as many as asked for or as bring pool and targets closest.

Feng, Nie, Liu, Alahi 2025 (arXiv 2412.00420), with the distance of whitened directions and the estimate of
the size by optimal transport to the targets left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.neighbors.groups import singletons
from tasksift.plan import Links, Plan
from tasksift.progress import Progress, silent
from tasksift.selectors import tarot_size, whitening
from tasksift.selectors.contract import Context, Need, Planner, Selector, Size, one_pass
from tasksift.selectors.inputs import check_pair
from tasksift.selectors.parameter import Parameter
from tasksift.selectors.tarot_layers import Surroundings
from tasksift.transport.sinkhorn import transport
from tasksift.vectors import Vectors, VectorsLike

Int = NDArray[np.int64]
Float = NDArray[np.float64]
Sign = Literal["derivative", "reference"]

EQUAL = 1e-6
"""Potentials, which are distances, that differ by less are equal."""


def fit(
    pool: VectorsLike,
    target: VectorsLike,
    *,
    budget: int = 0,
    ridge: float = 1e-5,
    folds: int = 10,
    most: int = 2000,
    order: Int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Plan:
    """Select the rows around the targets.

    With phi the whitened rows at unit length, the distance is d(z, z') = ||phi(z) - phi(z')||. Layer i holds the i-th
    nearest row of every target, less what earlier layers hold; the plan goes layer by layer, and inside a layer from
    the row nearest to the target that brings it to the farthest.

    Parameters
    ----------
    pool : array (n, d), memory map, list of shards, or Vectors
        Gradients at their own lengths, the mean over checkpoints. A row of zeros counts for nothing and comes last.
    target : array (m, d)
    budget : int
        Rows to take, or 0 to estimate how many, see `tasksift.selectors.tarot_size.estimate`.
    ridge : float
        See `tasksift.selectors.whitening.fit`.
    folds, most, seed
        Of the estimate.
    order : int64 (n,), optional
        Rank of every pool row, for breaking ties.

    Returns
    -------
    Plan of kind "score": minus the place of each row. With budget 0, ``info["folds"]`` has k and the costs of each
    part.

    Raises
    ------
    InputError
        If the size is to be estimated from one target, or no target has features.

    Notes
    -----
    Copies are rows of their own. Cost: 4·(n + m)·d² operations to whiten and 2·m·n·d a search, of which there are more
    when lists grow; each transport takes some hundreds of iterations of |U_k|·m. The whitened vectors take 4·n·d bytes,
    in a temporary file when they are many.
    """
    return prepare(pool, target, ridge=ridge, folds=folds, most=most, order=order, seed=seed, progress=progress).plan(
        budget
    )


def fit_weighted(
    pool: VectorsLike,
    target: VectorsLike,
    *,
    budget: int = 0,
    rows: int = 0,
    sign: Sign = "derivative",
    ridge: float = 1e-5,
    folds: int = 10,
    most: int = 2000,
    order: Int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Plan:
    """Take the rows around the targets several times, by how much more weight on each would cut the transport.

    With f the potentials of the transport from the rows, all of one mass, to the targets, a row's copies are in
    proportion to max f - f ("derivative"): f is the derivative of the cost by a row's mass, so mass goes where f is
    small.

    Parameters
    ----------
    pool, target, ridge, folds, most, order, seed
        As in `fit`.
    budget : int
        Copies in all; 0 for as many as there are rows.
    rows : int
        Distinct rows, taken as in `fit`; 0 to estimate how many.
    sign : {"derivative", "reference"}
        "reference" is f - min f, as in the released code, which repeats the rows farthest from the targets.

    Returns
    -------
    Plan of kind "quota": expected copies, none negative, of sum `budget`. Cost: besides that of `fit`, one transport
    between the rows and the targets, with five tables of rows·m float64.
    """
    table = prepare(pool, target, ridge=ridge, folds=folds, most=most, order=order, seed=seed, progress=progress)
    return table.weighted(budget, rows, sign)


def prepare(
    pool: VectorsLike,
    target: VectorsLike,
    *,
    ridge: float = 1e-5,
    folds: int = 10,
    most: int = 2000,
    order: Int | None = None,
    seed: int = 0,
    backend: str = "numpy",
    progress: Progress = silent,
) -> Tarot:
    """Whiten; the returned `Tarot` serves any budget and keeps its neighbour lists. Parameters as in `fit`."""
    vectors, targets = check_pair(pool, target)
    ranked = singletons(vectors, order).representative
    found = whitening.fit(vectors, targets, ridge=ridge, order=np.argsort(ranked), progress=progress)
    whitened, has = whitening.store(vectors, ranked, found, progress=progress)
    towards, target_has = whitening.store(Vectors(targets), np.arange(len(targets)), found)
    kept, answered = np.flatnonzero(has), np.flatnonzero(target_has)
    if not len(answered) or not len(kept):
        raise InputError(f"{'no row of the pool' if len(answered) else 'no target row'} has features to compare")
    info = {"whitening": found.info, "targets": len(answered), "targets_without_features": len(targets) - len(answered)}
    around = Surroundings(whitened, kept, towards.take(answered), backend, progress)
    return Tarot(around, ranked, answered, folds, most, seed, info, progress)


@dataclass
class Tarot:
    """The whitened pool around the targets, where rows count by rank, and what is made of it.

    Attributes
    ----------
    around : Surroundings
    ranked : int64 (n,)
        The pool row of each rank.
    answered : int64 (m,)
        The target row of each target that has features.
    """

    around: Surroundings
    ranked: Int
    answered: Int
    folds: int
    most: int
    seed: int
    info: dict[str, Any]
    progress: Progress = silent

    def plan(self, budget: int) -> Plan:
        """Plan `budget` rows, or with budget 0 as many as the estimate says."""
        info = self.info
        if budget:
            rows, target, distance = self.around.first(budget)
        else:
            chosen, trace = self.estimate
            rows, target, distance = self.around.layers()
            inside = np.isin(rows, chosen)
            rows, target, distance = rows[inside], target[inside], distance[inside]
            info = {**info, "estimated_rows": len(chosen), "folds": trace}
        sort = np.argsort(self.ranked[rows])
        links = Links(self.ranked[rows[sort]], self.answered[target[sort]], np.zeros(len(rows)), distance[sort])
        if budget > len(rows):
            rows = np.append(rows, np.setdiff1d(np.arange(len(self.ranked)), self.around.kept)[: budget - len(rows)])
        return Plan.ranked(
            "tarot",
            self.ranked[rows],
            complete=not budget or budget >= len(self.ranked),
            links=links,
            info=info,
        )

    def weighted(self, budget: int, rows: int, sign: Sign) -> Plan:
        """Plan copies of the rows; parameters as in `fit_weighted`."""
        chosen, trace = (self.around.first(min(rows, len(self.around.kept)))[0], None) if rows else self.estimate
        chosen = np.sort(chosen)
        solved = transport(self.around.distances(chosen, self.around.targets))
        weight = _shares(solved.f, sign)
        info = {
            **self.info,
            "sign": sign,
            "rows": len(chosen),
            "transport": solved.cost,
            "marginal_error": solved.error,
            **({"folds": trace} if trace is not None else {}),
        }
        place = self.ranked[chosen]
        by_row = np.argsort(place)
        return Plan(
            kind="quota",
            selector="tarot-weighted",
            ids=place[by_row],
            values=(budget or len(chosen)) * weight[by_row],
            info=info,
        )

    @cached_property
    def estimate(self) -> tuple[Int, list[dict[str, Any]]]:
        """The rows that the folds choose together, ascending, and what happened in each."""
        return tarot_size.estimate(
            self.around, folds=self.folds, most=self.most, seed=self.seed, progress=self.progress
        )


def _shares(f: Float, sign: Sign) -> Float:
    """Each row's share of the copies, from its potential; where all potentials are equal, the same for all."""
    weight: Float = f.max() - f if sign == "derivative" else f - f.min()
    if weight.max() < EQUAL:
        weight = np.ones_like(f)
    share: Float = weight / weight.sum()
    return share


def _ready(context: Context, parameters: Mapping[str, Any]) -> Tarot:
    """Whiten the features at their own lengths."""
    pool, target = context.pair()
    return prepare(
        pool if context.lengths is None else context.lengths,
        target if context.target_lengths is None else context.target_lengths,
        **{name: parameters[name] for name in _COMMON},
        order=context.order,
        seed=context.seed,
        backend=context.backend,
        progress=context.progress,
    )


def _prepare(context: Context, parameters: Mapping[str, Any]) -> Planner:
    return _ready(context, parameters).plan


def _prepare_weighted(context: Context, parameters: Mapping[str, Any]) -> Planner:
    ready = _ready(context, parameters)
    return lambda budget: ready.weighted(budget, parameters["rows"], parameters["sign"])


def _flops(size: Size) -> float:
    return 4.0 * (size.rows + size.targets) * size.dim**2 + one_pass(size)


def _memory(size: Size) -> float:
    return min(4.0 * size.rows * size.dim, whitening.IN_MEMORY)


_COMMON = {
    "ridge": Parameter(1e-5, "added to the covariance, as a share of the mean variance", low=0.0),
    "folds": Parameter(10, "parts of the targets by which the number of rows is estimated", low=2),
    "most": Parameter(2000, "neighbours of each target at most, in the estimate", low=1),
}

_NEEDS: frozenset[Need] = frozenset({"target", "vectors", "lengths"})

SELECTOR = Selector(_prepare, "score", _COMMON, _NEEDS, sizes_itself=True, seeded=True, flops=_flops, memory=_memory)

WEIGHTED = Selector(
    _prepare_weighted,
    "quota",
    {
        **_COMMON,
        "rows": Parameter(0, "distinct rows to weight; 0 estimates how many", low=0),
        "sign": Parameter(
            "derivative",
            "mass to small potentials, or as the released code to large ones, far from the targets",
            ("derivative", "reference"),
        ),
    },
    _NEEDS,
    sizes_itself=True,
    seeded=True,
    flops=_flops,
    memory=_memory,
)
