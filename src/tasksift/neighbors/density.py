"""How crowded each candidate's surroundings are: kernel sums over the whole pool (the density of TSDS).

Pairs are ruled out in two steps, both exact: candidates lie in balls, and a row farther from a ball's centre than its
radius plus the bandwidth is dropped; then distances along a few directions, and the difference of what lies across
them, bound each distance from below. What survives is measured in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.engines.current import cores, spread
from tasksift.neighbors.balls import Candidates, near_pairs, put_into_balls
from tasksift.neighbors.distances import squared_distances
from tasksift.neighbors.frame import Frame, Survey
from tasksift.neighbors.groups import Groups
from tasksift.neighbors.kernel import UNIT, Rows, tile_units
from tasksift.neighbors.parts import Part, parts
from tasksift.vectors import Span, Vectors

Int = NDArray[np.int64]
Float = NDArray[np.float64]

CANDIDATE_VALUES = 2**26
"""Candidates are taken in batches of so many values: 256 MB in float32."""

TABLE_ENTRIES = 2**20
"""Entries of one table of bounds (balls × rows of a block): what a core's own cache holds."""

SPAN_ROWS = 131_072
"""Pool rows that are looked at before the balls look at them: enough for every ball to find some."""

LOOKS = 2**19
"""Pairs of a ball and a row that are collected before the balls look at them: some 50 MB."""

FEW_PAIRS = 8192
"""A table of so few pairs is measured at once, without a look at coordinates."""


