"""Units: every training once, budget by budget with the seeds in a row, and what shares a plan."""

from __future__ import annotations

from itertools import groupby

import pytest

from tasksift.evaluate.arms import parse_arms, random_arm
from tasksift.evaluate.config import CompareConfig
from tasksift.evaluate.tasks import Task
from tasksift.evaluate.units import Unit, in_time, units_of

TASKS = [Task(name, (), ()) for name in ("law", "chat")]


def made(**options: object) -> list[Unit]:
    arms = [random_arm("random"), *parse_arms(["tsds", "bm25"], model={}, encoder={})]
    return units_of(CompareConfig.create(**{"budgets": "1%,5%", "seeds": "4,2", **options}), TASKS, arms)


def test_every_training_is_there_once_in_order():
    units = made()
    assert units[0] == Unit("zero-shot", None, None, None)
    assert units[-2:] == [Unit("full", None, 4, None), Unit("full", None, 2, None)]
    assert len(set(units)) == len(units) == 1 + 2 * 2 * (1 + 2 + 2) + 2
    # A budget is done before the next begins, and all seeds of a selection come in a row.
    assert [budget for budget, _ in groupby(unit.budget for unit in units)] == [None, "1%", "5%", None]
    selections = [(unit.arm, unit.budget, unit.task) for unit in units]
    assert len(list(groupby(selections))) == len(set(selections))
    assert {unit.task for unit in units if unit.arm == "random"} == {None}
    assert {unit.task for unit in units if unit.arm == "bm25"} == {"law", "chat"}
    assert not any(unit.arm == "full" for unit in made(without="full"))
    assert str(units[1]) == "random, 1%, seed 4"


def test_what_shares_a_plan_goes_together_until_the_time_is_up(monkeypatch: pytest.MonkeyPatch):
    units = made()
    groups = list(in_time(units, 0.0, None))
    assert [unit for some in groups for unit in some] == units
    assert [len(some) for some in groups] == [1, *[2] * (2 * 5), 1, 1]
    clock = iter(range(0, 10**9, 3600))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    assert list(in_time(units, 0.0, 2.5)) == groups[:3]
