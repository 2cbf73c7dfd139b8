"""The pool's vectors are hashed once in a run."""

import numpy as np
import pytest

import tasksift.pipeline
from tasksift.neighbors import groups
from tasksift.selectors import tsds
from tasksift.vectors import Vectors


def test_keys_that_are_known_are_not_computed_again(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    rows, target = rng.normal(size=(300, 5)), rng.normal(size=(4, 5))
    rows[100:150] = rows[:50]
    plan = tsds.fit(rows, target, budget=20)
    keys = groups.content_keys(Vectors(rows))
    np.save(tmp_path / "pool.npy", rows)
    np.save(tmp_path / "target.npy", target)

    def hash_targets(pool, tick):
        assert len(pool) == len(target)
        return content_keys(pool, tick)

    content_keys = groups.content_keys
    monkeypatch.setattr(groups, "content_keys", hash_targets)
    again = tsds.fit(rows, target, budget=20, keys=keys)
    assert np.array_equal(again.ids, plan.ids)
    assert np.array_equal(again.values, plan.values)
    with pytest.raises(AssertionError):
        tsds.fit(rows, target, budget=20)
    vectors, targets = str(tmp_path / "pool.npy"), str(tmp_path / "target.npy")
    assert len(tasksift.pipeline.select(vectors=vectors, target_vectors=targets, budget=20)) == 20
