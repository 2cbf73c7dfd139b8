"""The selections of a comparison: the rows of one cell, with the pool's index and features shared between cells."""

from __future__ import annotations

import json
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tasksift.config import RunConfig
from tasksift.engines.current import current
from tasksift.line import Line
from tasksift.model_features import KEYS
from tasksift.progress import Progress, Tick, silent
from tasksift.rows import Example, PoolFile, TextReader, iter_examples
from tasksift.rows.pick import pick_records
from tasksift.selection import Selection
from tasksift.survey import survey_files
from tasksift.workspace import Workspace

INDEX = ("rows.parquet", "sample.json", KEYS, "rows.done")
"""Files of a run's folder that depend on the pool and on how it is read, and on nothing else; the marker last."""

FEATURE_STEPS = frozenset({"embedding the pool", "fitting TF-IDF and SVD", "tuning"})
"""Steps of a selection that other budgets, seeds and targets share."""


@dataclass(frozen=True)
class Inputs:
    """What every selection of a comparison looks at.

    Attributes
    ----------
    pool : tuple of PoolFile
    tests : tuple of PoolFile
        Rows that nothing selected may resemble.
    index : Path
        Folder with the files `INDEX`, made by the first selection.
    """

    pool: tuple[PoolFile, ...]
    tests: tuple[PoolFile, ...]
    index: Path


@dataclass(frozen=True)
class Chosen:
    """A selection of a cell, and the seconds it took: for what is shared, and besides."""

    selection: Selection
    feature_seconds: float
    select_seconds: float


def choose(config: RunConfig, inputs: Inputs, target: tuple[PoolFile, ...], progress: Progress = silent) -> Chosen:
    """Select by a settled configuration, as `tasksift.pipeline.run` does, but for the index, which is found."""
    inputs.index.mkdir(parents=True, exist_ok=True)
    clock = _Clock(progress)
    begun = time.perf_counter()
    with TemporaryDirectory(prefix="cell-", dir=inputs.index.parent) as folder:
        work = Workspace(Path(folder))
        shared = all((inputs.index / name).exists() for name in INDEX)
        if shared:
            _copy(inputs.index, work.folder)
        files = (list(inputs.pool), list(target), list(inputs.tests))
        selection = Line(config, *files, work, clock.progress, lambda text: None).run()
        # On an engine the first pass for a model leaves more; its workers leave the index alone.
        if not shared or (current() is not None and _marker(work.folder) != _marker(inputs.index)):
            _copy(work.folder, inputs.index)
    shared_seconds = sum(clock.seconds[label] for label in FEATURE_STEPS)
    return Chosen(selection, shared_seconds, time.perf_counter() - begun - shared_seconds)


def _marker(folder: Path) -> bytes:
    return (folder / INDEX[-1]).read_bytes()


def _copy(source: Path, target: Path) -> None:
    (target / INDEX[-1]).unlink(missing_ok=True)
    for name in (*survey_files(source), *INDEX):
        shutil.copy2(source / name, target)


def chosen_examples(selection: Selection, reader: TextReader) -> Iterator[Example]:
    """Yield the rows of a selection in the order of their ranks, those drawn several times as often."""
    record = selection.record
    names = {file.path: file for file in selection.files}
    found: dict[int, Example] = {}
    of_row, rows = np.array(record["file"].to_pylist()), record["row"].to_numpy()
    for path, file in names.items():
        here = np.flatnonzero(of_row == path)
        here = here[np.argsort(rows[here], kind="stable")]
        if len(here):
            records = (one for some in pick_records(file, rows[here]) for one in some)
            for place, values in zip(here.tolist(), records, strict=True):
                found[place] = reader.example(values, f"{path}, row {rows[place]}")
    for place, copies in enumerate(selection.copies.tolist()):
        yield from [found[place]] * copies


def pool_examples(selection: Selection, pool: tuple[PoolFile, ...], reader: TextReader) -> Iterator[Example]:
    """Yield every row of the pool but those that a selection left out before it looked at anything."""
    out = selection.left_out
    gone = set(out["row"].to_pylist()) if out is not None else set()
    at = 0
    for some in iter_examples(list(pool), reader):
        for example in some:
            if at not in gone:
                yield example
            at += 1


def keep_seconds(path: Path, seconds: float) -> None:
    """Remember how long features took, however often their making was interrupted."""
    path.write_text(json.dumps({"seconds": kept_seconds(path) + seconds}), encoding="utf-8")


def kept_seconds(path: Path) -> float:
    """Return what `keep_seconds` remembered, 0 where there is nothing."""
    return float(json.loads(path.read_text(encoding="utf-8"))["seconds"]) if path.exists() else 0.0


class _Clock:
    """Adds up how long the steps of a run take, by their labels."""

    def __init__(self, shown: Progress) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._shown = shown

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Tick]:
        begun = time.perf_counter()
        try:
            with self._shown(label, total) as tick:
                yield tick
        finally:
            self.seconds[label] += time.perf_counter() - begun
