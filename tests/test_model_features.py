"""The store of a model's vectors, by an embedder that is a hash: what is computed, kept, refused, held in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest

import tasksift
from tasksift import embedding, line, model_features
from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.rows.example import Example, Turn


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


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> Hashes:
    """The embedder that every command opens; shards of 16 rows, pieces of 5."""
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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "pool.jsonl", [chat(k) for k in range(40)])
    write(tmp_path / "target.jsonl", [chat(k) for k in (1000, 1001)])
    return tmp_path


def embed(out: str = "features", pool: Any = "pool.jsonl", **options: Any) -> Any:
    return tasksift.embed(pool, out, representation="hidden", model="hashes", **options)


def select(pool: Any = "pool.jsonl", budget: int = 8, target: str = "target.jsonl", **options: Any) -> list[str]:
    return list(tasksift.select(pool, target, budget, **options).ids)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def touched(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.glob("shard-*")}


def test_select_takes_how_it_was_made_from_the_folder(folder: Path, model: Hashes):
    embed(text_template="{prompt}: {response}", max_length=77)
    written, model.rows = snapshot(folder / "features"), 0
    done = tasksift.select("pool.jsonl", "target.jsonl", 8, features="features")
    assert model.rows == 2
    config = done.config
    assert (config.representation, config.model, config.max_length) == ("hidden", "hashes", 77)
    assert config.text_template == "{prompt}: {response}"
    assert snapshot(folder / "features") == written
    plain = select(representation="hidden", model="hashes", text_template="{prompt}: {response}", max_length=77)
    assert list(done.ids) == plain
    assert sorted(p.name for p in folder.iterdir()) == ["features", "pool.jsonl", "target.jsonl"]


def test_a_folder_that_nobody_may_write_serves(folder: Path, monkeypatch: pytest.MonkeyPatch):
    embed()
    expected = select(features="features")
    real = Path.replace

    def replace(path: Path, other: Path) -> Path:
        assert "features" not in path.parts
        return real(path, other)

    monkeypatch.setattr(Path, "replace", replace)
    assert select(features="features") == expected


def test_what_the_user_says_wins_and_is_refused(folder: Path, model: Hashes):
    embed(text_template="{prompt}: {response}")
    there = snapshot(folder / "features")
    for options, difference in [
        ({"text_template": "{prompt}"}, "text_template: '{prompt}: {response}' there, '{prompt}' here"),
        ({"source_column": "id"}, "source_column: None there, 'id' here"),
        ({"store_dtype": "float16"}, "store_dtype: 'float32' there, 'float16' here"),
        ({"representation": "tfidf"}, "representation: 'hidden' there, 'tfidf' here"),
        ({"representation": "encoder", "model": "m"}, "representation: 'hidden' there, 'encoder' here"),
    ]:
        model.rows = 0
        with pytest.raises(InputError, match="features holds other features") as refusal:
            select(features="features", **options)
        assert f"({difference})" in str(refusal.value)
        assert model.rows == 0
        assert snapshot(folder / "features") == there
    model.more = {"model": {"digest": "d2"}, "max_length": 5}
    with pytest.raises(InputError) as refusal:
        select(features="features")
    assert "(made.max_length: absent there, 5 here; made.model.digest: 'd1' there, 'd2' here)" in str(refusal.value)
    assert snapshot(folder / "features") == there


@pytest.mark.parametrize("how", ["embed", "select"])
def test_another_model_is_refused_before_the_pool_is_read(folder: Path, model: Hashes, how: str):
    embed()
    model.more = {"model": {"digest": "d2"}}
    with (folder / "pool.jsonl").open("a") as file:
        file.write("{oops\n")
    with pytest.raises(InputError, match=r"made\.model\.digest"):
        embed() if how == "embed" else select(features="features")
    if how == "embed":
        with pytest.raises(InputError, match="line 41: not JSON"):
            embed(force=True)
    else:  # whose force is about its output
        with pytest.raises(InputError, match=r"made\.model\.digest"):
            select(features="features", force=True)


def test_a_model_that_was_moved_is_the_same(folder: Path, model: Hashes):
    (folder / "models").mkdir()
    tasksift.embed("pool.jsonl", "features", representation="hidden", model="models")
    there = touched(folder / "features")
    assert json.loads((folder / "features/representation.json").read_text())["model"] == str(folder / "models")
    (folder / "models").rename(folder / "elsewhere")
    model.more = {"model": {"name": "elsewhere", "revision": "x"}}
    model.rows = 0
    done = tasksift.select("pool.jsonl", "target.jsonl", 8, features="features", model="elsewhere")
    assert model.rows == 2
    assert touched(folder / "features") == there
    assert json.loads((folder / "features/representation.json").read_text())["model"] == str(folder / "elsewhere")
    assert list(done.ids) == select(features="features")


def test_code_of_strangers_is_allowed_by_the_user_alone(folder: Path):
    embed(trust_remote_code=True)
    assert not tasksift.select("pool.jsonl", "target.jsonl", 8, features="features").config.trust_remote_code
    done = tasksift.select("pool.jsonl", "target.jsonl", 8, features="features", trust_remote_code=True)
    assert done.config.trust_remote_code


@pytest.mark.parametrize("content", ["[1]", "{oops", '"text"', ""])
def test_damaged_options_are_one_line(folder: Path, content: str):
    embed()
    (folder / "features/representation.json").write_text(content)
    with pytest.raises(InputError, match=r"representation\.json is damaged"):
        select(features="features")
    embed()
    assert len(select(features="features")) == 8


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


def test_rows_without_an_answer_are_like_each_other_and_like_no_other(folder: Path):
    rows = [chat(k, "" if k % 3 == 0 else None) for k in range(40)]
    write(folder / "pool.jsonl", rows)
    found = embed().vectors
    vectors = np.concatenate([np.asarray(shard) for shard in found.shards])
    assert vectors.shape == (40, 7)
    cosines = vectors @ vectors.T
    empty = np.arange(40) % 3 == 0
    assert np.array_equal(cosines[np.ix_(empty, empty)], np.ones((14, 14)))
    assert not cosines[np.ix_(empty, ~empty)].any()
    assert len(select(budget=10, features="features")) == 10
    assert len(select(budget=30, features="features", preset="nearest")) == 30


@pytest.mark.parametrize("name", ["hidden", "loss", "sketch"])
def test_a_target_without_an_answer_is_refused_by_its_row(folder: Path, model: Hashes, name: str):
    write(folder / "target.jsonl", [chat(1000), chat(1001), chat(1002, "")])
    words = "the target's hidden vector is zero" if name == "hidden" else "the target has no answer that counts"
    with pytest.raises(InputError, match=rf"target\.jsonl, line 3: {words}"):
        select(representation=name, model="hashes")
    assert model.rows == 3  # the pool was not embedded for it
    assert sorted(p.name for p in folder.iterdir()) == ["pool.jsonl", "target.jsonl"]
    if name == "loss":  # all tokens count, those of the question too
        assert len(select(representation=name, model="hashes", score="text")) == 8


def test_a_vector_that_is_not_finite_leaves_nothing_behind(folder: Path):
    write(folder / "pool.jsonl", [chat(k, "poison" if k == 9 else None) for k in range(40)])
    with pytest.raises(InputError, match=r"pool\.jsonl, line 10: its hidden vector is not finite"):
        embed()
    with pytest.raises(InputError, match=r"pool\.jsonl, line 10: its hidden vector is not finite"):
        select(features="features", representation="hidden", model="hashes")
    assert sorted(p.name for p in folder.iterdir()) == ["pool.jsonl", "target.jsonl"]


def test_halves_keep_cosines(folder: Path, model: Hashes):
    model.dim = 512
    whole = embed("whole").vectors
    half = embed("half", store_dtype="float16").vectors
    a, b = (np.concatenate([np.asarray(s, dtype=np.float64) for s in each.shards]) for each in (whole, half))
    assert half.shards[0].dtype == np.float16
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    assert np.abs(a @ a.T - b @ b.T).max() < 1e-3
    assert select(features="half", preset="nearest", budget=3) == select(features="whole", preset="nearest", budget=3)


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e12])
def test_halves_of_small_and_large_rows(size: float):
    class Sized(Hashes):
        def transform(self, examples: Sequence[Example]) -> np.ndarray:
            return super().transform(examples) * np.float32(size)

    config = RunConfig.create(representation="hidden", model="m", store_dtype="float16")
    examples = [Example((Turn("user", "q"), Turn("assistant", f"a {k}"))) for k in range(4)]
    rows = model_features.embed_examples(Sized(), examples, config).astype(np.float64)
    plain = Hashes().transform(examples)
    expected = plain / np.linalg.norm(plain, axis=1, keepdims=True)
    np.testing.assert_allclose(rows, np.column_stack([expected, np.zeros(4)]), atol=1e-3)


def test_centred_needs_lengths(folder: Path):
    with pytest.raises(InputError, match="--store-dtype float16"):
        tasksift.embed(
            "pool.jsonl", "features", representation="gradient", checkpoints="c", momentum="centred",
            store_dtype="float16",
        )  # fmt: skip


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
