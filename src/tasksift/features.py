"""Pool and targets as vectors: found in a store, given by the user, or computed and stored."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.progress import Progress
from tasksift.represent import tfidf
from tasksift.represent.store import FeatureStore
from tasksift.represent.vectors_file import load_vectors
from tasksift.rows import PoolFile, TextReader, iter_texts
from tasksift.rows.index import PoolIndex
from tasksift.vectors import Vectors

SAMPLE_TEXTS = 20_000
"""Distinct texts of the pool, drawn by a seeded hash, on which the default representation is fitted."""

SHARD_ROWS = 16_384
"""Rows of one shard of features: what a killed run may have to compute again."""


@dataclass(frozen=True)
class Features:
    """Vectors of the pool (n, d) and of the targets (m, d), and what the manifest says about them."""

    pool: Vectors
    target: Vectors
    about: dict[str, Any]


def given_vectors(config: RunConfig) -> Features:
    """Open the vectors that the user brought."""
    assert config.vectors is not None
    assert config.target_vectors is not None
    pool = load_vectors(config.vectors, normalize=config.normalize, what="--vectors")
    target = load_vectors(config.target_vectors, normalize=config.normalize, what="--target-vectors")
    if pool.dim != target.dim:
        raise InputError(
            f"--vectors {config.vectors} has {pool.dim} dimensions and --target-vectors {config.target_vectors} has "
            f"{target.dim}; embed both with the same model"
        )
    return Features(pool, target, {"name": "vectors", "dim": pool.dim, "normalized": config.normalize})


def lexical_features(
    config: RunConfig,
    folder: Path,
    files: list[PoolFile],
    reader: TextReader,
    index: PoolIndex,
    sample: Path,
    target_texts: list[str],
    progress: Progress,
    *,
    force: bool = False,
) -> Features:
    """Embed pool and targets by the default representation, or find the pool's part in `folder`.

    Parameters
    ----------
    folder : Path
        Where the pool's features are, or will be, together with the fitted model.
    sample : Path
        JSON file with the ``texts`` to fit on.
    target_texts : list of m str
    force : bool
        Replace features of another pool or representation instead of refusing them.
    """
    identity = {
        "representation": "tfidf",
        "tokens": tfidf.TOKENS,
        "dim": config.dim,
        "sample": SAMPLE_TEXTS,
        "text_template": config.text_template,
        "pool": index.digest,
        "rows": len(index),
        "shard_rows": SHARD_ROWS,
        "dtype": "float32",
    }
    store = FeatureStore(folder, identity, force=force)
    model = _model(folder / "model", sample, config.dim, progress, fresh=not store.has(0))
    with progress("embedding the pool", len(index)) as tick:
        k = 0
        while k * SHARD_ROWS < len(index) and store.has(k):
            k += 1
        tick(min(k * SHARD_ROWS, len(index)))
        if k * SHARD_ROWS < len(index):
            for texts in _shards_from(iter_texts(files, reader), k):
                store.write_shard(k, model.transform(texts))
                k += 1
                tick(len(texts))
    store.finish(len(index))
    target = Vectors(model.transform(target_texts), name="target")
    return Features(store.open(), target, model.describe())


def _model(folder: Path, sample: Path, dim: int, progress: Progress, *, fresh: bool) -> tfidf.Tfidf:
    """Load the model that made the store's shards, or fit one when there are none."""
    if fresh:
        with progress("fitting TF-IDF and SVD", 0):
            tfidf.fit(json.loads(sample.read_text(encoding="utf-8"))["texts"], dim=dim).save(folder)
    # Loaded in either case, so that a resumed run says and computes the same, byte for byte.
    return tfidf.Tfidf.load(folder)


def _shards_from(batches: Iterable[list[str]], first: int) -> Iterable[list[str]]:
    """Cut a stream of texts into shards and leave out those before `first`."""
    skip = first * SHARD_ROWS
    shard: list[str] = []
    for batch in batches:
        texts = batch[min(skip, len(batch)) :]
        skip -= len(batch) - len(texts)
        shard.extend(texts)
        while len(shard) >= SHARD_ROWS:
            yield shard[:SHARD_ROWS]
            shard = shard[SHARD_ROWS:]
    if shard:
        yield shard
