"""From what was measured to a pool of another size: laws of every stage, and how far lists and densities reach."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from tasksift.evaluate.scale.laws import FIXED, NOTHING, Point, Power, Range, fit, fit_growth, fit_power
from tasksift.evaluate.scale.measure import Measured
from tasksift.evaluate.scale.passes import pass_units
from tasksift.evaluate.scale.recording import START
from tasksift.evaluate.scale.runs import Run
from tasksift.features import SAMPLE_TEXTS
from tasksift.neighbors.growing import SMALL_POOL

SEARCHED, LONGER = 512, 4
"""Neighbours of each target at first, and how many times as many when these do not reach."""

DENSE = "densities"

SORT = "rows·log2(rows)"

UNITS = {
    "read": (FIXED, "rows"),
    "fit": ("texts",),
    "targets": (FIXED,),
    START: (FIXED,),
    "embed": (FIXED, "rows"),
    "check": (FIXED, "rows"),
    "hash": (FIXED, "rows"),
    "rank": (FIXED, "rows", SORT),
    "copies": (FIXED, "rows", SORT),
    "search": ("passes", "rows·passes", "found"),
    "plan": (FIXED, "rows", "listed"),
    "similarity": (FIXED, "planned"),
    "report": (FIXED, "rows", "planned", "listed"),
    "write": (FIXED, "rows", "selected", "planned"),
}
"""What the law of each stage is a sum over; any other stage goes by rows and by rows planned."""

OTHER = (FIXED, "rows", "planned")

SQUARE, STEEP = "rows²", 1.5
"""The unit of a stage whose time grew faster than by this power of the rows."""


class Forecast:
    """The laws of one pool and machine.

    Parameters
    ----------
    measured : Measured
    """

    def __init__(self, measured: Measured) -> None:
        self.measured = measured
        self.points = {stage: list(found) for stage, found in measured.points.items()}
        for stage in measured.stages:
            if stage not in self.points:
                self.points[stage] = _points(measured.runs, stage)
            elif stage == "read":  # whole selections do the same, on other sizes
                self.points[stage] += _points(measured.runs, stage)
        for stage, found in self.points.items():
            self.points[stage] = [
                Point({**_sorts(point.units["rows"]), **point.units}, point.seconds) for point in found
            ]
        if "search" in self.points:
            self.points["search"] += _searches(measured.runs)
        self.laws = {
            stage: fit(found, _told(found, self._units(stage)))
            for stage, found in self.points.items()
            if stage != DENSE
        }
        self.dense = None
        if DENSE in measured.points:
            timed = [(point.units["rows"], point.units[DENSE], min(point.seconds)) for point in measured.points[DENSE]]
            self.dense = fit_growth(timed)
        else:
            self.points.pop(DENSE, None)
        self.reach = self._power(lambda run: run.reach)
        self.planned = self._power(lambda run: run.planned)
        # Few but the rows that the plan mentions get a density.
        self.candidates = self.planned if self.dense else None
        self.written = fit(_grouped(measured.runs, lambda run: float(run.written)), (FIXED, "selected"))
        self.calls = max((run.calls.get("densities", 0) for run in measured.runs), default=0)

    def seconds(self, stage: str, rows: float, selected: float) -> Range:
        """Seconds of a stage on this machine."""
        if stage == DENSE:
            assert self.dense is not None
            size = self.candidates.at(rows, selected) if self.candidates else NOTHING
            value, low, high = (self.dense.at(rows, min(rows, each)) for each in (size.value, size.low, size.high))
            return Range(value.value, low.low, high.high)
        return self.laws[stage].at(self._amounts(rows, selected))

    def fixed(self, stage: str) -> float:
        """The part of it that does not grow with the pool."""
        law = self.laws.get(stage)
        return float(law.rates[law.names.index(FIXED)]) if law and FIXED in law.names else 0.0

    def words(self, stage: str) -> str:
        """The law of a stage."""
        return f"{self.dense.words('densities')} s" if stage == DENSE and self.dense else self.laws[stage].words()

    def lists(self, rows: float, selected: float) -> tuple[int, ...]:
        """The lengths to which neighbours are searched, pass by pass."""
        if "search" not in self.points:
            return ()
        length = int(rows) if rows <= SMALL_POOL else min(SEARCHED, int(rows))
        found = [length]
        needed = min(rows, self.reach.at(rows, selected).value) if self.reach else 0.0
        while found[-1] < needed:
            found.append(min(int(rows), LONGER * found[-1]))
        return tuple(found)

    def _power(self, value: Callable[[Run], int]) -> Power | None:
        cases = [(run.rows, run.budget, value(run)) for run in self.measured.runs if value(run) > 0 and not run.large]
        return fit_power(list(dict.fromkeys(cases))) if cases else None

    def _amounts(self, rows: float, selected: float) -> dict[str, float]:
        lists = self.lists(rows, selected)
        return {
            **_sorts(rows),
            **pass_units(rows, self.measured.targets, lists),
            "texts": min(rows, SAMPLE_TEXTS),
            "selected": selected,
            "planned": min(rows, self.planned.at(rows, selected).value) if self.planned else selected,
            "listed": float(self.measured.targets * max(lists, default=0)),
        }

    def _units(self, stage: str) -> Sequence[str]:
        if stage in UNITS:
            return UNITS[stage]
        sizes: dict[float, list[float]] = defaultdict(list)
        for point in self.points[stage]:
            sizes[point.units["rows"]] += point.seconds
        ends = sorted((rows, float(np.median(took))) for rows, took in sizes.items())
        (few, short), (many, long) = ends[0], ends[-1]
        steep = many > few and long > 0.1 and math.log(long / max(short, 1e-6)) / math.log(many / few) > STEEP
        return (FIXED, SQUARE, *OTHER[2:]) if steep else OTHER


def sum_of(ranges: Sequence[Range]) -> Range:
    """The sum of some ranges; their ends add up, as what was slow once may be slow everywhere."""
    total = Range(0.0, 0.0, 0.0)
    for each in ranges:
        total = total + each
    return total


def _told(points: Sequence[Point], names: Sequence[str]) -> Sequence[str]:
    """The units that points can tell apart: those of one size do not say what is fixed, and all is taken to grow."""
    several = len({point.units["rows"] for point in points}) > 1
    return names if several else [name for name in names if name != FIXED] or names


def _sorts(rows: float) -> dict[str, float]:
    return {SORT: rows * math.log2(max(2.0, rows)), SQUARE: rows * rows}


def _points(runs: Sequence[Run], stage: str) -> list[Point]:
    return _grouped([run for run in runs if stage in run.stages], lambda run: run.stages[stage])


def _searches(runs: Sequence[Run]) -> list[Point]:
    """What whole selections searched, all passes together."""
    some = [run for run in runs if run.calls.get("search") and run.listed and not run.large]
    points = []
    for point in _grouped(some, lambda run: run.stages["search"]):
        run = next(run for run in some if run.units == point.units)
        lists = [run.listed // run.targets // LONGER**k for k in range(run.calls["search"])]
        points.append(Point(pass_units(run.rows, run.targets, lists), point.seconds))
    return points


def _grouped(runs: Sequence[Run], value: Callable[[Run], float]) -> list[Point]:
    """Repeats of a run together."""
    found: dict[tuple[tuple[str, float], ...], list[float]] = defaultdict(list)
    for run in runs:
        found[tuple(run.units.items())].append(value(run))
    return [Point(dict(units), tuple(each)) for units, each in found.items()]
