"""From a plan to rows: which rows, how many copies, with what weight and what chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasksift.draw.lot import Drawn, lay_out
from tasksift.plan import Plan


def draw(
    plan: Plan,
    k: int,
    *,
    seed: int | np.random.SeedSequence,
    order: NDArray[np.int64],
    method: str | None = None,
    sources: NDArray[np.int64] | None = None,
    source_names: Sequence[str] | None = None,
    minimum: int | None = None,
    maximum: int | None = None,
) -> Drawn:
    """Draw exactly k rows.

    * ``systematic`` (mass, quota): without replacement, inclusion probability exactly k times the probability, which
      needs k * max p <= 1. Under limits each source gets its quota (`limits.quotas`) rounded down or up, and inside a
      source rows too probable for it are certain (`limits.inclusion_within`), so nothing else is needed.
    * ``multinomial`` (mass): with replacement. Under limits, which count copies, each source's quota is rounded down
      or up at random, without bias, and drawn inside the source.
    * ``top`` (all but quota): the k highest values. Under limits each source's best rows first fill its minimum, then
      the rest is filled by value under the maximum. Mass plans weight the rows by their probability.
    * ``gumbel`` (logprob): the k highest after adding independent standard Gumbel noise to every value, which is
      drawing without replacement, one row after another, each with a chance in proportion to exp(value) among the rows
      left (Yellott 1977; Kool, van Hoof, Welling 2019). Limits as for ``top``.
    * ``apportion`` (quota): whole copies, in proportion to the values, rounded by largest remainder. Under limits,
      which count copies, first the sources' quotas and then each source's rows are rounded so. Nothing is random.

    A quota plan's values are expected counts of a draw; for another budget they are scaled in proportion.

    Parameters
    ----------
    plan : Plan
        Read only. Rows of a mass or quota plan with value 0 are never drawn.
    k : int
        Budget in rows, copies included.
    seed : int or numpy.random.SeedSequence
        The same seed, plan and options give the same rows.
    order : int64 (N,)
        A different rank for every pool row; breaks ties and makes the draw independent of the pool's order.
    method : str, optional
        The draw; by default the one that fits the kind of plan (`plan.LEGAL_DRAWS`).
    sources : int64 (N,), optional
        Source code of every pool row, an index into `source_names`; needed by the limits.
    source_names : sequence of str, optional
        Names of all the pool's sources; the codes themselves when missing. Sources are processed in order of name.
    minimum, maximum : int, optional
        Rows per source, every source of the pool counted.

    Returns
    -------
    Drawn
        Cost: O(n log n) for n planned rows.

    Raises
    ------
    InputError
        If exactly k rows cannot be drawn this way, or the draw does not fit the plan.
    ShortPlanError
        If the plan was cut (``complete=False``) and a longer one might serve k.
    """
    lot = lay_out(
        plan,
        order=order,
        method=method,
        sources=sources,
        source_names=source_names,
        minimum=minimum,
        maximum=maximum,
    )
    return lot.draw(k, seed)
