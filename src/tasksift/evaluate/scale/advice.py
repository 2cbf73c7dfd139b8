"""What a plan of a larger pool says in words: what cannot work, what takes longest, and what to change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tasksift.evaluate.scale.cluster import Cluster
from tasksift.evaluate.scale.laws import Range
from tasksift.evaluate.scale.measure import Measured
from tasksift.evaluate.scale.sizes import Sizes
from tasksift.memory import in_words
from tasksift.neighbors.growing import LIST_BYTES

LIST_ENTRY = 16
"""Bytes of a neighbour in a list."""

LONG = 30 * 86400.0
"""Seconds beyond which a plan is called hopeless."""

CHANGES = {
    "read": "more workers, or a pool of .parquet or plain .jsonl files, which parts of can be read",
    "embed": "more workers or GPUs or a smaller model; and tasksift embed keeps the vectors for the next selection",
    "search": "fewer target rows, or --backend torch or cuda",
    "densities": "a smaller budget, or --sigma 0, which needs no densities",
    "hash": "vectors of fewer dimensions or of float16",
    "check": "vectors of fewer dimensions or of float16",
    "write": "a smaller budget",
    "report": "a smaller budget",
    "plan": "a smaller budget",
    "similarity": "a smaller budget",
}
"""What shortens a stage."""


class Timed(Protocol):
    """A stage with its name and its time."""

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def bound(self) -> str: ...  # noqa: D102

    @property
    def time(self) -> Range: ...  # noqa: D102


def in_time(seconds: float) -> str:
    """Seconds, minutes, hours or days, as people say them."""
    if seconds < 99.5:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    if seconds < 5970:
        return f"{seconds / 60:.1f} min" if seconds < 597 else f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 99.5 else f"{hours / 24:,.0f} days"


def problems(
    sizes: Sizes,
    measured: Measured,
    cluster: Cluster,
    stages: Sequence[Timed],
    total: Range,
    driver: float,
    worker: float,
) -> list[str]:
    """Why this plan cannot work, each with what to change; empty where nothing is known to be in its way."""
    found = []
    lists = LIST_ENTRY * max(sizes.lists, default=0) * measured.targets
    if lists > LIST_BYTES and len(sizes.lists) > 1:
        found.append(
            f"The answer needs about {max(sizes.lists):,} neighbours for each of {measured.targets:,} target rows, "
            f"{in_words(lists)}, and lists stop at {in_words(LIST_BYTES)}: use a smaller budget or fewer target rows."
        )
    if cluster.memory is not None:
        on_machine = worker * cluster.workers / cluster.machines
        for need, who in ((driver, "the driver"), (on_machine, "the workers of a machine")):
            if need > cluster.memory:
                found.append(
                    f"Memory of {who}, about {in_words(need)}, is more than --machine-memory "
                    f"{in_words(cluster.memory)}: use larger machines, or fewer workers on each."
                )
    if total.value > LONG and stages:
        longest = max(stages, key=lambda stage: stage.time.value)
        change = CHANGES.get(longest.name, "a smaller pool")
        found.append(f"{in_time(total.value)} is too long to be of use, most of it for {longest.name}: use {change}.")
    return found


def advice(stages: Sequence[Timed], total: Range, sizes: Sizes, cluster: Cluster, wrong: Sequence[str]) -> str:
    """One sentence: how long, what takes most of it, and what would shorten it."""
    longest = max(stages, key=lambda stage: stage.time.value)
    share = longest.time.value / max(total.value, 1e-9)
    change = "a faster network" if longest.bound == "network" else CHANGES.get(longest.name)
    rest = f"; what would help is {change}" if change else ""
    if wrong:
        return f"As it stands this will not work: {wrong[0]}"
    span = f"{in_time(total.low)} to {in_time(total.high)}"
    what = f"{sizes.rows:,.0f} rows take about {in_time(total.value)} ({span})"
    return f"{what}, {share:.0%} of it for {longest.name}{rest}."
