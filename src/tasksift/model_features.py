"""A pool's vectors from a model: computed row by row, kept in a store, and shared by `select` and `embed`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.feature_config import FeatureConfig
from tasksift.features import OPTIONS, Features
from tasksift.geometry import geometry, margins_of
from tasksift.progress import Progress
from tasksift.represent import REPRESENTATIONS, Embedder
from tasksift.represent.copies import Copies
from tasksift.represent.copy_job import CopyJob, copy_units
from tasksift.represent.model_job import ModelJob, embed_examples, every_option, feature_options, store_identity
from tasksift.represent.opening import for_targets
from tasksift.represent.shard_jobs import Layout, Remote
from tasksift.represent.shard_writer import marker_name
from tasksift.represent.shelf import Where, as_json, inside, keep_json, shelf, where
from tasksift.represent.store import SHARD_BYTES, FeatureStore, read_manifest
from tasksift.rows import Example, PoolFile, TextReader, iter_examples
from tasksift.selectors.contract import Margins

SHARD_ROWS = 2048
"""Rows of a shard at most: what a killed run may have to compute again."""

PIECE_ROWS = 512
"""Rows that an embedder is given at a time, enough for batches of like lengths."""

KEYS = "keys.bin"
"""Where a run keeps the content digests of the pool's rows."""

CONVERSATIONS = "conversations.bin"
"""Where a run on an engine keeps what tells which rows are copies, see `tasksift.represent.copies.first_rows`."""


def model_features(
    config: RunConfig,
    folder: Where,
    files: list[PoolFile],
    reader: TextReader,
    embedder: Embedder,
    targets: list[Example],
    tasks: NDArray[np.int64],
    work: Path,
    progress: Progress,
    *,
    force: bool = False,
    remote: Remote | None = None,
) -> Features:
    """Embed pool and targets by a model, or find the pool's part in `folder`.

    Parameters
    ----------
    tasks : int64 (m,)
        The task of each target.
    work : Path
        The run's folder; it holds the digests of the pool's rows, see `KeyFile`.
    force : bool
        Replace features of other rows or of another representation instead of refusing them.
    remote : Remote, optional
        What makes the pool's shards; by default this machine.
    """
    keys = KeyFile.load(work / KEYS)
    # Targets come first: what is wrong with one of them is said before the pool is embedded.
    with progress("embedding the targets", len(targets)) as tick:
        # In full: their mean over a task is taken before anything is scaled.
        raw = embed_examples(for_targets(embedder), targets, config.model_copy(update={"store_dtype": "float32"}))
        tick(len(targets))
    _check_targets(config, targets, raw)
    store = model_store(config, folder, files, reader, keys, embedder, progress, force=force, remote=remote)
    pool = store.open()
    compared = geometry(config, embedder, pool, raw, tasks, work)
    margins = None
    if config.representation == "gradient" and config.combine == "separate":
        gradients: Any = embedder
        size = len(gradients.weights), gradients.projections[0].dim
        margins = Margins(*margins_of(pool, raw, *size), moved=gradients.moved(targets))
    about = {"name": config.representation, "dim": compared.pool.dim, **store.identity["made"]}
    return Features(about, compared, margins)


def model_store(
    config: RunConfig,
    folder: Where,
    files: list[PoolFile],
    reader: TextReader,
    keys: NDArray[np.uint64],
    embedder: Embedder,
    progress: Progress,
    *,
    force: bool = False,
    remote: Remote | None = None,
) -> FeatureStore:
    """Embed a pool by a model, or what is missing of it.

    Parameters
    ----------
    folder : Path or str
        Where the features are, or will be.
    keys : uint64 (n, 2)
        The content digests of the pool's rows.
    force : bool
        Replace features of other rows or of another representation instead of refusing them.
    remote : Remote, optional
        What makes the shards, with the same bytes; by default this machine. It knows the first of equal rows.

    Returns
    -------
    FeatureStore
        Finished. Where rows were appended to the pool, only these were computed. Rows with equal conversations are
        computed once and have the same vector, bit for bit.

    Notes
    -----
    Memory holds one shard, at most `SHARD_BYTES` or `SHARD_ROWS`, and `PIECE_ROWS` rows on their way into it.
    """
    shard_rows = _shard_rows(embedder)
    store = FeatureStore(
        folder, store_identity(config, embedder, shard_rows), keys=keys, shard_rows=shard_rows, force=force
    )
    left = store.left(len(store.spans))
    with progress("embedding the pool", len(keys)) as tick:
        tick(len(keys) - sum(store.spans[k][1] - store.spans[k][0] for k in left))
        if remote is not None:
            _make_elsewhere(store, left, remote, config, tick)
            left = []
        pieces = _pieces(iter_examples(files, reader), [store.spans[k] for k in left])
        for k in left:
            shard = _embed_shard(store, k, embedder, pieces, config, tick)
            _keep_options(folder, config)
            store.write_shard(k, shard)
            del shard  # before the next one is made
    _keep_options(folder, config)
    store.finish(len(keys))
    return store


def check_store(config: RunConfig, folder: Where, embedder: Embedder) -> None:
    """Refuse, before a pool is read, a folder that holds features of another model or made in another way."""
    FeatureStore(folder, store_identity(config, embedder, _shard_rows(embedder)))


def stored_options(folder: str | Path | None) -> dict[str, Any]:
    """Return the options with which the features in `folder` were made; none where there are no features yet.

    Whether code that comes with a model may run, and what key a server is sent, are not among them: that is said each
    time, by whoever runs it.
    """
    place = where(folder, "--features") if folder is not None else None
    if place is None or read_manifest(place) is None:
        return {}
    data = shelf(place).read(OPTIONS)
    values = as_json(data)
    if data is None:
        return {}
    if values is None:
        raise InputError(
            f"{inside(place, OPTIONS)} is damaged; give the options of the features again, or remove the folder"
        )
    fields = FeatureConfig.model_fields.keys() - {"trust_remote_code", "api_key_env"}
    return {name: value for name, value in values.items() if name in fields and value is not None}


