"""Shards that are made elsewhere, in any order, twice or without a word, are those that this machine makes."""

from __future__ import annotations

import gzip
import json
import pickle
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hashed_features import Hashes, snapshot

from tasksift import features, model_features
from tasksift.config import RunConfig
from tasksift.engines import WORKERS
from tasksift.engines.current import Done, ShardJob, Units
from tasksift.errors import InputError, UnfinishedError
from tasksift.features import FitSample, lexical_shard_rows, lexical_store
from tasksift.model_features import KeyFile, model_store
from tasksift.progress import silent
from tasksift.represent import model_job
from tasksift.represent.copies import first_rows
from tasksift.represent.copy_job import CopyJob, copy_units
from tasksift.represent.lexical_job import LexicalJob
from tasksift.represent.shard_jobs import Layout, Remote, read_unit
from tasksift.represent.store import FeatureStore
from tasksift.rows import Example, PoolFile, TextReader, TokenCounter, expand, iter_examples, scan
from tasksift.rows.slices import Slice, cut, numbered, read_slice

WORDS = [f"w{k}" for k in range(60)]


class Noisy(Hashes):
    """Vectors that depend a little on what else is embedded with them, as those of models do."""

    def transform(self, examples: Sequence[Example]) -> np.ndarray:
        batch = crc32("".join(each.text for each in examples).encode()) % 1000
        out = super().transform(examples)
        return np.where(out.any(axis=1, keepdims=True), out + np.float32(1e-6 * batch), out)


