"""An embedder that is a hash of the text, and commands that store what it gives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tasksift
from tasksift import embedding, line, model_features
from tasksift.rows.example import Example


class Hashes:
    """Vectors from the text; zeros for a row without an answer. It counts what it is given."""

    def __init__(self, dim: int = 6, **identity: Any) -> None:
        self.dim, self.rows, self.more = dim, 0, identity

    @property
    def identity(self) -> dict[str, Any]:
        model = {"name": "hashes", "revision": None, "digest": "d1", **self.more.get("model", {})}
        return {"dtype": "float32", **self.more, "model": model, "dim": self.dim}

    def transform(self, examples: Sequence[Example]) -> np.ndarray:
        self.rows += len(examples)
        out = np.zeros((len(examples), self.dim), dtype=np.float32)
        for k, each in enumerate(examples):
            if each.response:
                seed = int.from_bytes(blake2b(each.text.encode(), digest_size=8).digest())
                out[k] = np.random.default_rng(seed).normal(size=self.dim)
            if "poison" in each.text:
                out[k, 0] = np.nan
        return out


def open_hashes(monkeypatch: pytest.MonkeyPatch) -> Hashes:
    """Let every command open one embedder; shards of 16 rows, pieces of 5."""
    hashes = Hashes()
    for module in (embedding, line):
        monkeypatch.setattr(module, "open_embedder", lambda config, say: hashes)
    monkeypatch.setattr(model_features, "SHARD_ROWS", 16)
    monkeypatch.setattr(model_features, "PIECE_ROWS", 5)
    return hashes


def chat(k: int, answer: str | None = None) -> dict[str, Any]:
    return {"prompt": f"question {k}", "response": f"answer {k} " * 3 if answer is None else answer, "id": f"row-{k}"}


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def enter_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pool of 40 rows and a target of two in the current folder."""
    monkeypatch.chdir(folder)
    write(folder / "pool.jsonl", [chat(k) for k in range(40)])
    write(folder / "target.jsonl", [chat(k) for k in (1000, 1001)])
    return folder


def embed(out: str = "features", pool: Any = "pool.jsonl", **options: Any) -> Any:
    return tasksift.embed(pool, out, representation="hidden", model="hashes", **options)


def select(pool: Any = "pool.jsonl", budget: int = 8, target: str = "target.jsonl", **options: Any) -> list[str]:
    return list(tasksift.select(pool, target, budget, **options).ids)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def touched(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.glob("shard-*")}
