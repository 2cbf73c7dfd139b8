import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasksift.errors import InputError
from tasksift.represent import shelf
from tasksift.represent.store import FeatureStore, open_store, shard_path

IDENTITY = {"representation": {"name": "tfidf", "dim": 2}, "text_template": None, "dtype": "float32", "rows": 7}
ROWS = np.arange(14, dtype=np.float32).reshape(7, 2)
SHARDS = [ROWS[:3], ROWS[3:6], ROWS[6:]]


def write(folder, identity=IDENTITY):
    store = FeatureStore(folder, identity)
    for k, shard in enumerate(SHARDS):
        if not store.has(k):
            store.write_shard(k, shard)
    store.finish(7)
    return store


def everything(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rows_of(vectors):
    return np.concatenate([np.asarray(shard) for shard in vectors.shards])


def test_round_trip(tmp_path):
    vectors = write(tmp_path / "features").open()
    assert np.array_equal(rows_of(vectors), ROWS)
    assert vectors.shards[0].dtype == np.float32
    # A later run, with the keys of its identity in another order.
    again = FeatureStore(tmp_path / "features", dict(reversed(IDENTITY.items())))
    assert np.array_equal(rows_of(again.open()), ROWS)
    assert np.array_equal(rows_of(open_store(tmp_path / "features")), ROWS)


def test_nothing_is_made_before_the_first_shard(tmp_path):
    store = FeatureStore(tmp_path / "features", IDENTITY)
    assert not store.has(0)
    assert not (tmp_path / "features").exists()


@pytest.mark.parametrize("step", ["replace_array", "file_digest", "replace_json"])
@pytest.mark.parametrize("killed_at", [0, 1, 2])
def test_a_killed_writer_resumes_with_the_same_bytes(tmp_path, monkeypatch, step, killed_at):
    write(tmp_path / "whole")
    real, calls = getattr(shelf, step), []

    def dies(*arguments):
        calls.append(arguments)
        if len(calls) > killed_at:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(shelf, step, dies)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "killed")
    if (tmp_path / "killed").exists():
        (tmp_path / "killed" / "shard-00001.npy.0123.part").write_bytes(b"half a shard")
    write(tmp_path / "killed")
    assert everything(tmp_path / "killed") == everything(tmp_path / "whole")


def test_finished_shards_are_not_written_again(tmp_path):
    write(tmp_path)
    store = FeatureStore(tmp_path, IDENTITY)
    assert [store.has(k) for k in range(4)] == [True, True, True, False]


@given(position=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_any_flipped_bit_is_noticed_and_mended(tmp_path_factory, position, bit):
    folder = tmp_path_factory.mktemp("store")
    write(folder)
    whole = everything(folder)
    path = shard_path(folder, 1)
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"shard-00001\.npy is missing or damaged"):
        FeatureStore(folder, IDENTITY).open()
    with pytest.raises(InputError, match="missing or damaged"):
        FeatureStore(folder, IDENTITY).finish(7)
    write(folder)
    assert everything(folder) == whole


@pytest.mark.parametrize("size", [0, 10, 130])
def test_a_truncated_shard_is_noticed(tmp_path, size):
    write(tmp_path)
    path = shard_path(tmp_path, 2)
    path.write_bytes(path.read_bytes()[:size])
    assert not FeatureStore(tmp_path, IDENTITY).has(2)
    with pytest.raises(InputError, match="damaged"):
        open_store(tmp_path)


def test_another_identity_is_refused_and_named(tmp_path):
    write(tmp_path, {**IDENTITY, "text_template": "{a}", "gone": 1})
    other = {**IDENTITY, "representation": {"name": "tfidf", "dim": 3}}
    with pytest.raises(InputError) as refusal:
        FeatureStore(tmp_path, other)
    message = str(refusal.value)
    assert "text_template: '{a}' there, None here" in message
    assert "representation.dim: 2 there, 3 here" in message
    assert "gone: 1 there, absent here" in message
    assert "dtype" not in message
    assert "--force" in message
    assert "\n" not in message


def test_long_values_that_differ_late_differ(tmp_path):
    write(tmp_path, {"template": "x" * 500 + "a"})
    with pytest.raises(InputError, match="template"):
        FeatureStore(tmp_path, {"template": "x" * 500 + "b"})


