"""Balls and frames: whatever they rule out is out of the bandwidth."""

import numpy as np
import pytest
from adversarial import NAMES, cases, exact
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import distances

from tasksift.neighbors import balls as module
from tasksift.neighbors import frame as frames
from tasksift.neighbors.balls import near_pairs, put_into_balls
from tasksift.neighbors.density import FEW_PAIRS
from tasksift.neighbors.groups import singletons
from tasksift.vectors import Vectors


def force_frame(patch, directions):
    """Make every frame have this many directions, wherever there are more dimensions; 0: none."""
    patch.setattr(module, "SIMPLE", 0)
    patch.setattr(frames, "DIRECTIONS", (directions or 10**6,))
    patch.setattr(frames, "_DIRECT", 0.0)


def pairs_left(pool, sigma, *, normalize=False, take=None):
    """Which (row, row) the filters leave: every `take`-th row as a candidate against all of them."""
    vectors = Vectors(pool, normalize=normalize)
    groups = singletons(vectors, np.arange(len(vectors)))
    ids = np.arange(0, len(vectors), take or 1)
    candidates = put_into_balls(vectors, groups, ids, sigma)
    assert sorted(candidates.positions) == list(range(len(ids)))
    narrow = vectors.narrow(vectors.raw((0, len(vectors))))
    left = np.zeros((len(ids), len(vectors)), dtype=bool)
    limits = np.array([(ball.radius + sigma) ** 2 * (1 + 1e-9) for ball in candidates.balls])
    number, row, low, high = candidates.centres.near(narrow, limits)
    coordinates = candidates.frame.coordinates(narrow)
    for k, ball in enumerate(candidates.balls):
        here = number == k
        if here.any():
            seen = ball.see(candidates.frame, coordinates[row[here]], low[here], high[here])
            for members, columns, i, j in near_pairs(ball, seen, sigma):
                left[candidates.positions[members][i], row[here][columns][j]] = True
    return left, candidates


def check_none_lost(pool, sigma, *, apart=None, **options):
    left, candidates = pairs_left(pool, sigma, **options)
    if apart is None:
        rows = exact(pool, normalize=options.get("normalize", False))
        apart = distances(rows, rows[:: options.get("take") or 1])
    near = apart <= sigma
    assert not (near & ~left).any()
    return left, near, candidates


@pytest.mark.parametrize(("dim", "directions"), [(3, 0), (70, 0), (70, 32), (140, 128)])
@pytest.mark.parametrize("name", NAMES)
def test_no_pair_is_lost(monkeypatch, name, dim, directions):
    force_frame(monkeypatch, directions)
    pool, sigma = cases(dim)[name]
    rows = exact(pool)
    apart = distances(rows, rows[::6])
    # Also where the bandwidth is the very distance of a pair, and beyond everything.
    for bandwidth in (sigma, 1e4 * sigma, apart[1, 61] or sigma):
        check_none_lost(pool, float(bandwidth), apart=apart, take=6)


@given(
    seed=st.integers(0, 2**32 - 1),
    dim=st.integers(64, 400),
    directions=st.sampled_from([0, 32, 63]),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    normalize=st.booleans(),
    offset=st.sampled_from([0.0, 1.0, 100.0]),
    rank=st.integers(1, 64),
    spread=st.sampled_from([1e-6, 1e-3, 1.0]),
    sigma=st.sampled_from([1e-6, 1e-3, 0.1, 0.5, 2.0]),
)
@settings(max_examples=60)
def test_no_pair_of_any_rows_is_lost(seed, dim, directions, dtype, normalize, offset, rank, spread, sigma):
    rng = np.random.default_rng(seed)
    # Clusters in a space of few dimensions, noise across it, and partners at the border.
    centres = rng.normal(size=(6, rank)) @ rng.normal(size=(rank, dim)) / np.sqrt(dim)
    pool = offset + centres[rng.integers(0, 6, 60)] + spread * rng.normal(size=(60, dim)) / np.sqrt(dim)
    step = rng.normal(size=(60, dim))
    step *= sigma * (1 + rng.choice([-1e-7, 0, 1e-7], size=(60, 1))) / np.linalg.norm(step, axis=1, keepdims=True)
    with pytest.MonkeyPatch.context() as patch:
        force_frame(patch, directions)
        check_none_lost(np.vstack([pool, pool + step]).astype(dtype), sigma, normalize=normalize)


@pytest.mark.parametrize("directions", [0, 32])
def test_small_tables(monkeypatch, directions):
    force_frame(monkeypatch, directions)
    pool, sigma = cases(100)["clustered"]
    whole, _ = pairs_left(pool, sigma)
    monkeypatch.setattr(module, "TILE_ROWS", 3)
    monkeypatch.setattr(module, "TILE_COLUMNS", 7)
    left, _, _ = check_none_lost(pool, sigma)
    assert abs(int(left.sum()) - int(whole.sum())) < 10


@pytest.mark.parametrize("directions", [0, 32, 64])
def test_most_of_what_is_far_is_ruled_out(monkeypatch, directions):
    rng = np.random.default_rng(0)
    low = rng.normal(size=(8, 20)) @ rng.normal(size=(20, 200))
    pool = (np.repeat(low, 60, axis=0) + rng.normal(size=(480, 200))).astype(np.float32)
    force_frame(monkeypatch, directions)
    left, near, candidates = check_none_lost(pool, 20.0)
    assert near.sum() > FEW_PAIRS
    assert len(candidates.balls) > 1
    assert (left & ~near).sum() < 0.1 * (~near).sum()
    assert (candidates.frame.basis is None) == (directions == 0)


def test_small_problems_are_not_cut_and_have_no_frame():
    pool, sigma = cases(200)["clustered"]
    candidates = pairs_left(pool, sigma)[1]
    assert [ball.radius for ball in candidates.balls] == [0.0] * 120
    assert candidates.frame.basis is None
