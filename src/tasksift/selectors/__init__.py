"""The selectors: pure functions from vectors to a `Plan`, and the list by which the pipeline finds them."""

from __future__ import annotations

from tasksift.selectors import nearest, random, round_robin, tsds
from tasksift.selectors.contract import Context, Parameter, Planner, Selector, Size

__all__ = [
    "SELECTORS",
    "Context",
    "Parameter",
    "Planner",
    "Selector",
    "Size",
    "nearest",
    "random",
    "round_robin",
    "tsds",
]

SELECTORS: dict[str, Selector] = {
    "tsds": tsds.SELECTOR,
    "nearest": nearest.SELECTOR,
    "round-robin": round_robin.SELECTOR,
    "random": random.SELECTOR,
}
