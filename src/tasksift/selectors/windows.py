"""Best window selection (BWS): of all runs of neighbouring difficulties, the one on which a ridge regression does best.

Choi, Ki, Chung 2024 (arXiv 2406.03057, ICML 2024), for labelled rows; for text, the regression is to the targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.draw.sample import apportion, places
from tasksift.errors import InputError
from tasksift.plan import Plan
from tasksift.progress import Progress, silent
from tasksift.selectors.clustering import cluster, numbered
from tasksift.selectors.contract import Context, Planner, Selector, Size
from tasksift.selectors.inputs import check_pair, check_pool
from tasksift.selectors.parameter import Parameter
from tasksift.selectors.ridge import Regression, Sets, accuracy, rest
from tasksift.vectors import Vectors, VectorsLike

Floats = NDArray[np.float64]
Int = NDArray[np.int64]


def fit(
    difficulty: Floats,
    features: VectorsLike,
    *,
    budget: int,
    labels: Int | None = None,
    target: VectorsLike | None = None,
    step: float = 0.05,
    ridge: float = 1.0,
    easiest: float = 1.0,
    clusters: int = 20,
    order: Int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Plan:
    """Take the best window of the rows in order of difficulty.

    Parameters
    ----------
    difficulty : float64 (n,)
        Higher = harder; a loss, a count of forgettings, or whatever else puts the rows in order. Ties are broken once,
        by seeded noise.
    features : array (n, d), memory map, list of shards, or Vectors
    budget : int
        Rows to take; at most n.
    labels : int64 (n,), optional
        Classes (or sources, or groups). A window takes the same share of each. By default clusters of the features.
    target : array (m, d), optional
        What the features of a window should explain. Without it they should tell the classes apart.
    step : float
        Between the starts of windows, as a share of the rows.
    ridge : float
        The λ of the regression.
    easiest : float
        Share of each class, its easiest rows, on which the regression is judged: all, or about half where labels are
        noisy. Only without a target.
    clusters : int
        How many, where there are no labels; 1 takes the rows all together.
    order : int64 (n,), optional
        Rank of every row, by which noise is given out, so that the order of the pool changes nothing.
    seed : int
        Of the noise and of the clusters.

    Returns
    -------
    Plan of kind "score" over the rows of the best window: minus the place of each, hardest first, the classes in
    proportion all along. `info` has the start of the window, the starts of all, and how each was judged.

    Raises
    ------
    InputError
        If lengths or dimensions do not fit, a number is not finite or out of range, or there is one class only and no
        target.

    Notes
    -----
    A window of width w = budget/n that starts at b holds, of each class hardest first, the rows from rank b·n_c on; as
    many as the class's share of the budget, in whole rows by largest remainder. Windows start at 0, step, 2·step, ...
    up to 1 - w. With F the features of the window, A = F'F + λI, and Y one-hot labels (algorithm 1 of the paper):

    * without a target, F has a constant 1 besides, W = A⁻¹F'Y, and a window is worth the share of all rows x whose
      label is argmax x'W;
    * with a target, each target q is approached by a sum of the window's rows, min over c of ‖q - F'c‖² + λ‖c‖². What
      is left is λA⁻¹q; a window is worth minus the mean of its squared length over the targets.

    The hardest of equally good windows wins. Where the budget is below d, both are solved in FF' + λI, which is the
    same. Products are computed slice by slice between the windows' bounds and added up, so each row is multiplied once.

    Cost: n·d² operations, or windows·budget²·d where the budget is below d; without a target 2·windows·n·d·classes more
    to judge. Memory: `GRAM_BYTES` at most for the windows' F'F (n·d² operations again for each such lot), and a few
    d × d besides. scikit-learn's k-means for clusters.
    """
    ranking = prepare(
        difficulty, features, labels=labels, target=target, step=step, ridge=ridge, easiest=easiest, clusters=clusters,
        order=order, seed=seed, progress=progress,
    )  # fmt: skip
    return ranking.plan(budget)


def prepare(
    difficulty: Floats,
    features: VectorsLike,
    *,
    labels: Int | None = None,
    target: VectorsLike | None = None,
    step: float = 0.05,
    ridge: float = 1.0,
    easiest: float = 1.0,
    clusters: int = 20,
    order: Int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Ranking:
    """Put the rows in order, once; the returned `Ranking` serves any budget. Parameters as in `fit`."""
    vectors, targets = (check_pool(features), None) if target is None else check_pair(features, target)
    n = len(vectors)
    if not (0 < step <= 1 and ridge > 0 and 0 < easiest <= 1):
        raise InputError(f"step {step} and easiest {easiest} lie above 0 and up to 1, ridge {ridge} above 0")
    if target is not None and easiest < 1:
        raise InputError(f"easiest {easiest} is about how classes are told apart; leave it out where there are targets")
    for name, each in (("difficulties", difficulty), ("labels", labels), ("ranks of order", order)):
        if each is not None and each.shape != (n,):
            raise InputError(f"{vectors.name} has {n} rows and there are {each.shape} {name}; give one for each row")
    if not np.isfinite(difficulty).all():
        raise InputError(f"the difficulty of row {int(np.argmin(np.isfinite(difficulty)))} is not a finite number")
    order = np.arange(n) if order is None else order
    if labels is None:
        labels = np.zeros(n, dtype=np.int64)
        if clusters != 1:
            labels = cluster(vectors, clusters, order=order, seed=seed, progress=progress).labels
    code, _ = numbered(labels, order)
    noise = np.random.default_rng(seed).random(n)[order]
    ranked = np.lexsort((order, noise, -difficulty))
    return Ranking(vectors, targets, ranked, code, step, ridge, easiest, progress)


@dataclass(frozen=True)
class Windows:
    """The windows of one budget.

    Attributes
    ----------
    starts : float64 (k,)
        Shares of the rows; 0 is the hardest window.
    first : int64 (k, classes)
        Rank in each class, hardest first, at which a window begins there.
    count : int64 (classes,)
        Rows of each class in every window.
    """

    starts: Floats
    first: Int
    count: Int


def cut(sizes: Int, budget: int, step: float) -> Windows:
    """Place the windows of `budget` rows in classes of the given sizes; of equal remainders the first class wins."""
    n = int(sizes.sum())
    count = apportion(budget * sizes / n, budget)
    starts = np.round(step * np.arange(1 + np.floor((1 - budget / n) / step + 1e-9), dtype=np.float64), 9)
    first = np.minimum(np.floor(starts[:, None] * sizes + 0.5).astype(np.int64), sizes - count)
    return Windows(starts, first, count)


@dataclass(frozen=True)
class Ranking:
    """Rows in order of difficulty, and what is needed to judge windows of them.

    Attributes
    ----------
    features : Vectors (n, d)
    targets : float64 (m, d) or None
    ranked : int64 (n,)
        The rows, hardest first.
    code : int64 (n,)
        Class of every row, 0 to classes - 1.
    step, ridge, easiest, progress
        As in `fit`.
    """

    features: Vectors
    targets: Floats | None
    ranked: Int
    code: Int
    step: float
    ridge: float
    easiest: float
    progress: Progress = silent

    @cached_property
    def sizes(self) -> Int:
        """Rows of each class, int64 (classes,)."""
        return np.bincount(self.code)

    @cached_property
    def of_class(self) -> Int:
        """Class of the rows as they are ranked, int64 (n,)."""
        return self.code[self.ranked]

    @cached_property
    def rank(self) -> Int:
        """Rank within the class of the rows as they are ranked, int64 (n,)."""
        return places(np.arange(len(self.ranked)), self.of_class)

    def windows(self, budget: int) -> Windows:
        """Place the windows of `budget` rows."""
        return cut(self.sizes, budget, self.step)

    def rows(self, windows: Windows, k: int) -> Int:
        """Return the rows of a window, hardest first, so that the classes are in proportion all along."""
        count = windows.count[self.of_class]
        place = self.rank - windows.first[k][self.of_class]
        inside = np.flatnonzero((place >= 0) & (place < count))
        return self.ranked[inside[np.argsort((place[inside] + 0.5) / count[inside], kind="stable")]]

    def worth(self, windows: Windows) -> Floats:
        """Return what each window is worth, higher is better, float64 (k,)."""
        begin, end = np.empty_like(self.rank), np.empty_like(self.rank)
        for c, count in enumerate(windows.count):
            here = self.of_class == c
            end[here] = np.searchsorted(windows.first[:, c], self.rank[here], side="right")
            begin[here] = np.searchsorted(windows.first[:, c] + count, self.rank[here], side="right")
        sets = Sets(self.ranked, begin, end, len(windows.starts), int(windows.count.sum()))
        regression = Regression(self.features, self.ridge, self.code, self.targets)
        if self.targets is not None:
            return -rest(regression, sets, self.progress)
        if len(self.sizes) == 1 and len(windows.starts) > 1:
            raise InputError("one class has nothing to be told apart from; give targets, or more classes")
        size = self.sizes[self.of_class]
        judged = self.rank >= size - np.maximum(1, np.floor(self.easiest * size + 0.5))
        return accuracy(regression, sets, self.ranked[judged], self.progress)

    def plan(self, budget: int) -> Plan:
        """Take the best window of `budget` rows (all of a smaller pool)."""
        n = len(self.ranked)
        budget = min(budget, n)
        if budget < 1:
            raise InputError(f"a window of {budget} rows: ask for at least 1")
        windows = self.windows(budget)
        worth = self.worth(windows)
        best = int(np.argmax(worth))
        rows = self.rows(windows, best)
        judged_by = {"accuracy": worth.tolist()} if self.targets is None else {"target_error": (-worth).tolist()}
        return Plan.ranked(
            "bws",
            rows,
            complete=budget == n,
            info={
                "start": float(windows.starts[best]),
                "width": budget / n,
                "classes": len(self.sizes),
                "curve": {"start": windows.starts.tolist(), **judged_by},
            },
        )


def _prepare(context: Context, parameters: Mapping[str, Any]) -> Planner:
    assert context.pool is not None
    options = dict(parameters)
    metric, proxy = options.pop("metric"), options.pop("proxy")
    if proxy == "target" and context.target is None:
        raise InputError("--set proxy=target needs target rows; give --target, or --set proxy=classes")
    ranking = prepare(
        context.column(metric),
        context.pool,
        labels=context.groups,
        target=None if proxy == "classes" else context.target,
        order=context.order,
        seed=context.seed,
        progress=context.progress,
        **options,
    )

    def plan(budget: int) -> Plan:
        found = ranking.plan(budget)
        return replace(found, info={"difficulty": metric, **found.info})

    return plan


def _flops(size: Size) -> float:
    """Operations of multiplying each row once, and of judging 20 windows by 20 classes."""
    return float(size.rows) * size.dim * (min(size.dim, size.budget) + 2 * 20 * 20)


SELECTOR = Selector(
    _prepare,
    "score",
    {
        "metric": Parameter("loss", "the number by which rows are hard, higher = harder", kind=str),
        "step": Parameter(0.05, "between the starts of windows, as a share of the rows", low=0.001, high=1),
        "ridge": Parameter(1.0, "λ of the regression", low=1e-12),
        "clusters": Parameter(20, "classes that are made where no column of groups is named", low=1),
        "proxy": Parameter(
            "auto",
            "what judges a window: the targets, where there are any, or the classes",
            ("auto", "target", "classes"),
        ),
        "easiest": Parameter(
            1.0, "share of each class, its easiest, that judges; below 1 for noisy labels", low=0.01, high=1
        ),
    },
    needs=frozenset({"vectors", "scores"}),
    takes_groups=True,
    seeded=True,
    flops=_flops,
)
