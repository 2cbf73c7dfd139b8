"""Pools and selections as files of every format, written and read by other means than the package's own."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasksift.presets import PRESETS

WITHOUT_MODEL = [
    name for name, each in PRESETS.items() if each.representation in (None, "tfidf") and each.scores is None
]
Row = dict[str, Any]


def write_pool(path: Path, rows: list[Row]) -> Path:
    """Write rows in the format of the suffix, by other means than the package's own."""
    kind = path.name.split(".", 1)[1]
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if kind == "json":
        path.write_text(json.dumps(rows))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=17)
    elif kind == "arrow":
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=17)
    elif kind == "csv":
        with path.open("w", newline="") as out:
            writer = csv.DictWriter(out, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress(text))
    elif kind == "jsonl.zst":
        with pa.CompressedOutputStream(str(path), "zstd") as out:
            out.write(text)
    else:
        path.write_bytes(text)
    return path


def read_back(path: Path) -> list[Row]:
    """Read what was written, again by other means."""
    kind = path.name.split(".", 1)[1]
    if kind == "json":
        found: list[Row] = json.loads(path.read_text())
        return found
    if kind == "parquet":
        return pq.read_table(path).to_pylist()
    if kind == "arrow":
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).read_all().to_pylist()
    if kind == "csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    with pa.input_stream(str(path), compression="detect") as file:
        return [json.loads(line) for line in file.read().splitlines()]


def expanded(record: pa.Table) -> list[Row]:
    """The record, line by line in the order of the training file: copies come in rounds."""
    lines = record.to_pylist()
    return [line for r in range(max(line["copies"] for line in lines)) for line in lines if line["copies"] > r]
