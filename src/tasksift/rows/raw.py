"""A pool file as it is stored: lines of text, Arrow record batches, fields of CSV; and what can be wrong with it."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from tasksift.errors import InputError
from tasksift.places import opened, reaching
from tasksift.rows.sources import READ_BYTES, PoolFile, stored

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
_REST_BYTES = 2**16
"""Bytes that are read at a time to find the end of a line."""
_FIELD_LIMIT = 2**31 - 1
"""The longest CSV field, in characters: the most that the csv module takes on every platform."""


@contextmanager
def reading(file: PoolFile, after: Callable[[], str] = str) -> Iterator[None]:
    """Turn what goes wrong while `file` is read into an `InputError`; `after` says how far it was read."""
    try:
        with reaching(file.path) if file.remote else nullcontext():
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


def lines_between(file: PoolFile, start: int, stop: int) -> bytes:
    """Return the lines of a file that begin at the bytes from `start` to `stop`, the last one to its end.

    The file is not compressed. Memory holds these lines, however long others are.
    """
    # The byte before tells whether a line begins at `start`.
    before = max(0, start - 1)
    opening = stored if start else _open
    with reading(file), opening(file, _REST_BYTES) as stream:
        stream.seek(before)
        data = stream.read(stop - before)
        if start:
            data = data[data.find(b"\n") + 1 :] if b"\n" in data else b""
        more = [data]
        while more[-1] and not more[-1].endswith(b"\n"):
            rest = stream.read(_REST_BYTES)
            more.append(rest[: rest.find(b"\n") + 1 or None])
    data = b"".join(more)
    return data if start else data.removeprefix(_BOM)


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


def batches(file: PoolFile, batch_rows: int = 2048, groups: tuple[int, int] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a table (`PoolFile.is_table`) as record batches of at most `batch_rows` rows.

    Of a Parquet file those of the row groups from ``groups[0]`` to ``groups[1]`` (excluded), if `groups` is given.
    """
    row = 0
    with reading(file, lambda: f" after row {row - 1}" if row else ""), _table(file, batch_rows, groups) as table:
        schema, found = table
        _refuse_repeats(file, schema.names)
        for batch in found:
            for at in range(0, batch.num_rows, batch_rows):
                part = batch.slice(at, batch_rows)
                row += part.num_rows
                # Parquet batches come without the metadata of the schema, where `datasets` keeps its features.
                yield part.replace_schema_metadata(schema.metadata)
    if not row and groups is None:
        raise no_rows(file)


def footer(file: PoolFile) -> tuple[pq.FileMetaData, list[str]]:
    """Return what a Parquet file says of its row groups, and its columns."""
    with reading(file), _source(file) as source, pq.ParquetFile(source) as table:
        return table.metadata, list(table.schema_arrow.names)


def table_rows(file: PoolFile) -> int:
    """How many rows a Parquet file says that it has."""
    with reading(file), _source(file) as source, pq.ParquetFile(source) as table:
        return int(table.metadata.num_rows)


def is_stream(file: PoolFile) -> bool:
    """Whether an Arrow file is in the stream format, which Hugging Face `datasets` writes."""
    with reading(file), _source(file) as source:
        return bool(source.read(6) != b"ARROW1")


@contextmanager
def _table(
    file: PoolFile, batch_rows: int, groups: tuple[int, int] | None
) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    if isinstance(file.records, pa.Table):
        yield file.records.schema, iter(file.records.to_batches(max_chunksize=batch_rows))
    elif file.format == "parquet":
        with _source(file) as source, pq.ParquetFile(source) as table:
            chosen = None if groups is None else list(range(*groups))
            yield table.schema_arrow, table.iter_batches(batch_rows, chosen)
    elif is_stream(file):
        # By URL every read is a request, and a message of a stream takes three.
        with _source(file) as source:
            few = pa.BufferedInputStream(source, READ_BYTES) if file.remote else source
            with pa.ipc.open_stream(few) as stream:
                yield stream.schema, iter(stream)
    else:
        with _source(file) as source, pa.ipc.open_file(source) as reader:
            yield reader.schema, (reader.get_batch(k) for k in range(reader.num_record_batches))


@contextmanager
def _source(file: PoolFile) -> Iterator[pa.NativeFile]:
    """Open the file of a table, once its first bytes agree with its suffix; Arrow files on disk are mapped."""
    if file.remote:
        with opened(file.path, file.seen) as source:
            _check_magic(file, source.read(8))
            source.seek(0)
            yield source
        return
    with _open(file):
        pass
    with pa.OSFile(file.path) if file.format == "parquet" else pa.memory_map(file.path) as source:
        yield source


@contextmanager
def _open(file: PoolFile, buffer: int = READ_BYTES) -> Iterator[BinaryIO]:
    """Open a file for reading, decompressed, once its first bytes agree with its suffix."""
    with stored(file, buffer) as raw:
        _check_magic(file, raw.peek(8)[:8])
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
    if not head:
        raise InputError(f"{file.path} is empty (0 bytes); leave it out or fill it")
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
