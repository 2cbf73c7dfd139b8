"""Domains where no column names them: found by clustering a representation of the rows."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.online.checks import whole
from tasksift.online.domains import Domains
from tasksift.progress import Progress, silent
from tasksift.represent.shelf import where
from tasksift.represent.store import open_store, read_manifest
from tasksift.selectors.clustering import cluster
from tasksift.vectors import Vectors

FEWEST, MOST = 2, 15


def find_domains(
    pool: Any,
    clusters: int | Literal["auto"] = "auto",
    *,
    seed: int = 0,
    order: NDArray[np.int64] | None = None,
    text_template: str | None = None,
    source_column: str | None = None,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda line: None,
) -> Domains:
    """Divide rows into domains by k-means on a representation of them.

    Parameters
    ----------
    pool : array (n, d), Vectors, list of arrays, folder of features, or a pool of rows
        Vectors are compared as they are. A folder that `tasksift.embed` made is opened. Rows, in whatever form
        `tasksift.select` takes a pool, are embedded by TF-IDF.
    clusters : int or "auto"
        How many domains; fewer come out when the rows have fewer distinct vectors. ``auto`` is `automatic_count`.
    seed : int
        Of the clustering.
    order : int64 (n,), optional
        Rank of every row, by which ties break and domains are numbered, so that the order of the rows changes nothing.
        By default that of the ids for rows, and the position for vectors.
    text_template, source_column : str, optional
        How rows are read, as in `tasksift.select`.
    progress, say : callable
        Where bars and notes go.

    Returns
    -------
    Domains
        Named ``cluster-00``, ``cluster-01``, ... Cost: as `tasksift.selectors.clustering.cluster`; for rows also
        their TF-IDF, which needs a temporary folder of about 1 KB a row.

    Raises
    ------
    InputError
        If `clusters` is not a whole number from 1, or the pool cannot be read.
    """
    whole("seed", seed, 0)
    if clusters != "auto" and (
        isinstance(clusters, bool) or not isinstance(clusters, int | np.integer) or clusters < 1
    ):
        raise InputError(f"--clusters {clusters!r}: ask for a whole number from 1, or for auto")
    if _is_vectors(pool):
        vectors = pool if isinstance(pool, Vectors) else Vectors(pool, name="pool")
        return _divide(vectors, clusters, order, seed, progress)
    folder = where(pool, "pool") if isinstance(pool, str | Path) else None
    if folder is not None and (isinstance(folder, str) or folder.is_dir()) and read_manifest(folder) is not None:
        return _divide(open_store(folder), clusters, order, seed, progress)
    from tasksift.embedding import embed
    from tasksift.rows import TextReader, TokenCounter, expand
    from tasksift.rows.index import build_index

    reading: dict[str, Any] = {"text_template": text_template, "source_column": source_column}
    if order is None:
        index = build_index(expand(pool), TextReader(text_template), TokenCounter(None), source_column=source_column)
        order = index.order
    with tempfile.TemporaryDirectory(prefix="tasksift-") as folder:
        vectors = embed(pool, Path(folder) / "features", progress=progress, say=say, **reading).vectors
        return _divide(vectors, clusters, order, seed, progress)


def automatic_count(n: int) -> int:
    """Return the square root of the number of rows, rounded down and kept within 2 and 15.

    A rule of thumb; fms-acceleration's online mixing uses it for data without categories.
    """
    return min(MOST, max(FEWEST, math.isqrt(n)))


def _divide(
    vectors: Vectors, clusters: int | Literal["auto"], order: NDArray[np.int64] | None, seed: int, progress: Progress
) -> Domains:
    n = len(vectors)
    if order is not None and len(order) != n:
        raise InputError(f"there are {n} vectors and {len(order)} rows; embed these rows")
    if clusters != "auto" and clusters > n:
        raise InputError(f"--clusters {clusters} for {n} rows: ask for {n} at most")
    count = automatic_count(n) if clusters == "auto" else int(clusters)
    labels = cluster(vectors, count, order=order, seed=seed, progress=progress).labels
    found = int(labels.max()) + 1
    width = max(2, len(str(found - 1)))
    return Domains(tuple(f"cluster-{number:0{width}d}" for number in range(found)), labels)


def _is_vectors(pool: Any) -> bool:
    if isinstance(pool, list | tuple) and pool:
        return all(isinstance(item, np.ndarray) for item in pool)
    return isinstance(pool, np.ndarray | Vectors)
