"""GradEx: groups of rows, kept by what fine-tuning on subsets of them is estimated to do for the targets.

Li, Zhang, Wang, Zhang 2024 (arXiv 2409.19458). The estimates are those of
`tasksift.selectors.gradex_estimates`; the last checkpoint is θ*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasksift.draw.sample import members
from tasksift.errors import InputError
from tasksift.plan import Plan
from tasksift.progress import Progress, silent
from tasksift.selectors.clustering import cluster, numbered
from tasksift.selectors.contract import Context, Planner, Selector, Size
from tasksift.selectors.gradex_estimates import Estimate, Linearised, Moved
from tasksift.selectors.gradex_ranking import ensemble, forward, within
from tasksift.selectors.inputs import check_pair
from tasksift.selectors.parameter import Parameter
from tasksift.vectors import Vectors, VectorsLike

Int = NDArray[np.int64]
Float = NDArray[np.float64]

MOST_GROUPS = 1000
TABLE = 200
"""Estimates that the plan's `info` shows at most; all of them count."""


@dataclass(frozen=True)
class Ranked:
    """Groups in order, best first, and how many of them are kept.

    Attributes
    ----------
    members : list of int64 arrays
        Pool rows of each group, ascending.
    kept : int
    names : list of str
    info : dict
    """

    members: list[Int]
    kept: int
    names: list[str]
    info: dict[str, Any]

    def plan(self, budget: int = 0) -> Plan:
        """Spread the mass evenly over the rows of the groups kept, and of the next ones as far as the budget needs."""
        needed = 1 + int(np.searchsorted(np.cumsum([len(rows) for rows in self.members]), budget))
        count = min(len(self.members), max(self.kept, needed))
        ids = np.sort(np.concatenate(self.members[:count]))
        return Plan(
            kind="mass",
            selector="gradex",
            ids=ids,
            values=np.full(len(ids), 1.0 / len(ids)),
            complete=count == len(self.members),
            info={**self.info, "added": self.names[self.kept : count]},
        )


