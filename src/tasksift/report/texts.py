"""The texts of some rows, read from the pool in one pass and cut, and where rows come from."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasksift.report.basis import Basis
from tasksift.report.showable import LONGEST, cut
from tasksift.rows import PoolFile, TextReader
from tasksift.rows.pick import pick_records
from tasksift.selection import Selection

Int = NDArray[np.int64]

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
    """The files that have the size that they had in the run."""
    return [file for file in files if sizes.get(file.path) is not None and file.size == sizes[file.path]]


class RowTexts:
    """Texts and sources of rows of a selection and of its pool, asked for first and read together.

    Parameters
    ----------
    selection : Selection
    basis : Basis or None
        Without it no rows of the pool can be asked for, and files that changed since the run are left out.
    """

    def __init__(self, selection: Selection, basis: Basis | None) -> None:
        self._selection, self._basis = selection, basis
        self._record: dict[int, tuple[str, Place, int]] = {}
        self._pool: dict[int, tuple[str, Place, int]] = {}
        self._found: dict[Place, str] = {}

    def read_record(self, lines: Int) -> None:
        """Ask for rows of the selection, by their places in it."""
        rows = self._selection.record.take(pa.array(lines))
        self._record.update(zip(lines.tolist(), _known(rows, "row", rows["position"].to_pylist()), strict=True))

    def read_pool(self, places: Int) -> None:
        """Ask for rows of the pool, by their places among the kept rows."""
        if self._basis is not None and len(places):
            rows = self._basis.rows(places)
            self._pool.update(
                zip(places.tolist(), _known(self._basis.index.take(rows), "file_row", rows.tolist()), strict=True)
            )

    def load(self) -> None:
        """Read what was asked for."""
        selection = self._selection
        files = selection.files
        if self._basis is None:
            about = selection.manifest["pool"]["files"] if files and selection.manifest["pool"]["on_disk"] else []
            there = {file["path"]: file["bytes"] for file in about}
            files = [file for file in files if file.format == "memory"] + still_there(files, there)
        wanted = [place for _, place, _ in [*self._record.values(), *self._pool.values()]]
        self._found = texts_at(files, TextReader(selection.config.text_template), wanted)

    def of_record(self, line: int) -> dict[str, Any]:
        """Return ``text`` and ``source`` of a row of the selection."""
        return self._shown(*self._record[line])

    def of_pool(self, place: int) -> dict[str, Any]:
        """Return ``text`` and ``source`` of a row of the pool."""
        return self._shown(*self._pool[place])

    def _shown(self, source: str, place: Place, row: int) -> dict[str, Any]:
        text = self._found.get(place)
        return {"text": f"row {row}" if text is None and not self._selection.files else text or "", "source": source}


def _known(rows: pa.Table, row: str, positions: list[int]) -> Iterable[tuple[str, Place, int]]:
    places = zip(rows["file"].to_pylist(), rows[row].to_pylist(), strict=True)
    return zip(rows["source"].to_pylist(), places, positions, strict=True)
