"""Embedding a pool before anything is selected from it: one pass over it for a digest and a sample, one for vectors."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasksift.config import RunConfig
from tasksift.engines.current import current, engine_report, require, using
from tasksift.errors import InputError, UnfinishedError
from tasksift.features import SAMPLE_TEXTS, lexical_identity, lexical_store, pool_workers
from tasksift.memory import BASE, READING, embedding_memory, estimate_rows, in_words, model_memory, worker_words
from tasksift.model_features import KEYS, KeyFile, check_store, model_store
from tasksift.progress import Progress, silent
from tasksift.represent import Embedder
from tasksift.represent.opening import TFIDF_DIM, open_embedder, resolve, say_usage
from tasksift.represent.shard_cache import work_folder
from tasksift.represent.shelf import Where, where
from tasksift.represent.store import FeatureStore, read_manifest
from tasksift.rows import PoolFile, Scanned, TextReader, TokenCounter, check_outside, expand, fingerprint, writing
from tasksift.rows.ids import ContentDigest
from tasksift.survey import remote_shards, survey, survey_key
from tasksift.vectors import Vectors
from tasksift.workspace import Workspace


@dataclass(frozen=True)
class Embedding:
    """The vectors of a pool on disk.

    Attributes
    ----------
    folder : Path or str
        The feature store, a path or a URL as text, for ``features=`` of `tasksift.select`.
    vectors : Vectors
        (n, d), memory-mapped; of a store behind a URL when they are read.
    manifest : dict
        The store's manifest, and ``model``: what made the vectors.
    """

    folder: Where
    vectors: Vectors
    manifest: dict[str, Any]


def embed(
    pool: Any,
    out: str | Path,
    *,
    representation: str = "tfidf",
    force: bool = False,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda line: None,
    engine: str | None = None,
    ray_address: str | None = None,
    **options: Any,
) -> Embedding:
    """Embed a pool and keep its vectors in a folder, where `tasksift.select` finds them again.

    Parameters
    ----------
    pool : path, glob, list of them, list of dict, pyarrow.Table, pandas.DataFrame or datasets.Dataset
        Rows in any layout that the documentation lists.
    out : path or URL
        The folder. Vectors of this pool that it holds already are kept and not computed again; of a pool to which
        rows were appended only these are computed (by every representation but tfidf, which is fitted to the pool).
    representation : str
        A name in `tasksift.represent.REPRESENTATIONS`.
    engine, ray_address : str
        What computes, see `tasksift.engines.current.using`: ``"local"`` or ``"ray"``. The vectors are the same.
    **options
        The fields of `tasksift.feature_config.FeatureConfig` that apply to it, such as ``model`` and ``device``.
        `tasksift.select` takes them from the folder. The source column counts because it is part of a row's identity.
    force : bool
        Replace features of another pool or representation instead of refusing them.
    progress, say : callable
        Where bars and notes go; see `tasksift.progress.bars`.

    Returns
    -------
    Embedding

    Raises
    ------
    InputError
        For anything in the request or the data that cannot be served, in one line.

    Notes
    -----
    Memory does not grow with the pool. What was done before a kill is found again, and the folder ends with the same
    bytes; until it is complete, the sample is kept in ``<out>.part``, for a URL in the cache on this machine.
    """
    with using(engine, ray_address):
        return _embed(pool, out, representation, force, progress, say, options)


def _embed(
    pool: Any,
    out: str | Path,
    representation: str,
    force: bool,
    progress: Progress,
    say: Callable[[str], None],
    options: dict[str, Any],
) -> Embedding:
    files = expand(pool, "pool")
    folder = where(out, "--out")
    config = RunConfig.create(pool=[file.path for file in files], representation=representation, **options)
    config = RunConfig.create(**{**config.model_dump(), **resolve(config, "tfidf")})
    reader = TextReader(config.text_template)
    _check_folder(config, folder, pool, force)
    embedder = open_embedder(config, say) if config.representation != "tfidf" else None
    if embedder is not None and not force:
        check_store(config, folder, embedder)
    _announce(config, embedder, files, say)
    with writing(folder):
        part = folder.with_name(folder.name + ".part") if isinstance(folder, Path) else work_folder(folder, "embed")
        resumed = part.is_dir()
        work = Workspace(part)
        sample = work.folder / "sample.json"
        try:
            # A store behind a URL needs no folder that all machines see.
            require(*([part] if isinstance(folder, Path) else []), *(file.path for file in files if file.on_disk))
            found = _survey(config, files, work, sample, progress)
            if found["empty"]:
                say(f"{found['empty']:,} rows of the pool have no text")
            remote = remote_shards(config, files, work.folder)
            if embedder is not None:
                keys = KeyFile.load(work.folder / KEYS)
                store = model_store(config, folder, files, reader, keys, embedder, progress, force=force, remote=remote)
                say_usage(embedder, say)
                made = store.identity["made"]
            else:
                store, model = lexical_store(
                    config, folder, files, reader, found["digest"], found["rows"], sample, progress, force=force,
                    remote=remote,
                )  # fmt: skip
                made = model.describe()
        except BaseException as error:
            # A request that cannot be served leaves nothing behind, except what an interrupted run had left before.
            refused = isinstance(error, InputError | OSError) and not isinstance(error, UnfinishedError)
            if (refused and not resumed) or not work.has_work():
                work.drop()
            raise
        work.drop()
        return Embedding(folder, store.open(), {**(read_manifest(folder) or {}), "model": made, **engine_report(say)})


def _survey(
    config: RunConfig, files: list[PoolFile], work: Workspace, path: Path, progress: Progress
) -> dict[str, Any]:
    """Read the pool for its ``rows``, its ``digest`` and the sample; or find what a killed run found."""
    key = {
        "pool": fingerprint(files),
        "options": [config.text_template, config.source_column],
        "sample": SAMPLE_TEXTS,
        **survey_key(config),
    }
    if not work.is_done("survey", key):
        digest, rows = ContentDigest(), 0

        def see(part: Scanned) -> None:
            nonlocal rows
            digest.add(b"".join(part.digests))
            rows += len(part.digests)

        survey(config, files, TokenCounter(None), work.folder, see, progress).save(path, rows=rows, digest=digest.hex())
        work.mark_done("survey", key)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    del found["texts"]
    return found


def _check_folder(config: RunConfig, folder: Where, pool: Any, force: bool) -> None:
    """Refuse, before anything is read, a folder that cannot take these features."""
    if isinstance(folder, Path) and folder.exists() and not folder.is_dir():
        raise InputError(f"cannot write {folder}: it is a file; name a folder")
    check_outside(folder, pool)
    there = read_manifest(folder)
    if not force and config.representation == "tfidf":
        ours = lexical_identity(config, "", 0)
        of_the_pool = ("pool", "rows", "shard_rows")
        same = {name: there["identity"].get(name) for name in of_the_pool} if there is not None else {}
        FeatureStore(folder, {**ours, **same})


def _announce(config: RunConfig, embedder: Embedder | None, files: list[PoolFile], say: Callable[[str], None]) -> None:
    """Say how large the pool is and what memory it will need."""
    rows = estimate_rows(files)
    processes = 1 if rows is None or embedder is not None or current() is not None else pool_workers(rows)
    size = f"about {rows:,} rows; " if rows is not None else ""
    if embedder is None:
        memory = embedding_memory(config.dim or TFIDF_DIM, processes)
    else:
        memory = BASE + READING + model_memory(embedder)
    say(f"{size}memory about {in_words(memory)}{worker_words(processes)}")
