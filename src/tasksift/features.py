"""Pool and targets as vectors: found in a store, given by the user, or computed and stored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.config import RunConfig
from tasksift.engines.processes import in_processes, process_count
from tasksift.errors import InputError
from tasksift.geometry import Compared, task_means
from tasksift.progress import Progress
from tasksift.represent import tfidf
from tasksift.represent.lexical_job import LexicalJob
from tasksift.represent.opening import TFIDF_DIM
from tasksift.represent.sample import BottomK
from tasksift.represent.shard_jobs import Layout, Remote
from tasksift.represent.shelf import Where, inside, keep_json, replace_json, shelf
from tasksift.represent.store import FeatureStore
from tasksift.represent.vectors_file import load_vectors
from tasksift.represent.words import TOKENS
from tasksift.rows import PoolFile, TextReader, iter_texts
from tasksift.rows.index import PoolIndex
from tasksift.selectors.contract import Margins
from tasksift.vectors import Vectors

Float = NDArray[np.float32]

OPTIONS = "representation.json"
"""What a folder of features was made with, so that no command has to be told again."""

SAMPLE_TEXTS = 20_000
"""Distinct texts of the pool, drawn by a seeded hash, on which the default representation is fitted."""

SHARD_ROWS = 16_384
"""Rows of one shard of features at most: what a killed run may have to compute again."""

SMALL_POOL, SMALL_SHARD_ROWS = 300_000, 4096
"""A pool of fewer rows has smaller shards, so that there are some for every machine that may make them."""

BATCHES = 16
"""Into how many batches the texts of a shard are cut; worker processes are sent one at a time."""

MOST_WORKERS = 8
"""Worker processes at most: one process reads for all of them, and cannot keep more of them busy."""

BATCH_CHARACTERS = 2**22
"""A batch is cut where its texts are longer than so many characters together."""

WORTH_SHARDS = 3
"""From how many shards of `SHARD_ROWS` on worker processes save more time than they take to start, half a second."""


@dataclass(frozen=True)
class Features:
    """What is computed for pool and targets, and what the manifest says about it.

    Attributes
    ----------
    about : dict
    compared : Compared
    margins : Margins or None
        Where gradients of margins were asked for.
    """

    about: dict[str, Any]
    compared: Compared
    margins: Margins | None = None

    @property
    def pool(self) -> Vectors:
        """Vectors of the pool, (n, d)."""
        return self.compared.pool

    @property
    def target(self) -> Vectors | None:
        """Vectors of the targets, (m, d); None without targets."""
        return self.compared.target if len(self.compared.target) else None


def given_vectors(config: RunConfig, progress: Progress) -> tuple[Vectors, Vectors]:
    """Open the vectors that the user brought, of the pool and of the targets; none of targets where none are given."""
    assert config.vectors is not None
    load = partial(load_vectors, normalize=config.normalize, progress=progress)
    pool = load(config.vectors, what="--vectors")
    if config.target_vectors is None:
        return pool, Vectors(np.empty((0, pool.dim), dtype=np.float32), normalize=config.normalize, name="target")
    target = load(config.target_vectors, what="--target-vectors")
    if pool.dim != target.dim:
        raise InputError(
            f"--vectors {config.vectors} has {pool.dim} dimensions and --target-vectors {config.target_vectors} has "
            f"{target.dim}; embed both with the same model"
        )
    return pool, target


def plain_features(
    pool: Vectors, target: Vectors, tasks: NDArray[np.int64], about: dict[str, Any], *, unit: bool
) -> Features:
    """Take vectors as they are compared; `tasks` (m,) is the task of each target, `unit` whether they have length 1."""
    raw = np.concatenate([target.raw(span) for span in target.spans()]) if len(target) else target.shards[0]
    means = Vectors(task_means(raw, tasks), normalize=unit, name="target")
    lengths = (Vectors(each.shards, name=each.name) for each in (pool, target))
    return Features(about, Compared(pool, target, means, *lengths))


def lexical_features(
    config: RunConfig,
    folder: Where,
    files: list[PoolFile],
    reader: TextReader,
    index: PoolIndex,
    sample: Path,
    target_texts: list[str],
    tasks: NDArray[np.int64],
    progress: Progress,
    *,
    force: bool = False,
    remote: Remote | None = None,
) -> Features:
    """Embed pool and targets by the default representation, or find the pool's part in `folder`.

    Parameters
    ----------
    folder : Path or str
        Where the pool's features are, or will be, together with the fitted model.
    sample : Path
        JSON file with the ``texts`` to fit on.
    target_texts : list of m str
    tasks : int64 (m,)
        The task of each target.
    force : bool
        Replace features of another pool or representation instead of refusing them.
    remote : Remote, optional
        What makes the shards; by default this machine.
    """
    store, model = lexical_store(
        config, folder, files, reader, index.digest, len(index), sample, progress, force=force, remote=remote
    )
    target = Vectors(model.transform(target_texts), name="target")
    return plain_features(store.open(), target, tasks, model.describe(), unit=True)


class FitSample:
    """The texts on which the default representation is fitted, gathered while the pool is read.

    Attributes
    ----------
    empty : int
        Rows seen so far that have no text.
    """

    def __init__(self) -> None:
        self.empty = 0
        self._sample = BottomK(SAMPLE_TEXTS, seed=0)

    def add(self, texts: list[str], empty: int | None = None) -> None:
        """See the texts of the next rows; or only some of them, and how many of these rows are ``empty``."""
        self.empty += sum(not text.strip() for text in texts) if empty is None else empty
        self._sample.add(texts)

    def __len__(self) -> int:
        return len(self._sample.texts())

    def save(self, path: Path, **more: Any) -> None:
        """Write ``texts``, ``empty`` and whatever else is given as one JSON file."""
        replace_json(path, {"texts": self._sample.texts(), "empty": self.empty, **more})


def lexical_identity(config: RunConfig, digest: str, rows: int) -> dict[str, Any]:
    """Return what makes the default representation of a pool what it is; parameters as in `lexical_store`."""
    return {
        "representation": "tfidf",
        "tokens": TOKENS,
        "dim": config.dim or TFIDF_DIM,
        "sample": SAMPLE_TEXTS,
        "text_template": config.text_template,
        "pool": digest,
        "rows": rows,
        "shard_rows": lexical_shard_rows(rows),
        "dtype": "float32",
    }


def lexical_shard_rows(rows: int) -> int:
    """Return how many rows a shard of the default representation has, for a pool of so many."""
    return SHARD_ROWS if rows >= SMALL_POOL else min(SMALL_SHARD_ROWS, SHARD_ROWS)


def pool_workers(rows: int) -> int:
    """Return how many worker processes embed that many rows; 1 means none besides this one."""
    return process_count(MOST_WORKERS) if rows >= WORTH_SHARDS * SHARD_ROWS else 1


def lexical_store(
    config: RunConfig,
    folder: Where,
    files: list[PoolFile],
    reader: TextReader,
    digest: str,
    rows: int,
    sample: Path,
    progress: Progress,
    *,
    force: bool = False,
    remote: Remote | None = None,
) -> tuple[FeatureStore, tfidf.Tfidf]:
    """Embed a pool by the default representation, or what is missing of it; parameters also as in `lexical_features`.

    Parameters
    ----------
    digest, rows : str, int
        The pool's digest (see `PoolIndex`) and its rows.

    Returns
    -------
    FeatureStore, Tfidf
        The store is finished. Its bytes depend on neither the number of worker processes nor on interruptions.

    Notes
    -----
    Texts are read once. Memory holds two shards, and two batches of texts for each worker.
    """
    store = FeatureStore(folder, lexical_identity(config, digest, rows), force=force)
    keep_json(shelf(folder), OPTIONS, config.feature_options())
    shard_rows = lexical_shard_rows(rows)
    spans = [(at, min(at + shard_rows, rows)) for at in range(0, rows, shard_rows)]
    left = store.left(len(spans))
    model_folder = inside(folder, "model")
    model = _model(model_folder, sample, config.dim or TFIDF_DIM, progress, fresh=len(left) == len(spans))
    with progress("embedding the pool", rows) as tick:
        if remote is not None:
            layout = Layout(remote.slices, spans)
            tick(rows - sum(map(layout.size, left)))
            job = LexicalJob(store.writer, model_folder, reader.template)
            with closing(remote.engine.fill(job, layout.units, left)) as made:
                for done in made:
                    store.written(done.shard)
                    tick(layout.size(done.shard))
        elif left:
            start = spans[left[0]][0]
            tick(start)
            texts = iter_texts(files, reader, max(1, SHARD_ROWS // BATCHES))
            batches = _short(_after(start, texts))
            workers = pool_workers(rows - start)
            load = partial(tfidf.Tfidf.load, model_folder)
            parts = (
                in_processes(tfidf.Tfidf.transform, load, batches, workers)
                if workers > 1
                else (model.transform(texts) for texts in batches)
            )
            with closing(parts):
                for k, shard in enumerate(_shards(parts, shard_rows), left[0]):
                    store.write_shard(k, shard)
                    tick(len(shard))
        else:
            tick(rows)
    store.finish(rows)
    return store, model


def _model(folder: Where, sample: Path, dim: int, progress: Progress, *, fresh: bool) -> tfidf.Tfidf:
    """Load the model that made the store's shards, or fit one when there are none."""
    if fresh:
        with progress("fitting TF-IDF and SVD", 0):
            tfidf.fit(json.loads(sample.read_text(encoding="utf-8"))["texts"], dim=dim).save(folder)
    # Loaded in either case, so that a resumed run says and computes the same, byte for byte.
    return tfidf.Tfidf.load(folder)


def _after(skip: int, batches: Iterable[list[str]]) -> Iterator[list[str]]:
    """Leave out the first `skip` texts."""
    for batch in batches:
        if skip < len(batch):
            yield batch[skip:]
        skip = max(0, skip - len(batch))


def _short(batches: Iterable[list[str]]) -> Iterator[list[str]]:
    """Cut batches whose texts are long, as several wait for each worker."""
    for batch in batches:
        start = length = 0
        for k, text in enumerate(batch):
            length += len(text)
            if length > BATCH_CHARACTERS and k > start:
                yield batch[start:k]
                start, length = k, len(text)
        yield batch[start:]


def _shards(parts: Iterable[Float], shard_rows: int) -> Iterator[Float]:
    """Join vectors of any number of rows to shards; the last may be shorter."""
    held: list[Float] = []
    count = 0
    for part in parts:
        held.append(part)
        count += len(part)
        while count >= shard_rows:
            rows = np.concatenate(held)
            yield rows[:shard_rows]
            held, count = [rows[shard_rows:]], count - shard_rows
    if count:
        yield np.concatenate(held)
