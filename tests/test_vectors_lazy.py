"""Vectors in files: mapped when they are read, few at a time, and sent to other processes by name."""

import gc
import pickle
import socket
import subprocess
import sys

import numpy as np
import pytest
from adversarial import bfloat16
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasksift import shards as module
from tasksift.engines.local import share
from tasksift.errors import InputError
from tasksift.represent.vectors_file import load_vectors
from tasksift.shards import FileShard, Shards, open_shard
from tasksift.vectors import Vectors

RNG = np.random.default_rng(0)
WHOLE = RNG.normal(size=(40, 5)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    for k in range(10):
        np.save(tmp_path / f"shard-{k:05d}.npy", WHOLE[4 * k : 4 * k + 4])
    return tmp_path


def opened(folder):
    return Vectors([open_shard(str(path)) for path in sorted(folder.glob("*.npy"))])


def mapped(vectors):
    return sum(item._array is not None for item in vectors.shards.items)


def everything(vectors):
    return vectors.rows(np.arange(len(vectors)))


def received(data):
    return pickle.loads(data)  # noqa: S301


def sent(value):
    return received(pickle.dumps(value))


def test_what_is_not_read_is_not_mapped(folder):
    vectors = opened(folder)
    copy = Vectors(vectors, normalize=True)
    assert (len(vectors), vectors.dim, vectors.nbytes) == (40, 5, WHOLE.nbytes)
    assert vectors.spans(3)[:3] == [(0, 3), (3, 4), (4, 7)]
    assert sent(vectors).columns(1, 3).dim == 2
    assert mapped(vectors) == mapped(copy) == 0
    np.testing.assert_array_equal(vectors.raw((5, 7)), WHOLE[5:7])
    assert mapped(vectors) == mapped(copy) == 1  # vectors made of vectors share what is mapped
    assert type(vectors.shards[3]) is np.ndarray


@given(order=st.lists(st.integers(0, 39), min_size=1, max_size=60), most=st.integers(1, 4))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_few_are_mapped_and_every_row_is_right(folder, order, most):
    vectors = opened(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "most_mapped", lambda: most)
        for row in order:
            np.testing.assert_array_equal(vectors.rows(np.array([row])), WHOLE[[row]])
            assert mapped(vectors) <= most
        used = list(dict.fromkeys(row // 4 for row in reversed(order)))[:most]
        assert {k for k, item in enumerate(vectors.shards.items) if item._array is not None} == set(used)


def test_threads_that_take_maps_from_each_other_read_what_is_there(folder, monkeypatch):
    monkeypatch.setattr(module, "most_mapped", lambda: 2)
    vectors = opened(folder)
    rows = RNG.integers(0, 40, size=(300, 7))
    for some, read in zip(rows, share(vectors.rows, list(rows), 8), strict=True):
        np.testing.assert_array_equal(read, WHOLE[some])
    assert mapped(vectors) <= 2


def test_maps_go_with_the_vectors(folder):
    gc.collect()
    before = len(module._mapped)
    vectors = opened(folder)
    everything(vectors)
    assert len(module._mapped) == before + 10
    del vectors
    gc.collect()
    assert len(module._mapped) == before


def test_fewer_files_are_open_than_a_process_may_open():
    resource = pytest.importorskip("resource")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert 1 <= module.most_mapped() <= module.MOST_MAPPED
    assert soft == resource.RLIM_INFINITY or 2 * module.most_mapped() <= max(2, soft)


READ = """
import pickle, sys
import numpy as np
said = pickle.load(sys.stdin.buffer)
read = [(v.take(np.arange(len(v))), v.normalize, v.name, v.checked, v.dim) for v in said]
pickle.dump(read, sys.stdout.buffer)
"""


def test_another_process_reads_the_same(folder, tmp_path):
    large = np.lib.format.open_memmap(tmp_path / "large", mode="w+", dtype=np.float32, shape=(10_000, 5))
    large[:] = RNG.normal(size=large.shape)
    large.flush()
    np.save(tmp_path / "order", np.asfortranarray(WHOLE.astype(np.float64)))
    np.save(tmp_path / "half", bfloat16(WHOLE))
    raw = np.memmap(tmp_path / "raw", np.float16, "w+", 64, (6, 5))
    raw[:] = WHOLE[:6]
    raw.flush()
    lazy, order = opened(folder), Vectors(open_shard(str(tmp_path / "order.npy")))
    finite = load_vectors(folder, normalize=True, what="--vectors")
    cases = [
        Vectors(large, name="large"),
        Vectors(large, normalize=True).columns(1, 3),
        Vectors([large[7:9], large[::-1, 1::2][:4, [0, 1, 1, 1, 1]], raw[2:]]),
        Vectors(np.load(tmp_path / "order.npy", mmap_mode="r")),
        Vectors([open_shard(str(tmp_path / "half.npy")), WHOLE, *lazy.shards]),
        Vectors(lazy.shards, normalize=True, name="lazy"),
        lazy.columns(0, 2),
        order.columns(3, 5),
        finite,
        Vectors(Vectors(large[:0])),
    ]
    data = pickle.dumps(cases)
    assert len(data) < 10_000
    done = subprocess.run([sys.executable, "-c", READ], input=data, capture_output=True, check=True, cwd="/")
    for here, (rows, *there) in zip(cases, received(done.stdout), strict=True):
        np.testing.assert_array_equal(rows, here.take(np.arange(len(here))))
        assert there == [here.normalize, here.name, here.checked, here.dim]
    assert finite.checked


def test_views_of_maps_are_sent_by_name_and_copies_by_value(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(50_000.0).reshape(-1, 5))
    there = np.load(tmp_path / "a.npy", mmap_mode="r")
    for view in (there, there[100:], there[:, 1:3], np.asarray(there)[::-7], there[3:900:2, ::2]):
        assert len(pickle.dumps(Vectors(view))) < 1000
        np.testing.assert_array_equal(everything(sent(Vectors(view))), view)
    changed = np.load(tmp_path / "a.npy", mmap_mode="c")
    changed[0] = 7  # in this process only
    np.testing.assert_array_equal(everything(sent(Vectors(changed))), changed)
    kept = Vectors(there)
    (tmp_path / "a.npy").unlink()
    np.testing.assert_array_equal(everything(sent(kept)), there)


def test_a_file_that_cannot_be_seen_is_named_with_the_machine(folder):
    data = pickle.dumps(opened(folder))
    (folder / "shard-00003.npy").unlink()
    vectors = received(data)
    np.testing.assert_array_equal(vectors.raw((0, 4)), WHOLE[:4])
    with pytest.raises(InputError) as refusal:
        vectors.raw((12, 14))
    assert str(refusal.value) == (
        f"{folder}/shard-00003.npy cannot be seen on this machine ({socket.gethostname()}); put it on storage that "
        "all machines share, or name it by URL"
    )


def test_a_file_that_became_another_is_refused(folder):
    changes = [np.ones((5, 5), np.float32), np.ones((4, 6), np.float32), np.ones((4, 5)), np.ones(4), None, b"", b"ab"]
    vectors = opened(folder)
    for k, change in enumerate(changes):
        path = folder / f"shard-{k:05d}.npy"
        if isinstance(change, np.ndarray):
            np.save(path, change)
        else:
            path.write_bytes(path.read_bytes()[:-1] if change is None else change)
        with pytest.raises(InputError, match=rf"shard-0000{k}.*(again|truncated)"):
            vectors.raw((4 * k, 4 * k + 1))
    with pytest.raises(ValueError, match="no table"):
        open_shard(str(folder / "shard-00003.npy"))


def test_shards_are_a_sequence(folder):
    shards = opened(folder).shards
    assert isinstance(shards[2:4], Shards)
    assert mapped(Vectors(shards[2:4] * 3)) == 0
    np.testing.assert_array_equal(np.concatenate(list(shards[-2:])), WHOLE[-8:])
    np.testing.assert_array_equal(np.concatenate(shards), WHOLE)
    assert shards.shapes == [(4, 5)] * 10
    assert shards.dtypes == {np.dtype(np.float32)}
    assert FileShard.of(WHOLE) is None
