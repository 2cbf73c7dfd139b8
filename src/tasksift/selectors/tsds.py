"""TSDS: optimal transport from the targets into the pool, spread out and corrected for density.

Liu, Karbasi, Rekatsinas, "TSDS: Data Selection for Task-Specific Model Finetuning", NeurIPS 2024, arXiv 2410.11303.
KNN-KDE is the default; sigma = 0 is KNN-Uniform. Departures from the published code: float64 and a sorted sweep;
densities over the whole pool; no row ever ships more than its share; lists grow until the answer is converged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.neighbors.bandwidth import automatic_bandwidth
from tasksift.neighbors.groups import collapse
from tasksift.neighbors.growing import GrowingLists, Search
from tasksift.plan import Links, Plan, Status
from tasksift.progress import Progress, silent
from tasksift.selectors.contract import Context, Planner, Selector
from tasksift.selectors.inputs import check_pair
from tasksift.selectors.parameter import Parameter
from tasksift.transport.breadth import breadth_for_budget
from tasksift.transport.certificate import certify
from tasksift.transport.sweep import DUST, Lists, Path, breadth_for_alpha, trace_path, transport_at
from tasksift.vectors import VectorsLike


def fit(
    pool: VectorsLike,
    target: VectorsLike,
    *,
    alpha: float | None = None,
    scale: float = 5.0,
    breadth: float | Literal["auto"] | None = None,
    sigma: float | Literal["auto"] = "auto",
    budget: float | None = None,
    order: NDArray[np.int64] | None = None,
    **options: Any,
) -> Plan:
    """Select by optimal transport with a diversity term.

    Parameters
    ----------
    pool : array (n, d), memory map, list of shards, or Vectors
    target : array (m, d)
        Every target ships 1/m of the mass; duplicate targets count each.
    alpha : float in [0, 1], optional
        Trade-off between closeness (1) and spread (0), together with `scale`. Excludes `breadth`.
    scale : float
        The paper's C, in units of distance. Only C(1 - alpha)/alpha matters; C = 0 acts as alpha = 1.
    breadth : float or "auto", optional
        Effective number of distinct neighbours per target. "auto" (the default without `alpha`): the smallest at which
        no row of the pool is drawn twice within `budget`.
    sigma : float or "auto"
        Bandwidth of the density kernel in units of distance; 0 = KNN-Uniform. "auto": from the spacing of targets and
        pool, see `tasksift.neighbors.bandwidth`.
    budget : float, optional
        Expected number of rows to be drawn; needed by breadth "auto" only.
    order : int64 (n,), optional
        Rank of every pool row for breaking ties; by default ties break by content.
    **options
        As in `prepare`.

    Returns
    -------
    Plan of kind "mass". Exact duplicates get the mass of one row, all on the first of them in tie order.

    Raises
    ------
    InputError
        For parameters out of range, vectors that do not match, or a budget beyond what the pool can serve.

    Notes
    -----
    Minimises (alpha/C) Σ γ_ij d_ij + (1 - alpha) M max_ij ρ_j γ_ij over γ >= 0 with row sums 1/M. Cost: one or a few
    passes over the pool (2·m·n·d operations each) for the lists, 2·r·n·d for the densities of the r rows reached.
    """
    return prepare(pool, target, sigma=sigma, order=order, **options).plan(
        budget, alpha=alpha, scale=scale, breadth=breadth
    )


def prepare(
    pool: VectorsLike,
    target: VectorsLike,
    *,
    sigma: float | Literal["auto"] = "auto",
    order: NDArray[np.int64] | None = None,
    keys: NDArray[np.uint64] | None = None,
    prefetch: int | None = None,
    density: Literal["pool", "prefetched"] = "pool",
    max_neighbors: int | None = None,
    search: Search | None = None,
    backend: str = "numpy",
    progress: Progress = silent,
) -> Problem:
    """Search the neighbours once; the returned `Problem` answers any alpha, breadth or budget.

    Parameters
    ----------
    keys : uint64 (n, 2), optional
        The pool's `tasksift.neighbors.groups.content_keys`, if they are known already.
    prefetch : int, optional
        Neighbours fetched per target at first. A converged answer does not depend on it.
    density : {"pool", "prefetched"}
        "prefetched" with `max_neighbors` reproduces published numbers only: densities among the prefetched rows, lists
        that never grow.
    search : callable
        Another nearest-neighbour search; see `GrowingLists`.
    backend : {"numpy", "torch", "cuda"}
        What multiplies; the answer is the same.
    """
    vectors, targets = check_pair(pool, target)
    if sigma != "auto" and sigma != 0 and not 1e-100 <= sigma <= 1e150:  # squared and divided by
        raise InputError(f"sigma {sigma} is out of range; it is a distance from 1e-100 to 1e150, 0 for none, or auto")
    if density not in ("pool", "prefetched"):
        raise InputError(f"density {density!r} does not exist; use 'pool' or 'prefetched'")
    with progress("looking for exact copies", len(vectors)) as tick:
        groups = collapse(vectors, order, tick, keys=keys)
    lists = GrowingLists(vectors, targets, groups, prefetch=prefetch, search=search, backend=backend, progress=progress)
    bandwidth = automatic_bandwidth(vectors, groups, targets, lists.found) if sigma == "auto" else float(sigma)
    if density == "pool":
        lists.use_bandwidth(bandwidth)
    else:
        lists.use_prefetched_densities(bandwidth, max_neighbors)
    return Problem(lists, grows=density == "pool")


@dataclass
class Problem:
    """Targets and pool with their neighbour lists, ready to be solved for any knob without searching again."""

    lists: GrowingLists
    grows: bool = True

    def plan(
        self,
        budget: float | None = None,
        *,
        alpha: float | None = None,
        scale: float = 5.0,
        breadth: float | Literal["auto"] | None = None,
    ) -> Plan:
        """Solve for one knob. Parameters, errors and result as in `fit`."""
        if alpha is not None and breadth is not None:
            raise InputError("alpha and breadth are two names of one knob; give one of them")
        if not (np.isfinite(scale) and scale >= 0):
            raise InputError(f"scale {scale} is out of range; the paper's C is a distance >= 0")
        if alpha is not None:
            if not 0 <= alpha <= 1:
                raise InputError(f"alpha {alpha} is out of range; it lies between 0 (spread) and 1 (closeness)")
            return self._plan_for_alpha(1.0 if scale == 0 else alpha, scale)
        if breadth is None or breadth == "auto":
            if budget is None or not budget > 0:
                raise InputError("breadth 'auto' needs a budget: the number of rows to be drawn")
            return self._plan_for_budget(budget, scale)
        if not (np.isfinite(breadth) and breadth > 0):
            raise InputError(f"breadth {breadth} is out of range; it is a number of neighbours > 0, or auto")
        return self._plan_for_breadth(float(breadth), scale)

    def _plan_for_alpha(self, alpha: float, scale: float) -> Plan:
        if alpha == 0 and self.grows:
            return self._fully_spread(scale)
        lists, s = self._solve(lambda lists: breadth_for_alpha(trace_path(lists), alpha, scale))
        if s is None:
            return self._ended(lists, trace_path(lists), scale, alpha)
        return self._build(lists, trace_path(lists), s, "converged", scale, alpha)

    def _plan_for_breadth(self, breadth: float, scale: float) -> Plan:
        lists, s = self._solve(lambda lists: breadth if breadth <= lists.limit else None)
        if s is None:
            return self._ended(lists, trace_path(lists), scale)
        return self._build(lists, trace_path(lists), s, "converged", scale)

    def _plan_for_budget(self, budget: float, scale: float) -> Plan:
        lists, s = self._solve(lambda lists: breadth_for_budget(lists, budget))
        if s is None:
            largest = int(1 / float(self._ended(lists, trace_path(lists), scale).values.max()) + 1e-9)
            crowded = self.lists.sigma > 0 and budget <= len(self.lists.groups)
            apart = "--sigma 0, so that near-copies share no place, or " if crowded else ""
            raise InputError(
                f"budget {budget:g} cannot be drawn without repeating a row even when the mass is fully spread "
                f"({len(self.lists.groups)} distinct rows in the pool, {largest} at the largest); lower the "
                f"budget, or give {apart}--alpha with --draw top or multinomial"
            )
        plan = self._build(lists, trace_path(lists), s, "converged", scale)
        # A larger budget would have reached more rows.
        return replace(plan, complete=len(plan.ids) == len(self.lists.groups))

    def _solve(self, solve: Callable[[Lists], float | None]) -> tuple[Lists, float | None]:
        """Grow the lists until `solve` finds its breadth within them, or until there is nothing left to grow."""
        while True:
            lists = self.lists.lists()
            s = solve(lists)
            # Just where a list ends, what comes next is still to be seen: it tells the alpha and proves the optimum.
            settled = s is not None and (lists.whole or s * (1 + 2 * DUST) < lists.limit)
            if settled or not (self.grows and self.lists.deepen(lists, solve)):
                return lists, s

    def _ended(self, lists: Lists, path: Path, scale: float, alpha: float | None = None) -> Plan:
        """The answer where the lists end: final when they hold the whole pool, marked as exhausted otherwise."""
        s = lists.full_breadth if lists.whole else lists.limit
        return self._build(lists, path, s, "pool_exhausted" if lists.whole else "exhausted", scale, alpha)

    def _fully_spread(self, scale: float) -> Plan:
        """alpha = 0: mass inversely proportional to density, straight from the densities."""
        weights = self.lists.all_weights()
        groups = self.lists.groups
        total = float(weights.sum())
        rows = np.argsort(groups.representative)
        info = {**self._info(), "objective": 1 / total, "lower_bound": 1 / total, "gap": 0.0}
        return Plan(
            kind="mass",
            selector="tsds",
            ids=groups.representative[rows],
            values=weights[rows] / total,
            status="pool_exhausted",
            breadth=total,
            alpha=0.0,
            density=self.lists.density[rows],
            info=info,
        )

    def _build(
        self, lists: Lists, path: Path, breadth: float, status: Status, scale: float, alpha: float | None = None
    ) -> Plan:
        transport = transport_at(lists, breadth)
        if alpha is None:
            alpha = path.alpha_at(breadth, scale) if status == "converged" else 0.0
        proof = certify(lists, transport, breadth, alpha, scale)
        groups = self.lists.groups
        used, where = np.unique(transport.ids, return_inverse=True)
        # Summed target by target in a fixed order of size, so that the order of targets leaves no trace in the sum.
        sizes = np.lexsort((transport.mass, where))
        starts = np.searchsorted(where[sizes], np.arange(len(used)))
        mass = np.add.reduceat(transport.mass[sizes], starts)
        rows = np.argsort(groups.representative[used])
        return Plan(
            kind="mass",
            selector="tsds",
            ids=groups.representative[used[rows]],
            values=mass[rows],
            status=status,
            breadth=breadth,
            alpha=alpha,
            density=self.lists.density[used[rows]],
            links=Links(groups.representative[transport.ids], transport.target, transport.mass, transport.distance),
            info={
                **self._info(),
                "objective": proof.primal,
                "lower_bound": proof.lower_bound,
                "gap": proof.gap,
                "prefetch": self.lists.length,
            },
            path={"breadth": path.breadth, "alpha": path.critical_alpha(scale)},
            searched=self._searched,
        )

    def _searched(self) -> tuple[Lists, float]:
        """The lists as far as they were searched, of pool rows; and the breadth that they determine for certain."""
        lists, rows = self.lists.guessed(), self.lists.groups.representative
        return replace(lists, ids=[rows[ids] for ids in lists.ids]), self.lists.lists().limit

    def _info(self) -> dict[str, Any]:
        return {
            "sigma": self.lists.sigma,
            "targets": len(self.lists.targets),
            "distinct_rows": len(self.lists.groups),
            "densities_computed": self.lists.known(),
        }


def _prepare(context: Context, parameters: Mapping[str, Any]) -> Planner:
    pool, target = context.pair()
    problem = prepare(
        pool,
        target,
        sigma=parameters["sigma"],
        order=context.order,
        keys=context.keys,
        backend=context.backend,
        progress=context.progress,
    )
    knobs = {name: parameters[name] for name in ("alpha", "scale", "breadth")}
    if knobs["alpha"] is not None:
        knobs["breadth"] = None
    return lambda budget: problem.plan(budget, **knobs)


SELECTOR = Selector(
    _prepare,
    "mass",
    {
        "alpha": Parameter(None, "closeness (1) or spread (0), as in the paper", kind=float, low=0, high=1),
        "scale": Parameter(5.0, "the paper's C, which weighs distances with alpha", low=0),
        "breadth": Parameter("auto", "effective number of neighbours per target", ("auto",), float, low=0),
        "sigma": Parameter("auto", "distance within which rows are near-duplicates; 0 = none", ("auto",), float, low=0),
    },
    ignores_copies=True,
)
