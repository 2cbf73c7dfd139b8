"""What a lifelong selection carries from step to step: a folder that holds the pool and all that is known of it.

``STATE/step-00003`` is the state after step 3: ``pool.jsonl`` (the rows), ``rows.parquet`` (key, source, origin and
cluster of each), ``vectors.npy``, ``scores.npy``, ``tfidf/`` where that is the representation, ``picked/`` (what the
step selected) and ``step.json``. It is made under another name and renamed when it is whole; then the state before it
goes.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.represent.store import file_digest, replace_json
from tasksift.rows import PoolFile, check_out, replacing, writing
from tasksift.rows.ids import DIGEST_BYTES
from tasksift.rows.pick import pick_lines
from tasksift.run_folder import run_folder, work_folder
from tasksift.vectors import Vectors

FORMAT = "tasksift lifelong 1"
MANIFEST, POOL, PICKED, SELECTION = "step.json", "pool.jsonl", "picked", "selection.parquet"

Keys = NDArray[np.uint64]


@dataclass(frozen=True)
class State:
    """The state after a step.

    Attributes
    ----------
    folder : Path
        Of that step.
    facts : dict
        ``step``, ``request``, ``identities`` of vectors and scores, ``output``, and ``steps``: what each step did.
    """

    folder: Path
    facts: dict[str, Any]

    @property
    def step(self) -> int:
        """The number of the step, from 1."""
        return int(self.facts["step"])

    @property
    def pool(self) -> PoolFile:
        """The rows."""
        return PoolFile(str(self.folder / POOL), "jsonl")

    @cached_property
    def rows(self) -> pa.Table:
        """Of each row ``key``, ``source``, ``file``, ``row``, ``step`` and ``cluster``."""
        return pq.read_table(self.folder / "rows.parquet")

    def array(self, name: str) -> NDArray[Any]:
        """Vectors or scores of the rows, mapped."""
        found: NDArray[Any] = np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return found


def last_step(folder: Path) -> State | None:
    """Return the state that `folder` holds; None before the first step.

    Raises
    ------
    InputError
        If something else lies there, or the state is damaged.
    """
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise InputError(f"--state {folder} is a file; name a folder")
    done = sorted(path for path in folder.iterdir() if re.fullmatch(r"step-\d{5}", path.name))
    if not done:
        if any(not re.fullmatch(r"step-\d{5}\.part", path.name) for path in folder.iterdir()):
            raise InputError(f"--state {folder} holds other things; name a new folder")
        return None
    try:
        facts = json.loads((done[-1] / MANIFEST).read_bytes())
        good = facts["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise InputError(f"{done[-1]} is not the state of a lifelong selection, or damaged; name another --state")
    return State(done[-1], facts)


def step_folder(folder: Path, step: int) -> Path:
    """Where the state after a step lies; it is made in the same name with ``.part``."""
    return folder / f"step-{step:05d}"


def clear(part: Path, but: str) -> None:
    """Make the folder of a step, or empty what a kill left of it; what is called `but` stays."""
    part.mkdir(parents=True, exist_ok=True)
    for path in part.iterdir():
        if path.name != but:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def keys_of(rows: pa.Table) -> Keys:
    """The content keys of some rows, uint64 (n, 2)."""
    joined = b"".join(rows["key"].to_pylist())
    return np.frombuffer(joined, dtype=np.uint64).reshape(-1, 2)


def row_table(keys: list[bytes], sources: list[str], files: list[str], rows: list[int], step: int) -> pa.Table:
    """The table of rows that arrived at a step."""
    return pa.table(
        {
            "key": pa.array(keys, pa.binary(DIGEST_BYTES)),
            "source": pa.array(sources, pa.string()),
            "file": pa.array(files, pa.string()),
            "row": pa.array(rows, pa.int64()),
            "step": pa.array([step] * len(keys), pa.int64()),
            "cluster": pa.nulls(len(keys), pa.int64()),
        }
    )


def write_state(
    part: Path,
    pool: PoolFile,
    rows: pa.Table,
    arrays: Mapping[str, Vectors],
    kept: NDArray[np.int64],
    facts: Mapping[str, Any],
) -> None:
    """Write the rows that stay, and what is known of them, to the folder of a step."""
    write_lines(part / POOL, pick_lines(pool, kept))
    pq.write_table(rows.take(pa.array(kept)), part / "rows.parquet", compression="zstd")
    for name, vectors in arrays.items():
        vectors.copy(kept, part / f"{name}.npy")
    replace_json(part / MANIFEST, {"format": FORMAT, **facts})


def write_lines(path: Path, lines: Iterator[bytes], mode: str = "wb") -> None:
    """Write lines to a file, or with mode ``ab`` to its end."""
    with path.open(mode) as file:
        for line in lines:
            file.write(line + b"\n")


def commit(folder: Path, step: int) -> State:
    """Make a step that is whole the state, and let the one before it go."""
    final = step_folder(folder, step)
    final.with_suffix(".part").rename(final)
    return tidy(folder)


def tidy(folder: Path) -> State:
    """Return the state, and remove those before it, which a kill may have left."""
    state = last_step(folder)
    assert state is not None
    for path in folder.iterdir():
        if path != state.folder and path.is_dir() and path.name.removesuffix(".part") <= state.folder.name:
            shutil.rmtree(path)
    return state


def check_outputs(folder: Path, out: Path, files: list[PoolFile], force: bool, done: State | None = None) -> None:
    """Raise an `InputError` unless a step may write `out`, which is no input and not in the state.

    A record beside it that is of the step that is `done` may be replaced.
    """
    inside, resolved = folder.resolve(), out.resolve()
    if resolved.is_relative_to(inside):
        raise InputError(f"cannot write {out}: it lies in --state {folder}; name a file elsewhere")
    for file in files:
        if not file.on_disk:
            continue
        path = Path(file.path).resolve()
        if path == resolved:
            raise InputError(f"cannot write {out}: it is an input of this step; name another file")
        if path.is_relative_to(inside):
            raise InputError(f"{file.path} lies in --state {folder}, whose rows are in the pool; name new data")
    check_out(out, force)
    record = run_folder(out)
    ours = done is not None and _same_file(record / "manifest.json", done.folder / MANIFEST)
    if record.exists() and not force and not ours:
        raise InputError(f"{record} exists; use --force to replace it, or name another file")


def is_published(state: State, out: Path) -> bool:
    """Whether `out` and its record are those of the last step."""
    return (
        out.is_file()
        and file_digest(out) == state.facts["output"]["digest"]
        and _same_file(run_folder(out) / "manifest.json", state.folder / MANIFEST)
    )


def publish(state: State, out: Path) -> None:
    """Copy what a step selected to `out`, and the record to ``<out>.run``; every part of it can be repeated."""
    picked = state.folder / PICKED
    with writing(out):
        folder, part = run_folder(out), work_folder(out)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        shutil.copyfile(picked / SELECTION, part / SELECTION)
        shutil.copyfile(state.folder / MANIFEST, part / "manifest.json")
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
        with replacing(out) as copy:
            shutil.copyfile(picked / state.facts["output"]["file"], copy)


def _same_file(one: Path, other: Path) -> bool:
    return one.is_file() and one.read_bytes() == other.read_bytes()
