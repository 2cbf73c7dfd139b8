"""How many rows TAROT takes: as many as bring the pool's closest to targets that had no say in it.

Feng, Nie, Liu, Alahi 2025 (arXiv 2412.00420): optimal transport to the targets left out, fold by fold.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.progress import Progress, silent
from tasksift.selectors.tarot_layers import FIRST_LENGTH, Surroundings
from tasksift.transport.sinkhorn import transport

Int = NDArray[np.int64]
Float = NDArray[np.float64]

TIE = 1e-9
"""Costs that differ by less, as a share, are equal."""


def estimate(
    around: Surroundings, *, folds: int, most: int, seed: int, progress: Progress = silent
) -> tuple[Int, list[dict[str, Any]]]:
    """Choose rows by targets left out.

    Parameters
    ----------
    around : Surroundings
        Its lists grow as far as they are needed.
    folds : int
        Parts of the m targets; at most m are made.
    most : int
        The largest k tried.
    seed : int
        Of the division into parts.

    Returns
    -------
    (rows, trace) : int64 and list of dict
        The union, ascending, of what each part chooses: with U_k the k nearest rows of its targets (of positive cosine
        only), the U_k from which the transport to the other targets is cheapest, k going up until it gets dearer. Of
        each part ``k``, those ``tried``, their ``costs``, and why it stopped: ``rose``, ``used up`` or ``last``.

    Raises
    ------
    InputError
        If there is one target only, or no row has a positive cosine with a target.

    Notes
    -----
    Cost: a transport of |U_k|·m for each k that brings new rows, and the searches by which lists grow.
    """
    m = len(around.targets)
    if m < 2:
        raise InputError(
            "one target row is not enough to estimate how many rows to take, as the others would test the number; "
            "give a budget, or with tarot-weighted --set rows=N"
        )
    around.grow(FIRST_LENGTH)
    chosen = np.empty(0, dtype=np.int64)
    trace = []
    with progress("estimating how many rows", min(folds, m)) as tick:
        for anchors in np.array_split(np.random.default_rng(seed).permutation(m), min(folds, m)):
            rows, facts = _fold(around, np.sort(anchors), most)
            chosen = np.union1d(chosen, rows)
            trace.append(facts)
            tick(1)
    if not len(chosen):
        raise InputError("no row of the pool has a positive cosine with a target; give a budget")
    return chosen, trace


def _fold(around: Surroundings, anchors: Int, most: int) -> tuple[Int, dict[str, Any]]:
    """The nearest rows of the anchors that are closest to the other targets, and the costs on the way."""
    others = np.delete(around.targets, anchors, axis=0)
    tables: list[Float] = []
    inside = np.empty(0, dtype=np.int64)
    tried: list[int] = []
    costs: list[float] = []
    best, chosen, at, stop = np.inf, inside, 0, "last"
    for k in range(1, most + 1):
        around.grow(k, silent)
        # Within sqrt(2) of each other, unit vectors have a positive cosine.
        lists = [each for each in (around.found[q] for q in anchors) if len(each.ids) >= k]
        new = np.setdiff1d([each.ids[k - 1] for each in lists if each.distances[k - 1] < np.sqrt(2)], inside)
        if not len(new):
            if not any(each.distances[k - 1] < np.sqrt(2) for each in lists):
                stop = "used up"
                break
            continue
        new = new.astype(np.int64)
        inside = np.append(inside, new)
        tables.append(around.distances(around.kept[new], others))
        cost = transport(np.concatenate(tables)).cost
        tried.append(k)
        costs.append(cost)
        # Copies of the rows inside may leave the cost as it is; then the next ones decide.
        if cost > best * (1 + TIE):
            stop = "rose"
            break
        if cost < best * (1 - TIE):
            best, chosen, at = cost, inside, k
    return around.kept[chosen], {"k": at, "tried": tried, "costs": costs, "stop": stop}
