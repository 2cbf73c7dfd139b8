"""Vectors that users bring: a `.npy` file or a folder of `.npy` shards, checked once and mapped when they are read."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import IO

import numpy as np

from tasksift import places
from tasksift.engines.current import spread
from tasksift.engines.local import share
from tasksift.errors import InputError
from tasksift.places import Info
from tasksift.progress import Progress, silent
from tasksift.represent.shard_cache import Cached
from tasksift.represent.shard_writer import HEAD_BYTES, MANIFEST
from tasksift.represent.shelf import AT_ONCE, Where, where
from tasksift.represent.store import open_store, read_manifest, shard_path
from tasksift.shards import FileShard, read_header, table_shard
from tasksift.vectors import PART_ROWS, Span, Vectors, is_real


def load_vectors(path: str | Path, *, normalize: bool, what: str, progress: Progress = silent) -> Vectors:
    """Open vectors on disk and check every row of them.

    Parameters
    ----------
    path : str or Path
        A path or a URL of a `.npy` file of shape (n, d), any real dtype or the bfloat16 of `ml_dtypes`; or of a folder
        of them, stacked in natural order (shard-2 before shard-10; other files are ignored); or of a finished feature
        store.
    normalize : bool
        Whether rows will be scaled to unit length when read.
    what : str
        How messages call these vectors, as the option ``--vectors``.
    progress : callable
        Shows how far they are checked.

    Returns
    -------
    Vectors
        Mapped when they are read, `checked`.

    Raises
    ------
    InputError
        If something is missing, damaged, empty, pickled, not a table of real numbers or of differing dimensions; if a
        row holds a NaN, an infinite value or one beyond float32; if `normalize` and a row is zero.

    Notes
    -----
    Cost: one read, shared by all workers; what is behind a URL goes through the cache on this machine. Nothing is ever
    unpickled.
    """
    named = where(path, what)
    name = f"{what} {named}"
    tables: dict[Where, FileShard] = _remote(named, what) if isinstance(named, str) else _local(named, what)
    tables = {file: table for file, table in tables.items() if table.shape[0]}
    if not tables:
        raise InputError(f"{name} is empty: it has 0 rows")
    dims = {file: table.shape[1] for file, table in tables.items()}
    first = next(iter(dims))
    for file, dim in dims.items():
        if dim != dims[first]:
            raise InputError(f"{name}: {_last(file)} has {dim} dimensions and {_last(first)} has {dims[first]}")
    vectors = Vectors(list(tables.values()), normalize=normalize, name=name)
    with progress("checking the vectors", len(vectors)) as tick:
        spans = vectors.spans(PART_ROWS)
        for span, fault in zip(spans, spread(_fault, (vectors,), spans), strict=True):
            if fault is not None:
                row, words = fault
                k = int(np.searchsorted(vectors.starts, row, side="right")) - 1
                raise InputError(f"{what} {list(tables)[k]}: row {row - vectors.starts[k]} {words}")
            tick(span[1] - span[0])
    vectors.checked = True
    return vectors


def unit_length(vectors: Vectors, *, rows: int = 1000, tolerance: float = 1e-3) -> bool:
    """Tell whether all of `rows` rows, spread evenly over the vectors, have length 1 within `tolerance`."""
    at = np.unique(np.linspace(0, len(vectors) - 1, min(rows, len(vectors))).astype(np.int64))
    length = np.linalg.norm(vectors.take(at), axis=1)
    return bool(np.all(np.abs(length - 1.0) <= tolerance))


def versions(url: str) -> dict[str, Info]:
    """Return what tells the versions of the files of vectors behind a URL, a `.npy` file or a folder of them.

    Cost: one request for each file.
    """
    found = places.look(url)
    if found is not None:
        return {url: found}
    urls = [places.join(url, name) for name in places.names(url) if name.endswith(".npy")]
    return dict(zip(urls, share(places.info, urls, AT_ONCE), strict=True))


def _local(path: Path, what: str) -> dict[Where, FileShard]:
    """Find the tables in a file or a folder, in their order, by their headers."""
    name = f"{what} {path}"
    if not path.exists():
        raise InputError(f"{name} does not exist")
    if not path.is_dir():
        return {path: _table(path, name)}
    if read_manifest(path) is not None:
        return _stored(path)
    files = [file.name for file in path.glob("*") if file.is_file()]
    return {path / file: _table(path / file, f"{what} {path / file}") for file in _shards(files, name)}


def _remote(url: str, what: str) -> dict[Where, FileShard]:
    """The same behind a URL; the tables are fetched when they are read."""
    found = places.look(url)
    if found is not None:
        return {url: _head(what, url, found)}
    names = places.names(url)
    if not names:
        raise InputError(f"{what} {url} does not exist")
    if MANIFEST in names and read_manifest(url) is not None:
        return _stored(url)
    urls = [places.join(url, name) for name in _shards(names, f"{what} {url}")]
    heads = share(lambda each: _head(what, each, places.info(each)), urls, AT_ONCE)
    return dict(zip(urls, heads, strict=True))


def _stored(folder: Where) -> dict[Where, FileShard]:
    shards = open_store(folder).shards.items
    return {shard_path(folder, k): shard for k, shard in enumerate(shards) if isinstance(shard, FileShard)}


def _last(file: Where) -> str:
    return str(file).rsplit("/", 1)[-1] if isinstance(file, str) else file.name


def _shards(names: list[str], folder: str) -> list[str]:
    files = [name for name in names if name.endswith(".npy") and not name.startswith(".")]
    if not files:
        archives = any(name.endswith(".npz") for name in names)
        raise InputError(
            f"{folder} holds no .npy files" + ("; save each array of the .npz archives with numpy.save" * archives)
        )
    return sorted(files, key=lambda file: ([_number(part) for part in re.split(r"(\d+)", file)], file))


def _number(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isdecimal() else (-1, part)


def _table(path: Path, name: str) -> FileShard:
    try:
        with path.open("rb") as file:
            return _checked(file, path.stat().st_size, str(path.absolute()), name)
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from error


def _head(what: str, url: str, version: Info) -> FileShard:
    with places.reaching(url, data=False), places.open_input(url) as source:
        head = source.read(HEAD_BYTES)
    return _checked(io.BytesIO(head), version.size, Cached(url, changed=str(version)), f"{what} {url}")


def _checked(file: IO[bytes], there: int, source: str | Cached, name: str) -> FileShard:
    """Return a file's table after its header proves to be that of a table of real numbers, all of which are there."""
    head = file.read(6)
    if head[:4] == b"PK\x03\x04" or name.endswith(".npz"):
        raise InputError(f"{name} is a .npz archive; save its array with numpy.save as a .npy file")
    if head != b"\x93NUMPY":
        raise InputError(f"{name} is not a .npy file; save the vectors with numpy.save")
    file.seek(0)
    try:
        shape, fortran, dtype = read_header(file)
    except ValueError as error:
        raise InputError(f"{name} has a damaged header; save it again with numpy.save") from error
    if dtype.hasobject:
        raise InputError(f"{name} holds pickled Python objects, which are never loaded; save it as float32")
    if not is_real(dtype):
        raise InputError(f"{name} holds {dtype}, not real numbers; save it as float32")
    if len(shape) != 2:
        raise InputError(f"{name} has shape {shape}; vectors are a table of rows × dimensions")
    if shape[1] == 0:
        raise InputError(f"{name} has shape {shape}: its rows have 0 dimensions")
    size = file.tell() + shape[0] * shape[1] * dtype.itemsize
    if there < size:
        raise InputError(f"{name} is truncated: {there} bytes of {size}; copy or save it again")
    return table_shard(source, shape, fortran, dtype)


def _fault(vectors: Vectors, span: Span) -> tuple[int, str] | None:
    """Find the first row that is not finite in float32 or, if rows are to be scaled, that is zero, and say so."""
    for block_span in vectors.blocks(span):
        raw = vectors.raw(block_span)
        with np.errstate(over="ignore"):
            values = raw.astype(np.float32, copy=False)
            squares = np.einsum("ij,ij->i", values, values)
        # As a rule one pass is enough: a sum of squares is finite only if every value is, and not 0 only if one is not.
        if np.isfinite(squares).all() and (squares.all() or not vectors.normalize):
            continue
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            words = "holds a NaN, an infinite value or one beyond float32; remove it or embed it again"
            return block_span[0] + int(np.argmin(finite)), words
        directed = values.any(axis=1)
        if vectors.normalize and not directed.all():
            words = "is zero and has no direction; pass --no-normalize or remove it"
            return block_span[0] + int(np.argmin(directed)), words
    return None
