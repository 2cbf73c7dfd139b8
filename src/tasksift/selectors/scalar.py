"""One number for each row: the lowest, those around the median, or the highest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.plan import Plan
from tasksift.selectors.contract import Context, Planner, Selector
from tasksift.selectors.parameter import Parameter


def fit(
    numbers: NDArray[np.float64],
    *,
    direction: Literal["lowest", "middle", "highest"],
    order: NDArray[np.int64] | None = None,
) -> Plan:
    """Score every row by its number.

    Parameters
    ----------
    numbers : float64 (n,)
        A perplexity, a length, a rating.
    direction : {"lowest", "middle", "highest"}
        Which rows to keep. Middle: by rank, those nearest to the median of the pool, from both sides alike.
    order : int64 (n,), optional
        Rank of every row; it puts equal numbers in order.

    Returns
    -------
    Plan of kind "score" over all n rows: the number, minus the number, or minus the difference in rank to the median.

    Raises
    ------
    InputError
        If there is no row, no such direction, or a number is not finite.

    Notes
    -----
    Cost: one sort for the middle.
    """
    n = len(numbers)
    if direction not in ("lowest", "middle", "highest"):
        raise InputError(f"direction {direction!r} does not exist; use 'lowest', 'middle' or 'highest'")
    if n == 0:
        raise InputError("the pool is empty")
    finite = np.isfinite(numbers)
    if not finite.all():
        row = int(np.argmin(finite))
        raise InputError(f"row {row} has the number {numbers[row]}; give it a finite one, or leave the row out")
    if direction == "middle":
        rank = np.empty(n)
        rank[np.lexsort((np.arange(n) if order is None else order, numbers))] = np.arange(n)
        values = -np.abs(rank - (n - 1) / 2)
    else:
        values = numbers if direction == "highest" else -numbers
    info = {"direction": direction, "median": float(np.median(numbers))}
    return Plan(
        kind="score", selector="scalar", ids=np.arange(n), values=np.asarray(values, dtype=np.float64), info=info
    )


def _prepare(context: Context, parameters: Mapping[str, Any]) -> Planner:
    plan = fit(context.column(parameters["metric"]), direction=parameters["direction"], order=context.order)
    plan.info["metric"] = parameters["metric"]
    return lambda budget: plan


SELECTOR = Selector(
    _prepare,
    "score",
    {
        "metric": Parameter("perplexity", "the number of each row", kind=str),
        "direction": Parameter(
            "highest", "which rows: the lowest, around the median, the highest", ("lowest", "middle", "highest")
        ),
    },
    needs=frozenset({"scores"}),
    plans_all_rows=True,
    flops=lambda size: float(size.rows),
)
