"""Changing the mixture of domains while a model is trained, and letting weights count in training."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasksift.online.callback import OnlineMixing
    from tasksift.online.domains import Domains
    from tasksift.online.found import find_domains
    from tasksift.online.history import History, HistoryTable, read_history
    from tasksift.online.layout import Layout
    from tasksift.online.mixture import Mixture
    from tasksift.online.ranks import agreed, summed
    from tasksift.online.reselect import Reselect
    from tasksift.online.sampler import OnlineSampler
    from tasksift.online.weights import WeightedCollator, WeightedLoss, resample

__all__ = [
    "Domains",
    "History",
    "HistoryTable",
    "Layout",
    "Mixture",
    "OnlineMixing",
    "OnlineSampler",
    "Reselect",
    "WeightedCollator",
    "WeightedLoss",
    "agreed",
    "find_domains",
    "read_history",
    "resample",
    "summed",
]

# Loaded when first used: the callback needs transformers, the rest does not.
_HOME = {
    "Domains": "domains",
    "History": "history",
    "HistoryTable": "history",
    "Layout": "layout",
    "Mixture": "mixture",
    "OnlineMixing": "callback",
    "OnlineSampler": "sampler",
    "Reselect": "reselect",
    "WeightedCollator": "weights",
    "WeightedLoss": "weights",
    "agreed": "ranks",
    "find_domains": "found",
    "read_history": "history",
    "resample": "weights",
    "summed": "ranks",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"tasksift.online.{_HOME[name]}"), name)
    raise AttributeError(f"module 'tasksift.online' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
