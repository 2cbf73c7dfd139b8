"""The texts of some rows, read from the pool in one pass and cut."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import numpy as np

from tasksift.report.showable import LONGEST, cut
from tasksift.rows import PoolFile, TextReader
from tasksift.rows.pick import pick_records

Place = tuple[str, int]
"""A row by its file and its position there."""


def texts_at(files: list[PoolFile], reader: TextReader, places: Iterable[Place]) -> dict[Place, str]:
    """Read the texts at some places, each cut to `LONGEST` characters.

    Places in files that are none of `files` are left out. Cost: one pass over each of the files as far as their last
    row that is asked for; only the texts asked for are kept.
    """
    named = {file.path: file for file in files}
    found: dict[Place, str] = {}
    for path, some in groupby(sorted(set(places)), key=lambda place: place[0]):
        if path not in named:
            continue
        rows = np.array([row for _, row in some], dtype=np.int64)
        done = 0
        for records in pick_records(named[path], rows):
            for record in records:
                row = int(rows[done])
                found[path, row] = cut(reader.example(record, f"{path}, row {row}").text, LONGEST)
                done += 1
    return found


def still_there(files: list[PoolFile], sizes: dict[str, int | None]) -> list[PoolFile]:
    """The files on disk that have the size that they had in the run."""
    return [
        file
        for file in files
        if sizes.get(file.path) is not None
        and Path(file.path).is_file()
        and Path(file.path).stat().st_size == sizes[file.path]
    ]
