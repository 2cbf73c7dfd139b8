"""The store of a model's vectors, by an embedder that is a hash: rows computed once, appended, lost, held in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hashed_features import Hashes, chat, embed, enter_folder, open_hashes, select, snapshot, touched, write

import tasksift
from tasksift import model_features
from tasksift.errors import InputError
from tasksift.rows.example import Example, Turn


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> Hashes:
    return open_hashes(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return enter_folder(tmp_path, monkeypatch)


def test_rows_appended_to_a_file_are_all_that_is_computed(folder: Path, model: Hashes):
    embed()
    total = 40
    for more in (1, 20, 7, 16):
        there, model.rows = touched(folder / "features"), 0
        with (folder / "pool.jsonl").open("a") as file:
            file.writelines(json.dumps(chat(k)) + "\n" for k in range(total, total + more))
        total += more
        if more == 7:
            select(features="features")  # select computes them as well, and the targets
            assert model.rows == more + 2
        else:
            embed()
            assert model.rows == more
        after = touched(folder / "features")
        assert {name: after[name] for name in there} == there
    embed("fresh")
    assert len(list((folder / "features").glob("*.npy"))) > len(list((folder / "fresh").glob("*.npy")))
    assert select(features="features", budget=20) == select(features="fresh", budget=20)


def test_a_further_file_that_sorts_last(folder: Path, model: Hashes):
    (folder / "data").mkdir()
    (folder / "pool.jsonl").rename(folder / "data" / "b.jsonl")
    embed(pool="data")
    model.rows = 0
    write(folder / "data" / "c.jsonl", [chat(k) for k in range(100, 109)])
    embed(pool="data")
    assert model.rows == 9
    write(folder / "data" / "a.jsonl", [chat(200)])
    with pytest.raises(InputError, match="of other rows, from row 0 of the pool on"):
        embed(pool="data")
    with pytest.raises(InputError, match="of other rows, from row 0 of the pool on"):
        select("data", features="features")


def test_rows_in_the_middle_and_a_shorter_pool(folder: Path, model: Hashes):
    embed()
    there = snapshot(folder / "features")
    rows = [chat(k) for k in range(40)]
    for changed, first in [
        ([*rows[:20], chat(99), *rows[20:]], 20),
        ([*rows[:39], chat(99)], 39),
        ([*rows[:7], {**rows[7], "note": "new"}, *rows[8:]], 7),
        (rows[:39], 39),
        (rows[:16], 16),
        (rows[1:], 0),
    ]:
        write(folder / "pool.jsonl", changed)
        with pytest.raises(InputError, match=f"features of other rows, from row {first} of the pool on"):
            embed()
        with pytest.raises(InputError, match=f"features of other rows, from row {first} of the pool on"):
            select(features="features")
        assert snapshot(folder / "features") == there
        assert not list(folder.glob("*.part"))
    embed(force=True)
    embed("fresh")
    assert snapshot(folder / "features") == snapshot(folder / "fresh")


def test_ids_of_the_user(folder: Path, model: Hashes):
    embed()
    model.rows = 0
    done = tasksift.select("pool.jsonl", "target.jsonl", 8, preset="nearest", features="features", id_column="id")
    assert model.rows == 2
    assert set(done.ids) <= {f"row-{k}" for k in range(40)}
    plain = tasksift.select("pool.jsonl", "target.jsonl", 8, preset="nearest", features="features")
    assert sorted(done.record["row"].to_pylist()) == sorted(plain.record["row"].to_pylist())


def test_half_an_embed_is_completed_by_select(folder: Path, model: Hashes, monkeypatch: pytest.MonkeyPatch):
    embed("whole")
    real = Hashes.transform

    def dies(self: Hashes, examples: Sequence[Example]) -> np.ndarray:
        if self.rows >= 35:
            raise KeyboardInterrupt
        return real(self, examples)

    model.rows = 0
    with monkeypatch.context() as patch:
        patch.setattr(Hashes, "transform", dies)
        with pytest.raises(KeyboardInterrupt):
            embed()
    assert len(list((folder / "features").glob("*.npy"))) == 2
    model.rows = 0
    assert select(features="features") == select(features="whole")
    assert model.rows == 40 - 32 + 2 + 2
    assert snapshot(folder / "features") == snapshot(folder / "whole")


def test_one_shard_is_held(folder: Path, model: Hashes, monkeypatch: pytest.MonkeyPatch):
    """Of 20 shards one is in memory, and of their rows two pieces: the one to embed, and the one that was read."""
    write(folder / "pool.jsonl", [chat(k) for k in range(320)])
    alive: set[int] = set()
    most = 0

    class Counted(list):
        def __init__(self, rows: list[Example]) -> None:
            nonlocal most
            super().__init__(rows)
            alive.add(id(self))
            most = max(most, len(alive) * 5)

        def __del__(self) -> None:
            alive.discard(id(self))

    real = model_features._pieces

    def pieces(*args: Any) -> Iterator[Any]:
        for each in real(*args):
            assert len(each.examples) <= 5
            yield each._replace(examples=Counted(each.examples))

    shards: list[Any] = []
    made = np.empty

    def empty(shape: Any, dtype: Any = float) -> Any:
        array = made(shape, dtype=dtype)
        if isinstance(shape, tuple) and shape[1:] == (7,):
            shards.append(shape)
        return array

    monkeypatch.setattr(model_features, "_pieces", pieces)
    monkeypatch.setattr(model_features.np, "empty", empty)
    embed()
    assert shards == [(16, 7)] * 20
    assert most <= 10
    assert model.rows == 320


def test_memory_of_many_shards_is_that_of_few(folder: Path, model: Hashes, monkeypatch: pytest.MonkeyPatch):
    import tracemalloc

    model.dim = 4095
    monkeypatch.setattr(model_features, "SHARD_ROWS", 64)
    monkeypatch.setattr(model_features, "PIECE_ROWS", 16)

    def peak(rows: int) -> int:
        write(folder / "pool.jsonl", [chat(k) for k in range(rows)])
        tracemalloc.start()
        embed(f"features-{rows}")
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(64)
    few, many = peak(65), peak(20 * 64)
    assert many - few < 64 * 4096 * 4  # less than one more shard


def test_a_pool_that_shrinks_while_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(model_features, "iter_examples", lambda files, reader: iter([[]]))
    with pytest.raises(InputError, match="became shorter while it was read"):
        embed()


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 33])
def test_pools_of_all_sizes(folder: Path, model: Hashes, rows: int):
    write(folder / "pool.jsonl", [chat(k) for k in range(rows)])
    found = embed().vectors
    vectors = np.concatenate([np.asarray(shard) for shard in found.shards])
    examples = [Example((Turn("user", f"question {k}"), Turn("assistant", f"answer {k} " * 3))) for k in range(rows)]
    assert np.array_equal(vectors[:, :6], Hashes().transform(examples))
    assert model.rows == rows


def test_copies_are_computed_once_and_share_their_bits(folder: Path, model: Hashes, monkeypatch: pytest.MonkeyPatch):
    """A model whose numbers depend on the batch gives copies one vector, across shards, losses and appended rows."""
    rng = np.random.default_rng(3)
    texts = [f"text {k}" for k in rng.integers(0, 40, 100)]
    rows = [{"text": text, "source": f"source {k % 3}"} for k, text in enumerate(texts)]
    plain = model.transform

    def noisy(examples: list[Example]) -> Any:
        batch = crc32("".join(each.text for each in examples).encode()) % 1000
        return plain(examples) + np.float32(1e-6 * batch)

    monkeypatch.setattr(model, "transform", noisy)
    write(folder / "pool.jsonl", rows)
    before = model.rows
    vectors = embed().vectors
    assert model.rows - before == len(set(texts))
    found = vectors.rows(np.arange(100))
    for k, text in enumerate(texts):
        np.testing.assert_array_equal(found[k], found[texts.index(text)])
    assert len({row.tobytes() for row in found}) == len(set(texts))
    # A shard that was lost and rows that are appended find the same vectors again.
    (folder / "features" / "shard-00003.json").unlink()
    write(folder / "pool.jsonl", [*rows, *({**row, "source": "late"} for row in rows[:30])])
    before = model.rows
    again = embed().vectors.rows(np.arange(130))
    assert model.rows - before == len(set(texts[48:64]) - set(texts[:48]))
    for k, text in enumerate(texts + texts[:30]):
        np.testing.assert_array_equal(again[k], again[texts.index(text)])
