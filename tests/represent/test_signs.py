"""Random signs: the same for the same key everywhere, independent between keys, balanced."""

import numpy as np
import pytest

from tasksift.represent.signs import raw, signs


def test_a_key_decides_about_the_numbers():
    first = signs(10_000, 3, "layer.weight", "signs")
    np.testing.assert_array_equal(first, signs(10_000, 3, "layer.weight", "signs"))
    # A longer draw begins with the shorter one.
    np.testing.assert_array_equal(first, signs(20_001, 3, "layer.weight", "signs")[:10_000])
    assert set(np.unique(first)) == {-1, 1}
    assert abs(first.mean()) < 0.05
    for other in ((4, "layer.weight", "signs"), (3, "layer.bias", "signs"), (3, "layer.weight", "shifts")):
        assert abs((first * signs(10_000, *other)).mean()) < 0.05


def test_numbers_do_not_change_from_version_to_version():
    # Stores on disk hold projections by these.
    assert raw(2, 0, "a", "shifts").tolist() == [1682502724085248808, 11417931066504234444]


def test_a_matrix_of_signs():
    torch = pytest.importorskip("torch")
    from tasksift.represent.signs import sign_matrix

    matrix = sign_matrix(300, 16, 16, torch.device("cpu"), 0, "a", "left")
    assert matrix.shape == (300, 16)
    np.testing.assert_allclose(matrix.abs().numpy(), 0.25)
    np.testing.assert_allclose((matrix @ matrix.T).diagonal().numpy(), 1, rtol=1e-6)
