"""What a run will need in memory, said before it starts."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tasksift.buckets import BUCKET_ROWS
from tasksift.errors import InputError
from tasksift.neighbors.density import SPAN_ROWS
from tasksift.neighbors.search import SAMPLE_ROWS, SAMPLE_SHARE
from tasksift.represent import Embedder
from tasksift.represent.store import SHARD_BYTES
from tasksift.rows import PoolFile
from tasksift.rows.ids import CHUNK_ROWS
from tasksift.rows.raw import lines, table_rows
from tasksift.scratch import LARGE
from tasksift.selectors import nearest
from tasksift.vectors import BLOCK_BYTES

BASE = 125e6
"""The interpreter and its libraries."""

READING = 130e6
"""Batches of rows with their text, and the sample of them; little of it is given back afterwards."""

SMALL_ROW = 48
"""A row of a pool so small that what is kept of its rows stays in memory (`tasksift.scratch`): key, rank, group."""

SORTING_ROW = 55
"""A row of a bucket (`tasksift.buckets`) while rows are ranked, or copies are collapsed to groups."""

FITTING, FIT_COPIES = 35e6, 5
"""While the default representation is fitted: words and counts, and so many times the size of the model."""

USUAL_WORDS = 50_000
"""Words and pairs of a model of a pool that is not tiny."""

EMBEDDING, WORKER = 130e6, 75e6
"""While the pool is embedded: this process, and each worker process besides the model, which all share."""

LIST_ENTRY, LIST_LENGTH = 100, 2048
"""One neighbour of one target while it is searched, and how many a target usually has."""

CANDIDATES, CANDIDATE_COPIES = 10_000, 4
"""Rows that usually get a density, and how often their vectors are held for that."""

SPAN_ROW = 900
"""A row of a span of the pool while densities are summed: the candidates' balls that it is near to, some 20."""

SIMILARITY_BLOCKS, SIMILARITY_ENTRY = 9, 28
"""While similarities are measured: blocks of vectors, and a row and a target."""

PLANNING = 30e6
"""Drawing from a plan and writing it."""

PLAN_ROW = 70
"""A row that the plan mentions, of those that are named, drawn from and written at a time."""

ACTIVATIONS = 24
"""Numbers that one layer keeps of a token while a batch is under way, in units of the hidden size."""

PROBE_LINES, PROBE_FILES = 500, 8
"""How far into a file is looked, and into how many by URL of each format."""


def estimate_rows(files: Sequence[PoolFile]) -> int | None:
    """About how many rows the files hold, from table footers and from the length of the first lines.

    Returns None when there is nothing to go by (a hub name). A compressed file is guessed at four times its size. Of
    files by URL a few are looked into, and the others of their format are taken to be like these.
    """
    total = 0.0
    fetched: dict[str, list[float]] = {}  # of a format: bytes, rows and number of the files that were looked into
    for file in files:
        if file.format == "hf":
            return None
        if file.records is not None:
            total += len(file.records)
            continue
        size = float((file.seen.size if file.seen is not None else file.size) or 0)
        known = fetched.setdefault(f"{file.format} {file.compression}", [0.0, 0.0, 0])
        if file.remote and known[2] == PROBE_FILES:
            total += size * known[1] / max(1.0, known[0])
            continue
        rows = _probe(file, size * (4 if file.compression else 1))
        if rows is None:
            return None
        if file.remote:
            fetched[f"{file.format} {file.compression}"] = [known[0] + size, known[1] + rows, known[2] + 1]
        total += rows
    return max(1, round(total))


def _probe(file: PoolFile, size: float) -> float | None:
    """About how many rows a file of `size` bytes of text holds; None if it is damaged."""
    if file.format == "parquet":
        try:
            return float(table_rows(file))
        except InputError:
            return None  # reading it properly will say what is wrong
    if file.format != "jsonl":
        return size / 400
    length = count = 0
    for count, (_, line) in enumerate(lines(file), 1):
        length += len(line) + 1
        if count == PROBE_LINES:
            break
    return size * count / max(1, length)


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

    What is mapped from disk is not counted, for its pages go when memory is short: vectors, and the scratch in which
    the numbers of the rows lie (some 100 bytes a row, 250 where the plan mentions every row). So the estimate is the
    same from about a million rows on.

    What it leaves out grows with the pool all the same: users' own ids (``--id-column``) and groups; rows left out
    beforehand; limits per source, draws with copies, draws by `gumbel` and token budgets over plans of every row; and
    what a selector holds of its own, see `Selector.memory`.

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
    What a run holds throughout, and the largest of its stages: ranking and collapsing copies, embedding, searching,
    summing densities, measuring similarities, drawing and writing. The constants are measured. How far the lists of
    neighbours are followed, and so how many rows get a density and how many of these each row is near to, is not known
    before; a usual run is taken. Near alpha 0, or for a large part of the pool, densities take more: up to half a
    gigabyte, and as much for each thread.
    """
    held = BASE + model + SMALL_ROW * min(rows, LARGE // 8) + (READING if text else 0)
    stages = [float(SORTING_ROW * min(rows, BUCKET_ROWS)), PLANNING + PLAN_ROW * min(planned, CHUNK_ROWS)]
    if lexical:
        stages.append(_embedding(dim, processes))
    if dim and (densities or not search):  # other searches know the distances of what they plan
        block_rows = max(1, BLOCK_BYTES // (4 * dim))
        table = SIMILARITY_ENTRY * min(nearest.TABLE_ENTRIES, targets * min(block_rows, rows))
        blocks = min(threads, planned / block_rows)
        stages.append(blocks * (SIMILARITY_BLOCKS * BLOCK_BYTES + table))
    if search:
        sampled = 2 * 4 * dim * min(rows // SAMPLE_SHARE, SAMPLE_ROWS)
        tables = 3 * BLOCK_BYTES * min(threads, rows * dim * 4 / BLOCK_BYTES)
        lists = LIST_ENTRY * targets * min(rows, LIST_LENGTH) if densities else 0
        stages.append(sampled + lists + tables)
        if densities:
            spans = SPAN_ROW * min(SPAN_ROWS * threads, rows // 4)
            candidates = 4 * dim * CANDIDATE_COPIES * min(rows, CANDIDATES)
            stages.append(candidates + spans)
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
