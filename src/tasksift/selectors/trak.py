"""DsDm: the rows whose training raises the targets' margins most, by datamodels that TRAK estimates.

Engstrom, Feldmann, Madry 2024 (arXiv 2401.12926), with the estimate of Park, Georgiev, Ilyas, Leclerc, Madry 2023
(arXiv 2303.14186). The estimated loss of a target is minus its score, so the rows of the lowest estimated loss are
those of the highest scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit
from threadpoolctl import threadpool_limits

from tasksift.engines.local import share
from tasksift.errors import InputError
from tasksift.plan import Plan
from tasksift.progress import Progress, Tick, silent
from tasksift.selectors.contract import Context, Planner, Selector, Size
from tasksift.selectors.inputs import check_pair
from tasksift.selectors.parameter import Parameter
from tasksift.vectors import Span, Vectors, VectorsLike

Float = NDArray[np.float64]
Q = Literal["outside", "none"]

CHUNK_ENTRIES = 2**23
"""Numbers of the rows that enter a kernel at a time."""

TILE = 512
"""Rows of a kernel that one thread adds to."""


def fit(
    pool: Sequence[VectorsLike],
    target: Sequence[VectorsLike],
    pool_margins: ArrayLike,
    *,
    order: NDArray[np.int64] | None = None,
    ridge: float = 1e-3,
    q: Q = "outside",
    progress: Progress = silent,
) -> Plan:
    """Score every row by how much training on it raises the mean margin of the targets.

    Parameters
    ----------
    pool : sequence of M arrays (n, d), memory maps, lists of shards, or Vectors
        Projected gradients Φ of the margins at M models, at their own lengths. The models should have independent
        projections; d may differ between them.
    target : sequence of M arrays (m, d)
        Those of the targets, by the same models and projections.
    pool_margins : float (M, n)
        The margins log(p / (1 - p)) of the pool's rows themselves, p the probability of the right answer.
    order : int64 (n,), optional
        Rank of every row; sums run in this order, so that the order of the pool changes no bit. By default the
        position.
    ridge : float
        Of each kernel, as a share of the mean of its diagonal: λ = ridge · tr(ΦᵀΦ)/d.
    q : {"outside", "none"}
        Whether a row's score is multiplied by the mean over models of 1 - p, its chance of a wrong answer.

    Returns
    -------
    Plan of kind "score" over all n rows. Values are the datamodel's weights, in nats of margin: what training on a row
    adds to the margin of a target, as a mean over the targets. A row of zeros, as rows without an answer have, has the
    value 0: it adds nothing. Each of c copies of a row has 1/(1 + (c - 1)h) of its value alone, h its leverage in the
    kernel. `info` has the models, their dims, the ridge and each model's λ.

    Raises
    ------
    InputError
        If the models, rows or dimensions do not fit together, a value is not finite, all gradients of a model or of the
        targets are zero, or a kernel without ridge has no inverse.

    Notes
    -----
    τ = mean_m[Φ_m (Φ_mᵀΦ_m + λ_m I)^-1 mean_x φ_m(x)] · mean_m[1 - p_m], the paper's equation in float64. Q is averaged
    apart from the scores; kernels are used as they are, so every model has the same say whatever its gradients' scale.
    Cost for each model: n·d² + d³/3 operations; d² float64 in memory (134 MB at d = 4096), besides some 130 MB of rows.
    The pool is read twice, once in the order of ranks, row by row.
    """
    vectors, targets, chance = _check(pool, target, pool_margins, q, ridge)
    n = len(vectors[0])
    values, ridges = np.zeros(n), []
    for k, (rows, answers) in enumerate(zip(vectors, targets, strict=True)):
        weights, added = _solve(rows, answers.mean(axis=0)[:, None], order, ridge, k, progress)
        ridges.append(added)

        def score(span: Span, rows: Vectors = rows, weights: Float = weights) -> Float:
            # By direct sums: what a product rounds would depend on the size of its blocks.
            products: Float = (rows.exact(rows.raw(span)) * weights[:, 0]).sum(axis=1)
            return products

        spans = rows.spans()
        with progress("scoring the pool", n) as tick:
            for (start, stop), found in zip(spans, share(score, spans), strict=True):
                values[start:stop] += found
                tick(stop - start)
    info = {"models": len(vectors), "dims": [rows.dim for rows in vectors], "ridge": ridge, "lambda": ridges, "q": q}
    return Plan(kind="score", selector="dsdm", ids=np.arange(n), values=values / len(vectors) * chance, info=info)


def scores(
    pool: Sequence[VectorsLike],
    target: Sequence[VectorsLike],
    pool_margins: ArrayLike,
    *,
    order: NDArray[np.int64] | None = None,
    ridge: float = 1e-3,
    q: Q = "outside",
    progress: Progress = silent,
) -> Float:
    """Return the score of every row for every target, float64 (n, m), of which `fit` takes the mean over targets.

    Parameters and errors are those of `fit`. The table must fit in memory; its last bits may depend on blocks.
    """
    vectors, targets, chance = _check(pool, target, pool_margins, q, ridge)
    table = np.zeros((len(vectors[0]), len(targets[0])))
    for k, (rows, answers) in enumerate(zip(vectors, targets, strict=True)):
        weights, _ = _solve(rows, answers.T, order, ridge, k, progress)
        for start, stop in rows.spans():
            table[start:stop] += rows.exact(rows.raw((start, stop))) @ weights
    table *= (chance / len(vectors))[:, None]
    return table


def _check(
    pool: Sequence[VectorsLike], target: Sequence[VectorsLike], pool_margins: ArrayLike, q: str, ridge: float
) -> tuple[list[Vectors], list[Float], Float]:
    """Return gradients of pool and targets, model by model, and what Q multiplies each row's score by, (n,)."""
    if q not in ("outside", "none"):
        raise InputError(f"q {q!r} does not exist; use 'outside' or 'none'")
    if not ridge >= 0:
        raise InputError(f"ridge {ridge:g}: it should be a number from 0")
    margins = np.asarray(pool_margins, dtype=np.float64)
    if not len(pool) or not len(pool) == len(target) == len(margins):
        raise InputError(
            f"there are gradients of the pool at {len(pool)} models, of the targets at {len(target)}, and margins at "
            f"{len(margins)}; each model should give all three"
        )
    pairs = [check_pair(rows, answers) for rows, answers in zip(pool, target, strict=True)]
    shape = len(pairs[0][0]), len(pairs[0][1])
    for k, (rows, answers) in enumerate(pairs):
        if (len(rows), len(answers)) != shape:
            raise InputError(
                f"model {k} has gradients of {len(rows)} rows and {len(answers)} targets, model 0 of {shape[0]} and "
                f"{shape[1]}; all models should see the same"
            )
    if margins.shape != (len(pairs), shape[0]):
        raise InputError(f"the margins have shape {margins.shape}, not {(len(pairs), shape[0])} (models, rows)")
    if not np.isfinite(margins).all():
        k, row = np.argwhere(~np.isfinite(margins))[0]
        raise InputError(f"the margin of row {row} at model {k} is NaN or infinite; give it a number, or leave it out")
    if not any(answers.any() for _, answers in pairs):
        raise InputError("all gradients of the targets are zero; is there a target row with an answer?")
    # From the margin, because 1 - p of a rounded p is 0 for rows that a model is sure of.
    chance: Float = expit(-margins).mean(axis=0) if q == "outside" else np.ones(shape[0])
    return [rows for rows, _ in pairs], [answers for _, answers in pairs], chance


