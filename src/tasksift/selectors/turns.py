"""Taking turns: each of several ranked lists picks its best row that is still free, until the budget is full."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Tie = Literal["next", "skip"]


class Picks(NamedTuple):
    """Rows in the order in which they were picked.

    Attributes
    ----------
    rows, pickers, turns, places : int64 (k,)
        The row, who picked it, at which turn, and its place in the picker's list.
    """

    rows: NDArray[np.int64]
    pickers: NDArray[np.int64]
    turns: NDArray[np.int64]
    places: NDArray[np.int64]


def pick_from_growing(
    lists: Callable[[int], Sequence[NDArray[np.int64]]], m: int, n: int, budget: int, tie: Tie = "next"
) -> Picks:
    """Take turns by lists that start at a few budgets' share each and double until the budget is full.

    Parameters
    ----------
    lists : callable
        ``lists(length)`` returns the m lists, at least `length` long or whole.
    m, n, budget, tie
        As in `take_turns`; of a budget beyond n, n rows are picked.
    """
    budget = min(budget, n)
    length = min(n, 2 * -(-budget // m) + 64)
    while True:
        picks = take_turns(lists(length), n, budget, tie)
        if picks is not None:
            return picks
        length = min(n, 2 * length)


def take_turns(lists: Sequence[NDArray[np.int64]], n: int, budget: int, tie: Tie = "next") -> Picks | None:
    """Let the lists pick `budget` of the rows 0 to n - 1 in turn.

    Parameters
    ----------
    lists : sequence of m int64 (l_q,)
        The rows that each wants, best first, none twice. A list of n rows is complete.
    budget : int
        At most n.
    tie : {"next", "skip"}
        When the row that is wanted is taken: go on to the next free one, or lose the turn.

    Returns
    -------
    Picks, or None when a list that is not complete ends before the budget is full. Cost: O(budget + rows passed over).
    """
    m = len(lists)
    taken = np.zeros(n, dtype=bool)
    at = [0] * m
    rows: list[int] = []
    pickers: list[int] = []
    turns: list[int] = []
    places: list[int] = []
    turn = -1
    while len(rows) < budget:
        turn += 1
        q = turn % m
        wanted = lists[q]
        while tie == "next" and at[q] < len(wanted) and taken[wanted[at[q]]]:
            at[q] += 1
        if at[q] == len(wanted):
            if len(wanted) < n:
                return None
            continue
        row = int(wanted[at[q]])
        at[q] += 1
        if not taken[row]:
            taken[row] = True
            rows.append(row)
            pickers.append(q)
            turns.append(turn)
            places.append(at[q] - 1)
    return Picks(*(np.array(each, dtype=np.int64) for each in (rows, pickers, turns, places)))
