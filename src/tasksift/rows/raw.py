"""A pool file as it is stored: lines of text, Arrow record batches, fields of CSV; and what can be wrong with it."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from tasksift.errors import InputError
from tasksift.rows.sources import PoolFile

_MAGIC = {
    b"PAR1": ("a Parquet file", ".parquet"),
    b"ARROW1": ("an Arrow file", ".arrow"),
    b"\xff\xff\xff\xff": ("an Arrow stream", ".arrow"),
    b"\x1f\x8b": ("compressed with gzip", ".gz"),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", ".zst"),
    b"PK\x03\x04": ("a zip archive", ""),
    b"BZh": ("compressed with bzip2", ""),
    b"\xfd7zXZ": ("compressed with xz", ""),
}
_BOM = b"\xef\xbb\xbf"
_FIELD_LIMIT = 2**31 - 1
"""The longest CSV field, in characters: the most that the csv module takes on every platform."""


@contextmanager
def reading(file: PoolFile, after: Callable[[], str] = str) -> Iterator[None]:
    """Turn what goes wrong while `file` is read into an `InputError`; `after` says how far it was read."""
    try:
        yield
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.strerror:
            raise InputError(f"cannot read {file.path}: {error.strerror}") from None
        kind = file.compression or file.format
        detail = " ".join(str(error).split())
        raise InputError(
            f"{file.path}: the {kind} data is damaged or cut off{after()} ({detail}); make or fetch the file again"
        ) from None


def no_rows(file: PoolFile) -> InputError:
    """Return the error for a file without a single row."""
    return InputError(f"{file.path} holds no rows; leave it out or fill it")


def raw_lines(file: PoolFile) -> Iterator[tuple[int, bytes]]:
    r"""Yield (line number from 1, line with its end); only ``\n`` ends a line. A byte order mark is left out."""
    number = 0
    with reading(file, lambda: f" after line {number}" if number else ""), _open(file) as stream:
        for number, line in enumerate(stream, 1):
            yield number, line.removeprefix(_BOM) if number == 1 else line


def lines(file: PoolFile) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, line without its end) for every line that is not blank."""
    empty = True
    for number, line in raw_lines(file):
        if not line.isspace() and line:
            empty = False
            yield number, line.rstrip(b"\r\n")
    if empty:
        raise no_rows(file)


def whole(file: PoolFile) -> bytes:
    """Return the content of a file, decompressed."""
    with reading(file), _open(file) as stream:
        return stream.read().removeprefix(_BOM)


def decode(file: PoolFile, number: int, data: bytes) -> str:
    """Return `data`, which starts in line `number`, as text."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        guess = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin1"
        line = number + data.count(b"\n", 0, error.start)
        raise InputError(
            f"{file.path}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}); "
            f"convert it, e.g. iconv -f {guess} -t utf-8"
        ) from None


def csv_rows(file: PoolFile) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number from 1, fields): the header first, then every row; blank lines are left out.

    The csv module's limit on the length of a field, which the whole process shares, is raised.
    """
    csv.field_size_limit(_FIELD_LIMIT)
    rows = csv.reader((decode(file, number, line) for number, line in raw_lines(file)), strict=True)
    header: list[str] = []
    number, empty = 1, True
    try:
        for fields in rows:
            if fields and not header:
                header = fields
                _refuse_repeats(file, header)
                yield number, header
            elif fields:
                if len(fields) != len(header):
                    raise InputError(
                        f"{file.path}, line {number}: {len(fields)} fields where the header has {len(header)}; "
                        "mend the line, or quote fields that hold commas"
                    )
                empty = False
                yield number, fields
            number = rows.line_num + 1
    except csv.Error as error:
        raise InputError(f"{file.path}, line {number}: not CSV ({error}); mend the line") from None
    if empty:
        raise no_rows(file)


def batches(file: PoolFile, batch_rows: int = 2048) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a table (`PoolFile.is_table`) as record batches of at most `batch_rows` rows."""
    row = 0
    with reading(file, lambda: f" after row {row - 1}" if row else ""), _table(file, batch_rows) as (schema, found):
        _refuse_repeats(file, schema.names)
        for batch in found:
            for at in range(0, batch.num_rows, batch_rows):
                part = batch.slice(at, batch_rows)
                row += part.num_rows
                # Parquet batches come without the metadata of the schema, where `datasets` keeps its features.
                yield part.replace_schema_metadata(schema.metadata)
    if not row:
        raise no_rows(file)


def is_stream(file: PoolFile) -> bool:
    """Whether an Arrow file is in the stream format, which Hugging Face `datasets` writes."""
    with reading(file), _open(file) as stream:
        return stream.read(6) != b"ARROW1"


@contextmanager
def _table(file: PoolFile, batch_rows: int) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    if isinstance(file.records, pa.Table):
        yield file.records.schema, iter(file.records.to_batches(max_chunksize=batch_rows))
    elif file.format == "parquet":
        with _open(file), pq.ParquetFile(file.path) as table:
            yield table.schema_arrow, table.iter_batches(batch_rows)
    elif is_stream(file):
        with pa.memory_map(file.path) as source, pa.ipc.open_stream(source) as stream:
            yield stream.schema, iter(stream)
    else:
        with pa.memory_map(file.path) as source, pa.ipc.open_file(source) as reader:
            yield reader.schema, (reader.get_batch(k) for k in range(reader.num_record_batches))


@contextmanager
def _open(file: PoolFile) -> Iterator[BinaryIO]:
    """Open a file for reading, decompressed, once its first bytes agree with its suffix."""
    with Path(file.path).open("rb") as raw:
        head = raw.peek(8)[:8]
        if not head:
            raise InputError(f"{file.path} is empty (0 bytes); leave it out or fill it")
        _check_magic(file, head)
        if file.compression == "gz":
            with gzip.GzipFile(fileobj=raw) as unzipped, io.BufferedReader(unzipped) as stream:
                yield stream
        elif file.compression == "zst":
            unzipped = pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd")
            with unzipped, io.BufferedReader(unzipped) as stream:
                yield stream
        else:
            yield raw


def _check_magic(file: PoolFile, head: bytes) -> None:
    path = Path(file.path)
    suffix = path.suffix.lower()
    found, usual = next((_MAGIC[magic] for magic in _MAGIC if head.startswith(magic)), ("", ""))
    if usual and usual == suffix:
        return
    if found:
        unpacked = path.with_suffix("").name if file.compression else path.name
        better = path.name + usual if usual in (".gz", ".zst") else Path(unpacked).stem + usual
        fix = f"rename it to {better}" if usual else "unpack it"
        raise InputError(f"{file.path} is {found}, not what its suffix {suffix} says; {fix}")
    if suffix in (".parquet", ".arrow", ".gz", ".zst"):
        raise InputError(f"{file.path} is not what its suffix {suffix} says; give it the suffix of its format")


def _refuse_repeats(file: PoolFile, columns: list[str]) -> None:
    for name in columns:
        if columns.count(name) > 1:
            raise InputError(f"{file.path}: the column {name!r} stands there {columns.count(name)} times; rename one")
