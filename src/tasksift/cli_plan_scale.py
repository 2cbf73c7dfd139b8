"""The part of `tasksift plan` that plans a larger pool: parse, call the library, print."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tasksift.checked import option_name
from tasksift.errors import InputError

SCALE = "Scale (with --scale)"

USUAL_SECONDS = 60.0

FIELDS = {
    "workers": "workers", "gpus": "gpus", "gpu_speed_up": "speed_up", "machines": "machines",
    "machine_memory": "memory", "network": "network",
}  # fmt: skip
"""Options that say what is planned for."""


def refuse_without_scale(given: Mapping[str, Any]) -> None:
    """Raise an `InputError` where options of a scale plan are given without ``--scale``."""
    for name, value in given.items():
        if value not in (None, [], False):
            raise InputError(
                f"{option_name(name)} goes with --scale ROWS; leave it out, or say for how many rows to plan"
            )


def refuse_with_scale(given: Mapping[str, Any]) -> None:
    """Raise an `InputError` where options of a plan of compute are given together with ``--scale``."""
    for name, value in given.items():
        if value:
            raise InputError(f"{option_name(name)} is of a plan of compute; it does not go with --scale")


def scale_record(
    rows: float, selection: Mapping[str, Any], cluster: Mapping[str, float | None], seconds: float | None,
    say: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """Return the plan as JSON.

    Parameters
    ----------
    rows : float
    selection : mapping
        Fields of a `tasksift.config.RunConfig` that were given.
    cluster : mapping
        Options of `FIELDS` that were given.
    """
    from tasksift.config import RunConfig
    from tasksift.evaluate.scale.cluster import cluster_of
    from tasksift.evaluate.scale.plan import plan_scale, prepare

    config = RunConfig.create(**{name: value for name, value in selection.items() if value is not None})
    prepare(config, rows)
    numbers: dict[str, Any] = {FIELDS[name]: value for name, value in cluster.items()}

    def machines(cores: int, **how: bool) -> Any:
        return cluster_of(cores, **numbers, **how)

    return plan_scale(config, int(rows), machines, seconds=USUAL_SECONDS if seconds is None else seconds, say=say)


def scale_lines(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the plan as lines."""
    from tasksift.evaluate.scale.words import lines

    return lines(record)
