"""How large things become: bytes that each stage reads, writes, keeps and sends, and the memory that it takes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tasksift.evaluate.scale.cluster import Cluster
from tasksift.evaluate.scale.measure import Measured
from tasksift.memory import BASE, embedding_memory, peak_memory
from tasksift.neighbors.density import CANDIDATE_VALUES

KEY, INDEX = 16, 8
"""Bytes of a row's digest, and of its source and tokens."""

CANDIDATE, CANDIDATES = 26, 2
"""Bytes of a neighbour that a worker finds, and how many times as many as a list is long."""

UNIT = 8
"""Bytes of the density of a row, summed over one part of the pool, and of a row's rank."""


@dataclass(frozen=True)
class Sizes:
    """What a selection of this size works on.

    Attributes
    ----------
    rows, selected, planned, candidates : float
    lists : tuple of int
        Lengths to which neighbours are searched, one for each pass.
    calls : int
        How often densities are asked for.
    """

    rows: float
    selected: float
    planned: float
    candidates: float
    lists: tuple[int, ...]
    calls: int


@dataclass(frozen=True)
class Bytes:
    """Bytes that a stage reads and writes on disk, that stay there until the run is done, and that are sent."""

    read: float = 0.0
    written: float = 0.0
    held: float = 0.0
    sent: float = 0.0


def stage_bytes(stage: str, sizes: Sizes, measured: Measured, cluster: Cluster, written: float) -> Bytes:
    """Bytes of one stage.

    Parameters
    ----------
    written : float
        What the training file and the run's folder take.
    """
    rows, pool = sizes.rows, sizes.rows * measured.row_bytes
    store = rows * measured.dim * measured.itemsize
    keys = rows * (KEY + (INDEX if pool else 0))
    apart = not cluster.local
    if stage == "read":
        return Bytes(pool, keys + rows * KEY, keys + rows * KEY, apart * (pool + keys))
    if stage == "embed":
        return Bytes(pool, store, store, apart * (pool + store))
    if stage in ("check", "hash"):
        return Bytes(store, 0, 0, apart * (store + (rows * KEY if stage == "hash" else 0)))
    if stage == "search":
        found = sum(CANDIDATES * length for length in sizes.lists) * measured.targets * CANDIDATE
        passes = len(sizes.lists)
        return Bytes(passes * store, 0, 0, apart * (passes * (store + cluster.machines * rows * UNIT) + found))
    if stage == "densities":
        batch = max(1, CANDIDATE_VALUES // max(1, measured.dim))
        passes = sizes.calls + math.ceil(sizes.candidates / batch) - 1
        sent = sizes.candidates * (measured.dim * 4 * cluster.machines + UNIT * cluster.workers)
        return Bytes(passes * store, 0, 0, apart * (passes * store + sent))
    if stage == "write":
        return Bytes(pool, written, written, apart * (pool + written))
    return Bytes()


def held_already(sizes: Sizes, measured: Measured, *, given: bool) -> float:
    """What lies on disk before the run: the pool, and its vectors where they are `given`."""
    return sizes.rows * (measured.row_bytes + (measured.dim * measured.itemsize if given else 0))


def memory(
    sizes: Sizes, measured: Measured, cluster: Cluster, *, lexical: bool, model: float, more: float
) -> tuple[float, float]:
    """Peak memory of the driver, which alone is the whole run on one machine, and of each worker of a cluster.

    Parameters
    ----------
    lexical : bool
        Whether the default representation is fitted and computed.
    model : float
        What a loaded model takes.
    more : float
        What the selector takes besides.
    """
    search, planned = bool(sizes.lists), round(sizes.planned)
    threads = measured.cores if cluster.local else 1
    processes = measured.processes if cluster.local else 1
    driver = peak_memory(
        round(sizes.rows), measured.targets, dim=measured.dim, text=measured.row_bytes > 0, lexical=lexical,
        search=search, densities=sizes.candidates > 0, planned=planned, threads=threads, processes=processes,
        model=model if cluster.local else 0.0,
    )  # fmt: skip
    if cluster.local:
        return driver + more, 0.0
    part = math.ceil(sizes.rows / cluster.workers)
    worker = peak_memory(
        part, measured.targets, dim=measured.dim, text=False, lexical=False, search=search,
        densities=sizes.candidates > 0, planned=1, threads=1, processes=1,
    )  # fmt: skip
    ranks = UNIT * sizes.rows * cluster.machines / cluster.workers if search else 0.0
    embedding = embedding_memory(measured.dim, 1) if lexical else BASE + model
    return driver + more, max(worker + ranks, embedding)