def densities(
    pool: Vectors,
    groups: Groups,
    ids: Int,
    sigma: float,
    tick: Callable[[int], None] | None = None,
    *,
    survey: Survey | None = None,
    backend: str = "numpy",
) -> Float:
    """Density of the given groups: sum over all pool rows x' of max(0, 1 - ||x - x'||² / sigma²).

    Parameters
    ----------
    pool : Vectors (n, d)
    groups : Groups
        The pool's distinct rows; a group of m copies counts m times.
    ids : int64 (c,)
        Groups to evaluate.
    sigma : float
        Bandwidth in the units of the vectors. 0 counts nothing but the row and its exact copies.
    tick : callable, optional
        Called with the number of kernel terms just bounded.
    survey : Survey, optional
        Kept from one call to the next, it saves looking at the pool's directions again.
    backend : str
        See `tasksift.neighbors.backends`. A GPU measures all pairs; PyTorch on the CPU has nothing to add here.

    Returns
    -------
    float64 (c,), each at least the size of its group: the row itself is counted.

    Notes
    -----
    The same bit for bit whatever the blocks, shards or workers, see `tasksift.neighbors.kernel`. Cost: at most about
    2·c·n·p operations with p = min(d, 64), much less where candidates lie together, and for every pair within about
    sigma 2·d more; a few fixed blocks of memory, never a table of n × n.
    """
    own = groups.size[ids].astype(np.float64)
    if sigma <= 0:
        return own
    total = np.zeros(len(ids), dtype=np.int64)
    spans = pool.spans(min(SPAN_ROWS, max(4096, len(pool) // (4 * cores()))))
    batch = max(1, CANDIDATE_VALUES // max(1, pool.dim))
    for at in range(0, len(ids), batch):
        here = slice(at, at + batch)
        candidates = put_into_balls(pool, groups, ids[here], sigma, survey, cut=backend != "cuda")
        total[here] = _sum_up(pool, groups, candidates, sigma, spans, tick, backend)
    return own + total / UNIT


def _sum_up(
    pool: Vectors,
    groups: Groups,
    candidates: Candidates,
    sigma: float,
    spans: list[Span],
    tick: Callable[[int], None] | None,
    backend: str,
) -> Int:
    total = np.zeros(len(candidates.ids), dtype=np.int64)
    sum_span = span_units
    if backend == "cuda":
        from tasksift.neighbors.torch_backend import device_units as sum_span
    sums = spread(sum_span, (pool, candidates, sigma), parts(groups, spans), gpu=backend == "cuda")
    for span, units in zip(spans, sums, strict=True):
        total += units
        if tick:
            tick((span[1] - span[0]) * len(units))
    back = np.empty_like(total)
    back[candidates.positions] = total
    return back


def span_units(pool: Vectors, candidates: Candidates, sigma: float, part: Part) -> Int:
    """Kernel sums of the candidates over one part of the pool, in whole units: int64 (r,). Parts add up in any order.

    A candidate's own group counts nothing here.
    """
    total = np.zeros(len(candidates.ids), dtype=np.int64)
    raw = pool.raw(part.span)
    kept = np.flatnonzero(part.ids >= 0)
    limits = np.array([(ball.radius + sigma) ** 2 * (1 + 1e-9) for ball in candidates.balls])
    step = max(1, min(pool.block_rows, TABLE_ENTRIES // len(limits)))
    looks: list[tuple[Int, Int, Float, Float]] = []
    count = 0
    for at in range(0, len(kept), step):
        some = kept[at : at + step]
        block = raw[some[0] : some[-1] + 1] if len(some) == some[-1] + 1 - some[0] else raw[some]
        ball, row, low, high = candidates.centres.near(pool.narrow(block), limits)
        looks.append((ball, some[row], low, high))
        count += len(ball)
        if count > LOOKS or at + step >= len(kept):
            _add_near(total, pool, candidates, sigma, raw, part, looks)
            looks, count = [], 0
    return total


def _add_near(
    total: Int,
    pool: Vectors,
    candidates: Candidates,
    sigma: float,
    raw: NDArray[Any],
    part: Part,
    looks: list[tuple[Int, Int, Float, Float]],
) -> None:
    """Add the kernel terms of candidates and rows of a span, given which rows each ball has to look at."""
    ball, row, low, high = (np.concatenate(column) for column in zip(*looks, strict=True))
    order = np.argsort(ball.astype(np.uint32), kind="stable")
    starts = np.searchsorted(ball[order], np.arange(len(candidates.balls) + 1))
    frame = candidates.frame
    coordinates = None
    for k in np.flatnonzero(np.diff(starts)):
        these, ours = order[starts[k] : starts[k + 1]], candidates.balls[k]
        here = row[these]
        count = len(here) * (ours.members.stop - ours.members.start)
        if count <= FEW_PAIRS:
            found = iter([(ours.members, slice(None), *np.divmod(np.arange(count), len(here)))])
        else:
            if coordinates is None:
                # Many rows are near several balls: their coordinates are computed once for all.
                coordinates, place = _coordinates(pool, raw, row, frame)
            found = near_pairs(ours, ours.see(frame, coordinates[place[here]], low[these], high[these]), sigma)
        for tile, columns, i, j in found:
            which = here[columns]
            right = Rows(pool, raw[which], part.ids[which], part.sizes[which])
            left = pool.exact(candidates.raw[tile])
            total[tile] += tile_units(left, candidates.ids[tile], right, i, j, sigma, refine=frame.basis is not None)


def _coordinates(pool: Vectors, raw: NDArray[Any], rows: Int, frame: Frame) -> tuple[NDArray[Any], Int]:
    """Coordinates of the given rows of a span, and where each row of the span has its own."""
    seen = np.zeros(len(raw), dtype=bool)
    seen[rows] = True
    used = np.flatnonzero(seen)
    step = pool.block_rows
    parts = [frame.coordinates(pool.narrow(raw[used[at : at + step]])) for at in range(0, len(used), step)]
    return np.concatenate(parts), np.cumsum(seen) - 1


def prefetched_densities(
    pool: Vectors, groups: Groups, ids: Int, sigma: float, max_neighbors: int | None = None
) -> Float:
    """Density among the given groups only, over at most `max_neighbors` nearest: the published code's estimate.

    It depends on which other targets share the batch and undercounts at the edge of the prefetch, so it serves only to
    reproduce published numbers. Shapes as in `densities`. Cost: c² distances.
    """
    rows = pool.take(groups.representative[ids])
    out = np.empty(len(ids))
    for j in range(len(ids)):
        if sigma > 0:
            kernel = np.maximum(0.0, 1.0 - squared_distances(rows, rows[j]) / (sigma * sigma))
        else:
            kernel = np.zeros(len(ids))
        kernel[j] = 1.0
        terms = np.repeat(kernel, groups.size[ids]) if (groups.size[ids] > 1).any() else kernel
        out[j] = terms.sum() if max_neighbors is None else np.sort(terms)[::-1][:max_neighbors].sum()
    return out
