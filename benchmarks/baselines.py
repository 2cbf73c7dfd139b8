"""Other ways to search: a bare matrix product, the usual numpy recipe, and faiss (https://faiss.ai), exact and IVF."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]
Single = NDArray[np.float32]
Pass = Callable[[], None]

BLOCKS = (1024, 2048, 4096, 8192, 16384, 32768)
MERGE_ROWS = 16384
TRIAL_ROWS = 2**16
PROBES = 10


def lists_of(n: int) -> int:
    """The published number of inverted lists, √n/2."""
    return max(1, isqrt(n) // 2)


def bare_product(pool: NDArray[Any], targets: Single) -> tuple[Pass, str]:
    """Return a pass that multiplies all rows with all targets and keeps nothing, and how it does it.

    The rows are read from the (memory-mapped) pool block by block; the product goes to one buffer. Rows that are not
    float32 are converted into another buffer first. Size of the blocks and order of the factors are those that were
    fastest on the first rows.
    """
    trial = pool[:TRIAL_ROWS]
    best: tuple[float, bool, int] = (np.inf, False, 0)
    for rows in BLOCKS:
        for by_target in (False, True):
            for _ in range(3):
                start = time.perf_counter()
                _pass_once(trial, targets, rows, by_target)
                best = min(best, (time.perf_counter() - start, by_target, rows))
    _, by_target, rows = best
    how = f"{'targets × rows' if by_target else 'rows × targets'}, {rows} rows"
    return partial(_pass_once, pool, targets, rows, by_target), how


def _pass_once(pool: NDArray[Any], targets: Single, rows: int, by_target: bool) -> None:
    across = np.ascontiguousarray(targets.T)
    single = pool.dtype == np.float32
    wide = np.empty((0 if single else rows, pool.shape[1]), dtype=np.float32)
    out = np.empty(rows * len(targets), dtype=np.float32)
    for at in range(0, len(pool), rows):
        block = pool[at : at + rows]
        if not single:
            wide[: len(block)] = block
            block = wide[: len(block)]
        table = out[: len(block) * len(targets)]
        if by_target:
            np.matmul(targets, block.T, out=table.reshape(len(targets), -1))
        else:
            np.matmul(block, across, out=table.reshape(len(block), -1))


def product_and_merge(pool: NDArray[Any], targets: Single, k: int) -> Int:
    """Ids of the `k` nearest rows of each target, (m, k) in any order: product, then argpartition with the best so far.

    What scripts usually do when they do it exactly; float32, so rows closer than its rounding may change places.
    """
    k = min(k, len(pool))
    values = np.empty((len(targets), 0), dtype=np.float32)
    ids = np.empty((len(targets), 0), dtype=np.int64)
    for at in range(0, len(pool), MERGE_ROWS):
        block = np.asarray(pool[at : at + MERGE_ROWS], dtype=np.float32)
        table = targets @ block.T
        table *= -2
        table += np.einsum("ij,ij->i", block, block)
        values = np.concatenate([values, table], axis=1)
        here = np.broadcast_to(np.arange(at, at + len(block)), table.shape)
        ids = np.concatenate([ids, here], axis=1)
        if values.shape[1] > k:
            kept = np.argpartition(values, k - 1, axis=1)[:, :k]
            values, ids = np.take_along_axis(values, kept, axis=1), np.take_along_axis(ids, kept, axis=1)
    return ids


def faiss_flat(rows: Single, targets: Single, k: int) -> Int:
    """Ids from faiss' exact search over rows in memory: IndexFlatL2 without the copy that it would make of them."""
    import faiss

    ids: Int = faiss.knn(targets, rows, min(k, len(rows)))[1]
    return ids


def faiss_ivf(rows: Single) -> Any:
    """An IVF-Flat index of all rows with √n/2 lists and 10 probes, trained on the rows themselves."""
    import faiss

    index = faiss.index_factory(rows.shape[1], f"IVF{lists_of(len(rows))},Flat")
    index.train(rows)
    index.add(rows)
    index.nprobe = PROBES
    return index


def recall(found: list[Int], truth: list[Int], of_row: Int) -> float:
    """Share of the true neighbours that were found, mean of all targets.

    Ids are rows of the pool (-1 = none), `of_row` numbers the distinct rows: a copy counts as found with its twin.
    """
    shares = []
    for ours, true in zip(found, truth, strict=True):
        wanted = np.unique(of_row[true])
        shares.append(np.isin(wanted, of_row[ours[ours >= 0]]).mean())
    return float(np.mean(shares))
