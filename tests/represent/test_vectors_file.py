import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasksift import vectors as vectors_module
from tasksift.errors import InputError
from tasksift.represent.store import FeatureStore
from tasksift.represent.vectors_file import load_vectors, unit_length

ROWS = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)


def load(path, normalize=False):
    return load_vectors(path, normalize=normalize, what="--vectors")


def refusal(path, normalize=False):
    with pytest.raises(InputError) as caught:
        load(path, normalize)
    message = str(caught.value)
    assert message.startswith(f"--vectors {path}")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", "i8", "u1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_file(tmp_path, dtype, order):
    values = np.asarray(ROWS * 100 if dtype != "u1" else abs(ROWS), dtype=dtype, order=order)
    np.save(tmp_path / "v.npy", values)
    vectors = load(str(tmp_path / "v.npy"))
    assert np.array_equal(vectors.take(np.arange(12)), values.astype(np.float64))
    assert vectors.shards[0].dtype == np.dtype(dtype)


@given(order=st.permutations([0, 1, 2, 9, 10, 11, 100]), pad=st.booleans())
def test_shards_stack_in_natural_order(tmp_path_factory, order, pad):
    folder = tmp_path_factory.mktemp("vectors")
    for number in order:
        np.save(folder / (f"part-{number:04d}.npy" if pad else f"part-{number}.npy"), np.full((2, 3), number + 1.0))
    (folder / "README.md").write_text("other files are ignored")
    (folder / "._part-5.npy").write_bytes(b"so are hidden ones")
    vectors = load(folder)
    assert vectors.take(np.arange(14))[::2, 0].tolist() == [1, 2, 3, 10, 11, 12, 101]


def test_bfloat16(tmp_path):
    bits = ROWS.view(np.uint32) & np.uint32(0xFFFF0000)
    np.save(tmp_path / "v.npy", (bits >> 16).astype(np.uint16).view("V2"))  # as numpy.save writes that of ml_dtypes
    vectors = load(tmp_path / "v.npy")
    assert np.array_equal(vectors.take(np.arange(12)), bits.view(np.float32).astype(np.float64))
    assert unit_length(load(tmp_path / "v.npy", normalize=True))
    bits[5, 1] = np.float32(np.inf).view(np.uint32)
    np.save(tmp_path / "v.npy", (bits >> 16).astype(np.uint16).view("V2"))
    assert "row 5 holds a NaN" in refusal(tmp_path / "v.npy")


def test_rows_are_checked_once(tmp_path, monkeypatch):
    np.save(tmp_path / "v.npy", ROWS)
    vectors = load(tmp_path / "v.npy")
    monkeypatch.setattr(vectors_module.Vectors, "raw", lambda *_: pytest.fail("read again"))
    vectors.check_finite()


def test_empty_shards_are_skipped(tmp_path):
    for number, rows in enumerate([ROWS[:5], ROWS[:0], ROWS[5:]]):
        np.save(tmp_path / f"{number}.npy", rows)
    assert np.array_equal(load(tmp_path).take(np.arange(12)), ROWS.astype(np.float64))


def test_normalized_rows_have_length_one(tmp_path):
    np.save(tmp_path / "v.npy", ROWS)
    assert unit_length(load(tmp_path / "v.npy", normalize=True))
    assert not unit_length(load(tmp_path / "v.npy"))
    assert unit_length(load(tmp_path / "v.npy", normalize=True), rows=1)


def test_unit_length_looks_at_both_ends():
    rows = np.tile(np.array([[1.0, 0.0]]), (5000, 1))
    assert unit_length(vectors_module.Vectors(rows))
    for end in (0, -1):
        other = rows.copy()
        other[end] *= 1.01
        assert not unit_length(vectors_module.Vectors(other))