def test_force_drops_another_identity_and_only_that(tmp_path):
    write(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    assert FeatureStore(tmp_path, IDENTITY, force=True).has(0)
    assert not FeatureStore(tmp_path, {"rows": 1}, force=True).has(0)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_files_of_the_user_are_refused(tmp_path):
    np.save(tmp_path / "mine.npy", ROWS)
    with pytest.raises(InputError, match="no feature store"):
        FeatureStore(tmp_path, IDENTITY)


def test_unfinished_stores_do_not_open(tmp_path):
    store = FeatureStore(tmp_path, IDENTITY)
    with pytest.raises(InputError, match="no finished feature store"):
        store.open()
    store.write_shard(0, SHARDS[0])
    with pytest.raises(InputError, match="no finished feature store"):
        store.open()
    with pytest.raises(InputError, match=r"shard-00001\.npy is missing"):
        store.finish(7)
    with pytest.raises(InputError, match="do not add up to 2 rows"):
        store.finish(2)


def test_shards_too_many_do_not_add_up(tmp_path):
    store = write(tmp_path)
    with pytest.raises(InputError, match="do not add up to 6 rows"):
        store.finish(6)


def test_a_shard_written_again_reopens_the_store(tmp_path):
    store = write(tmp_path)
    store.write_shard(0, SHARDS[0] + 1)
    with pytest.raises(InputError, match="no finished feature store"):
        open_store(tmp_path)
    store.finish(7)
    assert np.array_equal(rows_of(open_store(tmp_path))[:3], SHARDS[0] + 1)


def test_a_changed_manifest_is_refused(tmp_path):
    write(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace("float32", "float16"))
    with pytest.raises(InputError, match="was changed"):
        FeatureStore(tmp_path, IDENTITY)


@pytest.mark.parametrize("array", [np.ones(3), np.ones((0, 3)), np.ones((3, 0))])
def test_shards_are_tables_with_rows(tmp_path, array):
    with pytest.raises(ValueError, match="tables with rows"):
        FeatureStore(tmp_path / "features", IDENTITY).write_shard(0, array)


def test_another_representation_is_named_and_nothing_that_follows_from_it(tmp_path):
    write(tmp_path, {"representation": "tfidf", "tokens": "words", "dim": 2})
    with pytest.raises(InputError, match=r"holds other features \(representation: 'tfidf' there, 'hidden' here\)"):
        FeatureStore(tmp_path, {"representation": "hidden", "made": {"model": "x"}})


def test_lists_are_compared_item_by_item(tmp_path):
    def identity(rate):
        return {"checkpoints": [{"weights": "a" * 99, "rate": 0.1}, {"weights": "b" * 99, "rate": rate}]}

    write(tmp_path, identity(0.2))
    with pytest.raises(InputError, match=r"\(checkpoints\.1\.rate: 0\.2 there, 0\.3 here\)"):
        FeatureStore(tmp_path, identity(0.3))
    with pytest.raises(InputError, match=r"checkpoints\.2\.rate: absent there, 5 here"):
        FeatureStore(tmp_path, {"checkpoints": [*identity(0.2)["checkpoints"], {"rate": 5}]})


def test_a_finished_store_is_not_touched(tmp_path):
    write(tmp_path)
    times = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in tmp_path.iterdir()}
    write(tmp_path).open()
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in tmp_path.iterdir()} == times


# Stores to which rows may be appended.


def keys_of(rows):
    return np.stack([np.asarray(rows, dtype=np.uint64), np.full(len(rows), 7, dtype=np.uint64)], axis=1)


def vectors_of(keys):
    return np.stack([keys[:, 0], keys[:, 0] ** 2], axis=1).astype(np.float32)


def fill(folder, rows, *, force=False, identity=IDENTITY):
    """Write what is missing of the rows; return the store and the rows that had to be computed."""
    keys = keys_of(rows)
    store = FeatureStore(folder, identity, keys=keys, shard_rows=4, force=force)
    assert [stop for _, stop in store.spans] == [*[start for start, _ in store.spans][1:], len(rows)]
    computed = []
    for k, (start, stop) in enumerate(store.spans):
        if not store.has(k):
            store.write_shard(k, vectors_of(keys[start:stop]))
            computed += list(rows[start:stop])
    store.finish(len(rows))
    assert np.array_equal(rows_of(store.open()), vectors_of(keys))
    return store, computed


