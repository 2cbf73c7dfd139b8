"""Stores behind a URL: the bytes of a local one, resumed, written by several processes, read through the cache."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("moto")


from tasksift import places
from tasksift.errors import InputError, UnfinishedError
from tasksift.represent import tfidf
from tasksift.represent.shard_writer import ShardWriter
from tasksift.represent.shelf import inside, shelf, where
from tasksift.represent.store import FeatureStore, open_store
from tasksift.represent.vectors_file import load_vectors, versions

IDENTITY = {"representation": "tfidf", "dim": 2}
KEYS = np.arange(22, dtype=np.uint64).reshape(11, 2)
VECTORS = KEYS.astype(np.float32) ** 2


@pytest.fixture
def bucket(storage, tmp_path, monkeypatch):
    """The URL of an empty bucket; the cache is empty as well."""
    monkeypatch.setenv("TASKSIFT_CACHE", str(tmp_path / "cache"))
    return storage.url("").rstrip("/")


@pytest.fixture(params=["local", "remote"])
def folder(request, tmp_path):
    """A folder that is not there yet, on a disk or behind a URL."""
    return tmp_path / "features" if request.param == "local" else request.getfixturevalue("bucket") + "/features"


def received(data):
    return pickle.loads(data)  # noqa: S301


def everything(folder):
    place = shelf(folder)
    return {name: place.read(name) for name in place.names()}


def fill(folder, rows=11, *, keys=KEYS, force=False):
    """Write what is missing of a store; return which shards that were."""
    store = FeatureStore(folder, IDENTITY, keys=keys[:rows], shard_rows=4, force=force)
    left = store.left(len(store.spans))
    assert left == [k for k in range(len(store.spans)) if not store.has(k)]
    for k in left:
        start, stop = store.spans[k]
        store.write_shard(k, keys[start:stop].astype(np.float32) ** 2)
    store.finish(rows)
    vectors = store.open()
    np.testing.assert_array_equal(vectors.rows(np.arange(rows)), keys[:rows].astype(np.float32) ** 2)
    return left


@pytest.fixture
def whole(tmp_path):
    """What the files of a local store hold."""
    fill(tmp_path / "whole")
    return everything(tmp_path / "whole")


def test_bytes_are_those_of_a_local_store(bucket, whole):
    assert fill(f"{bucket}/features") == [0, 1, 2]
    assert everything(f"{bucket}/features") == whole
    assert fill(f"{bucket}/features") == []
    np.testing.assert_array_equal(open_store(f"{bucket}/features").rows(np.arange(11)), VECTORS)


def test_a_killed_writer_resumes_with_the_same_bytes(bucket, whole, monkeypatch):
    real, left = places.write_bytes, [0]

    def dies(url, data):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        real(url, data)

    for writes in (0, 2, 3, 9):
        left[0] = writes
        with monkeypatch.context() as patch:
            patch.setattr(places, "write_bytes", dies)
            with pytest.raises(KeyboardInterrupt):
                fill(f"{bucket}/killed-{writes}")
        # The manifest, and then keys, table and marker of each shard.
        assert fill(f"{bucket}/killed-{writes}") == [0, 1, 2][max(0, writes - 1) // 3 :]
        assert everything(f"{bucket}/killed-{writes}") == whole


WRITE = """
import pickle, sys
for writer, k, array, keys in pickle.load(sys.stdin.buffer):
    writer.write(k, array, keys=keys)
