"""A bad request: a command line, the files that it is about, and what the one line that refuses it has to name."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import tasksift as ts

Make = Callable[[Path], object]

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(ts.__file__).parents[1])}


@dataclass(frozen=True)
class Case:
    """A command line, the files it needs besides pool and target, and what the message has to say."""

    name: str
    facts: tuple[str, ...]
    make: Make | None = None
    pool: str = "pool.jsonl"
    target: str = "-t target.jsonl"
    budget: str = "-b 10"
    out: str = "picked.jsonl"
    more: str = ""
    size: str = "--dim 8"

    def args(self) -> list[str]:
        out = f"-o {self.out}" if self.out else ""
        return ["select", *shlex.split(f"{self.pool} {self.target} {self.budget} {out} {self.size} {self.more}")]


def text_rows(n: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"text": f"word{k} and word{k + 1} make {k}", "source": "abc"[k % 3]} for k in range(start, start + n)]


def as_lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


GOOD = as_lines(text_rows(40))
TABLE = pa.Table.from_pylist(text_rows(400))


def file(name: str, data: bytes) -> Make:
    return lambda folder: (folder / name).write_bytes(data)


def array(name: str, value: Any) -> Make:
    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        np.save(folder / name, value, allow_pickle=True)

    return make


def both(*makes: Make) -> Make:
    def make(folder: Path) -> None:
        for each in makes:
            each(folder)

    return make


def parquet(table: pa.Table, row_group_size: int = 50) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=row_group_size)
    return sink.getvalue()


def arrow(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=50)
    return sink.getvalue()


def zst_file(name: str, data: bytes, keep: float) -> Make:
    def make(folder: Path) -> None:
        with pa.CompressedOutputStream(str(folder / name), "zstd") as stream:
            stream.write(data)
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: int(keep * len(whole))])

    return make


def noise(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


def with_value(rows: int, dim: int, row: int, value: float) -> np.ndarray:
    vectors = noise(rows, dim)
    vectors[row] = value
    return vectors


def pool_case(name: str, data: bytes, *facts: str, **more: Any) -> Case:
    """A pool file with some content."""
    return Case(name.replace(" ", "-"), (name, *facts), file(name, data), pool=name, **more)


def vectors_case(name: str, make: Make, *facts: str, more: str = "", **rest: Any) -> Case:
    """Vectors without rows, with targets' vectors t.npy of 4 dimensions."""
    return Case(
        name,
        facts,
        both(array("t.npy", noise(2, 4)), make),
        pool="",
        target="",
        more=f"--vectors v.npy --target-vectors t.npy {more}",
        **rest,
    )


def option_case(name: str, more: str, *facts: str, **rest: Any) -> Case:
    return Case(name, facts, more=more, **rest)


def truncated(data: bytes, keep: float = 0.5) -> bytes:
    return data[: int(keep * len(data))]


def make_duplicates(folder: Path) -> None:
    same = [{"text": "the very same text", "source": "a"}] * 30
    (folder / "copies.jsonl").write_bytes(as_lines(same + text_rows(3)))


def make_two_tables(folder: Path) -> None:
    pq.write_table(pa.table({"text": [f"number {k}" for k in range(5)], "n": list(range(5))}), folder / "a.parquet")
    pq.write_table(
        pa.table({"text": [f"list {k}" for k in range(5)], "n": [[str(k)] for k in range(5)]}), folder / "b.parquet"
    )


def make_run_folder(folder: Path) -> None:
    (folder / "picked.jsonl.run").mkdir()
    (folder / "picked.jsonl.run" / "notes.txt").write_text("mine")


def make_folder(*names: str) -> Make:
    def make(folder: Path) -> None:
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("nothing to read")

    return make


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: bytes of files, None for folders."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def check_message(err: str, facts: tuple[str, ...]) -> None:
    """One line, besides notes, that names every fact."""
    notes = re.compile(r"about [\d,]+ rows, |[\d,]+ rows left out: ")
    said = [line for line in err.splitlines() if line.strip() and not notes.match(line)]
    assert len(said) == 1, err
    assert said[0].startswith("tasksift: ")
    assert "Traceback" not in err
    for fact in facts:
        assert fact in said[0], (fact, said[0])