@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_appended_rows_are_all_that_is_computed(tmp_path_factory, sizes):
    folder = tmp_path_factory.mktemp("store")
    rows = [100]
    assert fill(folder, rows)[1] == rows
    for size in sizes:
        old = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("shard-*")}
        new = list(range(200 + len(rows), 200 + len(rows) + size))
        rows = rows + new
        store, computed = fill(folder, rows)
        assert computed == new
        assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in old} == old
        assert all(stop - start <= 4 for start, stop in store.spans)


@pytest.mark.parametrize(
    ("rows", "first"),
    [
        ([9, 1, 2, 3, 4, 5], 0),  # a row before all
        ([0, 1, 2, 9, 3, 4, 5], 3),  # one in the middle
        ([0, 1, 2, 3, 4, 9], 5),  # the last one changed
        ([1, 2, 3, 4, 5], 0),  # the first one gone
        ([0, 1, 2, 3, 4], 5),  # the last one gone
        ([0, 1, 2, 3], 4),  # a whole shard gone
        ([0, 1], 2),
    ],
)
def test_other_rows_are_refused_by_their_number(tmp_path, rows, first):
    fill(tmp_path, [0, 1, 2, 3, 4, 5])
    there = everything(tmp_path)
    with pytest.raises(InputError, match=f"of other rows, from row {first} of the pool on"):
        fill(tmp_path, rows)
    assert everything(tmp_path) == there
    assert fill(tmp_path, rows, force=True)[1] == rows
    forced = everything(tmp_path)
    fill(tmp_path / "fresh", rows)
    assert forced == everything(tmp_path / "fresh")


@pytest.mark.parametrize("damage", ["gone", "cut", "empty", "flipped"])
@pytest.mark.parametrize("suffix", [".keys", ".json", ".npy"])
@pytest.mark.parametrize("k", [0, 1, 2])
def test_one_damaged_file_costs_one_shard(tmp_path, damage, suffix, k):
    """The second shard is short, because rows were appended after it: the cut survives as well."""
    fill(tmp_path, range(6))
    fill(tmp_path, range(9))
    whole = everything(tmp_path)
    path = tmp_path / f"shard-{k:05d}{suffix}"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": data[:-3], "empty": b"", "flipped": data}[damage])
    store, computed = fill(tmp_path, list(range(9)))
    start, stop = store.spans[k]
    assert computed == list(range(9))[start:stop]
    assert everything(tmp_path) == whole


def test_a_shard_of_other_rows_is_never_taken_for_ours(tmp_path):
    """Whatever a kill leaves of a store that is being dropped, the next writer ends with the bytes of a fresh one."""
    fill(tmp_path / "fresh", [0, 1, 2, 3, 8, 9])
    fill(tmp_path / "old", range(10))
    names = sorted(path.name for path in (tmp_path / "old").iterdir())
    for k in range(3 * 3 + 1):
        folder = tmp_path / f"killed-{k}"
        fill(folder, range(10))
        dropping = FeatureStore(folder, IDENTITY, keys=keys_of(range(10)), shard_rows=4)
        unlink, left = type(folder).unlink, [k]

        def dies(path, missing_ok=False, unlink=unlink, left=left):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            unlink(path, missing_ok=missing_ok)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(folder), "unlink", dies)
            with pytest.raises(KeyboardInterrupt):
                dropping._drop()
        assert len(list(folder.iterdir())) == len(names) - k
        try:
            fill(folder, [0, 1, 2, 3, 8, 9])
        except InputError:
            with pytest.raises(InputError, match="from row 4 of the pool on"):
                fill(folder, [0, 1, 2, 3, 8, 9])
            fill(folder, [0, 1, 2, 3, 8, 9], force=True)
        assert everything(folder) == everything(tmp_path / "fresh")


def test_a_shard_has_the_rows_that_belong_there(tmp_path):
    store = FeatureStore(tmp_path, IDENTITY, keys=keys_of(range(6)), shard_rows=4)
    with pytest.raises(ValueError, match="rows 4 to 6 belong there"):
        store.write_shard(1, vectors_of(keys_of(range(3))))
