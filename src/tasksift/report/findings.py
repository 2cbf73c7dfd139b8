"""What a comparison found, in words: which methods are better than random, which are best, which are worse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tasksift.evaluate.names import BASELINES, HIGHER_IS_BETTER
from tasksift.report.showable import counted, named

NAMED, FEW = 6, 2
"""Arms that a sentence names, and cases of an arm."""

WORDS = {"loss": "the loss per response token", "accuracy": "accuracy", "exact-match": "exact match"}
"""Metrics in words."""

Table = Mapping[str, Any]


def findings(tables: Sequence[Table], done: int, asked: int) -> str:
    """Say what a comparison found.

    Parameters
    ----------
    tables : sequence of mapping
        Those of `tasksift.evaluate.summary.summarize`. A task is judged by one metric: the one that most tasks have.
    done, asked : int
        Cells.

    Returns
    -------
    str
        A few sentences. The baselines count as what methods are held against, not as methods.
    """
    parts = []
    if done < asked:
        parts.append(f"This comparison is not finished: {done:,} of {asked:,} cells are done, and all may yet change.")
    cases = [table for table in _main(tables) if any(row["versus_random"] for row in table["rows"])]
    arms = list(dict.fromkeys(row["arm"] for table in cases for row in table["rows"] if row["arm"] not in BASELINES))
    if not arms:
        return " ".join([*parts, "No method stands beside random yet, so nothing can be said about any."])
    verdicts = {row["versus_random"]["verdict"] for table in cases for row in table["rows"] if row["versus_random"]}
    found: dict[str, dict[str, list[str]]] = {name: {arm: [] for arm in arms} for name in ("better", "worse", "best")}
    several = len({table["budget"] for table in cases}) > 1
    for table in cases:
        case = named(table["task"]) + (f" at {table['budget']}" if several else "")
        for row in table["rows"]:
            said = ["best"] if row["tied_with_best"] else []
            said += [row["versus_random"]["verdict"]] if row["versus_random"] else []
            for name in said:
                if name in found and row["arm"] in arms:
                    found[name][row["arm"]].append(case)
    metrics = " or ".join(dict.fromkeys(WORDS[table["metric"]] for table in cases))
    tasks = counted(len({table["task"] for table in cases}), "task")
    parts.append(f"Judged by {metrics} in {counted(len(cases), 'case')}: {tasks}{_budgets(cases)}.")
    if verdicts & {"better", "worse", "tie"}:
        parts.append(f"Better than random beyond noise: {_listed(found['better'], len(cases))}.")
        parts.append(f"Worse than random beyond noise: {_listed(found['worse'], len(cases))}.")
    else:
        parts.append("There are too few seeds or held-out rows to tell any method from random.")
    parts.append(f"Best, or not to be told apart from the best: {_listed(found['best'], len(cases))}.")
    return " ".join(parts)


def _main(tables: Sequence[Table]) -> list[Table]:
    """The tables of single tasks in one metric each: the one that most tasks have, where a task has it."""
    single = [table for table in tables if table["task"] is not None]
    common = Counter(metric for _, metric in {(table["task"], table["metric"]) for table in single})
    order = sorted(common, key=lambda metric: (-common[metric], list(HIGHER_IS_BETTER).index(metric)))
    main: dict[str, str] = {}
    for table in single:
        main[table["task"]] = min(main.get(table["task"], table["metric"]), table["metric"], key=order.index)
    return [table for table in single if table["metric"] == main[table["task"]]]


def _listed(cases: Mapping[str, Sequence[str]], count: int) -> str:
    """Name the arms with most cases, and the cases where they are few: "tsds in all, bm25 in 1 (law at 1%)"."""
    found = sorted((arm for arm in cases if cases[arm]), key=lambda arm: -len(cases[arm]))
    words = []
    for arm in found[:NAMED]:
        there = cases[arm]
        shown = f" ({', '.join(there)})" if len(there) <= FEW else ""
        words.append(f"{named(arm)} in " + ("all" if len(there) == count else f"{len(there)}{shown}"))
    if len(found) > NAMED:
        words.append(f"and {len(found) - NAMED} more")
    return ", ".join(words) or "none"


def _budgets(cases: Sequence[Table]) -> str:
    budgets = list(dict.fromkeys(table["budget"] for table in cases))
    return f" at {counted(len(budgets), 'budget')}" if len(budgets) > 1 else f" at a budget of {budgets[0]}"
