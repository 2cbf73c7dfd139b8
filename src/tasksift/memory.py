"""What a run will need in memory, said before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from tasksift.rows import PoolFile
from tasksift.rows.raw import lines

BASE = 350e6
"""The interpreter, its libraries, and the fixed blocks of search and densities."""

PROBE_LINES = 500


def estimate_rows(files: Sequence[PoolFile]) -> int | None:
    """About how many rows the files hold, from table footers and from the length of the first lines.

    Returns None when there is nothing to go by (a hub name). A compressed file is guessed at four times its size.
    """
    total = 0.0
    for file in files:
        if file.format == "hf":
            return None
        if file.records is not None:
            total += len(file.records)
        elif file.format == "parquet":
            try:
                total += pq.read_metadata(file.path).num_rows
            except (OSError, ValueError):
                return None  # reading it properly will say what is wrong
        else:
            size = Path(file.path).stat().st_size * (4 if file.compression else 1)
            if file.format != "jsonl":
                total += size / 400
                continue
            length = count = 0
            for count, (_, line) in enumerate(lines(file), 1):
                length += len(line) + 1
                if count == PROBE_LINES:
                    break
            total += size * count / max(1, length)
    return max(1, round(total))


def peak_memory(rows: int, targets: int, *, vector_bytes: float, lexical: bool, planned: int, dim: int = 0) -> float:
    """Peak memory of a run in bytes, as the system counts it.

    Parameters
    ----------
    rows, targets : int
        Size of the pool, number of targets.
    vector_bytes : float
        Size of the pool's vectors on disk. They are mapped and not loaded: the system counts the pages that it keeps,
        and drops them when memory is short.
    lexical : bool
        Whether the default representation is fitted.
    planned : int
        Rows that the plan will mention: all for score plans and random, some for transport.
    dim : int
        Dimensions, where densities need the vectors of the planned rows in memory.

    Notes
    -----
    Measured: the index takes about 300 bytes a row while it is built, the sample and vocabulary of the default
    representation about 200 MB, a plan about 600 bytes a row.
    """
    lists = 16.0 * targets * min(rows, 4096)
    return BASE + 300.0 * rows + vector_bytes + max(200e6 if lexical else 0.0, lists + (600.0 + 8 * dim) * planned)
