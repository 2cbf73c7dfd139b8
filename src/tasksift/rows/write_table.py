"""Writing chosen rows as Parquet or Arrow, a chunk at a time, in one schema."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.rows.pick import Chosen, pick_batches
from tasksift.rows.raw import is_stream
from tasksift.rows.sources import Format, PoolFile
from tasksift.rows.spool import Spool

_CHUNK_BYTES = 64 * 2**20
_CHUNK_ROWS = 32_768
"""A chunk is what is gathered at a time, and is a row group of a Parquet file."""


def write_table(chosen: Chosen, order: NDArray[np.intp], spool: Spool, part: Path, kind: Format) -> None:
    """Write rows to `part`; ``order[i]`` is the position among the chosen rows of the i-th row to write.

    Memory holds one chunk: 64 MiB, if rows are of even size.

    Raises
    ------
    InputError
        The rows do not fit one schema, or the format cannot hold them.
    """
    schema: pa.Schema | None = None
    begins = array("q", [0])  # the row at which each spooled batch begins

    def serialised() -> Iterator[bytes]:
        nonlocal schema
        for file, rows in chosen:
            for batch in pick_batches(file, rows):
                schema = batch.schema if schema is None else _united(schema, batch.schema, file)
                begins.append(begins[-1] + batch.num_rows)
                # A stream of its own for each batch: dictionaries may then differ from batch to batch.
                sink = pa.BufferOutputStream()
                with pa.ipc.new_stream(sink, batch.schema) as writer:
                    writer.write_batch(batch)
                yield sink.getvalue().to_pybytes()

    spool.fill(serialised())
    assert schema is not None
    chunk = int(np.clip(_CHUNK_BYTES * begins[-1] // max(1, spool.nbytes), 1, _CHUNK_ROWS))
    starts = np.array(begins)
    try:
        with _writer(chosen, schema, part, kind) as writer:
            for at in range(0, len(order), chunk):
                writer.write_table(_gather(order[at : at + chunk], starts, spool, schema))
    except pa.ArrowException as error:
        detail = " ".join(str(error).split())
        raise InputError(
            f"no {kind} file can hold the chosen rows ({detail}); write to a .jsonl file instead"
        ) from None


def _united(schema: pa.Schema, other: pa.Schema, file: PoolFile) -> pa.Schema:
    if schema.equals(other):
        return schema
    try:
        united = pa.unify_schemas([schema, other], promote_options="permissive")
    except pa.ArrowException as error:
        detail = " ".join(str(error).split())
        raise InputError(
            f"{file.path}: its columns do not fit the rest of the pool ({detail}); write to a .jsonl file instead"
        ) from None
    return pa.schema([field.with_nullable(True) for field in united])


def _gather(order: NDArray[np.intp], starts: NDArray[np.int64], spool: Spool, schema: pa.Schema) -> pa.Table:
    """Return the given rows of the spool, in that order."""
    batch_of = np.searchsorted(starts, order, side="right") - 1
    parts = []
    for k in np.unique(batch_of):
        with pa.ipc.open_stream(pa.py_buffer(spool[k])) as stream:
            batch = stream.read_next_batch()
        parts.append(_cast(batch.take(pa.array(order[batch_of == k] - starts[k])), schema))
    back = np.empty(len(order), np.int64)
    back[np.argsort(batch_of, kind="stable")] = np.arange(len(order))
    return pa.concat_tables(parts).unify_dictionaries().take(pa.array(back))


def _cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        if field.name not in batch.schema.names:
            columns.append(pa.nulls(batch.num_rows, field.type))
            continue
        column = batch.column(field.name)
        columns.append(column if column.type.equals(field.type) else column.cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _writer(chosen: Chosen, schema: pa.Schema, part: Path, kind: Format) -> Any:
    if kind == "parquet":
        return pq.ParquetWriter(str(part), schema)
    arrow = [file for file, _ in chosen if file.format == "arrow"]
    encoded = any(pa.types.is_dictionary(field.type) for field in schema)
    if encoded or any(map(is_stream, arrow)):
        return pa.ipc.new_stream(str(part), schema)
    return pa.ipc.new_file(str(part), schema)
