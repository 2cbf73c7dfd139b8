"""The cache of files from a storage: right bytes, a kept cap, the least recently used out first, many processes."""

import subprocess
import sys
import threading
from collections import OrderedDict
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasksift import places
from tasksift.engines.local import share
from tasksift.errors import InputError, UnfinishedError
from tasksift.represent import shard_cache
from tasksift.represent.shard_cache import Cached, cache_bytes, cache_folder, work_folder
from tasksift.shards import open_shard
from tasksift.vectors import Vectors

SIZES = [0, 1, 10, 20, 30, 40, 55, 70]


def content(k):
    return bytes((k + i) % 256 for i in range(SIZES[k]))


@pytest.fixture
def storage(tmp_path, monkeypatch):
    """A folder of files, read by URL, and an empty cache of 100 bytes."""
    (tmp_path / "storage").mkdir()
    for k in range(len(SIZES)):
        (tmp_path / "storage" / f"{k}").write_bytes(content(k))
    monkeypatch.setenv("TASKSIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TASKSIFT_CACHE_BYTES", "100")
    return (tmp_path / "storage").as_uri()


def cached(storage, k):
    return Cached(f"{storage}/{k}", blake2b(content(k), digest_size=16).hexdigest())


def read(file):
    with file.open() as opened:
        return opened.read()


def held():
    return {path.name: path.stat().st_size for path in (cache_folder() / "files").glob("*")}


@given(uses=st.lists(st.integers(0, len(SIZES) - 1), max_size=40))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_cap_is_kept_and_the_least_recently_used_leave_first(storage, uses):
    for path in (cache_folder() / "files").glob("*"):
        path.unlink()
    expected = OrderedDict()
    for k in uses:
        assert read(cached(storage, k)) == content(k)
        if k not in expected:
            while sum(SIZES[each] for each in expected) + SIZES[k] > 100:
                expected.popitem(last=False)
        expected[k] = None
        expected.move_to_end(k)
        assert held() == {cached(storage, each).path.name: SIZES[each] for each in expected}


def test_a_damaged_file_is_told_by_its_digest_and_not_kept(storage):
    path = Path(places.local_name(storage)) / "5"
    path.write_bytes(content(5)[:-1] + b"x")
    with pytest.raises(InputError, match="storage/5 is damaged: its digest is another; remove it and run again"):
        cached(storage, 5).open()
    assert held() == {}
    path.write_bytes(content(5))
    assert read(cached(storage, 5)) == content(5)


def test_a_version_is_what_is_cached_where_no_digest_is_known(storage):
    path = Path(places.local_name(storage)) / "3"
    files = [Cached(f"{storage}/3", changed=version) for version in ("a", "a", "b")]
    assert read(files[0]) == content(3)
    path.write_bytes(b"new")
    assert [read(file) for file in files] == [content(3), content(3), b"new"]


def test_what_cannot_be_fetched_leaves_nothing(storage):
    with pytest.raises(UnfinishedError, match="storage/99 is not there"):
        Cached(f"{storage}/99", "0" * 32).open()
    assert held() == {}


def test_threads_that_want_one_file_fetch_it_once(storage, monkeypatch):
    fetched, real, go = [], places.open_input, threading.Event()

    def slow(url):
        go.wait(0.05)
        fetched.append(url)
        return real(url)

    monkeypatch.setattr(places, "open_input", slow)
    assert list(share(read, [cached(storage, 6)] * 8, 8)) == [content(6)] * 8
    assert len(fetched) == 1


USE = """
import random, sys
from tasksift.represent.shard_cache import Cached
from hashlib import blake2b
random.seed(int(sys.argv[2]))
def content(k, size):
    return bytes((k + i) % 256 for i in range(size))
sizes = eval(sys.argv[3])
for _ in range(60):
    k = random.randrange(len(sizes))
    there = content(k, sizes[k])
    with Cached(f"{sys.argv[1]}/{k}", blake2b(there, digest_size=16).hexdigest()).open() as file:
        assert file.read() == there
print("read")
"""


