"""The pool of a mixture: its rows, their order, and the domain of each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq

from tasksift.errors import InputError
from tasksift.memory import estimate_rows
from tasksift.online.domains import Domains
from tasksift.online.found import find_domains
from tasksift.progress import Progress
from tasksift.represent.shelf import Where, shelf, where
from tasksift.represent.store import file_digest, open_store, read_manifest
from tasksift.rows import PoolFile, TextReader, TokenCounter, expand
from tasksift.rows.encode import well_formed
from tasksift.rows.index import PoolIndex, build_index
from tasksift.run_folder import run_folder

MOST_DOMAINS = 1000


@dataclass(frozen=True)
class MixPool:
    """The rows to mix.

    Attributes
    ----------
    files : list of PoolFile
    index : PoolIndex
    domains : Domains
        Names ascending.
    """

    files: list[PoolFile]
    index: PoolIndex
    domains: Domains


def read_pool(
    pool: Any,
    *,
    domain_column: str | None,
    source_column: str | None,
    clusters: int | Literal["auto"] | None,
    features: str | Path | None,
    text_template: str | None,
    seed: int,
    progress: Progress,
) -> MixPool:
    """Read the pool once and find the domain of every row.

    That is the value of `domain_column`; or the cluster; or else the row's source: what `select` wrote a file with is
    known from its record, every other source is found as `tasksift.rows.scan` does.

    Raises
    ------
    InputError
        For what cannot be read; for too many domains; for features that are not of these rows.
    """
    if features is not None and clusters is None:
        raise InputError("--features serves to find clusters; ask for them with --clusters auto")
    if clusters is not None and domain_column is not None:
        raise InputError("--domain-column and --clusters both say what a domain is; give one of them")
    if isinstance(clusters, int) and clusters > MOST_DOMAINS:
        raise InputError(f"--clusters {clusters} is more than {MOST_DOMAINS}, the most domains; ask for fewer")
    files = expand(pool, "pool")
    stored = _stored_reading(features)
    text_template = text_template or stored.get("text_template")
    source_column = source_column or stored.get("source_column")
    with progress("reading the pool", estimate_rows(files) or 0) as tick:
        try:
            index = build_index(
                files, TextReader(text_template), TokenCounter(None),
                source_column=source_column if domain_column is None else domain_column,
                see=lambda part: tick(len(part.texts)),
            )  # fmt: skip
        except InputError as error:
            if domain_column is None:
                raise
            raise InputError(str(error).replace("--source-column", "--domain-column")) from None
    if clusters is None:
        domains = _recorded(files, index) if domain_column is None and source_column is None else None
        domains = domains or _by_source(index)
    elif features is not None:
        folder = where(features, "--features")
        _check_features(folder, index)
        domains = find_domains(folder, clusters, seed=seed, order=index.order, progress=progress)
    else:
        domains = find_domains(
            pool, clusters, seed=seed, order=index.order, text_template=text_template, source_column=source_column,
            progress=progress,
        )  # fmt: skip
    if len(domains.names) > MOST_DOMAINS:
        what = f"--domain-column {domain_column}" if domain_column is not None else "the pool"
        raise InputError(
            f"{what} has {len(domains.names)} domains and {MOST_DOMAINS} is the most; name a coarser --domain-column, "
            "or group rows with --clusters"
        )
    return MixPool(files, index, domains)


def _by_source(index: PoolIndex) -> Domains:
    """Return the sources as domains; those that are told apart by lone surrogates alone are one."""
    names = np.array([well_formed(name) for name in index.source_names], dtype=object)
    distinct, place = np.unique(names, return_inverse=True)
    return Domains.coded(distinct.tolist(), place[index.sources])


def _recorded(files: list[PoolFile], index: PoolIndex) -> Domains | None:
    """Return the sources as `select` recorded them, where every file is as it wrote it; None otherwise."""
    labels: list[str] = []
    for file, (_, size) in zip(files, index.files, strict=True):
        sources = _selected_sources(file)
        if sources is None or len(sources) != size:
            return None
        labels += sources
    return Domains.of(well_formed(label) for label in labels)


def _selected_sources(file: PoolFile) -> list[str] | None:
    folder = run_folder(Path(file.path))
    if file.format in ("hf", "memory") or not folder.is_dir():
        return None
    try:
        written = json.loads((folder / "manifest.json").read_bytes())["output"]["digest"]
        record = pq.read_table(folder / "selection.parquet", columns=["source", "copies"])
    except (OSError, ValueError, KeyError, TypeError):  # another program's folder
        return None
    if file_digest(Path(file.path)) != written:
        return None
    copies, sources = record["copies"].to_numpy(), record["source"].to_pylist()
    # Rows stand by rank, further copies after all rows.
    rounds = [np.flatnonzero(copies > r) for r in range(int(copies.max()))]
    return [sources[line] for line in np.concatenate(rounds).tolist()]


def _stored_reading(features: str | Path | None) -> dict[str, Any]:
    """How the rows of a folder of features were read."""
    if features is None:
        return {}
    if read_manifest(where(features, "--features")) is None:
        raise InputError(f"--features {features} holds no features; make them with tasksift embed")
    from tasksift.model_features import stored_options

    return stored_options(features)


def _check_features(folder: Where, index: PoolIndex) -> None:
    """Refuse features of other rows, by their count, and by the digests that the store keeps."""
    vectors = open_store(folder)
    manifest = read_manifest(folder)
    assert manifest is not None
    place = shelf(folder)
    parts = place.read_each(name for name in place.names() if name.endswith(".keys"))
    keys = b"".join(part for part in parts if part is not None)
    other = bool(keys) and isinstance(index.keys, np.ndarray) and keys != index.keys.tobytes()
    other |= manifest["identity"].get("pool", index.digest) != index.digest
    if other or len(vectors) != len(index):
        raise InputError(
            f"--features {folder} are of {len(vectors)} other rows than the {len(index)} of the pool; embed this pool"
        )