"""


def test_processes_write_different_shards_at_the_same_time(bucket, whole):
    writer = ShardWriter(f"{bucket}/features", IDENTITY)
    shards = [(writer, k, VECTORS[4 * k : 4 * k + 4], KEYS[4 * k : 4 * k + 4].tobytes()) for k in range(3)]
    running = [subprocess.Popen([sys.executable, "-c", WRITE], stdin=subprocess.PIPE) for _ in range(2)]
    for process, parts in zip(running, (shards[::2], shards[1::2]), strict=True):
        process.stdin.write(pickle.dumps(parts))
        process.stdin.close()
    assert [process.wait() for process in running] == [0, 0]
    assert fill(f"{bucket}/features") == []
    assert everything(f"{bucket}/features") == whole


def test_a_damaged_object_is_told_when_it_is_fetched(bucket):
    fill(f"{bucket}/features")
    url = f"{bucket}/features/shard-00001.npy"
    data = bytearray(places.read_bytes(url))
    data[-3] ^= 1
    places.write_bytes(url, bytes(data))
    # Another digest than the one that the cache knows: the object is fetched.
    Path(FeatureStore(f"{bucket}/features", IDENTITY).open().shards.items[1].file.path).unlink()
    vectors = FeatureStore(f"{bucket}/features", IDENTITY).open()
    np.testing.assert_array_equal(vectors.raw((0, 4)), VECTORS[:4])
    with pytest.raises(InputError, match=rf"{url} is damaged: its digest is another; remove it and run again"):
        vectors.raw((4, 8))
    places.delete(url)
    with pytest.raises(UnfinishedError, match=rf"{url} is not there"):
        vectors.raw((4, 8))
    assert fill(f"{bucket}/features") == [1]
    places.write_bytes(url, bytes(data[:-1]))
    assert fill(f"{bucket}/features") == [1]  # the size is another


def test_rows_that_wait_are_filled_to_the_same_bytes(folder, whole):
    store = FeatureStore(folder, IDENTITY, keys=KEYS, shard_rows=4)
    assert store.begun(1) is None
    for k, (start, stop) in enumerate(store.spans):
        waiting = [1, 3] if k == 1 else []
        array = VECTORS[start:stop].copy()
        array[waiting] = -1
        store.writer.write(k, array, keys=KEYS[start:stop].tobytes(), waiting=waiting)
    assert (store.has(1), store.left(3)) == (False, [1])
    assert [store.begun(k).tolist() for k in range(3)] == [[], [1, 3], []]
    np.testing.assert_array_equal(store.rows(np.array([10, 4, 0, 6])), VECTORS[[10, 4, 0, 6]])
    with pytest.raises(InputError, match=r"shard-00001\.npy is missing or damaged"):
        store.finish(11)
    for rows in ([], [1], [0, 1]):
        with pytest.raises(ValueError, match="other rows of shard 1 wait"):
            store.writer.fill(1, rows, VECTORS[:1])
    store.writer.fill(1, np.array([1, 3]), VECTORS[[5, 7]])
    store.finish(11)
    assert everything(folder) == whole


def test_a_resumed_run_computes_a_shard_that_waits_again(folder, whole):
    keys, array = KEYS[4:8].tobytes(), VECTORS[4:8]
    received(pickle.dumps(ShardWriter(folder, IDENTITY))).write(1, array * 0, keys=keys, waiting=[2])
    assert fill(folder) == [0, 1, 2]
    assert everything(folder) == whole


def test_a_shard_that_another_process_wrote_is_taken_at_its_word(tmp_path, monkeypatch):
    fill(tmp_path)
    store = FeatureStore(tmp_path, IDENTITY, keys=KEYS, shard_rows=4)
    for k in range(3):
        store.written(k)
    monkeypatch.setattr("tasksift.represent.shelf.file_digest", lambda path: pytest.fail("read"))
    assert store.left(3) == []


def test_appended_rows_and_other_rows(bucket):
    url = f"{bucket}/features"
    assert fill(url, 6) == [0, 1]
    assert fill(url, 11) == [2, 3]
    assert [marker["rows"] for marker in json.loads(places.read_bytes(f"{url}/manifest.json"))["shards"]] == [
        4,
        2,
        4,
        1,
    ]
    with pytest.raises(InputError, match=f"{url} holds features of other rows, from row 5"):
        fill(url, keys=np.delete(KEYS, 5, axis=0), rows=10)
    assert fill(url, keys=np.delete(KEYS, 5, axis=0), rows=10, force=True) == [0, 1, 2]
    with pytest.raises(InputError, match=r"holds other features \(dim: 2 there, 3 here\)"):
        FeatureStore(url, {**IDENTITY, "dim": 3})
    assert not FeatureStore(url, {"rows": 1}, force=True).has(0)
    assert everything(url) == {}


def test_vectors_are_sent_by_url_and_fetched_where_they_are_used(bucket, tmp_path, monkeypatch):
    fill(f"{bucket}/features")
    vectors = open_store(f"{bucket}/features")
    monkeypatch.setenv("TASKSIFT_CACHE", str(tmp_path / "elsewhere"))
    sent = pickle.dumps(vectors)
    assert len(sent) < 1500
    there = received(sent)
    np.testing.assert_array_equal(there.raw((5, 7)), VECTORS[5:7])
    assert len(list((tmp_path / "elsewhere" / "files").iterdir())) == 1


def test_vectors_that_users_bring(bucket, tmp_path):
    np.save(tmp_path / "a.npy", VECTORS + 1)
    data = (tmp_path / "a.npy").read_bytes()
    for name in ("one.npy", "many/x-10.npy", "many/x-2.npy", "many/notes.txt"):
        places.write_bytes(f"{bucket}/{name}", data)
    one = load_vectors(f"{bucket}/one.npy", normalize=False, what="--vectors")
    many = load_vectors(f"{bucket}/many/", normalize=True, what="--vectors")
    np.testing.assert_array_equal(one.rows(np.arange(11)), VECTORS + 1)
    assert (one.checked, len(many)) == (True, 22)
    assert [shard.file.url.rsplit("/", 1)[1] for shard in many.shards.items] == ["x-2.npy", "x-10.npy"]
    assert list(versions(f"{bucket}/many")) == [f"{bucket}/many/x-10.npy", f"{bucket}/many/x-2.npy"]
    places.write_bytes(f"{bucket}/one.npy", data[:-4] + np.float32(np.nan).tobytes())
    with pytest.raises(InputError, match=rf"--vectors {bucket}/one.npy: row 10 holds a NaN"):
        load_vectors(f"{bucket}/one.npy", normalize=False, what="--vectors")
    places.write_bytes(f"{bucket}/one.npy", data[:-4])
    with pytest.raises(InputError, match=r"one\.npy is truncated"):
        load_vectors(f"{bucket}/one.npy", normalize=False, what="--vectors")
    with pytest.raises(InputError, match=r"one.npz is not a .npy file|does not exist"):
        load_vectors(f"{bucket}/one.npz", normalize=False, what="--vectors")


def test_a_model_of_words_is_found_again(bucket):
    model = tfidf.fit(["a b c", "b c d", "hello world"], dim=2)
    model.save(f"{bucket}/model")
    there = tfidf.Tfidf.load(f"{bucket}/model")
    assert there.digest == model.digest
    with pytest.raises(InputError, match="fit it again"):
        tfidf.Tfidf.load(f"{bucket}/nothing")


def test_where_things_are():
    assert where("a/b", "--features") == Path("a/b")
    assert where("file:///a/b", "--features") == Path("/a/b")
    assert where("s3://a/b/", "--features") == "s3://a/b"
    assert (inside("s3://a/b", "c"), inside(Path("a"), "c")) == ("s3://a/b/c", Path("a/c"))
    with pytest.raises(InputError, match="--features: a s3:// URL with credentials"):
        where("s3://me:secret@a/b", "--features")
