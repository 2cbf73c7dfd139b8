"""The selectors: pure functions from vectors to a `Plan`, and the list by which the pipeline finds them."""

from __future__ import annotations

from tasksift.selectors import (
    adapt,
    bm25,
    dsir,
    facility_location,
    gradex,
    less,
    nearest,
    random,
    round_robin,
    scalar,
    tarot,
    trak,
    tsds,
    windows,
)
from tasksift.selectors.contract import Context, Planner, Selector, Size
from tasksift.selectors.parameter import Parameter

__all__ = [
    "SELECTORS",
    "Context",
    "Parameter",
    "Planner",
    "Selector",
    "Size",
    "adapt",
    "bm25",
    "dsir",
    "facility_location",
    "gradex",
    "less",
    "nearest",
    "random",
    "round_robin",
    "scalar",
    "tarot",
    "trak",
    "tsds",
    "windows",
]

SELECTORS: dict[str, Selector] = {
    "tsds": tsds.SELECTOR,
    "nearest": nearest.SELECTOR,
    "round-robin": round_robin.SELECTOR,
    "random": random.SELECTOR,
    "less": less.SELECTOR,
    "dsdm": trak.SELECTOR,
    "tarot": tarot.SELECTOR,
    "tarot-weighted": tarot.WEIGHTED,
    "scalar": scalar.SELECTOR,
    "bws": windows.SELECTOR,
    "dsir": dsir.SELECTOR,
    "bm25": bm25.SELECTOR,
    "adapt-infinity": adapt.SELECTOR,
    "gradex": gradex.SELECTOR,
    "facility-location": facility_location.SELECTOR,
    "facility-location-mi": facility_location.TARGETED,
}
