"""A map of pool, targets and selection in two dimensions: the two directions along which they differ most."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tasksift.report.basis import Basis

Int = NDArray[np.int64]
Float = NDArray[np.float64]

POOL, TARGETS, SELECTED = 1500, 300, 600
"""Points of each kind at most."""

SHOWN, DRAWN, CHOSEN = 2, 3, 4
"""What the samples are drawn for."""

SMALL = 512
"""A table of vectors that is no wider or no longer is decomposed in full."""

ROUNDING = 1e-7
"""Rows that differ by no more, as a share of the largest number, are all the same."""

NOTE = (
    "Each dot is a row, placed so that rows that differ lie apart as far as two dimensions can show it; most of what "
    "tells rows apart is not on the map."
)


def layout_map(basis: Basis, selected: Int) -> tuple[dict[str, Any], Int]:
    """Place a seeded sample of the pool's other rows, of the targets and of the selected rows on a plane.

    Parameters
    ----------
    selected : int64 (s,)
        The selected rows, as places among the kept rows.

    Returns
    -------
    dict, int64 (points,)
        The part of the report without ``source`` and ``text``, and for each point the place among the kept rows, or
        ~target for a target.
    """
    assert basis.pool is not None
    assert basis.target is not None
    pool = basis.sample(POOL + SELECTED, SHOWN)
    pool = pool[~np.isin(pool, selected)][:POOL]
    rows = selected[np.argsort(basis.order[selected])]
    rows = rows[_some(len(rows), SELECTED, basis.seed, CHOSEN)]
    targets = _some(len(basis.target), TARGETS, basis.seed, DRAWN)
    vectors = np.concatenate([basis.pool.take(pool), basis.target.take(targets), basis.pool.take(rows)])
    kind = np.repeat([0, 1, 2], [len(pool), len(targets), len(rows)])
    at, explained = plane(vectors)
    part = {"x": at[:, 0], "y": at[:, 1], "kind": kind, "explained": explained, "note": NOTE}
    return part, np.concatenate([pool, ~targets, rows])


def plane(vectors: Float) -> tuple[Float, float | None]:
    """Project rows (p, d) to their first two principal components.

    Returns
    -------
    float64 (p, 2), share of the variance that they explain (None where the rows are all the same)

    Notes
    -----
    Signs are such that the largest loading of each component is positive. Cost: O(p·d·min(p, d)) for small tables, some
    ten products of p·d otherwise.
    """
    from sklearn.decomposition import PCA

    at = np.zeros((len(vectors), 2))
    size = float(np.abs(vectors).max(initial=0.0))
    spread = vectors / (size or 1.0)  # numbers of any size have squares then
    spread -= spread.mean(axis=0)
    if not np.abs(spread).max(initial=0.0) > ROUNDING:
        return at, None
    smaller = min(vectors.shape)
    with threadpool_limits(1):  # sums in BLAS depend on the number of threads
        model = PCA(min(2, smaller), svd_solver="full" if smaller <= SMALL else "arpack", random_state=0).fit(spread)
        loadings = model.components_
        signs = np.sign(loadings[np.arange(len(loadings)), np.abs(loadings).argmax(axis=1)])
        at[:, : len(loadings)] = size * (spread @ (loadings * signs[:, None]).T)
    return at, float(model.explained_variance_ratio_.sum())


def _some(count: int, most: int, seed: int, purpose: int) -> Int:
    if count <= most:
        return np.arange(count)
    drawn = np.random.default_rng([seed, purpose]).choice(count, most, replace=False, shuffle=False)
    return np.sort(drawn.astype(np.int64))
