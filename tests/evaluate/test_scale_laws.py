"""Laws of time and size: what synthetic timings are made of comes back, and grows as it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksift.evaluate.scale.laws import FIXED, Point, Range, fit, fit_growth, fit_power
from tasksift.evaluate.scale.recording import PLAN, RANK, START, WRITE, Recorder, repeated

rates = st.floats(1e-7, 1e-3)


@settings(max_examples=20)
@given(fixed=st.floats(0.0, 5.0), rate=rates)
def test_slope_and_intercept_come_back(fixed: float, rate: float):
    points = [Point({"rows": n}, (fixed + rate * n,) * 3) for n in (1e4, 2e4, 8e4)]
    found = fit(points, (FIXED, "rows")).at({"rows": 1e7})
    assert found.value == pytest.approx(fixed + rate * 1e7, rel=1e-5)
    assert (found.low, found.high) == (pytest.approx(found.value), pytest.approx(found.value))


def test_three_units_and_the_median_of_repeats():
    points = [
        Point({"rows": n, "found": k}, (1 + 2e-6 * n + 3e-7 * k, 1 + 2e-6 * n + 3e-7 * k, 99.0))
        for n, k in ((1e5, 1e5), (5e5, 1e5), (5e5, 4e5))
    ]
    law = fit(points, (FIXED, "rows", "found"))
    assert law.rates == pytest.approx([1, 2e-6, 3e-7], rel=1e-6)
    # An odd repeat widens the range upwards and leaves the value.
    found = law.at({"rows": 1e6, "found": 0})
    assert found.value == pytest.approx(3.0)
    assert found.low <= found.value < found.high
    assert law.words() == "1 + 2e-06 · rows + 3e-07 · found s"


@settings(max_examples=20)
@given(st.lists(st.floats(0.01, 10), min_size=3, max_size=3))
def test_no_law_falls_with_rows(seconds: list[float]):
    law = fit([Point({"rows": n}, (s,)) for n, s in zip((1e3, 1e4, 1e5), seconds, strict=True)], (FIXED, "rows"))
    assert (law.rates >= 0).all()
    assert law.at({"rows": 1e6}).value >= law.at({"rows": 1e5}).value


def test_a_size_keeps_its_share():
    """Rows and budget times t: t times the size. With two shares, the exponent of the budget comes back."""
    cases = [(n, share * n, 3 * n * share**0.7) for n, share in ((1e4, 0.01), (2e4, 0.01), (4e4, 0.01), (4e4, 0.04))]
    found = fit_power(cases)
    assert found.at(1e6, 1e4).value == pytest.approx(3 * 1e6 * 0.01**0.7, rel=1e-6)
    assert found.at(4e4, 1600).value == pytest.approx(cases[-1][2])
    assert found.at(1e6, 1e3).value == pytest.approx(3 * 1e6 * 0.001**0.7, rel=1e-6)
    spread = found.at(1e8, 1e6)
    assert spread.low < spread.value < spread.high


def test_few_rows_tell_little_of_how_a_size_grows():
    # 4 of 1,000 and 20 of 2,000 would be a power of 2.3; the largest pool is hit, and from there on the share stays.
    found = fit_power([(1e3, 10, 4), (2e3, 20, 20)])
    assert found.at(2e3, 20).value == pytest.approx(20)
    assert found.at(2e6, 2e4).value == pytest.approx(20_000, rel=0.5)
    assert fit_power([(1e3, 10, 40)]).at(1e6, 1e4).value == pytest.approx(40_000)


@pytest.mark.parametrize(("power", "seen"), [(0.5, 1.0), (1.4, 1.4), (3.0, 2.0)])
def test_a_time_grows_by_a_power_from_one_to_two(power: float, seen: float):
    found = fit_growth([(n, n / 10, (n / 1e4) ** power) for n in (1e4, 2e4, 4e4)])
    assert found.at(4e6, 4e5).value / found.at(4e4, 4e3).value == pytest.approx(100**seen)
    assert found.at(4e4, 8e3).value == pytest.approx(2 * found.at(4e4, 4e3).value)


def test_ranges_add_up():
    total = Range(1, 0.5, 2) + Range(3, 2, 4) * 2
    assert total == Range(7, 4.5, 10)
    assert Range(1 / 3, 0, 1).record() == {"value": 0.3333, "low": 0.0, "high": 1.0}


class Ticking:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_recorder_gives_every_second_to_a_stage():
    clock = Ticking()
    recorder = Recorder(clock)
    clock.now += 1
    for label, took, gap in (
        ("reading the pool", 5, 2), ("looking for exact copies", 3, 4), ("searching 512 neighbours", 7, 1),
        ("searching 2048 neighbours", 8, 0), ("counting words", 2, 0), ("making the report", 1, 6), ("writing", 2, 3),
    ):  # fmt: skip
        with recorder.progress(label, 0) as tick:
            clock.now += took
            with recorder.progress("inside", 0):
                tick(1)
        clock.now += gap
    stages = recorder.finish().stages()
    assert stages == {
        START: 1, "read": 5, RANK: 2, "copies": 3, PLAN: 5, "search": 15, "counting words": 2, "report": 1, WRITE: 11
    }  # fmt: skip
    assert sum(stages.values()) == clock.now
    assert recorder.calls()["search"] == 2


def test_repeats_stop_when_the_time_is_over():
    clock = Ticking()

    def work() -> None:
        clock.now += 2.0

    assert repeated(work, least=1, seconds=6.0, clock=clock) == (2.0, 2.0, 2.0)
    assert repeated(work, least=2, seconds=0.0, clock=clock) == (2.0, 2.0)
    assert len(repeated(work, least=1, seconds=np.inf, clock=clock)) == 7
