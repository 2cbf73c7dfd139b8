"""What collapsing copies holds in memory besides its scratch files."""

import tracemalloc

import numpy as np

from tasksift import scratch
from tasksift.neighbors import groups as module
from tasksift.neighbors.groups import collapse, content_keys
from tasksift.vectors import Vectors


def test_collapsing_holds_a_bucket_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch.chunks, "__defaults__", (2**14,))
    monkeypatch.setattr(scratch, "LARGE", 2**17)
    monkeypatch.setattr(module, "BUCKET_ROWS", 2**15)
    rng = np.random.default_rng(0)
    n = 2**20
    values = rng.integers(0, 2**31, (n, 1), dtype=np.int32)
    values[::5] = values[3]
    pool, order = Vectors(values), rng.permutation(n)
    keys = content_keys(pool)
    for given_order in (order, None):
        tracemalloc.start()
        try:
            with scratch.scratch(tmp_path):
                groups = collapse(pool, given_order, keys=keys)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 12 * n
        assert len(groups) == len(np.unique(values))
        assert (values[groups.representative[groups.of_row]] == values).all()
