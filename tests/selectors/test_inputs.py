"""What every selector refuses before it starts."""

import numpy as np
import pytest

from tasksift.errors import InputError
from tasksift.selectors import nearest, round_robin, tsds
from tasksift.selectors.inputs import check_pair


@pytest.mark.parametrize(
    ("pool", "target", "message"),
    [
        (np.zeros((0, 3)), np.zeros((1, 3)), "pool: there are no rows"),
        (np.zeros((3, 3)), np.zeros((0, 3)), "target: there are no rows"),
        (np.zeros((3, 0)), np.zeros((1, 0)), "pool: the rows have no dimensions"),
        (np.zeros((3, 3)), np.zeros((1, 4)), "3 dimensions and target has 4"),
        (np.full((3, 3), np.nan), np.zeros((1, 3)), "row 0 holds a NaN"),
        (np.zeros((3, 3)), np.array([[0, np.inf, 0]]), "target: row 0 holds a NaN or infinite"),
        (np.zeros(3), np.zeros((1, 3)), r"shape \(3,\)"),
        (np.zeros((3, 3), dtype=complex), np.zeros((1, 3)), "complex128, not real"),
        ([np.zeros((3, 3)), np.zeros((3, 2))], np.zeros((1, 3)), "shard 1 has 2 dimensions"),
    ],
)
def test_vectors_that_do_not_fit(pool, target, message):
    with pytest.raises(InputError, match=message):
        check_pair(pool, target)


@pytest.mark.parametrize(
    "fit",
    [
        lambda pool, target: tsds.fit(pool, target, alpha=0.5),
        nearest.fit,
        lambda pool, target: round_robin.fit(pool, target, budget=1),
    ],
)
def test_every_selector_checks_its_vectors(fit):
    with pytest.raises(InputError, match="3 dimensions and target has 4"):
        fit(np.ones((3, 3)), np.ones((1, 4)))


def test_a_good_pair_comes_back_as_it_is():
    vectors, targets = check_pair([np.ones((2, 3)), np.zeros((1, 3))], np.ones((1, 3), dtype=np.float16))
    assert (len(vectors), vectors.dim, targets.dtype) == (3, 3, np.float64)
