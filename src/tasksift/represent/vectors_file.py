"""Vectors that users bring: a `.npy` file or a folder of `.npy` shards, checked once and memory-mapped."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from tasksift.engines.local import share
from tasksift.errors import InputError
from tasksift.progress import Progress, silent
from tasksift.represent.store import open_store, read_manifest, shard_path
from tasksift.vectors import Span, Vectors, is_real


def load_vectors(path: str | Path, *, normalize: bool, what: str, progress: Progress = silent) -> Vectors:
    """Open vectors on disk and check every row of them.

    Parameters
    ----------
    path : str or Path
        A `.npy` file of shape (n, d), any real dtype or the bfloat16 of `ml_dtypes`; or a folder of them, stacked in
        natural order (shard-2 before shard-10; other files are ignored); or the folder of a finished feature store.
    normalize : bool
        Whether rows will be scaled to unit length when read.
    what : str
        How messages call these vectors, as the option ``--vectors``.
    progress : callable
        Shows how far they are checked.

    Returns
    -------
    Vectors
        Over memory maps, `checked`.

    Raises
    ------
    InputError
        If something is missing, damaged, empty, pickled, not a table of real numbers or of differing dimensions; if a
        row holds a NaN, an infinite value or one beyond float32; if `normalize` and a row is zero.

    Notes
    -----
    Cost: one read, shared by all workers. Nothing is ever unpickled.
    """
    path = Path(path)
    name = f"{what} {path}"
    if not path.exists():
        raise InputError(f"{name} does not exist")
    if not path.is_dir():
        maps = {path: _map(path, name)}
    elif read_manifest(path) is not None:
        maps = {shard_path(path, k): shard for k, shard in enumerate(open_store(path).shards)}
    else:
        maps = {file: _map(file, f"{what} {file}") for file in _shards(path, name)}
    maps = {file: array for file, array in maps.items() if len(array)}
    if not maps:
        raise InputError(f"{name} is empty: it has 0 rows")
    dims = {file: array.shape[1] for file, array in maps.items()}
    first = next(iter(dims))
    for file, dim in dims.items():
        if dim != dims[first]:
            raise InputError(f"{name}: {file.name} has {dim} dimensions and {first.name} has {dims[first]}")
    vectors = Vectors(list(maps.values()), normalize=normalize, name=name)
    with progress("checking the vectors", len(vectors)) as tick:
        spans = vectors.spans()
        for span, fault in zip(spans, share(partial(_fault, vectors), spans), strict=True):
            if fault is not None:
                row, words = fault
                k = int(np.searchsorted(vectors.starts, row, side="right")) - 1
                raise InputError(f"{what} {list(maps)[k]}: row {row - vectors.starts[k]} {words}")
            tick(span[1] - span[0])
    vectors.checked = True
    return vectors


def unit_length(vectors: Vectors, *, rows: int = 1000, tolerance: float = 1e-3) -> bool:
    """Tell whether all of `rows` rows, spread evenly over the vectors, have length 1 within `tolerance`."""
    at = np.unique(np.linspace(0, len(vectors) - 1, min(rows, len(vectors))).astype(np.int64))
    length = np.linalg.norm(vectors.take(at), axis=1)
    return bool(np.all(np.abs(length - 1.0) <= tolerance))


def _shards(folder: Path, name: str) -> list[Path]:
    files = [file for file in folder.glob("*.npy") if file.is_file() and not file.name.startswith(".")]
    if not files:
        archives = any(folder.glob("*.npz"))
        raise InputError(
            f"{name} holds no .npy files" + ("; save each array of the .npz archives with numpy.save" * archives)
        )
    return sorted(files, key=lambda file: ([_number(part) for part in re.split(r"(\d+)", file.name)], file.name))


def _number(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isdecimal() else (-1, part)


def _map(path: Path, name: str) -> NDArray[np.generic]:
    """Memory-map one file after its header proves to be that of a table of real numbers, all of which are there."""
    try:
        with path.open("rb") as file:
            head = file.read(6)
            if head[:4] == b"PK\x03\x04" or path.suffix == ".npz":
                raise InputError(f"{name} is a .npz archive; save its array with numpy.save as a .npy file")
            if head != b"\x93NUMPY":
                raise InputError(f"{name} is not a .npy file; save the vectors with numpy.save")
            file.seek(0)
            try:
                version = npy.read_magic(file)
                # Version 3 exists for the field names of structured arrays, which are no vectors anyway.
                read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                shape, _, dtype = read(file)
            except ValueError as error:
                raise InputError(f"{name} has a damaged header; save it again with numpy.save") from error
            start, there = file.tell(), path.stat().st_size
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from error
    if dtype.hasobject:
        raise InputError(f"{name} holds pickled Python objects, which are never loaded; save it as float32")
    if not is_real(dtype):
        raise InputError(f"{name} holds {dtype}, not real numbers; save it as float32")
    if len(shape) != 2:
        raise InputError(f"{name} has shape {shape}; vectors are a table of rows × dimensions")
    if shape[1] == 0:
        raise InputError(f"{name} has shape {shape}: its rows have 0 dimensions")
    if shape[0] == 0:
        return np.empty(shape, dtype)  # an empty file cannot be mapped
    size = start + shape[0] * shape[1] * dtype.itemsize
    if there < size:
        raise InputError(f"{name} is truncated: {there} bytes of {size}; copy or save it again")
    try:
        return npy.open_memmap(path, mode="r")
    except OSError as error:
        raise InputError(f"{name} cannot be mapped: {error.strerror}") from error


def _fault(vectors: Vectors, span: Span) -> tuple[int, str] | None:
    """Find the first row that is not finite in float32 or, if rows are to be scaled, that is zero, and say so."""
    raw = vectors.raw(span)
    with np.errstate(over="ignore"):
        values = raw.astype(np.float32, copy=False)
        squares = np.einsum("ij,ij->i", values, values)
    # As a rule one pass is enough: a sum of squares is finite only if every value is, and not 0 only if one is not.
    if np.isfinite(squares).all() and (squares.all() or not vectors.normalize):
        return None
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        words = "holds a NaN, an infinite value or one beyond float32; remove it or embed it again"
        return span[0] + int(np.argmin(finite)), words
    directed = values.any(axis=1)
    if vectors.normalize and not directed.all():
        return span[0] + int(np.argmin(directed)), "is zero and has no direction; pass --no-normalize or remove it"
    return None
