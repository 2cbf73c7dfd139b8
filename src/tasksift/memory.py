"""What a run will need in memory, said before it starts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from tasksift.neighbors.density import SPAN_ROWS
from tasksift.neighbors.search import SAMPLE_ROWS, SAMPLE_SHARE
from tasksift.represent import Embedder
from tasksift.represent.store import SHARD_BYTES
from tasksift.rows import PoolFile
from tasksift.rows.raw import lines
from tasksift.selectors import nearest
from tasksift.vectors import BLOCK_BYTES

BASE = 125e6
"""The interpreter and its libraries."""

READING = 130e6
"""Batches of rows with their text, and the sample of them; little of it is given back afterwards."""

INDEX_ROW = 24
"""The index of a pool: key and rank."""

TEXT_ROW = 8
"""What the index knows besides of a row with text: source and tokens."""

SORTING_ROW = 17
"""While the rows are ranked."""

FITTING, FIT_COPIES = 35e6, 5
"""While the default representation is fitted: words and counts, and so many times the size of the model."""

USUAL_WORDS = 50_000
"""Words and pairs of a model of a pool that is not tiny."""

EMBEDDING, WORKER = 130e6, 75e6
"""While the pool is embedded: this process, and each worker process besides the model, which all share."""

GROUP_ROW = 24
"""Copies collapsed to groups, and as much while they are."""

LIST_ENTRY, LIST_LENGTH = 100, 2048
"""One neighbour of one target while it is searched, and how many a target usually has."""

CANDIDATES, CANDIDATE_COPIES = 10_000, 4
"""Rows that usually get a density, and how often their vectors are held for that."""

SPAN_ROW = 900
"""A row of a span of the pool while densities are summed: the candidates' balls that it is near to, some 20."""

SIMILARITY_BLOCKS, SIMILARITY_ENTRY, SIMILARITY_ROW = 9, 28, 24
"""While similarities are measured: blocks of vectors, a row and a target, and a row that is planned."""

PLANNING = 30e6
"""Drawing from a plan and writing it."""

PLAN_ROW = 230
"""A row that the plan mentions, drawn from and written."""

ACTIVATIONS = 24
"""Numbers that one layer keeps of a token while a batch is under way, in units of the hidden size."""

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


def peak_memory(
    rows: int,
    targets: int,
    *,
    dim: int,
    text: bool,
    lexical: bool,
    search: bool,
    densities: bool,
    planned: int,
    threads: int,
    processes: int,
    model: float = 0.0,
) -> float:
    """Peak of the memory that a run takes for itself, its worker processes included, in bytes.

    Vectors mapped from disk are not counted: their pages go when memory is short.

    Parameters
    ----------
    rows, targets : int
        Size of the pool, number of targets.
    dim : int
        Dimensions of the vectors; 0 where none are looked at.
    text, lexical : bool
        Whether the pool has rows and not vectors only, and whether the default representation is fitted to them.
    search, densities : bool
        Whether neighbours of the targets are searched, and whether these get densities.
    planned : int
        Rows that the plan will mention: all for score plans and random, some for transport.
    threads, processes : int
        Workers of either kind.
    model : float
        What `model_memory` says.

    Notes
    -----
    What a run holds throughout, and the largest of its stages: ranking, embedding, collapsing copies, searching,
    summing densities, measuring similarities, drawing and writing. The constants are measured. How far the lists of
    neighbours are followed, and so how many rows get a density and how many of these each row is near to, is not known
    before; a usual run is taken. Near alpha 0, or for a large part of the pool, densities take more: up to half a
    gigabyte, and as much for each thread.
    """
    held = BASE + model + (INDEX_ROW + (TEXT_ROW if text else 0)) * rows + (READING if text else 0)
    stages = [float(SORTING_ROW * rows), PLANNING + PLAN_ROW * planned]
    if lexical:
        stages.append(_embedding(dim, processes))
    if dim and (densities or not search):  # other searches know the distances of what they plan
        block_rows = max(1, BLOCK_BYTES // (4 * dim))
        table = SIMILARITY_ENTRY * min(nearest.TABLE_ENTRIES, targets * min(block_rows, rows))
        blocks = min(threads, planned / block_rows)
        stages.append(blocks * (SIMILARITY_BLOCKS * BLOCK_BYTES + table) + SIMILARITY_ROW * planned)
    if search:
        sampled = 2 * 4 * dim * min(rows // SAMPLE_SHARE, SAMPLE_ROWS)
        tables = 3 * BLOCK_BYTES * min(threads, rows * dim * 4 / BLOCK_BYTES)
        lists = LIST_ENTRY * targets * min(rows, LIST_LENGTH) if densities else 0
        stages += [2.0 * GROUP_ROW * rows, GROUP_ROW * rows + sampled + lists + tables]
        if densities:
            spans = SPAN_ROW * min(SPAN_ROWS * threads, rows // 4)
            candidates = 4 * dim * CANDIDATE_COPIES * min(rows, CANDIDATES)
            stages.append((GROUP_ROW + 8) * rows + candidates + spans)
    return held + max(stages)


def embedding_memory(dim: int, processes: int) -> float:
    """Peak of the memory that embedding a pool takes, its worker processes included, in bytes; as in `peak_memory`."""
    return BASE + READING + _embedding(dim, processes)


def model_memory(embedder: Embedder) -> float:
    """What a loaded model adds to the memory of a run: itself, its libraries and a batch under way, in bytes."""
    from tasksift.represent.forward import BATCH_TOKENS, LOGIT_BYTES

    loaded = max(0.0, _peak_so_far() - BASE)
    size = getattr(getattr(getattr(embedder, "causal", None), "model", None), "config", None)
    if size is None:
        return loaded + SHARD_BYTES
    # A forward pass holds one layer at a time, a backward pass needs all of them.
    layers = size.num_hidden_layers if hasattr(embedder, "weights") else 1
    state = BATCH_TOKENS * size.hidden_size * layers * ACTIVATIONS * 4
    logits = min(LOGIT_BYTES, BATCH_TOKENS * size.vocab_size * 4)
    return float(loaded + state + 2 * logits + SHARD_BYTES)


def _peak_so_far() -> float:
    """The largest memory of this process until now, in bytes; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0.0
    import resource

    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)


def _embedding(dim: int, processes: int) -> float:
    workers = WORKER * processes if processes > 1 else 0
    return max(FITTING + FIT_COPIES * 4.0 * USUAL_WORDS * dim, EMBEDDING + workers)


def worker_words(processes: int) -> str:
    """What is said of worker processes that an estimate includes."""
    return f" with {processes} worker processes" if processes > 1 else ""


def in_words(size: float) -> str:
    """A number of bytes as people say it."""
    return f"{size / 1e9:.1f} GB" if size >= 0.995e9 else f"{max(10, 10 * round(size / 1e7))} MB"
