"""Reading a pool file as batches of records, in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from tasksift.errors import InputError, MissingExtraError
from tasksift.places import suspecting
from tasksift.rows.raw import batches, csv_rows, decode, lines, no_rows, whole
from tasksift.rows.sources import PoolFile, hub_name

Record = dict[str, Any]


@dataclass
class Batch:
    """Consecutive rows of one file.

    Attributes
    ----------
    file : PoolFile
        The file they stand in.
    start : int
        Position in the file of the first row, from 0; blank lines are no rows.
    records : list of dict
        The rows.
    lines : list of int or None
        The line, from 1, at which each row begins (text files only).
    """

    file: PoolFile
    start: int
    records: list[Record]
    lines: list[int] | None = None

    def where(self, i: int) -> str:
        """Return the file and place of ``records[i]``, for messages."""
        place = f"line {self.lines[i]}" if self.lines is not None else f"row {self.start + i}"
        return f"{self.file.path}, {place}"


def read(file: PoolFile, batch_rows: int = 2048) -> Iterator[Batch]:
    """Yield the rows of a file in order, at most `batch_rows` at a time.

    Memory holds one batch, except for ``.json``, which is read whole.

    Raises
    ------
    InputError
        The file cannot be read, holds no rows, or is not what its suffix says; the message names the line (text) or
        row (tables).
    """
    with suspecting(file.path, file.seen):
        yield from _read(file, batch_rows)


def _read(file: PoolFile, batch_rows: int) -> Iterator[Batch]:
    if file.is_table:
        start = 0
        for batch in batches(file, batch_rows):
            yield Batch(file, start, to_records(file, batch, start))
            start += batch.num_rows
    elif file.format in ("jsonl", "csv"):
        rows = _csv_records(file) if file.format == "csv" else _jsonl_records(file)
        for start, chunk in _chunks(rows, batch_rows):
            yield Batch(file, start, [record for _, record in chunk], [number for number, _ in chunk])
    else:
        for start, records in _chunks(_whole_records(file), batch_rows):
            yield Batch(file, start, records)


def to_records(file: PoolFile, batch: pa.RecordBatch, start: int) -> list[Record]:
    """Return a record batch whose first row is row `start` of `file` as dicts."""
    try:
        records: list[Record] = batch.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError) as error:  # broken UTF-8, dates that Python does not have
        for i in range(batch.num_rows if batch.num_rows > 1 else 0):
            to_records(file, batch.slice(i, 1), start + i)
        detail = " ".join(str(error).split())
        raise InputError(f"{file.path}, row {start}: a value cannot be read ({detail}); mend or remove it") from None
    return records


def parse_line(file: PoolFile, number: int, line: bytes) -> Record:
    """Return the record that line `number` of a JSON Lines file holds."""
    record = _parse(file, number, decode(file, number, line))
    if not isinstance(record, dict):
        fix = "rename the file to .json" if isinstance(record, list) else 'write it as {"text": ...}'
        raise InputError(f"{file.path}, line {number}: a {_kind(record)}, not an object; {fix}")
    return record


def _parse(file: PoolFile, number: int, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = number + error.lineno - 1
        fix = "mend or remove the line"
        if file.format == "json" and error.msg == "Extra data":
            fix = "if it is JSON Lines, rename it to .jsonl"
        elif file.format == "jsonl" and number == 1 and text.strip() in ("[", "{"):
            fix = "a record must fill one line; if it is one JSON document, rename it to .json"
        message = f"{file.path}, line {line}: not JSON ({error.msg.removesuffix(' at')} at column {error.colno}); {fix}"
    except RecursionError:
        message = f"{file.path}, line {number}: the JSON is nested too deeply; remove the line"
    except ValueError as error:  # a number of thousands of digits
        message = f"{file.path}, line {number}: not readable as JSON ({str(error).split(';')[0]}); mend the value"
    raise InputError(message)


def _jsonl_records(file: PoolFile) -> Iterator[tuple[int, Record]]:
    return ((number, parse_line(file, number, line)) for number, line in lines(file))


def _csv_records(file: PoolFile) -> Iterator[tuple[int, Record]]:
    rows = csv_rows(file)
    _, header = next(rows)
    return ((number, dict(zip(header, fields, strict=True))) for number, fields in rows)


def _whole_records(file: PoolFile) -> Iterator[Record]:
    """Yield the rows of the formats that count rows, not lines."""
    if file.format == "json":
        found = _json_rows(file)
    elif file.format == "hf":
        found = _hub_rows(file)
    else:
        found = iter(file.records or ())
    row = -1
    for row, record in enumerate(found):
        if not isinstance(record, Mapping):
            raise InputError(f"{file.path}, row {row}: a {_kind(record)}, not a dict of columns; mend or remove it")
        bad = next((name for name in record if not isinstance(name, str)), None)
        if bad is not None:
            raise InputError(f"{file.path}, row {row}: the column name {bad!r} is not text; rename the column")
        yield record if isinstance(record, dict) else dict(record)
    if row < 0:
        raise no_rows(file)


def _json_rows(file: PoolFile) -> Iterator[Any]:
    data = _parse(file, 1, decode(file, 1, whole(file)))
    if isinstance(data, dict):
        tables = [value for value in data.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
        if len(tables) != 1:
            keys = ", ".join(list(data)[:10])
            raise InputError(
                f"{file.path}: an object with {len(tables)} lists of records (keys: {keys}), where exactly one is "
                'needed; write [{...}, ...] or {"data": [{...}, ...]}'
            )
        data = tables[0]
    if not isinstance(data, list):
        raise InputError(f"{file.path}: a {_kind(data)}, not a list of records; write [{{...}}, ...]")
    return iter(data)


def _hub_rows(file: PoolFile) -> Iterator[Any]:
    """Stream a data set from the Hugging Face hub."""
    try:
        import datasets
        import huggingface_hub.errors as hub
    except ImportError:
        raise MissingExtraError("datasets", "hf", file.path) from None
    name, config, split = hub_name(file.path)
    try:
        yield from datasets.load_dataset(name, config, split=split, streaming=True)
    except (OSError, ValueError, RuntimeError, hub.HfHubHTTPError) as error:
        detail = " ".join(str(error).split())[:300]
        raise InputError(
            f"{file.path}: cannot be read from the hub ({type(error).__name__}: {detail}); check name, configuration, "
            "split and network"
        ) from None


def _chunks(rows: Iterator[Any], size: int) -> Iterator[tuple[int, list[Any]]]:
    start = 0
    while chunk := list(islice(rows, size)):
        yield start, chunk
        start += len(chunk)


def _kind(value: Any) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "true or false", int: "number", float: "number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
