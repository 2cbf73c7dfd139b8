"""Plans of larger pools from made-up measurements: sums, growth with rows, what workers change."""

from __future__ import annotations

from typing import Any

import pytest

from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.evaluate.scale.advice import in_time
from tasksift.evaluate.scale.cluster import Cluster, cluster_of
from tasksift.evaluate.scale.laws import Point
from tasksift.evaluate.scale.measure import Measured
from tasksift.evaluate.scale.plan import assemble
from tasksift.evaluate.scale.runs import Run
from tasksift.evaluate.scale.words import lines

HERE = Cluster(1, 2, local=True)


def run(rows: int, budget: int) -> Run:
    planned = 3 * budget
    stages = {"start": 0.5, "rank": 0.1, "search": 0.2, "densities": 0.3, "plan": 0.1, "write": 0.1 + 1e-5 * rows}
    calls = {"search": 1, "densities": 2, "write": 1}
    return Run(rows, budget, 10, stages, calls, planned, planned, 40, 5120, 0.5, 1000 + 100 * budget, 50 * rows)


def measured(reading: float = 1e-4) -> Measured:
    points = {
        "read": [Point({"rows": n}, (1 + reading * n,)) for n in (1e4, 4e4)],
        "rank": [Point({"rows": n}, (1e-7 * n,)) for n in (1e5, 1e6)],
        "search": [
            Point({"passes": 1, "rows": n, "rows·passes": n, "found": 1e4}, (1e-6 * n,)) for n in (1e4, 4e4)
        ],
        "densities": [Point({"rows": n, "densities": 0.03 * n}, (n / 1e4,)) for n in (1e4, 2e4, 4e4)],
    }  # fmt: skip
    runs = [run(10_000, 100), run(20_000, 200), run(40_000, 400), run(40_000, 1600)]
    return Measured(40_000, 200.0, 50.0, 16, 4, 10, 2, 1, points=points, runs=runs)


def plan(rows: int, cluster: Cluster = HERE, budget: str = "1%", **how: Any) -> dict[str, Any]:
    return assemble(
        RunConfig.create(pool=["pool.jsonl"], target=["t.jsonl"], budget=budget), measured(**how), rows, cluster
    )


def stage(record: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in record["stages"] if each["name"] == name)


def test_sums_on_this_machine():
    record = plan(1_000_000)
    assert stage(record, "read")["time"]["value"] == pytest.approx(101)
    assert stage(record, "densities")["time"]["value"] == pytest.approx(100, rel=1e-3)
    assert record["sizes"]["candidates"] == pytest.approx(30_000, rel=1e-3)
    assert stage(record, "read")["read"] == 200e6
    assert record["total"]["value"] == pytest.approx(sum(each["time"]["value"] for each in record["stages"]), rel=1e-3)
    assert record["bytes"]["sent"] == 0
    assert record["problems"] == []
    assert "of it for read" in record["advice"]


def test_it_grows_with_rows_and_a_fixed_budget_takes_fewer_densities():
    few, many = plan(1_000_000), plan(100_000_000)
    for each in few["stages"]:
        assert stage(many, each["name"])["here"]["value"] >= each["here"]["value"]
    assert many["memory"]["driver"] >= few["memory"]["driver"]
    fixed = plan(100_000_000, budget="10000")
    assert fixed["selected"] == few["selected"]
    assert stage(fixed, "densities")["time"]["value"] < stage(many, "densities")["time"]["value"]


def test_workers_share_what_can_be_shared():
    alone, many = plan(10_000_000), plan(10_000_000, Cluster(4, 64))
    assert stage(many, "read")["time"]["value"] == pytest.approx(1 + 1000 / 64, rel=1e-3)
    assert stage(many, "search")["time"]["value"] == pytest.approx(
        stage(alone, "search")["time"]["value"] / 32, rel=1e-2
    )
    assert stage(many, "rank")["time"] == stage(alone, "rank")["time"]
    assert many["memory"]["worker"] > 0
    assert any("nothing of the cluster was measured" in note for note in many["notes"])


def test_a_slow_network_bounds():
    slow = plan(10_000_000, Cluster(4, 64, network=1e6))
    read = stage(slow, "read")
    assert read["bound"] == "network"
    assert read["time"]["value"] == pytest.approx(read["sent"] / 4e6, rel=1e-3)
    assert "a faster network" in slow["advice"]


def test_what_cannot_work_is_said():
    record = plan(100_000_000_000)
    assert "days is too long to be of use" in record["problems"][-1]
    assert record["advice"].startswith("As it stands this will not work")
    small = plan(1_000_000, Cluster(2, 4, memory=1e6))
    assert sum("--machine-memory" in each for each in small["problems"]) == 2
    assert "As it stands" in "\n".join(lines(small))


def test_clusters():
    how = {"by_model": True, "on_gpu": False}
    assert cluster_of(2, **how).local
    assert cluster_of(8, machines=3, **how).workers == 24
    fast = cluster_of(2, gpus=4, speed_up=50, **how)
    assert fast.faster("embed", 2, by_model=True, on_gpu=False) == 200
    assert fast.faster("search", 2, by_model=True, on_gpu=False) == 1
    assert fast.faster("rank", 2, by_model=True, on_gpu=False) == 1
    with pytest.raises(InputError, match="--gpus needs --gpu-speed-up"):
        cluster_of(2, gpus=4, **how)
    with pytest.raises(InputError, match="--gpu-speed-up goes with --gpus"):
        cluster_of(2, speed_up=4, **how)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.5, "0.5 s"), (42, "42 s"), (300, "5.0 min"), (3000, "50 min"), (7200, "2.0 h"), (9e5, "10 days")],
)
def test_times_in_words(seconds: float, words: str):
    assert in_time(seconds) == words
