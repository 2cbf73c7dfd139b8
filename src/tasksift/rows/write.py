"""Writing chosen rows: in the asked order, in the pool's own schema, in flat memory, all or nothing."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.rows.encode import compact, json_line, well_formed
from tasksift.rows.pick import Chosen, pick_lines, pick_records
from tasksift.rows.sources import ACCEPTED, Compression, Format, PoolFile, file_format
from tasksift.rows.spool import Spool, spooling
from tasksift.rows.write_table import write_table


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn an `OSError` into an `InputError` that says that `path` cannot be written, and why.

    A path that was a URL is refused at once: as a path it would be a folder called ``s3:``.
    """
    if isinstance(path, Path):
        check_local(path)
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None


def check_local(out: str | Path) -> None:
    """Raise an `InputError` if `out` is a URL, or was one before it became a path."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(out)):
        name = re.sub(r":/+", "://", str(out), count=1)
        raise InputError(f"cannot write {name}: it is a URL; write to a folder of this machine and copy it there")


def check_out(out: str | Path, force: bool = False) -> None:
    """Raise an `InputError` unless `out` can be written: known suffix, writable folder, no file there or `force`."""
    check_local(out)
    out = Path(out)
    _out_format(out)
    with writing(out):
        if out.is_dir():
            raise InputError(f"cannot write {out}: it is a folder; name a file")
        if out.exists() and not force:
            raise InputError(f"{out} exists; use --force to replace it, or name another file")
        if not out.parent.is_dir():
            raise InputError(f"cannot write {out}: the folder {out.parent} does not exist; create it first")
        if not os.access(out.parent, os.W_OK | os.X_OK):
            raise InputError(f"cannot write {out}: no permission to write in the folder {out.parent}")


def check_outside(folder: str | Path, pool: Any) -> None:
    """Raise an `InputError` if `folder` lies in a folder that is read as a pool, whose next reading would find it."""
    if isinstance(folder, Path):
        check_local(folder)
    for item in pool if isinstance(pool, list | tuple) else [pool]:
        if isinstance(folder, str):  # a URL
            inside = isinstance(item, str) and f"{folder}/".startswith(item.rstrip("/") + "/")
        else:
            inside = isinstance(item, str | Path) and Path(item).is_dir()
            inside = inside and folder.resolve().is_relative_to(Path(item).resolve())
        if inside:
            raise InputError(f"cannot write {folder}: it lies in the pool's folder {item}; name a folder elsewhere")


def write_rows(files: Sequence[PoolFile], file_index: NDArray[Any], row: NDArray[Any], out: str | Path) -> None:
    """Write the chosen rows to `out`, in exactly the given order; repeats are written again.

    The format is that of the suffix of `out`. Lines of JSON Lines stay as they are byte for byte, apart from their line
    ends, and tables keep their Arrow schema with its metadata. Columns of different files are united; where a type had
    to change, the metadata is dropped. A ``.arrow`` file is a stream if the pool's are (or a column is
    dictionary-encoded), and otherwise a file. The same rows give the same bytes.

    Each file is read once, up to its last chosen row. The distinct chosen rows pass through a nameless temporary file
    beside `out`; memory holds one batch, some 50 bytes for each chosen row and, for tables, a chunk of 64 MiB.

    Parameters
    ----------
    files : sequence of PoolFile
        The pool.
    file_index, row : int (n,)
        For each row to write, the position of its file in `files` and its position in that file.
    out : str or Path
        The file to write; it is replaced if it exists.

    Raises
    ------
    InputError
        The disk refuses, `out` is a file of the pool, the pool has changed, or a table cannot hold the rows.
    """
    out = Path(out)
    kind, compression = _out_format(out)
    if not len(row):
        raise InputError(f"no row was chosen; there is nothing to write to {out}")
    for file in files:
        if file.on_disk and Path(file.path).resolve() == out.resolve():
            raise InputError(f"cannot write {out}: it is a file of the pool; name another file")
    span = int(np.max(row)) + 1
    key = np.asarray(file_index, np.int64) * span + np.asarray(row, np.int64)
    distinct, order = np.unique(key, return_inverse=True)
    used, begins = np.unique(distinct // span, return_index=True)
    chosen = [(files[k], rows) for k, rows in zip(used, np.split(distinct % span, begins[1:]), strict=True)]
    with replacing(out) as part, spooling(out.parent) as spool:
        if kind in ("parquet", "arrow"):
            write_table(chosen, order, spool, part, kind)
        else:
            _write_text(chosen, order, spool, part, kind, compression)


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """Yield the path beside `out` to write to; it becomes `out` at the end, or is removed if anything fails."""
    part = out.with_name(out.name + ".part")
    with writing(out):
        try:
            yield part
            part.replace(out)
        finally:
            part.unlink(missing_ok=True)


def _out_format(out: Path) -> tuple[Format, Compression | None]:
    found = file_format(out)
    if found is None:
        raise InputError(f"cannot write {out}: the suffix must be one of {ACCEPTED}")
    return found


def _write_text(
    chosen: Chosen,
    order: NDArray[np.intp],
    spool: Spool,
    part: Path,
    kind: Format,
    compression: Compression | None,
) -> None:
    columns: dict[str, None] = {}
    spool.fill(_csv_lines(chosen, columns) if kind == "csv" else _lines(chosen))
    with part.open("wb") as raw, _compressed(raw, compression) as sink:
        if kind == "jsonl":
            for k in order:
                sink.write(spool[k] + b"\n")
        elif kind == "json":
            for i, k in enumerate(order):
                sink.write((b",\n" if i else b"[\n") + spool[k])
            sink.write(b"\n]\n")
        else:
            sink.write(_csv_row(list(columns)))
            for k in order:
                record = json.loads(spool[k])
                sink.write(_csv_row([_csv_field(record.get(name)) for name in columns]))


def _lines(chosen: Chosen) -> Iterator[bytes]:
    for file, rows in chosen:
        yield from pick_lines(file, rows)


def _csv_lines(chosen: Chosen, columns: dict[str, None]) -> Iterator[bytes]:
    """Yield records as JSON and collect the columns, which stand in the first line of what is written."""
    for file, rows in chosen:
        for records in pick_records(file, rows):
            for record in records:
                columns.update(dict.fromkeys(record))
                yield json_line(record)


@contextmanager
def _compressed(raw: IO[bytes], compression: Compression | None) -> Iterator[Any]:
    if compression == "gz":
        # Neither the name nor the time, so that the same rows give the same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as sink:
            yield sink
    elif compression == "zst":
        with pa.CompressedOutputStream(pa.PythonFile(raw, "w"), "zstd") as sink:
            yield sink
    else:
        yield raw


def _csv_row(fields: list[str]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(fields)  # its own line end makes it quote both \r and \n; a file has \n alone
    return (well_formed(text.getvalue()).removesuffix("\r\n") + "\n").encode()


def _csv_field(value: Any) -> str:
    if value is None:
        return ""
    return compact(value) if isinstance(value, dict | list) else str(value)
