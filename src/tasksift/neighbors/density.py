"""How crowded each candidate's surroundings are: kernel sums over the whole pool (the density of TSDS).

Pairs are ruled out in two steps, both exact: candidates lie in balls, and a row farther from a ball's centre than its
radius plus the bandwidth is dropped; then distances along a few directions, and the difference of what lies across
them, bound each distance from below. What survives is measured in float64.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tasksift.engines.local import share
from tasksift.neighbors.balls import Ball, make_ball, near_pairs
from tasksift.neighbors.distances import Points, squared_distances
from tasksift.neighbors.frame import Frame, choose_frame, plain_frame
from tasksift.neighbors.groups import Groups
from tasksift.neighbors.kernel import UNIT, Rows, tile_units
from tasksift.neighbors.tiles import tiles
from tasksift.vectors import Span, Vectors

Int = NDArray[np.int64]
Float = NDArray[np.float64]

CANDIDATE_VALUES = 2**24
"""Candidates are taken in batches of so many values."""

TABLE_ENTRIES = 2**20
"""Entries of one table of bounds (balls × rows of a block): what a core's own cache holds."""

SPAN_ROWS = 65_536
"""Pool rows that are looked at before the next look at a ball: enough for a ball to find some."""

SAMPLE = 1024
"""Rows of the pool by which balls and directions are chosen."""

SIMPLE = 5e9
"""So few products (candidates × rows × dimensions) take less time than looking for a way to save some."""

FEW_PAIRS = 8192
"""A table of so few pairs is measured at once, without a look at coordinates."""


def densities(
    pool: Vectors, groups: Groups, ids: Int, sigma: float, tick: Callable[[int], None] | None = None
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
    if sigma <= 0 or len(ids) == 0:
        return own
    sample = pool.narrow(pool.rows(np.sort(groups.representative[:: max(1, len(groups) // SAMPLE)])))
    total = np.zeros(len(ids), dtype=np.int64)
    spans = pool.spans(min(SPAN_ROWS, max(4096, len(pool) // 8)))
    batch = max(1, CANDIDATE_VALUES // max(1, pool.dim))
    for at in range(0, len(ids), batch):
        some = ids[at : at + batch]
        candidates = pool.rows(groups.representative[some])
        if len(some) * len(pool) * pool.dim < SIMPLE:
            frame, cut = plain_frame(pool.dim), list(np.arange(len(some))[:, None])
        else:
            narrow = pool.narrow(candidates)
            frame = choose_frame(narrow[:: max(1, len(some) // 128)], sample, sigma)
            cut = tiles(narrow, sample, sigma)
        balls = [make_ball(pool, candidates, members, frame) for members in cut]
        centres = Points(np.array([ball.centre for ball in balls]))

        def part(
            span: Span, some: Int = some, balls: list[Ball] = balls, centres: Points = centres, frame: Frame = frame
        ) -> Int:
            return span_units(pool, groups, some, balls, centres, frame, sigma, span)

        for span, units in zip(spans, share(part, spans), strict=True):
            total[at : at + len(some)] += units
            if tick:
                tick((span[1] - span[0]) * len(some))
    return own + total / UNIT


def span_units(
    pool: Vectors,
    groups: Groups,
    ids: Int,
    balls: list[Ball],
    centres: Points,
    frame: Frame,
    sigma: float,
    span: Span,
) -> Int:
    """Kernel sums of the candidates over one span of the pool, in whole units: int64 (c,). Spans add up in any order.

    A candidate's own group counts nothing here.
    """
    total = np.zeros(len(ids), dtype=np.int64)
    raw, there = pool.raw(span), groups.rank[span[0] : span[1]]
    if (there < 0).any():
        raw, there = raw[there >= 0], there[there >= 0]
    limits = np.array([(ball.radius + sigma) ** 2 * (1 + 1e-9) for ball in balls])
    step = max(1, min(pool.block_rows, TABLE_ENTRIES // len(balls)))
    looks, rows, coordinates, count = [], [], [], 0
    for at in range(0, len(raw), step):
        block = pool.narrow(raw[at : at + step])
        ball, row, low, high = centres.near(block, limits)
        seen = np.zeros(len(block), dtype=bool)
        seen[row] = True
        place = np.cumsum(seen) - 1 + count
        looks.append((ball.astype(np.uint16), place[row], low, high))
        rows.append(at + np.flatnonzero(seen))
        coordinates.append(frame.coordinates(block if seen.all() else block[seen]))
        count += len(rows[-1])
    if not count:
        return total
    ball, place, low, high = (np.concatenate(column) for column in zip(*looks, strict=True))
    row, coordinate = np.concatenate(rows), np.concatenate(coordinates)
    order = np.argsort(ball, kind="stable")
    starts = np.searchsorted(ball[order], np.arange(len(balls) + 1))
    for k in np.flatnonzero(np.diff(starts)):
        some = order[starts[k] : starts[k + 1]]
        here = place[some]
        members = balls[k].members
        if len(members) * len(here) <= FEW_PAIRS:
            found = iter([(slice(None), slice(None), *np.divmod(np.arange(len(members) * len(here)), len(here)))])
        else:
            local = balls[k].see(frame, coordinate[here], low[some], high[some])
            found = near_pairs(balls[k], local, sigma)
        for tile, columns, i, j in found:
            which = row[here[columns]]
            right = Rows(pool, raw[which], there[which], groups.size[there[which]])
            total[members[tile]] += tile_units(
                balls[k].rows[tile], ids[members[tile]], right, i, j, sigma, refine=frame.basis is not None
            )
    return total


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
        kernel = np.maximum(0.0, 1.0 - squared_distances(rows, rows[j]) / (sigma * sigma))
        kernel[j] = 1.0
        terms = np.repeat(kernel, groups.size[ids]) if (groups.size[ids] > 1).any() else kernel
        out[j] = terms.sum() if max_neighbors is None else np.sort(terms)[::-1][:max_neighbors].sum()
    return out
