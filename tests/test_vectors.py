"""Vectors: every way to read a pool gives the same values."""

import numpy as np
import pytest
from adversarial import NAMES, bfloat16, cases
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksift import vectors as module
from tasksift.errors import InputError
from tasksift.vectors import Vectors

RNG = np.random.default_rng(0)
WHOLE = np.rint(50 * RNG.normal(size=(60, 5)))
MIXED = [
    WHOLE[:10].astype(np.float16),
    bfloat16(WHOLE[10:20]),
    WHOLE[20:20].astype(np.float32),
    np.asfortranarray(WHOLE[20:30].astype(np.float32)),
    WHOLE[30:40].astype(np.float64),
    WHOLE[40:50].astype(np.int16),
    WHOLE[50:],
]


def everything(vectors):
    return vectors.take(np.arange(len(vectors)))


@pytest.mark.parametrize("rows", [None, 1, 7, 1000])
def test_spans_cover_every_row_once_within_single_shards(rows):
    vectors = Vectors(MIXED)
    spans = vectors.spans(rows)
    assert [row for start, stop in spans for row in range(start, stop)] == list(range(60))
    assert all(stop - start <= (rows or 10**9) for start, stop in spans)
    for start, stop in spans:
        np.testing.assert_array_equal(vectors.raw((start, stop)), WHOLE[start:stop])


def test_blocks_are_of_so_many_bytes(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES", 4 * 5 * 3)
    assert Vectors(MIXED).block_rows == 3
    assert max(stop - start for start, stop in Vectors(MIXED).spans()) == 3
    assert Vectors(np.zeros((4, 100))).block_rows == 1


@given(st.lists(st.integers(0, 59), max_size=30))
@settings(max_examples=50)
def test_rows_by_number_from_any_shards(rows):
    rows = np.array(rows, dtype=np.int64)
    vectors = Vectors(MIXED)
    np.testing.assert_array_equal(vectors.rows(rows), WHOLE[rows])
    assert vectors.rows(rows).dtype == np.float64
    np.testing.assert_array_equal(vectors.take(rows), WHOLE[rows])


@pytest.mark.parametrize("normalize", [False, True])
def test_a_rows_value_does_not_depend_on_how_it_is_read(normalize):
    rough = RNG.normal(size=(60, 37)).astype(np.float32)
    expected = everything(Vectors(rough, normalize=normalize))
    for shards in (np.asfortranarray(rough), rough.astype(np.float64), np.split(rough, [1, 30]), rough.T.copy().T):
        vectors = Vectors(shards, normalize=normalize)
        np.testing.assert_array_equal(everything(vectors), expected)
        np.testing.assert_array_equal(
            np.vstack([vectors.exact(vectors.raw((start, stop))) for start, stop in vectors.spans(4)]), expected
        )
        for row in (0, 29, 59):
            np.testing.assert_array_equal(vectors.take(np.array([row]))[0], expected[row])
            np.testing.assert_array_equal(vectors.exact(vectors.raw((row, row + 1)))[0], expected[row])


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("dim", [1, 5, 300])
@pytest.mark.parametrize("name", NAMES)
def test_narrow_rows_are_near_the_exact_ones(name, dim, normalize):
    vectors = Vectors(cases(dim)[name][0], normalize=normalize)
    raw = vectors.raw((0, len(vectors)))
    exact, narrow = vectors.exact(raw), vectors.narrow(raw).astype(np.float64)
    length = np.linalg.norm(exact, axis=1)
    # As a share of the row's length; what float32 cannot tell from zero aside.
    assert (np.abs(narrow - exact).max(axis=1) <= 2.0**-22 * length + 2.0**-148).all()
    if normalize:
        assert np.isin(np.round(length, 12), [0, 1]).all()
        assert ((length == 0) == (raw == 0).all(axis=1)).all()


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e-160, 1e-30, 1.0, 1e30, 1e160, 1e200, 1e300])
def test_rows_of_any_size_are_scaled_to_unit_length(size):
    unit = everything(Vectors(WHOLE, normalize=True))
    vectors = Vectors(np.vstack([size * WHOLE, np.zeros((1, 5))]), normalize=True)
    np.testing.assert_allclose(everything(vectors)[:-1], unit, rtol=1e-12)
    assert (everything(vectors)[-1] == 0).all()
    np.testing.assert_allclose(vectors.narrow(vectors.raw((0, 60))), unit, rtol=1e-5)


