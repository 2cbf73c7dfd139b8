"""The chosen rows of one file, in the order of the file: as JSON lines, as records, or as Arrow record batches."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.rows.encode import json_line
from tasksift.rows.raw import batches, lines
from tasksift.rows.read import parse_line, read, to_records
from tasksift.rows.sources import PoolFile

Chosen = list[tuple[PoolFile, NDArray[np.int64]]]
"""Files, each with its chosen rows, ascending and distinct."""

CHUNK = 2048
"""Rows that are converted at a time."""


def pick_lines(file: PoolFile, rows: NDArray[np.int64]) -> Iterator[bytes]:
    """Yield the given rows (ascending, distinct) as JSON lines; lines of a JSON Lines file byte for byte."""
    if file.format == "jsonl":
        yield from (line for _, line in _numbered(file, rows))
    else:
        for records in pick_records(file, rows):
            yield from map(json_line, records)


def pick_records(file: PoolFile, rows: NDArray[np.int64]) -> Iterator[list[dict[str, Any]]]:
    """Yield the given rows (ascending, distinct) as dicts, some at a time."""
    if file.format == "jsonl":
        found = _numbered(file, rows)
        while chunk := list(islice(found, CHUNK)):
            yield [parse_line(file, number, line) for number, line in chunk]
    elif file.is_table:
        done = 0
        for batch in _stored(file, rows):
            yield to_records(file, batch, int(rows[done]))
            done += batch.num_rows
    else:
        done = 0
        for part in read(file, CHUNK):
            here = _within(rows, part.start, len(part.records))
            if len(here):
                yield [part.records[i] for i in here]
            done += len(here)
            if done == len(rows):
                return
        raise _gone(file, rows[done])


def pick_batches(file: PoolFile, rows: NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
    """Yield the given rows (ascending, distinct) as record batches, in the schema of the file if it is a table."""
    if file.is_table:
        yield from _stored(file, rows)
    else:
        for records in pick_records(file, rows):
            yield _to_batch(file, records)


def _numbered(file: PoolFile, rows: NDArray[np.int64]) -> Iterator[tuple[int, bytes]]:
    wanted = iter(rows.tolist())
    row = next(wanted)
    for at, found in enumerate(lines(file)):
        if at == row:
            yield found
            row = next(wanted, -1)
            if row < 0:
                return
    raise _gone(file, row)


def _stored(file: PoolFile, rows: NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
    start = done = 0
    for batch in batches(file, CHUNK):
        here = _within(rows, start, batch.num_rows)
        if len(here):
            yield batch.take(pa.array(here))
        start += batch.num_rows
        done += len(here)
        if done == len(rows):
            return
    raise _gone(file, rows[done])


def _within(rows: NDArray[np.int64], start: int, count: int) -> NDArray[np.int64]:
    low, high = np.searchsorted(rows, [start, start + count])
    return rows[low:high] - start


def _gone(file: PoolFile, row: int) -> InputError:
    return InputError(f"{file.path}: row {row} is gone; the file was changed after it was read, so start again")


def _to_batch(file: PoolFile, records: list[dict[str, Any]]) -> pa.RecordBatch:
    columns: dict[str, pa.Array] = {}
    for name in dict.fromkeys(name for record in records for name in record):
        try:
            columns[name] = pa.array([record.get(name) for record in records])
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            detail = " ".join(str(error).split())
            raise InputError(
                f"{file.path}: no table can hold the column {name!r} ({detail}); write to a .jsonl file instead"
            ) from None
    if not columns:
        raise InputError(f"{file.path}: rows without columns fit no table; write to a .jsonl file instead")
    return pa.RecordBatch.from_pydict(columns)
