"""What a plan is for: this machine, or so many like it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from tasksift.errors import InputError

SHARED = frozenset({"read", "embed", "check", "hash", "search", "densities"})
"""Stages that a cluster's workers share; the driver does all others alone."""


@dataclass(frozen=True)
class Cluster:
    """Workers, each as fast as a core of this machine, and what lies between them.

    Attributes
    ----------
    machines, workers : int
        Workers of all machines together.
    gpus : int
        Of all machines together; they embed, where a model does.
    speed_up : float or None
        How many times as fast as this machine one of them embeds.
    memory : float or None
        Bytes of each machine.
    network : float or None
        Bytes a second of each machine.
    local : bool
        Whether this is the machine on which the plan is made, and nothing else.
    """

    machines: int
    workers: int
    gpus: int = 0
    speed_up: float | None = None
    memory: float | None = None
    network: float | None = None
    local: bool = False

    def faster(self, stage: str, cores: int, *, by_model: bool, on_gpu: bool) -> float:
        """How many times as fast as here a stage is.

        Parameters
        ----------
        stage : str
        cores : int
            Of this machine, as many as it was measured on.
        by_model, on_gpu : bool
            Whether a model embeds, and whether it was measured on a GPU.
        """
        if stage not in SHARED:
            return 1.0
        if stage == "embed" and by_model and self.gpus:
            return self.gpus * (1.0 if on_gpu else self.speed_up or 1.0)
        return 1.0 if self.local else self.workers / cores

    def transfer(self, sent: float, stage: str) -> float:
        """Seconds that so many bytes take: all machines at a time for what workers share, one for the rest."""
        if self.network is None:
            return 0.0
        return sent / (self.network * (self.machines if stage in SHARED else 1))

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def cluster_of(
    cores: int,
    *,
    workers: float | None = None,
    gpus: float | None = None,
    speed_up: float | None = None,
    machines: float | None = None,
    memory: float | None = None,
    network: float | None = None,
    by_model: bool,
    on_gpu: bool,
) -> Cluster:
    """Make a cluster of what was given; by default it is this machine.

    Raises
    ------
    InputError
        If numbers are no counts, or GPUs are given of which nothing is known.
    """
    for option, value in (("--workers", workers), ("--gpus", gpus), ("--machines", machines)):
        if value is not None and value != math.floor(value):
            raise InputError(f"{option} {value:g}: it should be a whole number")
    if gpus is not None and not by_model:
        raise InputError("--gpus serves a model that embeds, and here none does; leave it out")
    if gpus is not None and speed_up is None and not on_gpu:
        raise InputError(
            "--gpus needs --gpu-speed-up: how many times as fast as this machine one of them embeds, as none was "
            "measured here; or plan on a machine that has one, with --device cuda"
        )
    if speed_up is not None and gpus is None:
        raise InputError("--gpu-speed-up goes with --gpus")
    if workers is not None and machines is not None and workers < machines:
        raise InputError(f"--workers {workers:g} is less than --machines {machines:g}; it counts those of all machines")
    local = workers is None and machines is None
    count = int(machines or 1)
    return Cluster(count, int(workers or count * cores), int(gpus or 0), speed_up, memory, network, local)