def test_several_processes_share_a_small_cache(storage):
    running = [
        subprocess.Popen([sys.executable, "-c", USE, storage, str(k), repr(SIZES)], stdout=subprocess.PIPE)
        for k in range(2)
    ]
    most = 0
    while any(process.poll() is None for process in running):
        if (cache_folder() / "files").exists():
            with shard_cache._counting(cache_folder() / "files"):  # nobody takes room meanwhile
                most = max(most, sum(size for _, size, _ in shard_cache._held(cache_folder() / "files")))
    assert [process.communicate()[0] for process in running] == [b"read\n"] * 2
    assert 0 < most <= 100
    assert not [name for name in held() if name.endswith(".part")]


def test_what_a_killed_process_left_is_taken_over_or_makes_room(storage):
    files = cache_folder() / "files"
    files.mkdir(parents=True)
    for k in (5, 6):
        cached(storage, k).path.with_suffix(".part").write_bytes(b"?" * (SIZES[k] - 5))
    assert read(cached(storage, 6)) == content(6)  # taken over
    assert read(cached(storage, 5)) == content(5)
    cached(storage, 4).path.with_suffix(".part").write_bytes(b"?" * 25)
    assert read(cached(storage, 7)) == content(7)
    assert sum(held().values()) <= 100
    assert cached(storage, 7).path.name in held()


def test_vectors_stay_readable_when_their_files_leave(storage, monkeypatch):
    tables = [np.full((3, 4), k, dtype=np.float32) for k in range(4)]
    folder = Path(places.local_name(storage))
    for k, table in enumerate(tables):
        np.save(folder / f"table-{k}.npy", table)
    size = (folder / "table-0.npy").stat().st_size
    monkeypatch.setenv("TASKSIFT_CACHE_BYTES", str(2 * size))
    vectors = Vectors([open_shard(Cached(f"{storage}/table-{k}.npy", changed="1")) for k in range(4)])
    first = vectors.shards[0]
    for _ in range(2):
        np.testing.assert_array_equal(vectors.rows(np.arange(12)), np.concatenate(tables))
        assert len(held()) == 2
        # What left the disk is no longer mapped, or its bytes would stay on the disk all the same.
        assert sum(item._array is not None for item in vectors.shards.items) == 2
    np.testing.assert_array_equal(first, tables[0])


def test_a_file_larger_than_the_cap(storage, monkeypatch):
    monkeypatch.setenv("TASKSIFT_CACHE_BYTES", "69")
    with pytest.raises(InputError, match=r"70 bytes does not fit the cache .* of 69 bytes; set TASKSIFT_CACHE_BYTES"):
        cached(storage, 7).open()
    assert held() == {}


@pytest.mark.parametrize("asked", ["0", "-1", "many", "1e9"])
def test_a_cap_is_a_number_of_bytes(monkeypatch, asked):
    monkeypatch.setenv("TASKSIFT_CACHE_BYTES", asked)
    with pytest.raises(InputError, match=f"TASKSIFT_CACHE_BYTES='{asked}': it should be a number of bytes"):
        cache_bytes()


def test_half_of_what_is_free_is_the_usual_cap(storage, monkeypatch):
    monkeypatch.delenv("TASKSIFT_CACHE_BYTES")
    usage = shard_cache.shutil.disk_usage(cache_folder().parent)
    monkeypatch.setattr(shard_cache.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert cache_bytes() == 500
    monkeypatch.setattr(shard_cache.shutil, "disk_usage", lambda _: usage._replace(free=10))
    assert cache_bytes() == 500  # asked once


def test_where_the_cache_is(tmp_path, monkeypatch):
    monkeypatch.delenv("TASKSIFT_CACHE", raising=False)
    monkeypatch.setattr(shard_cache.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = cache_folder()
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o77 == 0
    assert work_folder("s3://a/b", "embed") == work_folder("s3://a/b", "embed") != work_folder("s3://a/c", "embed")
    assert work_folder("s3://a/b", "embed").is_relative_to(folder)
    (tmp_path / "file").touch()
    monkeypatch.setenv("TASKSIFT_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot be used .*; set TASKSIFT_CACHE to a folder"):
        Cached("file:///nowhere", "0").open()


def test_the_folder_of_another_user_is_not_trusted(tmp_path, monkeypatch):
    monkeypatch.delenv("TASKSIFT_CACHE", raising=False)
    monkeypatch.setattr(shard_cache.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(shard_cache.os, "getuid", lambda: 4711)
    with pytest.raises(InputError, match=r"tasksift-4711 belongs to another user; set TASKSIFT_CACHE"):
        cache_folder()
