"""The rows of a plan laid out for drawing, and the draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasksift.draw.limits import check_limits, inclusion_within, quotas
from tasksift.draw.sample import apportion, members, multinomial, places, systematic, whole_and_rest
from tasksift.errors import InputError, ShortPlanError
from tasksift.numbering import by_rank, gather, highest, numbers, where
from tasksift.plan import DrawName, Plan
from tasksift.scratch import chunks, large

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Drawn:
    """The rows that a draw took, best first: by value, ties by the pool's tie-breaking order.

    Attributes
    ----------
    ids : int64 (m,)
        Positions in the pool, each once. A row's rank is its place here.
    copies : int64 (m,)
        How often each is to be trained on; sums to the budget.
    weight : float64 (m,)
        Training weight of each copy; the mean over all copies is 1.
    inclusion : float64 (m,)
        Expected number of copies under the draw; NaN for ``gumbel``, of which it is not known.
    method : str
        The draw used.
    """

    ids: Ints
    copies: Ints
    weight: Floats
    inclusion: Floats
    method: DrawName

    @property
    def distinct(self) -> int:
        """Number of different rows."""
        return len(self.ids)


@dataclass(frozen=True)
class Lot:
    """The rows of a plan that can be drawn, in tie order, with what restricts them; made by `lay_out`.

    Attributes
    ----------
    plan : Plan
    method : str
    ids : int64 (n,)
        Pool rows in tie order.
    values : float64 (n,)
        Their values; normalised to sum 1 for mass and quota plans.
    source : int64 (n,)
        Their source codes; zeros without limits.
    names : list of str
        The sources, ascending; empty without limits.
    minimum, maximum : int or None
    """

    plan: Plan
    method: DrawName
    ids: Ints
    values: Floats
    source: Ints
    names: Sequence[str]
    minimum: int | None
    maximum: int | None

    @property
    def limited(self) -> bool:
        """Whether sources are limited."""
        return self.minimum is not None or self.maximum is not None

    @property
    def repeats(self) -> bool:
        """Whether a row may be drawn more than once."""
        return self.method in ("multinomial", "apportion")

    @property
    def least(self) -> int:
        """The smallest budget that can be drawn."""
        return max(1, len(self.names) * (self.minimum or 0))

    @property
    def most(self) -> int | None:
        """The largest budget that can be drawn; None if there is none."""
        if self.limited:
            if self.repeats:
                drawable = np.count_nonzero(np.bincount(self.source, minlength=len(self.names)))
                return None if self.maximum is None else self.maximum * int(drawable)
            rows = np.bincount(self.source, minlength=len(self.names))
            return int(np.minimum(rows, len(self.ids) if self.maximum is None else self.maximum).sum())
        if self.repeats and len(self.ids):
            return None
        if self.method == "systematic" and len(self.ids):
            return min(len(self.ids), int((1 + 1e-9) / float(self.values.max())))
        return len(self.ids)

    def check(self, k: int) -> None:
        """Raise the `InputError` or `ShortPlanError` that says why k rows cannot be drawn, if they cannot."""
        if k < 1:
            raise InputError(f"the budget is {k} rows; ask for at least 1")
        if self.limited:
            check_limits(self._drawable(k), k, self.minimum, self.maximum, self.names, complete=self.plan.complete)
            return
        if self.most is None or k <= self.most:
            return
        n = len(self.ids)
        if k > n and not self.plan.complete:
            raise ShortPlanError(
                f"the {self.plan.selector} plan names {n} rows and the budget is {k}; select again with that budget"
            )
        if self.method != "systematic" or n == 0:
            raise InputError(
                f"the {self.plan.selector} plan has {n} rows to draw and the budget is {k}; lower the budget"
            )
        ways = ["ask for a smaller budget"]
        if self.plan.kind == "mass":
            ways += ["--breadth auto"] if self.plan.breadth is not None else []
            ways += ["--draw multinomial", "--draw top"] if k <= n else ["--draw multinomial"]
        else:
            ways += ["--draw apportion"]
        raise InputError(
            f"a budget of {k} is too large for --draw systematic: the {self.plan.selector} plan serves at most "
            f"{self.most} of its {n} rows without repeats; {' or '.join(', '.join(ways).rsplit(', ', 1))}"
        )

    def draw(self, k: int, seed: int | np.random.SeedSequence) -> Drawn:
        """Draw exactly k rows, or raise as `check` does."""
        self.check(k)
        if isinstance(seed, int) and seed < 0:
            raise InputError(f"the seed is {seed}; it is a whole number from 0")
        rng = np.random.default_rng(seed)
        if self.method == "systematic":
            copies, expected = self._systematic(k, rng)
        elif self.method == "multinomial":
            copies, expected = self._multinomial(k, rng)
        elif self.method == "apportion":
            copies = self._apportion(k)
            expected = copies.astype(np.float64)
        elif self.method == "gumbel":
            copies = self._top(k, self.values + rng.gumbel(size=len(self.values)))
            expected = np.full(len(copies), np.nan)
        else:
            copies = self._top(k, self.values)
            expected = copies.astype(np.float64)
        took = where(copies)
        took = took[np.argsort(-self.values[took], kind="stable")]
        weight = np.ones(len(took))
        if self.method == "top" and self.plan.kind == "mass":
            weight = self.values[took] / self.values[took].mean()
        return Drawn(self.ids[took], copies[took], weight, expected[took], self.method)

    def _systematic(self, k: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
        if self.limited:
            inclusion = inclusion_within(self.values, self.source, self._quotas(k))
            taken = systematic(inclusion, rng, self.source)
        else:
            inclusion = large(len(self.ids), np.float64)
            for some in chunks(len(inclusion)):
                inclusion[some] = np.minimum(1.0, k * self.values[some])
            taken = systematic(inclusion, rng)
        copies = large(len(self.ids), np.int64, fill=0)
        copies[taken] = 1
        return copies, inclusion

    def _multinomial(self, k: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
        if not self.limited:
            return multinomial(self.values, k, rng), k * self.values
        quota = self._quotas(k)
        counts, rest = whole_and_rest(quota)
        counts[systematic(rest, rng)] += 1
        copies = np.zeros(len(self.ids), dtype=np.int64)
        for count, rows in zip(counts, members(self.source, len(counts)), strict=True):
            if len(rows):
                copies[rows] = multinomial(self.values[rows], int(count), rng)
        return copies, self.values / self._masses()[self.source] * quota[self.source]

    def _apportion(self, k: int) -> Ints:
        if not self.limited:
            return apportion(k * self.values, k)
        copies = np.zeros(len(self.ids), dtype=np.int64)
        counts = apportion(self._quotas(k), k)
        for count, rows in zip(counts.tolist(), members(self.source, len(counts)), strict=True):
            if len(rows):
                copies[rows] = apportion(count * (self.values[rows] / self.values[rows].sum()), count)
        return copies

    def _top(self, k: int, values: Floats) -> Ints:
        if not self.limited:
            copies = large(len(values), np.int64, fill=0)
            copies[highest(values, k)] = 1
            return copies
        by_value = np.argsort(-values, kind="stable")
        source = self.source[by_value]
        place = places(np.arange(len(source)), source)
        owed = place < (self.minimum or 0)
        allowed = np.ones(len(source), dtype=bool) if self.maximum is None else place < self.maximum
        free = np.flatnonzero(allowed & ~owed)
        copies = np.zeros(len(source), dtype=np.int64)
        copies[by_value[owed]] = 1
        copies[by_value[free[: k - int(owed.sum())]]] = 1
        return copies

    def _masses(self) -> Floats:
        return np.bincount(self.source, weights=self.values, minlength=len(self.names)).astype(np.float64)

    def _drawable(self, k: int) -> Ints:
        rows = np.bincount(self.source, minlength=len(self.names)).astype(np.int64)
        # Where rows repeat, one is enough for any count.
        return np.where(rows > 0, k, 0) if self.repeats else rows

    def _quotas(self, k: int) -> Floats:
        return quotas(self._masses(), self._drawable(k), k, self.minimum, self.maximum, self.names)


def lay_out(
    plan: Plan,
    *,
    order: Ints,
    method: str | None = None,
    sources: Ints | None = None,
    source_names: Sequence[str] | None = None,
    minimum: int | None = None,
    maximum: int | None = None,
) -> Lot:
    """Check a plan against the options of `draw` and sort its rows, so that several budgets can be drawn from it.

    Sums of floats depend on their order, hence everything is brought into tie order before the first of them.
    """
    kind = plan.check_draw(method)
    values = plan.values
    if plan.kind == "quota" and len(values) and values.min() < 0:
        raise InputError(
            f"the {plan.selector} plan expects {values.min():g} copies of a row; quotas cannot be negative"
        )
    usable = where(values) if plan.kind in ("mass", "quota") else numbers(len(values))
    ranks = gather(order, gather(plan.ids, usable))
    places = by_rank(ranks)
    if any((np.diff(ranks[places[max(0, some.start - 1) : some.stop]]) == 0).any() for some in chunks(len(ranks))):
        raise ValueError("order must give every pool row a rank of its own")
    usable = gather(usable, places)
    ids, values = gather(plan.ids, usable), gather(values, usable, np.float64)
    if plan.kind in ("mass", "quota"):
        values /= values.sum()
    source = np.zeros(len(ids), dtype=np.int64)
    names: list[str] = []
    if minimum is not None or maximum is not None:
        if sources is None:
            raise InputError("limits per source need the source of every pool row")
        if len(sources) != len(order):
            raise ValueError(f"there are {len(sources)} sources and {len(order)} pool rows")
        given = np.array(np.arange(sources.max(initial=-1) + 1) if source_names is None else source_names, dtype=str)
        if len(sources) and not (sources.min() >= 0 and sources.max() < len(given)):
            raise ValueError(f"source codes must index the {len(given)} source names")
        by_name = np.argsort(given, kind="stable")
        names = given[by_name].tolist()
        place = np.empty(len(given), dtype=np.int64)
        place[by_name] = np.arange(len(given))
        source = place[sources[ids]]
    return Lot(plan, kind, ids, values, source, names, minimum, maximum)