def fit(
    pool: VectorsLike,
    pool_margins: Float,
    target: VectorsLike,
    target_margins: Float,
    groups: Int | int = 20,
    *,
    budget: int = 0,
    way: Literal["ensemble", "forward"] = "ensemble",
    keep: float = 0.75,
    subsets: int = 100,
    ridge: float = 1.0,
    distance: float = 0.05,
    sample: int = 20_000,
    names: Sequence[str] = (),
    moved: Moved | None = None,
    order: Int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Plan:
    """Keep the groups that help, and spread the mass evenly over their rows.

    Parameters
    ----------
    pool : array (n, d), memory map, list of shards, or Vectors
        Projected gradients of the margins at θ*, at their own lengths.
    pool_margins : float64 (n,)
    target : array (m, d)
    target_margins : float64 (m,)
    groups : int64 (n,) or int
        Group code of every row; or how many clusters of the gradients to make, by their cosine.
    budget : int
        Rows to be drawn: when the groups kept have fewer, the next best are added. 0: as many as are kept.
    way : {"ensemble", "forward"}
        Score every group by the mean estimated gain of the random halves of the groups that contain it, and keep a
        share of them; or add the group with the largest estimated gain, again and again, until none helps.
    keep : float
        Share of the groups that "ensemble" keeps.
    subsets : int
        Halves in the ensemble; a few more where that lets every group be in equally many, and each subset once where
        there are no more than that.
    ridge : float
        λ of the estimates, as a share of the pool's mean ||g||² / d. More of it moves the model less far.
    distance : float
        Where there is `moved`: λ is raised, for all estimates alike, until that for the whole pool moves the model no
        further than this share of ||θ*||; 0: any distance.
    sample : int
        Rows that estimates are made from, drawn evenly from the groups; 0: all.
    names : sequence of str
        Of the group codes.
    moved : callable, optional
        Of `tasksift.selectors.contract.Margins`: checks every estimate of the ensemble, or of the forward path.
    order : int64 (n,), optional
        Rank of every pool row. Groups tie by their smallest.
    seed : int
        Of the sample, the halves and the clusters.

    Returns
    -------
    Plan of kind "mass", uniform over the rows taken. `info` has the groups in order with their scores (estimated gain:
    the loss at θ* minus the estimated loss), and the table of estimates, each with its distance and Taylor error.

    Raises
    ------
    InputError
        For arrays that do not fit each other, more than `MOST_GROUPS` groups, or gradients that are all zero.

    Notes
    -----
    Cost: about 4·rows·d² operations for each estimate, of `sample` rows at most; "forward" makes up to k²/2 estimates
    for k groups. Memory: 8·sample·d bytes.
    """
    return prepare(
        pool, pool_margins, target, target_margins, groups, way=way, keep=keep, subsets=subsets, ridge=ridge,
        distance=distance, sample=sample, names=names, moved=moved, order=order, seed=seed, progress=progress,
    ).plan(budget)  # fmt: skip


def prepare(
    pool: VectorsLike,
    pool_margins: Float,
    target: VectorsLike,
    target_margins: Float,
    groups: Int | int = 20,
    *,
    way: str = "ensemble",
    keep: float = 0.75,
    subsets: int = 100,
    ridge: float = 1.0,
    distance: float = 0.05,
    sample: int = 20_000,
    names: Sequence[str] = (),
    moved: Moved | None = None,
    order: Int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Ranked:
    """Rank the groups; the returned `Ranked` serves any budget. Parameters as in `fit`."""
    vectors, targets = check_pair(pool, target)
    n = len(vectors)
    if pool_margins.shape != (n,) or target_margins.shape != (len(targets),):
        raise ValueError(f"margins {pool_margins.shape} and {target_margins.shape} do not fit {n}, {len(targets)} rows")
    if way not in ("ensemble", "forward"):
        raise InputError(f"way {way!r} does not exist; use 'ensemble' or 'forward'")
    order = np.arange(n) if order is None else order
    if isinstance(groups, int):
        unit = Vectors(vectors, normalize=True)
        codes = cluster(unit, groups, order=order, seed=seed, progress=progress).labels
        names = [f"cluster {code}" for code in range(codes.max() + 1)]
    else:
        codes = groups
    rows_of, names = _members(codes, order, names)
    rng = np.random.default_rng(seed)
    drawn = _sample([order[rows] for rows in rows_of], sample, rng)
    used = [rows[here] for rows, here in zip(rows_of, drawn, strict=True)]
    gradients = [vectors.take(rows) for rows in used]
    sizes = np.array([len(rows) for rows in rows_of], dtype=np.float64)
    squares = np.array([(each**2).sum(axis=1).mean() for each in gradients])
    scale = float(sizes @ squares / sizes.sum()) / vectors.dim
    if not scale > 0:
        raise InputError("every gradient is zero: no row of the pool has an answer, or the parameters see none")
    linear = Linearised(
        gradients, [pool_margins[rows] for rows in used], sizes, targets, target_margins, ridge * scale, moved=moved
    )
    linear = within(linear, distance)
    ranking = forward(linear, progress) if way == "forward" else ensemble(linear, keep, subsets, rng, progress)
    at_rest = linear.estimate(())
    listed = [{"name": names[j], "rows": len(rows_of[j]), "score": float(ranking.scores[j])} for j in ranking.order]
    table, place = ranking.table, np.argsort(ranking.order)
    info = {
        "way": way,
        "groups": listed,
        "kept": [each["name"] for each in listed[: ranking.kept]],
        "loss": at_rest.loss,
        "accuracy": at_rest.accuracy,
        "lambda": linear.ridge,
        "sampled_rows": sum(map(len, used)),
        "estimates": len(table),
        "distance": _median(table, "distance"),
        "taylor_error": _median(table, "taylor_error"),
        "table": [_line(each, place) for each in table[:TABLE]],
    }
    return Ranked([rows_of[j] for j in ranking.order], ranking.kept, [names[j] for j in ranking.order], info)


def _members(codes: Int, order: Int, names: Sequence[str]) -> tuple[list[Int], list[str]]:
    """Rows of each group, and its name, in the order of the smallest rank in each, whatever the codes are."""
    if len(codes) != len(order):
        raise ValueError(f"{len(codes)} group codes for {len(order)} rows")
    numbers, used = numbered(codes, order)
    if len(used) > MOST_GROUPS:
        raise InputError(
            f"{len(used)} groups are more than {MOST_GROUPS}; name a coarser column, or none for clusters of gradients"
        )
    return members(numbers, len(used)), [names[code] if len(names) else str(code) for code in used]


def _sample(ranks: list[Int], most: int, rng: np.random.Generator) -> list[Int]:
    """Rows of each group to make estimates from, by rank: at most an equal share of `most` of each; 0: all."""
    share = max(1, most // len(ranks)) if most else max(map(len, ranks))
    found = []
    for rank in ranks:
        by_rank = np.argsort(rank, kind="stable")
        found.append(by_rank[np.sort(rng.permutation(len(rank))[:share])])
    return found


def _line(estimate: Estimate, place: Int) -> dict[str, Any]:
    """One line of the table; groups by their places in the list of groups."""
    line: dict[str, Any] = {
        "groups": sorted(int(place[j]) for j in estimate.subset),
        "loss": estimate.loss,
        "accuracy": estimate.accuracy,
    }
    return {**line, "check": asdict(estimate.check) if estimate.check else None}


def _median(table: list[Estimate], name: str) -> float | None:
    found = [getattr(each.check, name) for each in table if each.check is not None]
    return float(np.median(found)) if found else None


def _prepare(context: Context, parameters: Mapping[str, Any]) -> Planner:
    given = dict(parameters)
    margins, clusters = context.margins, given.pop("groups")
    if margins is None:
        raise ValueError("gradex needs gradients of margins")
    return prepare(
        margins.pool[-1], margins.pool_values[-1], margins.target[-1], margins.target_values[-1],
        clusters if context.groups is None else context.groups, **given, names=context.group_names,
        moved=margins.moved, order=context.order, seed=context.seed, progress=context.progress,
    ).plan  # fmt: skip


def _flops(size: Size) -> float:
    dim = size.dim / max(1, size.checkpoints)
    return 100 * 4 * min(size.rows, 20_000) * dim**2 + 2 * 20 * size.rows * dim


SELECTOR = Selector(
    _prepare,
    "mass",
    {
        "way": Parameter(
            "ensemble",
            "score groups over random halves of them, or add the best group until none helps",
            ("ensemble", "forward"),
        ),
        "groups": Parameter(20, "clusters of the gradients, where no column of groups is named", low=1),
        "keep": Parameter(0.75, "share of the groups that an ensemble keeps", low=0, high=1),
        "subsets": Parameter(100, "random halves of the groups in an ensemble", low=1),
        "ridge": Parameter(1.0, "λ as a share of the mean squared gradient / dimensions; more moves less", low=1e-9),
        "distance": Parameter(0.05, "how far the whole pool may move the model, as a share of its norm; 0: any", low=0),
        "sample": Parameter(20_000, "rows that estimates are made from, 0 for all", low=0),
    },
    needs=frozenset({"target", "margins"}),
    sizes_itself=True,
    takes_groups=True,
    seeded=True,
    flops=_flops,
    meaning="of a group that helps the targets",
)
