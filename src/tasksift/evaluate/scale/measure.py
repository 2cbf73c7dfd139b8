"""Everything about a pool and this machine that a plan is made of, measured within a stated time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tasksift.config import RunConfig
from tasksift.draw import Budget
from tasksift.engines import worker_count
from tasksift.errors import InputError
from tasksift.evaluate.scale.embeddings import Embedded, embed_sample, embed_targets
from tasksift.evaluate.scale.laws import Point
from tasksift.evaluate.scale.passes import Passes, sorts
from tasksift.evaluate.scale.recording import Clock
from tasksift.evaluate.scale.runs import LEAST_BUDGET, Run, select_once
from tasksift.evaluate.scale.sample import RowSample, copies_of, sample_rows, thinned
from tasksift.feature_config import FeatureConfig
from tasksift.presets import get_preset
from tasksift.represent.opening import READING
from tasksift.represent.store import read_manifest
from tasksift.represent.vectors_file import load_vectors
from tasksift.rows import PoolFile
from tasksift.selectors import SELECTORS
from tasksift.targets import read_targets
from tasksift.vectors import Vectors

SAMPLE_ROWS = 65_536
"""Rows of the pool that are looked at."""

LARGE_SHARE = 0.45
"""Of the time, for passes over large pools; as much goes to embedding, and the rest to whole selections."""

MOST_TURNS = 4
"""How often each of them is made, if there is time."""

LARGE_COPIES, FEWER_COPIES = 8, 4
"""How often the sample is taken for a run that tells of what goes by rows alone: of vectors, and of rows."""

STEPS = (4, 2, 1)
"""Whole selections are made from every so many-th row of the sample."""


@dataclass
class Measured:
    """What was measured.

    Attributes
    ----------
    rows : int
        Of the sample.
    row_bytes : float
        What a row of the pool takes on disk; 0 without rows.
    tokens : float
        Of a row on average.
    dim, itemsize : int
        Of the vectors; 0 where none are looked at.
    targets, cores, processes : int
        Target rows; workers of this machine, and how many of them were processes that embed.
    model_memory : float
        Bytes of the model that embeds, with a batch under way; 0 without one.
    points : dict of str to list of Point
        Seconds of stages.
    runs : list of Run
    seconds : float
        How long all this took.
    """

    rows: int
    row_bytes: float
    tokens: float
    dim: int
    itemsize: int
    targets: int
    cores: int
    processes: int
    model_memory: float = 0.0
    points: dict[str, list[Point]] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def stages(self) -> list[str]:
        """The stages of a run, in the order in which they come."""
        return list(dict.fromkeys([*self.points, *(stage for run in self.runs for stage in run.stages)]))

    def record(self) -> dict[str, Any]:
        """As JSON."""
        facts = {name: value for name, value in vars(self).items() if name not in ("points", "runs")}
        points = {stage: [point.record() for point in found] for stage, found in self.points.items()}
        return {**facts, "points": points, "runs": [dict(vars(run)) for run in self.runs]}


def measure(
    config: RunConfig,
    vectors: Vectors | None,
    files: Sequence[PoolFile],
    target_files: Sequence[PoolFile],
    rows: int,
    *,
    seconds: float,
    clock: Clock,
    say: Callable[[str], None],
) -> Measured:
    """Measure on this machine what a selection from a larger pool is made of.

    Parameters
    ----------
    config : RunConfig
        Of the selection, with its budget.
    vectors : Vectors or None
        The pool's, where they are there already.
    files, target_files : sequence of PoolFile
    rows : int
        Of the pool that is planned.
    seconds : float
        How long to measure, about; everything is run once in any case.
    """
    begun = clock()
    with tempfile.TemporaryDirectory(prefix="tasksift-scale-") as name:
        folder = Path(name)
        selector = SELECTORS[get_preset(config.preset).selector]
        sample = sample_rows(files, SAMPLE_ROWS, folder / "sample") if files else None
        found = Measured(0, 0.0, 0.0, 0, 0, 0, worker_count(), 1)
        embedded: Embedded | None = None
        if vectors is not None:
            place = _thin(vectors, folder / "pool.npy")
            targets = Path(str(config.target_vectors)) if config.target_vectors else None
        elif selector.needs_features and config.features and read_manifest(Path(config.features)) is not None:
            assert sample is not None
            # Any of the vectors do for the rows of the sample: what is timed does not ask which row has which.
            kept = load_vectors(config.features, normalize=False, what="--features")
            place, targets = _thin(kept, folder / "pool.npy", len(sample)), folder / "targets.npy"
            examples = read_targets(config, target_files).examples
            aims, found.model_memory = embed_targets(config, Path(config.features), examples)
            np.save(targets, aims)
        elif selector.needs_features:
            assert sample is not None
            say(f"embedding {len(sample):,} rows")
            examples = read_targets(config, target_files).examples
            embedded = embed_sample(config, sample, examples, rows, folder, LARGE_SHARE * seconds, clock)
            sample, place, targets = embedded.sample, embedded.vectors, embedded.targets
            found.points, found.processes = embedded.points, embedded.processes
            found.model_memory = embedded.memory
        else:
            place, targets = None, None
        pool = None
        if place is not None:
            normalize = config.normalize if vectors is not None else True
            pool = Vectors(np.load(place, mmap_mode="r"), normalize=normalize, name="sample")
            found.dim, found.itemsize = pool.dim, pool.shards[0].dtype.itemsize
        found.rows = len(pool) if pool is not None else len(sample or ())
        found.row_bytes = sample.bytes / len(sample) if sample is not None else 0.0
        left = max(0.0, seconds - (clock() - begun))
        runs = _Runs(config, sample, pool, targets, target_files, rows, folder, clock)
        say(f"selecting from {found.rows:,} rows and parts of them")
        found.runs = runs.make((1 - LARGE_SHARE) * left)
        last = next(run for run in reversed(found.runs) if not run.large)
        found.targets = found.runs[0].targets
        found.tokens = found.runs[0].tokens / found.runs[0].rows
        left = max(0.0, seconds - (clock() - begun))
        say("timing passes over larger pools")
        found.points |= sorts(pool, sample is not None, clock, left / 4)
        there = {stage for run in found.runs for stage in run.calls}
        if pool is not None and there & {"hash", "copies"}:
            assert targets is not None or "search" not in there
            aims = Vectors(np.load(targets), normalize=pool.normalize) if targets is not None else pool
            exact = aims.take(np.arange(len(aims))) if targets is not None else np.empty((0, pool.dim))
            passes = Passes(pool, exact, clock, left * 3 / 4)
            found.points["hash"] = passes.hash()
            if "search" in there:
                found.points["search"] = passes.search(config.backend)
            if "densities" in there and last.sigma > 0:
                largest = [run for run in found.runs if run.rows == last.rows and not run.large]
                reached = min(run.planned for run in largest)
                found.points["densities"] = passes.densities(last.sigma, reached / last.rows, config.backend)
    found.seconds = clock() - begun
    return found


class _Runs:
    """Whole selections from every so many-th row of a sample."""

    def __init__(
        self,
        config: RunConfig,
        sample: RowSample | None,
        pool: Vectors | None,
        targets: Path | None,
        target_files: Sequence[PoolFile],
        rows: int,
        folder: Path,
        clock: Clock,
    ) -> None:
        self.config, self.sample, self.pool, self.targets = config, sample, pool, targets
        self.target_files, self.rows, self.folder, self.clock = target_files, rows, folder, clock
        self.suffix = Path(sample.files[0].path).suffix if sample is not None else ".jsonl"
        if self.suffix not in (".jsonl", ".parquet", ".arrow", ".csv"):
            self.suffix = ".jsonl"
        self.made = 0

    def make(self, seconds: float) -> list[Run]:
        """Runs at all sizes and two budgets, and again as long as there is time."""
        begun, found = self.clock(), list[Run]()
        size = len(self.pool) if self.pool is not None else len(self.sample or ())
        steps = [step for step in STEPS if size // step >= 4 * LEAST_BUDGET] or [1]
        parts = {step: self._part(step, size) for step in steps}
        cases = [(step, factor) for step in steps for factor in ((1, 4) if step == steps[-1] else (1,))]
        # What a process does once, such as importing, is no matter of the size.
        self._once(parts[steps[0]], size // steps[0], 1)
        large = self._large(parts[1])
        for _ in range(MOST_TURNS):
            started = self.clock()
            found.append(replace(self._once(large, size, 1), large=True))
            for step, factor in cases:
                found.append(self._once(parts[step], size // step, factor))
            if 2 * self.clock() - started - begun > seconds:
                break
        return found

    def budget(self, size: int, factor: int) -> int:
        """The share of a part of the sample that the budget is of the pool; a `factor` more, or less near the whole."""
        asked = Budget.parse(self.config.budget)
        if asked.unit == "percent":
            share = asked.amount / 100
        elif asked.unit == "rows":
            share = asked.amount / self.rows
        else:
            share = asked.amount / max(1.0, self._tokens() * self.rows)
        if share > 1:
            raise InputError(f"--budget {asked} is more than --scale {self.rows:,} rows have; lower the budget")
        usual = max(LEAST_BUDGET, round(share * size))
        return min(size, usual * factor if share * factor < 0.5 else max(1, usual // factor))

    def _large(self, changes: dict[str, Any]) -> dict[str, Any]:
        """The sample several times over. Copies count as one row, so it tells of what goes by rows alone."""
        copies = LARGE_COPIES if self.sample is None else FEWER_COPIES
        more = dict(changes)
        if self.sample is not None:
            more["pool"] = copies_of(self.sample, copies, self.folder / "large")
        if "vectors" in more:
            place = self.folder / "large.vectors"
            place.mkdir()
            for k in range(copies):
                os.link(more["vectors"], place / f"{k}.npy")
            more["vectors"] = str(place)
        return more

    def _tokens(self) -> float:
        """Tokens of a row."""
        if self.sample is None:
            raise InputError(
                f"--budget {self.config.budget} counts tokens, but vectors alone have none; name the pool's files"
            )
        from tasksift.rows import TextReader, TokenCounter, scan

        reader, counter = TextReader(self.config.text_template), TokenCounter(self.config.tokenizer)
        some = next(scan(self.sample.files, reader, counter))
        return sum(some.tokens) / len(some.tokens)

    def _part(self, step: int, size: int) -> dict[str, Any]:
        place = self.folder / f"part-{step}"
        place.mkdir()
        which = np.arange(0, size, step)
        changes: dict[str, Any] = {"pool": [], "target": [file.path for file in self.target_files]}
        if self.sample is not None:
            part, which = thinned(self.sample, step, place) if step > 1 else (self.sample, which)
            changes["pool"] = part.paths
        if self.pool is not None:
            self.pool.copy(which, place / "vectors.npy")
            changes |= {"vectors": str(place / "vectors.npy"), "normalize": self.pool.normalize}
            if self.targets is not None:
                changes["target_vectors"] = str(self.targets)
            # What made the vectors is no matter of the selection from them.
            fields = FeatureConfig.model_fields.items()
            changes |= {name: field.get_default() for name, field in fields if name not in READING}
            changes["features"] = None
        return changes

    def _once(self, changes: dict[str, Any], size: int, factor: int) -> Run:
        self.made += 1
        size = max(1, size)
        place = self.folder / f"run-{self.made}"
        return select_once(self.config, self.budget(size, factor), place, self.suffix, self.clock, changes)


def _thin(vectors: Vectors, place: Path, rows: int = SAMPLE_ROWS) -> Path:
    """Write so many vectors spread evenly over a pool, or all of them."""
    if rows > len(vectors) and rows != SAMPLE_ROWS:
        raise InputError(f"--features holds {len(vectors):,} rows, fewer than the pool; embed the pool again")
    some = np.unique(np.linspace(0, len(vectors) - 1, min(rows, len(vectors))).astype(np.int64))
    vectors.copy(some, place)
    return place
