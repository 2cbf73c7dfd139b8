"""What a run will need in memory, said before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from tasksift.rows import PoolFile
from tasksift.rows.raw import lines

BASE = 130e6
"""The interpreter and its libraries."""

READING = 130e6
"""Batches of rows with their text, and the sample of them."""

HASHING = 135e6
"""Blocks of vectors of which ids are made."""

FITTING = 420e6
"""Words, counts and projection while the default representation is fitted."""

INDEX_ROW = 24
"""The index of a pool: key and rank."""

TEXT_ROW = 8
"""What the index knows besides of a row with text: source and tokens."""

SORTING_ROW = 17
"""While the rows are ranked."""

GROUP_ROW = 32
"""Copies collapsed to groups."""

LIST_ENTRY = 32
"""One neighbour of one target."""

LIST_LENGTH = 4096
"""Neighbours of one target that a run is taken to look at."""

PLANNING = 180e6
"""Drawing from a plan and writing it, of which the writer's buffers are most."""

PLAN_ROW = 180
"""A row that the plan mentions, drawn from and written."""

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


def peak_memory(rows: int, targets: int, *, text: bool, features: bool, lexical: bool, planned: int) -> float:
    """Peak of the memory that a run takes for itself, in bytes.

    Vectors mapped from disk are not counted: their pages go when memory is short.

    Parameters
    ----------
    rows, targets : int
        Size of the pool, number of targets.
    text : bool
        Whether the pool has rows, or vectors only.
    features : bool
        Whether the selector looks at vectors.
    lexical : bool
        Whether the default representation is fitted.
    planned : int
        Rows that the plan will mention: all for score plans and random, some for transport.

    Notes
    -----
    What a run holds throughout, and the largest of its stages: reading, ranking, fitting, searching, drawing and
    writing. The constants are measured.
    """
    held = BASE + (INDEX_ROW + (TEXT_ROW if text else 0)) * rows
    lists = LIST_ENTRY * targets * min(rows, LIST_LENGTH)
    stages = [
        READING if text else HASHING,
        SORTING_ROW * rows,
        FITTING if lexical else 0,
        GROUP_ROW * rows + lists if features else 0,
        PLANNING + PLAN_ROW * planned,
    ]
    return float(held + max(stages))


def in_words(size: float) -> str:
    """A number of bytes as people say it."""
    return f"{size / 1e9:.1f} GB" if size >= 0.995e9 else f"{max(10, 10 * round(size / 1e7))} MB"
