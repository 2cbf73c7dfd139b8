"""Slices: a pool cut into parts that any machine can read by itself, without reading what comes before.

A file of plain JSON Lines is cut into ranges of bytes, where a line belongs to the range in which it begins; Parquet
into row groups; rows in memory into rows. Everything else can only be read from its start and is one slice.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasksift.engines.local import share
from tasksift.errors import InputError, UnfinishedError
from tasksift.places import suspecting
from tasksift.rows.raw import batches, footer, lines, lines_between
from tasksift.rows.read import Batch, parse_line, read, to_records
from tasksift.rows.sources import PoolFile

SLICE_BYTES = 4 * 2**20
"""Bytes of a slice, about: little enough to share out evenly, much more than a request to a remote storage costs."""

MEMORY_ROWS = 4096
"""Rows of a slice of rows in memory."""

REQUESTS = 16
"""Files on a remote storage that are looked at at a time."""


@dataclass(frozen=True)
class Slice:
    """A part of one file of a pool, as plain data.

    Attributes
    ----------
    file : PoolFile
        Of rows in memory it holds those of this slice only.
    number : int
        Position of the file in the pool.
    span : (int, int) or None
        From where to where: bytes of a text file, row groups of a Parquet file. None: all of `file`.
    first_row, first_line : int
        The row of the file (from 0) and the line (from 1) with which the slice begins; of a slice in the middle of a
        text file they are 0 and 1 until `numbered` says better.
    rows : int
        How many; -1 as long as that is not known.
    sourced : bool or None
        Whether the first row of the file has a column ``source``; None as long as that is not known.
    """

    file: PoolFile
    number: int
    span: tuple[int, int] | None = None
    first_row: int = 0
    first_line: int = 1
    rows: int = -1
    sourced: bool | None = None

    def __getstate__(self) -> dict[str, Any]:
        records = self.file.records
        if not isinstance(records, pa.Table):
            return vars(self)
        # A copy, because Arrow sends all that a table is a slice of.
        return {**vars(self), "file": replace(self.file, records=records.take(pa.array(range(len(records)))))}

    @property
    def begins(self) -> bool:
        """Whether the file begins with this slice."""
        return self.first_row == 0 if self.file.format == "memory" else self.span is None or self.span[0] == 0

    @property
    def is_text(self) -> bool:
        """Whether the slice is a range of bytes, hence of lines."""
        return self.span is not None and self.file.format == "jsonl"


def cut(files: Sequence[PoolFile], target_bytes: int = SLICE_BYTES) -> list[Slice]:
    """Cut the files of a pool into slices of about `target_bytes`, at least one for each file.

    The same files give the same slices. A file that cannot be looked at is one slice, and reading it says why.
    """
    wholes = [Slice(file, number) for number, file in enumerate(files)]
    # A storage takes its time over each request, and answers many at once.
    workers = REQUESTS if any(file.remote for file in files) else 1
    return list(chain.from_iterable(share(partial(_cut_file, target_bytes), wholes, workers)))


def read_slice(part: Slice, batch_rows: int = 2048, *, skip: int = 0, text: bytes | None = None) -> Iterator[Batch]:
    """Yield the rows of a slice in order, at most `batch_rows` at a time; slice after slice is the whole file.

    Parameters
    ----------
    part : Slice
    skip : int
        Rows to pass over at its beginning, as far as possible without decoding them.
    text : bytes, optional
        What `lines_of` gives, where it is at hand.

    Raises
    ------
    InputError
        As `tasksift.rows.read`, but that a range of bytes may hold no rows; lines count from `first_line`.
    """
    with suspecting(part.file.path, part.file.seen):
        yield from _read_slice(part, batch_rows, skip, text)


def _read_slice(part: Slice, batch_rows: int, skip: int, text: bytes | None) -> Iterator[Batch]:
    file, row = part.file, part.first_row + skip
    if file.format == "jsonl":
        found = islice(_numbered(part, text), skip, None)
        while chunk := list(islice(found, batch_rows)):
            records = [parse_line(file, number, line) for number, line in chunk]
            yield Batch(file, row, records, [number for number, _ in chunk])
            row += len(chunk)
    elif file.is_table:
        for batch in batches(file, batch_rows, part.span):
            left = batch.slice(min(skip, batch.num_rows))
            skip -= batch.num_rows - left.num_rows
            if left.num_rows:
                yield Batch(file, row, to_records(file, left, row), None)
                row += left.num_rows
    else:
        for some in read(file, batch_rows):
            records = some.records[skip:]
            at, skip = min(skip, len(some.records)), max(0, skip - len(some.records))
            if records:
                yield Batch(file, row, records, None if some.lines is None else some.lines[at:])
                row += len(records)


def lines_of(part: Slice) -> bytes:
    """Return the lines of a slice that `is_text`, as they stand in the file."""
    assert part.span is not None
    return lines_between(part.file, *part.span)


def count_lines(text: bytes) -> int:
    """How many lines a text has, blank ones too."""
    return text.count(b"\n") + (not text.endswith(b"\n") and bool(text))


def numbered(slices: Sequence[Slice], counts: Sequence[tuple[int, int, bool | None]]) -> list[Slice]:
    """Return the slices with what is known once all of them were read.

    Parameters
    ----------
    counts : sequence of (int, int, bool or None)
        Of each slice its rows, its lines (text only), and whether the first row of the file has a column ``source``
        as far as the slice tells.
    """
    known: list[Slice] = []
    sourced: dict[int, bool] = {}
    for part, (_, _, says) in zip(slices, counts, strict=True):
        if says is not None:
            sourced.setdefault(part.number, says)
    row, line, number = 0, 1, -1
    for part, (rows, passed, _) in zip(slices, counts, strict=True):
        if part.number != number:
            row, line, number = 0, 1, part.number
        says = part.sourced if part.sourced is not None else sourced.get(number, False)
        known.append(replace(part, first_row=row, first_line=line, rows=rows, sourced=says))
        row, line = row + rows, line + passed
    return known


def save_slices(path: Path, slices: Sequence[Slice]) -> None:
    """Keep what the first pass found out about the slices, for a run that goes on later."""
    facts = [(each.span, each.first_row, each.first_line, each.rows, each.sourced) for each in slices]
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(facts), encoding="utf-8")
    part.replace(path)


def load_slices(path: Path, files: Sequence[PoolFile], target_bytes: int = SLICE_BYTES) -> list[Slice]:
    """Cut the same files again and add what `save_slices` kept.

    Raises
    ------
    InputError
        If the slices are others now.
    """
    slices = cut(files, target_bytes)
    facts = json.loads(path.read_bytes())
    if [each and tuple(each) for each, *_ in facts] != [each.span for each in slices]:
        raise InputError(f"{path} is of another cut of the pool; remove it and run again")
    names = ("first_row", "first_line", "rows", "sourced")
    return [
        replace(each, **dict(zip(names, values, strict=True))) for each, (_, *values) in zip(slices, facts, strict=True)
    ]


def _numbered(part: Slice, text: bytes | None) -> Iterator[tuple[int, bytes]]:
    """Yield (line number, line without its end) for every line that is not blank."""
    if not part.is_text:
        yield from lines(part.file)
        return
    for number, line in enumerate(io.BytesIO(lines_of(part) if text is None else text), part.first_line):
        if not line.isspace():
            yield number, line.rstrip(b"\r\n")


def _cut_file(target_bytes: int, whole: Slice) -> list[Slice]:
    file = whole.file
    if file.format == "memory":
        return list(_rows_in_memory(whole))
    if file.format == "parquet":
        return _row_groups(whole, target_bytes)
    size = _size(file) if file.format == "jsonl" and file.compression is None else 0
    if not size:
        return [whole]
    ends = [*range(target_bytes, size, target_bytes), size]
    return [replace(whole, span=span) for span in zip([0, *ends[:-1]], ends, strict=True)]


def _size(file: PoolFile) -> int:
    if file.seen is not None:
        return file.seen.size
    try:
        return file.size or 0
    except OSError:
        return 0


def _row_groups(whole: Slice, target_bytes: int) -> list[Slice]:
    try:
        facts, names = footer(whole.file)
    except UnfinishedError:
        raise
    except InputError:
        return [whole]
    slices: list[Slice] = []
    start = rows = size = done = 0
    for k in range(facts.num_row_groups):
        group = facts.row_group(k)
        rows, size = rows + group.num_rows, size + group.total_byte_size
        if size >= target_bytes or k + 1 == facts.num_row_groups:
            some = replace(whole, span=(start, k + 1), first_row=done, rows=rows, sourced="source" in names)
            slices.append(some)
            start, done, rows, size = k + 1, done + rows, 0, 0
    return slices if done else [whole]


def _rows_in_memory(whole: Slice) -> Iterator[Slice]:
    records = whole.file.records
    if isinstance(records, pa.Table):
        sourced = "source" in records.column_names
        some = [records.slice(at, MEMORY_ROWS) for at in range(0, len(records), MEMORY_ROWS)]
    else:
        held = list(records or ())
        sourced = bool(held) and "source" in held[0]
        some = [held[at : at + MEMORY_ROWS] for at in range(0, len(held), MEMORY_ROWS)]
    row = 0
    for each in some or [records]:
        rows = len(each or ())
        yield replace(whole, file=replace(whole.file, records=each), first_row=row, rows=rows, sourced=sourced)
        row += rows
