"""Embedding a pool before anything is selected from it: one pass over it for a digest and a sample, one for vectors."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.features import SAMPLE_TEXTS, FitSample, lexical_identity, lexical_store, pool_workers
from tasksift.memory import embedding_memory, estimate_rows, in_words, worker_words
from tasksift.progress import Progress, silent
from tasksift.represent.store import FeatureStore, read_manifest
from tasksift.rows import PoolFile, TextReader, TokenCounter, expand, fingerprint, scan, writing
from tasksift.rows.ids import ContentDigest
from tasksift.vectors import Vectors
from tasksift.workspace import Workspace


@dataclass(frozen=True)
class Embedding:
    """The vectors of a pool on disk.

    Attributes
    ----------
    folder : Path
        The feature store, for ``features=`` of `tasksift.select`.
    vectors : Vectors
        (n, d), memory-mapped.
    manifest : dict
        The store's manifest, and ``model``: what made the vectors.
    """

    folder: Path
    vectors: Vectors
    manifest: dict[str, Any]


def embed(
    pool: Any,
    out: str | Path,
    *,
    representation: str = "tfidf",
    dim: int | None = None,
    text_template: str | None = None,
    source_column: str | None = None,
    force: bool = False,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda line: None,
) -> Embedding:
    """Embed a pool and keep its vectors and the model in a folder, where `tasksift.select` finds them again.

    Parameters
    ----------
    pool : path, glob, list of them, list of dict, pyarrow.Table, pandas.DataFrame or datasets.Dataset
        Rows in any layout that the documentation lists.
    out : path
        The folder. Vectors of this pool that it holds already are kept and not computed again.
    representation : str
        ``tfidf``, the only one that needs no vectors of your own.
    dim, text_template, source_column
        As in `tasksift.config.RunConfig`. Features are found again for the same values only; the source counts
        because it is part of a row's identity.
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
    bytes; until it is complete, the sample is kept in ``<out>.part``.
    """
    if representation != "tfidf":
        raise InputError(f"--representation {representation!r}: it should be tfidf; other vectors are made outside")
    files = expand(pool, "pool")
    folder = Path(out)
    config = RunConfig.create(
        pool=[file.path for file in files], dim=dim, text_template=text_template, source_column=source_column
    )
    reader = TextReader(text_template)
    _check_folder(config, folder, pool, force)
    _announce(config, files, say)
    with writing(folder):
        work_folder = folder.with_name(folder.name + ".part")
        resumed = work_folder.is_dir()
        work = Workspace(work_folder)
        sample = work.folder / "sample.json"
        try:
            survey = _survey(config, files, reader, work, sample, progress)
            if survey["empty"]:
                say(f"{survey['empty']:,} rows of the pool have no text")
            store, model = lexical_store(
                config, folder, files, reader, survey["digest"], survey["rows"], sample, progress, force=force
            )
        except BaseException as error:
            # A request that cannot be served leaves nothing behind, except what an interrupted run had left before.
            if (isinstance(error, InputError | OSError) and not resumed) or not work.has_work():
                work.drop()
            raise
        work.drop()
        return Embedding(folder, store.open(), {**(read_manifest(folder) or {}), "model": model.describe()})


def _survey(
    config: RunConfig, files: list[PoolFile], reader: TextReader, work: Workspace, path: Path, progress: Progress
) -> dict[str, Any]:
    """Read the pool for its ``rows``, its ``digest`` and the sample; or find what a killed run found."""
    key = {
        "pool": fingerprint(files),
        "options": [config.text_template, config.source_column],
        "sample": SAMPLE_TEXTS,
    }
    if not work.is_done("survey", key):
        sample, rows, digest = FitSample(), 0, ContentDigest()
        with progress("reading the pool", estimate_rows(files) or 0) as tick:
            for part in scan(files, reader, TokenCounter(None), source_column=config.source_column):
                digest.add(b"".join(part.digests))
                rows += len(part.texts)
                sample.add(part.texts)
                tick(len(part.texts))
        sample.save(path, rows=rows, digest=digest.hex())
        work.mark_done("survey", key)
    survey: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    del survey["texts"]
    return survey


def _check_folder(config: RunConfig, folder: Path, pool: Any, force: bool) -> None:
    """Refuse, before anything is read, a folder that cannot take these features."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"cannot write {folder}: it is a file; name a folder")
    for item in pool if isinstance(pool, list | tuple) else [pool]:
        inside = isinstance(item, str | Path) and Path(item).is_dir()
        if inside and folder.resolve().is_relative_to(Path(item).resolve()):
            raise InputError(f"cannot write {folder}: it lies in the pool's folder {item}; name a folder elsewhere")
    there = read_manifest(folder)
    if not force:
        ours = lexical_identity(config, "", 0)
        same = {name: there["identity"].get(name) for name in ("pool", "rows")} if there is not None else {}
        FeatureStore(folder, {**ours, **same})


def _announce(config: RunConfig, files: list[PoolFile], say: Callable[[str], None]) -> None:
    """Say how large the pool is and what memory it will need."""
    rows = estimate_rows(files)
    processes = pool_workers(rows) if rows is not None else 1
    size = f"about {rows:,} rows; " if rows is not None else ""
    say(f"{size}memory about {in_words(embedding_memory(config.dim, processes))}{worker_words(processes)}")
