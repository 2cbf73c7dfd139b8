"""A pool's vectors from a model: computed row by row, kept in a store, and shared by `select` and `embed`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.feature_config import FeatureConfig
from tasksift.features import OPTIONS, Features
from tasksift.geometry import geometry
from tasksift.progress import Progress
from tasksift.represent import REPRESENTATIONS, Embedder
from tasksift.represent.opening import for_targets
from tasksift.represent.store import SHARD_BYTES, FeatureStore, read_manifest, replace_json
from tasksift.rows import Example, PoolFile, TextReader, iter_examples

SHARD_ROWS = 2048
"""Rows of a shard at most: what a killed run may have to compute again."""

PIECE_ROWS = 512
"""Rows that an embedder is given at a time, enough for batches of like lengths."""

KEYS = "keys.bin"
"""Where a run keeps the content digests of the pool's rows."""


def model_features(
    config: RunConfig,
    folder: Path,
    files: list[PoolFile],
    reader: TextReader,
    embedder: Embedder,
    targets: list[Example],
    work: Path,
    progress: Progress,
    *,
    force: bool = False,
) -> Features:
    """Embed pool and targets by a model, or find the pool's part in `folder`.

    Parameters
    ----------
    work : Path
        The run's folder; it holds the digests of the pool's rows, see `KeyFile`.
    force : bool
        Replace features of other rows or of another representation instead of refusing them.
    """
    keys = KeyFile.load(work / KEYS)
    store = model_store(config, folder, files, reader, keys, embedder, progress, force=force)
    with progress("embedding the targets", len(targets)) as tick:
        raw = embed_examples(for_targets(embedder), targets, config)
        tick(len(targets))
    pool, target = geometry(config, embedder, store.open(), raw, work)
    return Features(pool, target, {"name": config.representation, "dim": pool.dim, **store.identity["made"]})


def model_store(
    config: RunConfig,
    folder: Path,
    files: list[PoolFile],
    reader: TextReader,
    keys: NDArray[np.uint64],
    embedder: Embedder,
    progress: Progress,
    *,
    force: bool = False,
) -> FeatureStore:
    """Embed a pool by a model, or what is missing of it.

    Parameters
    ----------
    folder : Path
        Where the features are, or will be.
    keys : uint64 (n, 2)
        The content digests of the pool's rows.
    force : bool
        Replace features of other rows or of another representation instead of refusing them.

    Returns
    -------
    FeatureStore
        Finished. Where rows were appended to the pool, only these were computed.

    Notes
    -----
    Memory holds one shard, `SHARD_BYTES` or `SHARD_ROWS`, and the rows it is made of.
    """
    shard_rows = max(1, min(SHARD_ROWS, SHARD_BYTES // (4 * (embedder.dim + 1))))
    store = FeatureStore(
        folder, store_identity(config, embedder, shard_rows), keys=keys, shard_rows=shard_rows, force=force
    )
    folder.mkdir(parents=True, exist_ok=True)
    replace_json(folder / OPTIONS, config.feature_options())
    left = [k for k in range(len(store.spans)) if not store.has(k)]
    with progress("embedding the pool", len(keys)) as tick:
        tick(len(keys) - sum(store.spans[k][1] - store.spans[k][0] for k in left))
        wanted = [store.spans[k] for k in left]
        for k, rows in zip(left, _cut(iter_examples(files, reader), wanted) if left else (), strict=True):
            parts = []
            for at in range(0, len(rows), PIECE_ROWS):
                parts.append(embed_examples(embedder, rows[at : at + PIECE_ROWS], config))
                tick(len(parts[-1]))
            store.write_shard(k, np.concatenate(parts))
    store.finish(len(keys))
    return store


def store_identity(config: RunConfig, embedder: Embedder, shard_rows: int) -> dict[str, Any]:
    """Return what makes the vectors of a store what they are."""
    made: dict[str, Any] = json.loads(json.dumps(embedder.identity))
    if isinstance(made.get("model"), dict):
        # A model is its content; where it lies is written beside the store.
        made["model"] = {name: value for name, value in made["model"].items() if name == "digest"} or made["model"]
    return {
        "representation": config.representation,
        "text_template": config.text_template,
        "store_dtype": config.store_dtype,
        "shard_rows": shard_rows,
        "made": made,
    }


def embed_examples(embedder: Embedder, examples: list[Example], config: FeatureConfig) -> NDArray[np.generic]:
    """Return the vectors of some examples in the form in which they are kept.

    A row of zeros, such as the gradient of a row without an answer, has no direction. It gets the unit vector of one
    more axis, on which every other row has 0: it is unrelated to all of them and equal to its like.

    Raises
    ------
    InputError
        If a vector is not finite; the message names the row.
    """
    rows = embedder.transform(examples)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        where = examples[int(np.argmin(finite))].where
        raise InputError(f"{where}: its {config.representation} vector is not finite; remove the row or try float32")
    assert config.representation is not None
    if REPRESENTATIONS[config.representation].kind == "scalars":
        return np.asarray(rows, dtype=np.float32)
    none = ~rows.any(axis=1)
    rows = np.column_stack([rows, none.astype(np.float32)])
    if config.store_dtype == "float16":
        # Unit rows first: gradients may lie below what float16 can tell from 0.
        rows /= np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1))[:, None].astype(np.float32)
    return rows.astype(config.store_dtype)


def stored_options(folder: str | Path | None) -> dict[str, Any]:
    """Return the options with which the features in `folder` were made; none where there are no features yet."""
    if folder is None or read_manifest(Path(folder)) is None:
        return {}
    try:
        values = json.loads((Path(folder) / OPTIONS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise InputError(f"{Path(folder) / OPTIONS} is not JSON; remove the folder and embed again") from None
    return {name: value for name, value in values.items() if name in FeatureConfig.model_fields and value is not None}


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


def _cut(batches: Iterable[list[Example]], spans: list[tuple[int, int]]) -> Iterator[list[Example]]:
    """Yield the examples of every span; the spans ascend, rows between them are passed over."""
    waiting = iter(spans)
    start, stop = next(waiting)
    held: list[Example] = []
    at = 0
    for batch in batches:
        for example in batch:
            if at >= start:
                held.append(example)
            at += 1
            if at == stop:
                yield held
                held = []
                start, stop = next(waiting, (-1, -1))
                if start < 0:
                    return