def test_normalising_adds_up():
    once = Vectors(WHOLE, normalize=True)
    assert Vectors(once).normalize
    assert Vectors(Vectors(WHOLE), normalize=True).normalize
    assert not Vectors(Vectors(WHOLE)).normalize
    assert Vectors(once).shards is not once.shards or Vectors(once).shards == once.shards


def test_float16_and_bfloat16_are_read_exactly():
    values = np.array([[0.0, -0.0, 1.0, -2.5, 3.0e38, 1e-38, 9.2e-41]], dtype=np.float32)
    cut = (values.view(np.uint32) & 0xFFFF0000).view(np.float32)
    vectors = Vectors(bfloat16(values))
    assert vectors.raw((0, 1)).dtype == np.float32
    np.testing.assert_array_equal(vectors.raw((0, 1)), cut)
    np.testing.assert_array_equal(vectors.rows(np.array([0, 0])), cut.repeat(2, axis=0))
    wide = np.asfortranarray(bfloat16(WHOLE))
    np.testing.assert_array_equal(everything(Vectors(wide)), WHOLE)
    np.testing.assert_array_equal(everything(Vectors(bfloat16(WHOLE)[::2, ::2])), WHOLE[::2, ::2])
    half = np.array([[65504.0, 6e-8, -1.0]], dtype=np.float16)
    np.testing.assert_array_equal(everything(Vectors(half)), half.astype(float))


@pytest.mark.parametrize("workers", ["1", "3"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, "bfloat16", np.float32, np.float64])
def test_the_first_row_that_is_not_finite_is_named(monkeypatch, workers, value, dtype):
    monkeypatch.setenv("TASKSIFT_WORKERS", workers)
    monkeypatch.setattr(module, "BLOCK_BYTES", 4 * 5 * 3)
    bad = WHOLE.astype(np.float32)
    bad[[41, 44, 58], [1, 4, 0]] = value
    bad = bfloat16(bad) if dtype == "bfloat16" else bad.astype(dtype)
    vectors = Vectors(np.split(bad, [20, 42]), name="pool")
    for _ in range(2):
        with pytest.raises(InputError, match="pool: row 41 holds a NaN or infinite value"):
            vectors.check_finite()
    assert not vectors.checked


def test_values_whose_squares_overflow_are_finite_all_the_same():
    done = []
    vectors = Vectors(
        [np.full((3, 4), 1e30, dtype=np.float32), np.full((2, 4), 1e200), np.ones((1, 4), dtype=np.int64)]
    )
    vectors.check_finite(done.append)
    assert vectors.checked
    assert sum(done) == 6
    # Once is enough, also for those made of them.
    vectors.check_finite(done.append)
    Vectors(vectors).check_finite(done.append)
    assert sum(done) == 6


@pytest.mark.parametrize(
    ("shards", "message"),
    [
        ([], "there are no vectors"),
        (np.zeros(3), r"shard 0 has shape \(3,\)"),
        (np.zeros((2, 3), dtype=complex), "complex128, not real numbers"),
        (np.zeros((2, 3), dtype="V4"), r"not real numbers"),
        (np.zeros((2, 3), dtype=[("a", "u1"), ("b", "u1")]), "not real numbers"),
        (np.array([["a"]]), "not real numbers"),
        (np.zeros((2, 3), dtype=bool), "bool, not real numbers"),
        ([np.zeros((3, 3)), np.zeros((3, 2))], "shard 1 has 2 dimensions and shard 0 has 3"),
    ],
)
def test_what_is_not_a_table_of_numbers_is_refused(shards, message):
    with pytest.raises(InputError, match=message):
        Vectors(shards)


def test_maps_are_read_where_they_lie(tmp_path):
    np.save(tmp_path / "a.npy", WHOLE)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    vectors = Vectors(mapped)
    assert np.shares_memory(vectors.raw((3, 9)), mapped)
    np.testing.assert_array_equal(everything(vectors), WHOLE)
    np.save(tmp_path / "b.npy", bfloat16(WHOLE))
    np.testing.assert_array_equal(everything(Vectors(np.load(tmp_path / "b.npy", mmap_mode="r"))), WHOLE)