def _solve(
    rows: Vectors, right: Float, order: NDArray[np.int64] | None, ridge: float, model: int, progress: Progress
) -> tuple[Float, float]:
    """Return (ΦᵀΦ + λI)^-1 right, (d, r), and λ."""
    ranked = np.arange(len(rows)) if order is None else np.argsort(order, kind="stable")
    with progress("adding up the kernel", len(rows)) as tick:
        kernel = _kernel(rows, ranked, tick)
    diagonal = np.einsum("ii->i", kernel)
    added = ridge * float(diagonal.mean())
    if not diagonal.any():
        raise InputError(f"all gradients of the pool at model {model} are zero; is there a row with an answer?")
    diagonal += added
    try:
        with threadpool_limits(1, user_api="blas"):  # threads would change what is rounded
            solved: Float = cho_solve(cho_factor(kernel, overwrite_a=True, check_finite=False), right)
    except np.linalg.LinAlgError:
        raise InputError(
            f"--set ridge={ridge:g}: the kernel of model {model} ({len(rows)} rows, {rows.dim} dimensions) has no "
            f"inverse; use a larger ridge, such as 1e-3"
        ) from None
    return solved, added


def _kernel(rows: Vectors, ranked: NDArray[np.int64], tick: Tick) -> Float:
    """Return the upper triangle of ΦᵀΦ in float64, added up in the order of `ranked` by steps that only d decides."""
    d = rows.dim
    kernel = np.zeros((d, d))
    step = max(1, CHUNK_ENTRIES // d)
    tiles = [(at, min(at + TILE, d)) for at in range(0, d, TILE)]
    for start in range(0, len(ranked), step):
        chunk = rows.take(ranked[start : start + step])

        def add(tile: Span, chunk: Float = chunk) -> None:
            first, last = tile
            kernel[first:last, first:] += chunk[:, first:last].T @ chunk[:, first:]

        for _ in share(add, tiles):
            pass
        tick(len(chunk))
    return kernel


def _prepare(context: Context, parameters: Mapping[str, Any]) -> Planner:
    if context.margins is None:
        raise ValueError("this selector needs margins")
    found = context.margins
    plan = fit(
        found.pool, found.target, found.pool_values, order=context.order, **parameters, progress=context.progress
    )
    return lambda budget: plan


def _flops(size: Size) -> float:
    """Kernels n·d² and their solution d³/3 for each model, whose d is its share of all dimensions."""
    d = size.dim / size.checkpoints
    return size.checkpoints * (size.rows * d**2 + d**3 / 3 + 2.0 * size.rows * d)


SELECTOR = Selector(
    _prepare,
    "score",
    {
        "ridge": Parameter(1e-3, "of each kernel, as a share of the mean of its diagonal", low=0.0),
        "q": Parameter("outside", "weigh rows by their chance of a wrong answer, or not", ("outside", "none")),
    },
    needs=frozenset({"target", "margins"}),
    plans_all_rows=True,
    flops=_flops,
    meaning="datamodel score",
)
