"""Rows by group: who is in each, and who comes where."""

import numpy as np
import pytest

from tasksift.draw.sample import members, places


@pytest.mark.parametrize("seed", range(5))
def test_members_and_places(seed):
    rng = np.random.default_rng(seed)
    groups, ranked = rng.choice([0, 1, 3], 20), rng.permutation(20)
    found = members(groups, 5)
    assert [rows.tolist() for rows in found] == [np.flatnonzero(groups == k).tolist() for k in range(5)]
    place = places(ranked, groups)
    for k, rows in enumerate(found):
        assert sorted(rows, key=lambda row: place[row]) == [row for row in ranked if groups[row] == k]
        assert sorted(place[rows]) == list(range(len(rows)))
