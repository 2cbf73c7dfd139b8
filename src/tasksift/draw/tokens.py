"""Budgets in tokens: how many rows they buy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasksift.draw.lot import Drawn, lay_out
from tasksift.errors import InputError
from tasksift.plan import Plan


def rows_for_tokens(
    plan: Plan,
    tokens: NDArray[np.int64],
    budget_tokens: int,
    *,
    seed: int | np.random.SeedSequence,
    order: NDArray[np.int64],
    method: str | None = None,
    sources: NDArray[np.int64] | None = None,
    source_names: Sequence[str] | None = None,
    minimum: int | None = None,
    maximum: int | None = None,
) -> Drawn:
    """Draw as many rows as a budget of tokens holds.

    The result is ``draw(plan, k, ...)`` with the same seed, for a k whose rows hold at most `budget_tokens`, while
    those of k + 1 hold more. For ``top``, ``gumbel``, and ``multinomial`` without limits, rows are only added as k
    grows and that k is the largest. Otherwise draws of different k are different draws, their totals go up and down,
    and several k may qualify: the search starts at the budget over the tokens that a row holds on average, doubles its
    step up or down until the budget lies in between, and bisects.

    Parameters
    ----------
    plan, seed, order, method, sources, source_names, minimum, maximum
        As in `draw`. Limits are in rows.
    tokens : int64 (N,)
        Tokens of every pool row, >= 0.
    budget_tokens : int
        Tokens, copies counted.

    Returns
    -------
    Drawn
        Cost: about 2 * log2(k) draws.

    Raises
    ------
    InputError
        If not even the smallest possible draw fits the budget, or the largest possible draw leaves tokens over: then
        it is the error (or `ShortPlanError`) of `draw` for one row more.
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
    if len(tokens) != len(order):
        raise ValueError(f"there are {len(tokens)} token counts and {len(order)} pool rows")
    lot.check(lot.least)
    mine = tokens[lot.ids]
    if not mine.any():
        raise InputError(f"the rows of the {plan.selector} plan hold no tokens; give the budget in rows")

    def total(k: int) -> int:
        drawn = lot.draw(k, seed)
        return int(tokens[drawn.ids] @ drawn.copies)

    most = lot.most
    weights = None if lot.method in ("top", "gumbel") else lot.values
    guess = int(budget_tokens / float(np.average(mine, weights=weights)))
    fits = over = max(lot.least, guess if most is None else min(guess, most))
    step = 1
    if total(fits) <= budget_tokens:
        while over == fits:
            if fits == most:
                if total(fits) < budget_tokens:
                    lot.check(fits + 1)
                return lot.draw(fits, seed)
            ahead = fits + step if most is None else min(fits + step, most)
            fits, over = (ahead, ahead) if total(ahead) <= budget_tokens else (fits, ahead)
            step *= 2
    else:
        while over == fits:
            if over == lot.least:
                raise InputError(
                    f"the budget is {budget_tokens} tokens and the smallest draw ({lot.least} "
                    f"row{'s' if lot.least > 1 else ''}) holds {total(over)}; raise the budget"
                )
            behind = max(lot.least, over - step)
            fits, over = (behind, over) if total(behind) <= budget_tokens else (behind, behind)
            step *= 2
    while over - fits > 1:
        middle = (fits + over) // 2
        fits, over = (middle, over) if total(middle) <= budget_tokens else (fits, middle)
    whole = lot.draw(fits, seed)
    if lot.method != "systematic" or minimum is not None or maximum is not None:
        return whole
    cut = _trim(lot.draw(over, seed), tokens, budget_tokens, seed)
    return max(whole, cut, key=lambda drawn: int(tokens[drawn.ids].sum()))


def _trim(drawn: Drawn, tokens: NDArray[np.int64], budget_tokens: int, seed: int | np.random.SeedSequence) -> Drawn:
    """Leave out rows at random until the rest fits, so that less than one row's tokens are left over."""
    rows = tokens[drawn.ids]
    # The rows come in rank order, so the lot does not depend on the pool's order either.
    leaving = np.random.default_rng(seed).permutation(len(rows))
    out = int(np.searchsorted(np.cumsum(rows[leaving]), rows.sum() - budget_tokens)) + 1
    stay = np.sort(leaving[out:])
    share = len(stay) / len(rows)
    return Drawn(drawn.ids[stay], drawn.copies[stay], drawn.weight[stay], drawn.inclusion[stay] * share, drawn.method)
