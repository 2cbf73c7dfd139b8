"""TSDS the way the published code does it, for comparison: approximate search in memory, neighbours for densities.

    python benchmarks/ivf_recipe.py pool.npy target.npy out.npz --sigma 0.75

Written for this comparison from the method's description (Liu, Karbasi, Rekatsinas 2024, arXiv 2410.11303) and the
published parameters: the pool in memory; an IVF index with √n/2 lists, 10 of them probed; the 5,000 nearest of each
target (at most a tenth of the pool); over the union of these a second such index, for the 1,000 nearest of each point
(at most a tenth of the pool), whose kernel values add up to its density; then a queue over all breakpoints in Python.

It is kinder than it need be. Where float32 distances or missing neighbours would stop the published code or spoil its
answer, this one goes on in float64 and treats a missing neighbour as the end of the list. The neighbours for densities
are fetched block by block, which tells how far a run has come; the published code holds all of them at once, 12 bytes
for each of 1,000 neighbours of each point of the union, which comes on top of the peak memory measured here.
"""

from __future__ import annotations

import argparse
import heapq
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from baselines import PROBES, faiss_ivf, lists_of
from measured import Stages
from numpy.typing import NDArray

Int = NDArray[np.int64]
Float = NDArray[np.float64]

PREFETCH = 5000
NEIGHBOURS = 1000
BLOCK_POINTS = 8192


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--alpha", type=float, default=0.6)
    parser.add_argument("--scale", type=float, default=5.0)
    parser.add_argument("--sigma", type=float, default=0.75)
    parser.add_argument("--lists", type=int, default=20, help="neighbour lists to keep in the result, for their recall")
    args = parser.parse_args()
    stages = Stages()
    import faiss

    stages.end("imports", faiss=faiss.__version__, threads=faiss.omp_get_max_threads())
    pool = np.load(args.pool).astype(np.float32, copy=False)
    targets = np.load(args.target).astype(np.float32, copy=False)
    stages.end("load")
    n = len(pool)
    index = faiss_ivf(pool)
    stages.end("index", lists=lists_of(n), probes=PROBES)
    squares, ids = index.search(targets, max(1, min(PREFETCH, n // 10)))
    union, place = np.unique(ids[ids >= 0], return_inverse=True)
    stages.end("search", slots=ids.size, missing=int((ids < 0).sum()), union=len(union))
    density = densities(pool[union], max(1, min(NEIGHBOURS, n // 10)), args.sigma, stages)
    lists = neighbour_lists(ids, squares, place, density)
    plan = solve(lists, args.alpha, args.scale)
    # The answer: what all targets ship to each row, and a few lists to look at.
    mass = np.bincount(np.concatenate([one.place for one in lists]), np.concatenate(plan.mass), len(union))
    used = np.flatnonzero(mass > 0)
    kept = np.unique(np.linspace(0, len(targets) - 1, min(args.lists, len(targets))).astype(int))
    stages.end("queue", status=plan.status, breadth=plan.breadth, support=len(used), sigma=args.sigma)
    np.savez(args.out, ids=union[used], probabilities=mass[used], list_targets=kept, lists=ids[kept])


def densities(points: NDArray[np.float32], k: int, sigma: float, stages: Stages) -> Float:
    """Kernel sums over the `k` nearest of the points themselves, each point included once; all 1 for sigma 0."""
    if sigma == 0:
        return np.ones(len(points))
    index = faiss_ivf(points)
    stages.end("density index", density_lists=lists_of(len(points)))
    out = np.empty(len(points))
    for at in range(0, len(points), BLOCK_POINTS):
        squares, ids = index.search(points[at : at + BLOCK_POINTS], min(k, len(points)))
        kernel = np.maximum(0.0, 1.0 - np.maximum(squares, 0.0).astype(np.float64) / sigma**2)
        kernel[ids < 0] = 0.0
        kernel[ids == np.arange(at, at + len(ids))[:, None]] = 1.0
        out[at : at + len(ids)] = np.maximum(1.0, kernel.sum(axis=1))
        stages.end("density search", density_done=at + len(ids))
    return out


@dataclass(frozen=True)
class Neighbours:
    """One target's list: place in the union, distance, cumulative weight and cumulative weighted distance."""

    place: Int
    distance: Float
    weight: Float
    cost: Float


def neighbour_lists(ids: Int, squares: NDArray[np.float32], place: Int, density: Float) -> list[Neighbours]:
    """Cut each list where neighbours are missing, and add up weights 1/density along it."""
    lists = []
    found = (ids >= 0).sum(axis=1)
    for one, row, count in zip(np.split(place, np.cumsum(found)[:-1]), squares, found, strict=True):
        distance = np.sqrt(np.maximum(row[:count].astype(np.float64), 0.0))
        weight = 1.0 / density[one]
        lists.append(Neighbours(one, distance, np.cumsum(weight), np.cumsum(weight * distance)))
    return lists


@dataclass(frozen=True)
class Solution:
    """What each target ships to each neighbour of its list, and where the queue stopped."""

    mass: list[Float]
    breadth: float
    status: str


def solve(lists: list[Neighbours], alpha: float, scale: float) -> Solution:
    """Raise the breadth breakpoint by breakpoint until the cost test holds, or a list ends."""
    m = len(lists)
    # The queue works on Python's floats, which are quicker than reading arrays one by one.
    weights = [one.weight.tolist() for one in lists]
    costs = [one.cost.tolist() for one in lists]
    distances = [one.distance.tolist() for one in lists]
    queue: list[tuple[float, int, int]] = [(weights[i][0], 0, i) for i in range(m)]
    heapq.heapify(queue)
    slopes = [0.0] * m
    total, wanted = 0.0, (1 - alpha) * scale * m
    while True:
        breadth, k, i = queue[0]
        if k + 1 == len(weights[i]):
            status = "exhausted"
            break
        slope = distances[i][k + 1] * breadth - costs[i][k]
        total += slope - slopes[i]
        slopes[i] = slope
        if alpha * total >= wanted:
            status = "converged"
            break
        heapq.heapreplace(queue, (weights[i][k + 1], k + 1, i))
    shares = [np.diff(np.minimum(1.0, one.weight / breadth), prepend=0.0) / m for one in lists]
    return Solution(shares, breadth, status)


if __name__ == "__main__":
    main()
