"""New rows of a step, put behind those of the pool."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasksift.config import RunConfig
from tasksift.lifelong.state import POOL, State, row_table, write_lines
from tasksift.progress import Progress
from tasksift.rows import PoolFile, TextReader, TokenCounter, scan
from tasksift.rows.ids import ContentDigest
from tasksift.rows.pick import pick_lines


@dataclass(frozen=True)
class Arrived:
    """The pool with the new rows behind it.

    Attributes
    ----------
    pool, fresh : PoolFile
        All rows, and the new ones alone.
    table : pyarrow.Table
        All rows, see `tasksift.lifelong.state.row_table`.
    new, rows : int
        New rows, and rows that were given.
    digest : str
        Of the content of those.
    """

    pool: PoolFile
    fresh: PoolFile
    table: pa.Table
    new: int
    rows: int
    digest: str

    def drop_files(self) -> None:
        """Remove both files."""
        for file in (self.pool, self.fresh):
            Path(file.path).unlink()


def join(files: list[PoolFile], config: RunConfig, before: State | None, part: Path, progress: Progress) -> Arrived:
    """Read the data, and put what is new of it behind the pool."""
    reader = TextReader(config.text_template)
    known = set(before.rows["key"].to_pylist()) if before else set()
    keys: list[bytes] = []
    sources: list[str] = []
    names: list[str] = []
    rows: list[int] = []
    content, given = ContentDigest(), 0
    with progress("reading the new data", 0) as tick:
        for scanned in scan(files, reader, TokenCounter(None), source_column=config.source_column):
            content.add(b"".join(scanned.digests))
            given += len(scanned.digests)
            for k, (key, source) in enumerate(zip(scanned.digests, scanned.sources, strict=True)):
                if key not in known:
                    known.add(key)
                    keys.append(key)
                    sources.append(source)
                    names.append(files[scanned.file].path)
                    rows.append(scanned.start + k)
            tick(len(scanned.digests))
    step = before.step + 1 if before else 1
    fresh, pool = part / "new.jsonl", part / "joined.jsonl"
    fresh.write_bytes(b"")
    place = np.array(rows, dtype=np.int64)
    of = np.array(names, dtype=object)
    for file in files:
        here = place[of == file.path] if len(place) else place
        if len(here):
            write_lines(fresh, pick_lines(file, here), "ab")
    if before is not None:
        shutil.copyfile(before.folder / POOL, pool)
    else:
        pool.write_bytes(b"")
    with fresh.open("rb") as source_file, pool.open("ab") as sink:
        shutil.copyfileobj(source_file, sink)
    table = row_table(keys, sources, names, rows, step)
    if before is not None:
        table = pa.concat_tables([before.rows, table])
    return Arrived(PoolFile(str(pool), "jsonl"), PoolFile(str(fresh), "jsonl"), table, len(keys), given, content.hex())