class Elsewhere:
    """An engine that makes shards in any order, on what was sent, some twice or again as their end went unnoticed."""

    def __init__(self, seed: int = 0, dies_at: int = 10**9) -> None:
        self.random, self.dies_at = random.Random(seed), dies_at
        self.written: list[int] = []

    def fill(self, job: ShardJob, units: Units, left: Sequence[int]) -> Iterator[Done]:
        assert list(left) == sorted(left)
        missing = dict.fromkeys(left)
        while missing:
            for done in self._round(pickle.dumps(job), units(list(missing)), list(missing)):
                if done.shard in missing and self.random.random() < 0.7:
                    del missing[done.shard]
                    yield done

    def _round(self, sent: bytes, units: list[Any], left: list[int]) -> Iterator[Done]:
        assert [number for unit in units for number in unit.numbers] == left
        read: list[tuple[int, bytes]] = []
        for unit in self.random.sample(units, len(units)):
            worker = pickle.loads(sent)  # noqa: S301
            read += [(shard, pickle.dumps(rows)) for shard, rows in worker.read(pickle.loads(pickle.dumps(unit)))]  # noqa: S301
        assert sorted(shard for shard, _ in read) == left
        read += self.random.sample(read, len(read) // 3)
        self.random.shuffle(read)
        worker = pickle.loads(sent)  # noqa: S301
        state = worker.load()
        for shard, rows in read:
            if len(self.written) >= self.dies_at:
                raise KeyboardInterrupt
            done = worker.write(state, shard, pickle.loads(rows))  # noqa: S301
            self.written.append(shard)
            yield pickle.loads(pickle.dumps(done))  # noqa: S301


def known(slices: list[Slice]) -> list[Slice]:
    counts = []
    for part in slices:
        found = list(read_slice(part))
        lines = part.file.path.endswith(".jsonl") and part.span is not None
        data = Path(part.file.path).read_bytes() if lines else b""
        said = "source" in found[0].records[0] if found and part.begins else None
        counts.append((sum(len(batch.records) for batch in found), _begin(data, part.span) if lines else 0, said))
    return numbered(slices, counts)


def _begin(data: bytes, span: Any) -> int:
    """How many lines begin there."""
    return sum(k == 0 or data[k - 1 : k] == b"\n" for k in range(*span))


class Pool:
    """The rows of a pool in files that can be cut and others, and all that the first pass leaves of them."""

    def __init__(self, rows: Sequence[dict[str, Any]], folder: Path, target_bytes: int) -> None:
        third = len(rows) // 3
        lines = ["".join(json.dumps(row) + "\n" for row in rows[at : at + third]) for at in range(0, len(rows), third)]
        folder.mkdir(exist_ok=True)
        (folder / "a.jsonl").write_text(lines[0])
        (folder / "b.jsonl.gz").write_bytes(gzip.compress(lines[1].encode()))
        (folder / "c.jsonl").write_text("\n\n" + "".join(lines[2:]))
        self.files: list[PoolFile] = expand(folder)
        self.rows = len(rows)
        self.folder = folder
        self.work = folder.with_name(folder.name + ".work")
        self.work.mkdir(exist_ok=True)
        keys, sample = KeyFile(self.work / "keys.bin"), FitSample()
        for part in scan(self.files, TextReader(), TokenCounter()):
            keys.add(part.digests)
            sample.add(part.texts)
        sample.save(self.work / "sample.json")
        self.keys = KeyFile.load(self.work / "keys.bin")
        said = [model_job.conversation(each) for some in iter_examples(self.files, TextReader()) for each in some]
        self.firsts = first_rows(np.frombuffer(b"".join(said), dtype=np.uint64).reshape(-1, 2))
        self.slices = known(cut(self.files, target_bytes))

    def remote(self, engine: Any) -> Remote:
        return Remote(engine, self.slices, self.firsts)

    def lexical(self, out: Path, remote: Remote | None = None) -> FeatureStore:
        config = RunConfig.create(representation="tfidf", dim=5)
        sample = self.work / "sample.json"
        found = lexical_store(config, out, self.files, TextReader(), "d", self.rows, sample, silent, remote=remote)
        return found[0]

    def model(self, out: Path, remote: Remote | None = None, config: RunConfig | None = None) -> FeatureStore:
        config = config or RunConfig.create(representation="hidden", model="hashes")
        return model_store(config, out, self.files, TextReader(), self.keys, Noisy(), silent, remote=remote)


def rows_of(count: int, distinct: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    texts = [" ".join(rng.choices(WORDS, k=rng.randrange(9))) for _ in range(distinct)]
    return [{"prompt": f"ask {rng.choice(texts)}", "response": "" if k % 17 == 3 else "so", "source": rng.choice("ab")}
            for k in range(count)]  # fmt: skip


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_job, "open_embedder", lambda config: Noisy())
    monkeypatch.setattr(model_features, "SHARD_ROWS", 16)
    monkeypatch.setattr(model_features, "PIECE_ROWS", 5)
    monkeypatch.setattr(features, "SHARD_ROWS", 16)
    monkeypatch.setenv(WORKERS, "1")


@pytest.mark.parametrize("target_bytes", [150, 2000, 10**6])
def test_lexical_shards(tmp_path: Path, target_bytes: int):
    pool = Pool(rows_of(200, 150), tmp_path / "pool", target_bytes)
    pool.lexical(tmp_path / "here")
    engine = Elsewhere(target_bytes)
    store = pool.lexical(tmp_path / "there", pool.remote(engine))
    assert snapshot(tmp_path / "there") == snapshot(tmp_path / "here")
    assert set(engine.written) == set(range(13))
    assert len(store.open()) == 200
    # What is lost is made again, and nothing else; rows in between are passed over.
    for k in (0, 4, 6, 12):
        (tmp_path / "there" / f"shard-{k:05d}.json").unlink()
    engine.written.clear()
    pool.lexical(tmp_path / "there", pool.remote(engine))
    assert set(engine.written) == {0, 4, 6, 12}
    assert snapshot(tmp_path / "there") == snapshot(tmp_path / "here")


@pytest.mark.parametrize(("distinct", "target_bytes"), [(1000, 300), (70, 150), (25, 2000), (1, 500)])
@pytest.mark.parametrize("store_dtype", ["float32", "float16"])
def test_shards_of_a_model(tmp_path: Path, distinct: int, target_bytes: int, store_dtype: str):
    """Copies take the vector of the first row like them, from whatever shard it is in."""
    config = RunConfig.create(representation="hidden", model="hashes", store_dtype=store_dtype)
    pool = Pool(rows_of(220, distinct), tmp_path / "pool", target_bytes)
    pool.model(tmp_path / "here", config=config)
    engine = Elsewhere(distinct)
    store = pool.model(tmp_path / "there", pool.remote(engine), config)
    assert snapshot(tmp_path / "there") == snapshot(tmp_path / "here")
    assert set(engine.written) == set(range(len(store.spans)))


@pytest.mark.parametrize("dies_at", [0, 1, 9, 18, 25])
def test_a_run_that_ends_early_goes_on_here_or_there(tmp_path: Path, dies_at: int):
    pool = Pool(rows_of(220, 70), tmp_path / "pool", 400)
    pool.model(tmp_path / "here")
    for name, remote in (("there", pool.remote(Elsewhere(1))), ("then-here", None)):
        with pytest.raises(KeyboardInterrupt):
            pool.model(tmp_path / name, pool.remote(Elsewhere(7, dies_at)))
        pool.model(tmp_path / name, remote)
        assert snapshot(tmp_path / name) == snapshot(tmp_path / "here")


def test_rows_that_are_appended(tmp_path: Path):
    rows = rows_of(220, 70)
    for count in (150, 220):
        pool = Pool(rows[:count], tmp_path / f"pool-{count}", 400)
        pool.model(tmp_path / "here")
        engine = Elsewhere(count)
        store = pool.model(tmp_path / "there", pool.remote(engine))
        assert snapshot(tmp_path / "there") == snapshot(tmp_path / "here")
        assert set(engine.written) == set(range(10 if count == 220 else 0, len(store.spans)))


def test_what_is_done_is_counted(tmp_path: Path):
    pool = Pool(rows_of(200, 60), tmp_path / "pool", 400)
    ticks: list[int] = []

    class Counting:
        def __call__(self, title: str, total: int) -> Any:
            self.total = total
            return self

        def __enter__(self) -> Any:
            return ticks.append

        def __exit__(self, *_: object) -> None:
            pass

    progress = Counting()
    config = RunConfig.create(representation="hidden", model="hashes")
    done: list[Done] = []

    class Telling(Elsewhere):
        def fill(self, job: ShardJob, units: Units, left: Sequence[int]) -> Iterator[Done]:
            for each in super().fill(job, units, left):
                done.append(each)
                yield each

    remote = pool.remote(Telling(2))
    arguments = (pool.files, TextReader(), pool.keys, Noisy(), progress)
    model_store(config, tmp_path / "out", *arguments, remote=remote)
    assert sum(ticks) == progress.total == 200
    assert all(each.rows > 0 and each.nbytes > 0 and each.seconds >= 0 for each in done if each.nbytes)
    assert any(each.drops.get("a vector of zeros") for each in done)
    ticks.clear()
    model_store(config, tmp_path / "out", *arguments, remote=remote)
    assert sum(ticks) == 200


def test_a_file_that_cannot_be_cut_is_read_once(tmp_path: Path):
    pool = Pool(rows_of(300, 300), tmp_path / "pool", 400)
    spans = [(at, min(at + 16, 300)) for at in range(0, 300, 16)]
    left = [k for k in range(len(spans)) if k % 5]
    units = Layout(pool.slices, spans).units(left)
    assert [shard.shard for unit in units for shard in unit.shards] == left
    assert sum(unit.slices[0].span is None for unit in units) == 1
    for unit in units:
        begin, *_, end = np.cumsum([unit.first, *(part.rows for part in unit.slices)])
        assert begin <= unit.shards[0].start < begin + unit.slices[0].rows
        assert end - unit.slices[-1].rows < unit.shards[-1].stop <= end


def test_a_pool_that_was_changed_is_refused(tmp_path: Path):
    pool = Pool(rows_of(90, 90), tmp_path / "pool", 10**6)
    spans = [(0, 40), (40, 90)]
    for name, rows in (("c.jsonl", slice(None, -1)), ("b.jsonl.gz", slice(1, None)), ("b.jsonl.gz", [*range(30), 0])):
        path = pool.folder / name
        before = path.read_bytes()
        lines = np.array((gzip.decompress(before) if name.endswith("gz") else before).splitlines(keepends=True))
        after = b"".join(lines[rows].tolist())
        path.write_bytes(gzip.compress(after) if name.endswith("gz") else after)
        units = Layout(pool.slices, spans).units([0, 1])
        with pytest.raises(InputError, match=f"{name} was changed while it was read; run again"):
            [list(read_unit(unit, lambda batch, _: batch.records)) for unit in units]
        path.write_bytes(before)
    # A row that is another one is told by its digest.
    (pool.folder / "a.jsonl").write_text((pool.folder / "a.jsonl").read_text().replace("so", "to", 1))
    store = FeatureStore(tmp_path / "out", {}, keys=pool.keys, shard_rows=50)
    layout = Layout(pool.slices, spans, pool.keys, pool.firsts)
    job = model_job.ModelJob(store.writer, {"representation": "hidden"}, 50, 5)
    with pytest.raises(InputError, match=r"a\.jsonl was changed"):
        list(job.read(layout.units([0])[0]))


def test_another_model_is_refused_by_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pool = Pool(rows_of(60, 60), tmp_path / "pool", 400)
    monkeypatch.setattr(model_job, "open_embedder", lambda config: Noisy(model={"digest": "d2"}))
    with pytest.raises(InputError, match=r"has another model \(made.model.digest: 'd1' there, 'd2' here\)"):
        pool.model(tmp_path / "out", pool.remote(Elsewhere()))
    assert not list(tmp_path.glob("out/*"))


def test_a_bad_row_leaves_nothing_behind(tmp_path: Path):
    rows = rows_of(60, 60)
    rows[7]["response"] = "poison"
    pool = Pool(rows, tmp_path / "pool", 10**6)

    class First(Elsewhere):
        def fill(self, job: ShardJob, units: Units, left: Sequence[int]) -> Iterator[Done]:
            return super().fill(job, units, left[:1])

    with pytest.raises(InputError, match=r"a\.jsonl, line 8: its hidden vector is not finite"):
        pool.model(tmp_path / "out", pool.remote(First()))
    assert not list(tmp_path.glob("out/*"))


def test_a_shard_that_is_gone_or_being_completed(tmp_path: Path):
    pool = Pool(rows_of(220, 25), tmp_path / "pool", 400)
    store = FeatureStore(tmp_path / "out", {"representation": "hidden"}, keys=pool.keys, shard_rows=16)
    layout = Layout(pool.slices, store.spans, pool.keys, pool.firsts)
    job = CopyJob(store.writer)
    some = next(k for k in range(3, 14) if 0 < len(layout.copied(k)) < 16)
    (shard, rows), *_ = job.read(copy_units(layout, [some])[0])
    with pytest.raises(UnfinishedError, match=f"shard {some} of .* is gone"):
        job.write(None, shard, rows)
    keys = layout.key_bytes(some)
    store.writer.write(some, np.zeros((16, 3), dtype=np.float32), keys=keys, waiting=rows.rows)
    with pytest.raises(UnfinishedError):
        job.write(None, shard, rows)


def test_words_of_a_lexical_shard(tmp_path: Path):
    pool = Pool(rows_of(60, 60), tmp_path / "pool", 400)
    store = pool.lexical(tmp_path / "out")
    job = LexicalJob(store.writer, tmp_path / "out" / "model", None)
    done = job.write(job.load(), 0, ["unheard-of", "", *["ask w1"] * 14])
    assert (done.rows, done.drops) == (16, {"no known word": 2})


def test_rows_of_lexical_shards(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    assert [lexical_shard_rows(n) for n in (1, 299_999, 300_000, 10**9)] == [4096, 4096, 16_384, 16_384]
