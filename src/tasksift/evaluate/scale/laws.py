"""Laws of time and size: sums of rates times units, fitted to what was measured, with a range from its repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Float = NDArray[np.float64]

DRAWS = 40
"""How often the repeats are drawn again for a range, which holds 80 % of what comes out."""

FIXED = "fixed"
"""The unit of what does not grow."""


@dataclass(frozen=True)
class Range:
    """A number, and the range in which repeats of the measurement would have put it."""

    value: float
    low: float
    high: float

    def __add__(self, other: Range) -> Range:
        return Range(self.value + other.value, self.low + other.low, self.high + other.high)

    def __mul__(self, factor: float) -> Range:
        return Range(self.value * factor, self.low * factor, self.high * factor)

    def record(self) -> dict[str, float]:
        """As JSON, four digits of each."""
        return {name: float(f"{getattr(self, name):.4g}") for name in ("value", "low", "high")}


NOTHING = Range(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Point:
    """Some sizes, in units of what a stage works on, and the seconds that it took, once for each repeat."""

    units: Mapping[str, float]
    seconds: tuple[float, ...]

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {"units": dict(self.units), "seconds": [round(each, 6) for each in self.seconds]}


@dataclass(frozen=True)
class Law:
    """Seconds as a sum of rates times units: ``seconds = fixed + rate · rows + ...``.

    Attributes
    ----------
    names : tuple of u str
        The units; `FIXED` counts 1.
    rates : float64 (u,)
        Seconds a unit, none below 0.
    draws : float64 (b, u)
        The same for repeats drawn again.
    """

    names: tuple[str, ...]
    rates: Float
    draws: Float

    def at(self, units: Mapping[str, float]) -> Range:
        """Seconds for the given units."""
        amounts = np.array([1.0 if name == FIXED else units[name] for name in self.names])
        low, high = np.quantile(self.draws @ amounts, [0.1, 0.9])
        value = float(self.rates @ amounts)
        return Range(value, min(value, float(low)), max(value, float(high)))

    def words(self) -> str:
        """The law as one formula."""
        terms = [
            f"{rate:.3g}" + (f" · {name}" if name != FIXED else "")
            for name, rate in zip(self.names, self.rates, strict=True)
            if rate > 0
        ]
        return (" + ".join(terms) or "0") + " s"


def fit(points: Sequence[Point], names: Sequence[str]) -> Law:
    """Fit a law to the medians of the repeats.

    Parameters
    ----------
    points : sequence of Point
    names : sequence of str
        Units of the law, `FIXED` among them or not.

    Notes
    -----
    Non-negative least squares of relative errors, so that a point of a second counts as much as one of a minute.
    """
    rng = np.random.default_rng(0)
    table = np.array([[1.0 if name == FIXED else point.units[name] for name in names] for point in points])
    medians = np.array([np.median(point.seconds) for point in points])
    drawn = [
        [float(np.median(rng.choice(point.seconds, size=len(point.seconds)))) for point in points] for _ in range(DRAWS)
    ]
    return Law(tuple(names), _solve(table, medians), np.array([_solve(table, np.array(each)) for each in drawn]))


def _solve(table: Float, seconds: Float) -> Float:
    weights = 1 / np.maximum(seconds, 1e-6)
    scaled = table * weights[:, None]
    size = np.maximum(scaled.max(axis=0), 1e-300)
    rates: Float = nnls(scaled / size, seconds * weights)[0] / size
    return rates


@dataclass(frozen=True)
class Power:
    """A size or a time that grows by powers of others: ``value = factor · rows^a · other^b``.

    Attributes
    ----------
    log_factor, rows, other : float
    ends : tuple of Power
        Less steep and steeper ones, which tell its range.
    """

    log_factor: float
    rows: float
    other: float
    ends: tuple[Power, ...] = ()

    def at(self, rows: float, other: float) -> Range:
        """The value for a pool of so many rows and so much of the other."""
        value = float(np.exp(self.log_factor + self.rows * np.log(rows) + self.other * np.log(max(other, 1e-9))))
        every = [value, *(each.at(rows, other).value for each in self.ends)]
        return Range(value, min(every), max(every))

    def words(self, other: str) -> str:
        """The law as one formula."""
        return f"{np.exp(self.log_factor):.3g} · rows^{self.rows:.2f} · {other}^{self.other:.2f}"


Case = tuple[float, float, float]

LIKELY = 0.1
"""How far the growth of a size at an equal share is taken to lie from 1, unless runs say otherwise: it is rows of which
there are t times as many in a pool t times as large."""


def fit_power(cases: Sequence[Case]) -> Power:
    """Fit a power law to a size, from (rows, other, size) of some runs.

    Of the cases, those of the largest pool are hit; the others, of an equal share, say how the size grows with rows and
    other alike, as far as they agree and count enough rows to tell. Two shares of the largest pool give the exponent of
    the other, between 0 and 2.
    """
    logs = np.log(np.maximum(np.array(cases, dtype=np.float64), 1e-9))
    rows, other, value = logs.T
    largest = logs[rows > rows.max() - 1e-9]
    low, high = largest[np.argmin(largest[:, 1])], largest[np.argmax(largest[:, 1])]
    power = float(np.clip((high[2] - low[2]) / (high[1] - low[1]), 0.0, 2.0)) if high[1] > low[1] + 0.1 else 0.0
    equal = np.abs((other - rows) - (low[1] - low[0])) < 0.3
    slope, error = _slope(rows[equal], value[equal], counts=True)
    weight = LIKELY**2 / (LIKELY**2 + error**2)
    return _through(low, 1 + weight * (slope - 1), power, spread=min(LIKELY, error) + 0.02)


def fit_growth(cases: Sequence[Case]) -> Power:
    """Fit a power law to a time, from (rows, other, time) at equal shares: it grows by a power from 1 to 2 of both."""
    logs = np.log(np.maximum(np.array(cases, dtype=np.float64), 1e-9))
    rows, _, value = logs.T
    slope, error = _slope(rows, value)
    slope = float(np.clip(slope, 1.0, 2.0))
    return _through(logs[np.argmax(rows)], slope, 1.0, spread=min(0.25, error) + 0.02)


def _slope(rows: Float, value: Float, *, counts: bool = False) -> tuple[float, float]:
    """The slope of a line and its standard error; of logarithms of counts, theirs at least."""
    if len(np.unique(np.round(rows, 6))) < 2:
        return 1.0, 1.0
    around = rows - rows.mean()
    slope = float(around @ value / (around @ around))
    off = value - value.mean() - slope * around
    noise = max(float(off @ off) / max(1, len(rows) - 2), float(np.exp(-max(0.0, value.min()))) if counts else 0.0)
    return slope, float(np.sqrt(noise / (around @ around)))


def _through(point: Float, slope: float, other: float, spread: float) -> Power:
    def power(slope: float) -> Power:
        return Power(float(point[2] - (slope - other) * point[0] - other * point[1]), slope - other, other)

    return replace(power(slope), ends=(power(slope - spread), power(slope + spread)))