class KeyFile:
    """The content digests of a pool's rows, written as the pool is read and mapped from disk afterwards."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(b"")

    def add(self, digests: list[bytes]) -> None:
        """See the digests of the next rows."""
        with self.path.open("ab") as file:
            file.write(b"".join(digests))

    @staticmethod
    def load(path: Path) -> NDArray[np.uint64]:
        """Return the digests, uint64 (n, 2), mapped."""
        keys: NDArray[np.uint64] = np.memmap(path, dtype=np.uint64, mode="r").reshape(-1, 2)
        return keys


def _shard_rows(embedder: Embedder) -> int:
    return max(1, min(SHARD_ROWS, SHARD_BYTES // (4 * (embedder.dim + 1))))


def _check_targets(config: RunConfig, targets: list[Example], raw: NDArray[np.generic]) -> None:
    """Refuse targets of which nothing counts: rows without an answer would be all that is like them."""
    assert config.representation is not None
    if REPRESENTATIONS[config.representation].kind == "direction":
        nothing = raw[:, -1] != 0
    else:
        nothing = np.array([config.score == "response" and not each.response.strip() for each in targets])
    if nothing.any():
        where = targets[int(np.argmax(nothing))].where
        if "score" in REPRESENTATIONS[config.representation].options:
            raise InputError(
                f"{where}: the target has no answer that counts, so nothing for {config.representation} to compare; "
                "give it one, raise --max-length, or remove it"
            )
        raise InputError(f"{where}: the target's {config.representation} vector is zero; remove it")


def _keep_options(folder: Where, config: RunConfig) -> None:
    """Write the options beside the store if they are not there; folders as they are found from anywhere."""
    keep_json(shelf(folder), OPTIONS, feature_options(config))


def _make_elsewhere(
    store: FeatureStore, left: list[int], remote: Remote, config: RunConfig, tick: Callable[[int], None]
) -> None:
    """Let an engine make the shards that are left: first what is new in each, then what is copied from others."""
    assert remote.firsts is not None
    layout = Layout(remote.slices, store.spans, store.keys, remote.firsts)
    copied = {k: count for k in left if (count := len(layout.copied(k)))}
    there = set(store.place.names())
    begun = {k for k in copied if marker_name(k) in there and store.begun(k) is not None}
    for k in begun:
        tick(layout.size(k) - copied[k])

    job = ModelJob(store.writer, every_option(config), store.shard_rows, PIECE_ROWS)
    new = [k for k in left if k not in begun and copied.get(k, 0) < layout.size(k)]
    with closing(remote.engine.fill(job, layout.units, new)) as made:
        for done in made:
            _keep_options(store.folder, config)
            store.written(done.shard)
            tick(layout.size(done.shard) - copied.get(done.shard, 0))
    with closing(remote.engine.fill(CopyJob(store.writer), partial(copy_units, layout), list(copied))) as made:
        for done in made:
            store.written(done.shard)
            tick(copied[done.shard])


def _embed_shard(
    store: FeatureStore,
    k: int,
    embedder: Embedder,
    pieces: Iterator[_Piece],
    config: FeatureConfig,
    tick: Callable[[int], None],
) -> NDArray[np.generic]:
    """Return the vectors of shard `k`; a copy has the very vector of the first row like it."""
    start, stop = store.spans[k]
    shard: NDArray[np.generic] | None = None
    at = start
    while at < stop:
        piece = next(pieces)
        rows = np.arange(at, at + len(piece.examples))
        new = piece.firsts == rows
        fresh = [example for example, wanted in zip(piece.examples, new, strict=True) if wanted]
        computed = embed_examples(embedder, fresh, config) if fresh else None
        before = np.flatnonzero(piece.firsts < start)
        known = store.rows(piece.firsts[before]) if len(before) else None
        if shard is None:
            like = computed if computed is not None else known
            assert like is not None
            shard = np.empty((stop - start, like.shape[1]), dtype=like.dtype)
        here = shard[at - start : at - start + len(rows)]
        if computed is not None:
            here[new] = computed
        if known is not None:
            here[before] = known
        again = np.flatnonzero(~new & (piece.firsts >= start))
        here[again] = shard[piece.firsts[again] - start]
        at += len(rows)
        tick(len(rows))
    assert shard is not None
    return shard


class _Piece(NamedTuple):
    """Consecutive examples of one shard, and for each the first row of the pool that is equal to it."""

    examples: list[Example]
    firsts: NDArray[np.int64]


def _pieces(batches: Iterable[list[Example]], spans: list[tuple[int, int]]) -> Iterator[_Piece]:
    """Yield the examples of ascending spans, `PIECE_ROWS` at most at a time and of one span; others are passed over."""
    copies, waiting = Copies(), iter(spans)
    start, stop = next(waiting, (-1, -1))
    held: list[Example] = []
    firsts: list[int] = []
    at = 0
    for batch in batches if spans else ():
        for example, first in zip(batch, copies.add(batch).tolist(), strict=True):
            at += 1
            if at > start:
                held.append(example)
                firsts.append(first)
            if len(held) == PIECE_ROWS or (at == stop and held):
                yield _Piece(held, np.array(firsts, dtype=np.int64))
                held, firsts = [], []
            if at == stop:
                start, stop = next(waiting, (-1, -1))
                if stop < 0:
                    return
    raise InputError("the pool became shorter while it was read; run again")