def test_a_feature_store(tmp_path):
    store = FeatureStore(tmp_path, {"rows": 12})
    store.write_shard(0, ROWS[:8])
    with pytest.raises(InputError, match="no finished feature store"):
        load(tmp_path)
    store.write_shard(1, ROWS[8:])
    store.finish(12)
    assert np.array_equal(load(tmp_path).take(np.arange(12)), ROWS.astype(np.float64))
    np.save(tmp_path / "stray.npy", ROWS)
    assert len(load(tmp_path)) == 12
    np.save(tmp_path / "shard-00001.npy", ROWS[4:8])
    with pytest.raises(InputError, match=r"shard-00001\.npy is missing or damaged"):
        load(tmp_path)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_pickles_are_never_loaded(tmp_path):
    np.save(tmp_path / "v.npy", np.array([[Bomb()]], dtype=object), allow_pickle=True)
    assert "pickled Python objects" in refusal(tmp_path / "v.npy")
    np.array([[Bomb()]], dtype=object).dump(tmp_path / "w.npy")
    assert "is not a .npy file" in refusal(tmp_path / "w.npy")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.ones(3), "has shape (3,)"),
        (np.ones((2, 3, 4)), "has shape (2, 3, 4)"),
        (np.float32(1), "has shape ()"),
        (np.ones((2, 3), complex), "complex128, not real numbers"),
        (np.ones((2, 3), bool), "bool, not real numbers"),
        (np.full((2, 3), "a"), "not real numbers"),
        (np.ones((2, 3), np.int32).view("V4"), "V4, not real numbers; save it as float32"),
        (np.ones((2, 3), [("é", "f4")]), "not real numbers"),
        (np.ones((0, 3)), "is empty: it has 0 rows"),
        (np.ones((3, 0)), "0 dimensions"),
    ],
)
def test_arrays_that_are_no_vectors(tmp_path, array, words):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Stored array in format 3.0", UserWarning)
        np.save(tmp_path / "v.npy", array)
    assert words in refusal(tmp_path / "v.npy")


def test_files_that_are_no_vectors(tmp_path):
    assert "does not exist" in refusal(tmp_path / "nowhere.npy")
    assert "holds no .npy files" in refusal(tmp_path)
    np.savez(tmp_path / "v.npz", ROWS)
    assert "numpy.save" in refusal(tmp_path / "v.npz")
    assert ".npz" in refusal(tmp_path).removeprefix(f"--vectors {tmp_path}")
    (tmp_path / "v.csv").write_text("1,2,3")
    assert "is not a .npy file" in refusal(tmp_path / "v.csv")
    (tmp_path / "empty.npy").write_bytes(b"")
    assert "is not a .npy file" in refusal(tmp_path / "empty.npy")


@given(st.integers(0, 271))
def test_truncated_files(tmp_path_factory, size):
    path = tmp_path_factory.mktemp("vectors") / "v.npy"
    np.save(path, ROWS)
    path.write_bytes(path.read_bytes()[:size])
    message = refusal(path)
    assert any(words in message for words in ("truncated", "damaged header", "is not a .npy file"))
    assert ("truncated" in message) == (size >= 128)


def test_damaged_headers(tmp_path):
    path = tmp_path / "v.npy"
    np.save(path, ROWS)
    data = path.read_bytes()
    for damaged in (data.replace(b"'descr'", b"'!!!!!'"), data.replace(b"{", b"("), data[:6] + b"\x09\x00" + data[8:]):
        path.write_bytes(damaged)
        assert "damaged header" in refusal(path)


def test_dimensions_that_differ(tmp_path):
    np.save(tmp_path / "2.npy", ROWS)
    np.save(tmp_path / "10.npy", ROWS[:, :2])
    assert "10.npy has 2 dimensions and 2.npy has 3" in refusal(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("row", [0, 5, 11])
def test_values_that_are_not_finite(tmp_path, monkeypatch, value, row):
    monkeypatch.setattr(vectors_module, "BLOCK_BYTES", 48)  # blocks of four rows
    values = ROWS.astype(np.float64)
    values[row, 1] = value
    np.save(tmp_path / "0.npy", ROWS)
    np.save(tmp_path / "1.npy", values)
    with pytest.raises(InputError, match=rf"1\.npy: row {row} holds a NaN"):
        load(tmp_path)


def test_zero_rows_have_no_direction(tmp_path, monkeypatch):
    monkeypatch.setattr(vectors_module, "BLOCK_BYTES", 48)  # blocks of four rows
    values = ROWS.copy()
    values[7] = 0
    np.save(tmp_path / "0.npy", ROWS)
    np.save(tmp_path / "1.npy", values)
    with pytest.raises(InputError, match=r"1\.npy: row 7 is zero .* --no-normalize"):
        load(tmp_path, normalize=True)
    assert len(load(tmp_path)) == 24
