"""Rows of a pool that stand for all of it: taken from files across it, and kept in the format that they came in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from tasksift.memory import estimate_rows
from tasksift.rows import PoolFile, expand, read, write_rows
from tasksift.rows.raw import batches, lines

MOST_FILES = 8
"""Files that are looked into, spread over all of the pool's."""

REACH = 200_000
"""Rows of each of them, from its beginning, over which those that are taken are spread."""


@dataclass(frozen=True)
class RowSample:
    """Some rows of a pool as files of their own.

    Attributes
    ----------
    files : list of PoolFile
    sizes : list of int
        Rows of each.
    bytes : int
        What they take on disk.
    """

    files: list[PoolFile]
    sizes: list[int]
    bytes: int

    def __len__(self) -> int:
        return sum(self.sizes)

    @property
    def paths(self) -> list[str]:
        """The files' paths."""
        return [file.path for file in self.files]


def sample_rows(files: Sequence[PoolFile], rows: int, folder: Path) -> RowSample:
    """Write about `rows` rows of a pool, or all that there are, to files of the same formats in `folder`.

    They are spread evenly over the first `REACH` rows of each of `MOST_FILES` files. Cost: these are read twice.
    """
    at = np.unique(np.linspace(0, len(files) - 1, min(MOST_FILES, len(files))).astype(int))
    there = [(files[k], _count(files[k])) for k in at]
    total = sum(size for _, size in there)
    takes = [min(size, max(1, round(rows * size / total))) for _, size in there]
    chosen = [
        np.unique(np.linspace(0, size - 1, take).astype(np.int64)) for (_, size), take in zip(there, takes, strict=True)
    ]
    return _written([file for file, _ in there], chosen, folder)


def thinned(sample: RowSample, step: int, folder: Path) -> tuple[RowSample, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Every `step`-th row of a sample as files of their own, and which of its rows these are."""
    starts = np.append(0, np.cumsum(sample.sizes))
    every = [np.arange(-int(start) % step, size, step) for start, size in zip(starts, sample.sizes, strict=False)]
    kept = [k for k, rows in enumerate(every) if len(rows)]
    part = _written([sample.files[k] for k in kept], [every[k] for k in kept], folder)
    return part, np.concatenate([starts[k] + every[k] for k in kept])


def copies_of(sample: RowSample, copies: int, folder: Path) -> list[str]:
    """The files of the sample, so many times over, as links."""
    if copies == 1:
        return sample.paths
    paths = []
    for k in range(copies):
        for i, path in enumerate(sample.paths):
            place = folder / f"{k}-{i}" / Path(path).name
            place.parent.mkdir(parents=True)
            os.link(path, place)
            paths.append(str(place))
    return paths


def _written(
    files: Sequence[PoolFile], chosen: Sequence[np.ndarray[tuple[int], np.dtype[np.int64]]], folder: Path
) -> RowSample:
    paths = []
    for k, (file, rows) in enumerate(zip(files, chosen, strict=True)):
        # The name stays, as it is the source of rows that name none.
        place = (
            folder
            / str(k)
            / (Path(file.path).name if file.format not in ("hf", "memory") else f"{file.name.replace('/', '-')}.jsonl")
        )
        place.parent.mkdir(parents=True)
        write_rows([file], np.zeros(len(rows), dtype=np.int64), rows, place)
        paths.append(str(place))
    written = expand(paths)
    return RowSample(written, [len(rows) for rows in chosen], sum(Path(path).stat().st_size for path in paths))


def _count(file: PoolFile) -> int:
    """How many rows a file has, `REACH` at most."""
    if file.format == "parquet":
        return min(REACH, estimate_rows([file]) or 0) or 1
    if file.format == "jsonl":
        return sum(1 for _ in islice(lines(file), REACH))
    count = 0
    for part in batches(file) if file.is_table else read(file, 2048):
        count += part.num_rows if hasattr(part, "num_rows") else len(part.records)
        if count >= REACH:
            break
    return min(REACH, count)
