"""Reading and embedding a sample by `tasksift.embed`, timed, and the vectors that come of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tasksift.config import RunConfig
from tasksift.embedding import Embedding, embed
from tasksift.evaluate.scale.laws import Point
from tasksift.evaluate.scale.recording import START, Clock, Recorder
from tasksift.evaluate.scale.sample import RowSample, copies_of, thinned
from tasksift.features import SAMPLE_TEXTS, SHARD_ROWS, WORTH_SHARDS, pool_workers
from tasksift.memory import model_memory
from tasksift.represent import tfidf
from tasksift.represent.model_job import embed_examples
from tasksift.represent.opening import for_targets, open_embedder, resolve
from tasksift.rows import Example

FIRST_ROWS = 64
"""Rows that a model embeds first, to see how many there is time for."""


@dataclass
class Embedded:
    """A sample as vectors.

    Attributes
    ----------
    sample : RowSample
        The rows, those of the given sample or fewer of them where a model is slow.
    vectors, targets : Path
        ``.npy`` files, row by row.
    points : dict of str to list of Point
        What reading, fitting and embedding took.
    processes : int
        Worker processes that embedded.
    memory : float
        What a model takes, see `tasksift.memory.model_memory`.
    """

    sample: RowSample
    vectors: Path
    targets: Path
    points: dict[str, list[Point]] = field(default_factory=dict)
    processes: int = 1
    memory: float = 0.0


def embed_sample(
    config: RunConfig, sample: RowSample, targets: list[Example], rows: int, folder: Path, seconds: float, clock: Clock
) -> Embedded:
    """Embed a sample at two sizes, within about so many seconds.

    Parameters
    ----------
    config : RunConfig
        Of a representation that is computed.
    rows : int
        Of the pool that is planned: where that is worth worker processes, these are timed.
    """
    options = {**config.feature_options(), "representation": config.representation or "tfidf"}
    lexical = options["representation"] == "tfidf"
    runs: list[tuple[int, Recorder]] = []
    begun = clock()

    def once(some: RowSample, name: str, copies: int = 1) -> Embedding:
        recorder = Recorder(clock)
        done = embed(
            copies_of(some, copies, folder / name), folder / f"{name}.store", progress=recorder.progress, **options
        )
        runs.append((copies * len(some), recorder.finish()))
        return done

    if lexical:
        done = once(sample, "all")
        enough = math.ceil(WORTH_SHARDS * SHARD_ROWS / len(sample)) if pool_workers(rows) > 1 else 1
        stages = runs[0][1].stages()
        row = (stages.get("read", 0.0) + stages.get("embed", 0.0)) / len(sample)
        for copies in (enough, 2 * enough):
            again = stages.get("fit", 0.0) + row * copies * len(sample)
            if copies > 1 and clock() - begun + again <= seconds:
                once(sample, f"copies-{copies}", copies)
        if enough > 1 and len(runs) > 1:
            runs = runs[1:]  # without worker processes
    else:
        small, _ = thinned(sample, max(1, len(sample) // FIRST_ROWS), folder / "few")
        done = once(small, "first")
        took = max(1e-3, runs[0][1].stages().get("embed", 0.0)) / len(small)
        step = max(1, math.ceil(len(sample) * took / max(seconds - took * len(small), 1e-3)))
        if step * FIRST_ROWS < len(sample):
            sample = thinned(sample, step, folder / "more")[0] if step > 1 else sample
            done = once(sample, "model")
        else:
            sample = small
    found = Embedded(sample, folder / "vectors.npy", folder / "targets.npy")
    found.processes = pool_workers(max(n for n, _ in runs)) if lexical else 1
    done.vectors.copy(np.arange(len(done.vectors)), found.vectors)
    begun = clock()
    aims, found.memory = embed_targets(config, Path(done.folder), targets)
    np.save(found.targets, aims)
    found.points["targets"] = [Point({"rows": len(sample)}, (clock() - begun,))]
    for n, recorder in runs:
        for stage, took in recorder.stages().items():
            units = {"rows": float(n), "texts": float(min(len(sample), SAMPLE_TEXTS))}
            if stage in ("read", "fit", "embed", START):
                found.points.setdefault(stage, []).append(Point(units, (took,)))
    return found


def embed_targets(config: RunConfig, store: Path, targets: list[Example]) -> tuple[Any, float]:
    """The targets' vectors, beside those of the pool in a store; and what a model that makes them takes in memory."""
    if config.representation in (None, "tfidf"):
        return tfidf.Tfidf.load(store / "model").transform([each.text for each in targets]), 0.0
    settled = RunConfig.create(
        **{**config.model_dump(), **resolve(config, "tfidf"), "store_dtype": "float32", "features": None}
    )
    embedder = open_embedder(settled)
    return embed_examples(for_targets(embedder), targets, settled), model_memory(embedder)
