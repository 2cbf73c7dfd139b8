"""The tables of a summary as plain text, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HEADINGS = ("arm", "score", "sd", "better than random by", "", "best", "select", "train", "seconds")
"""Columns of a table; operations of selection and training, seconds of both together."""

_LEFT = frozenset({0, 4, 5})


def text_table(summary: Mapping[str, Any]) -> str:
    """Return all tables of a summary, then the arms below random, then the notes; lines are separated by newlines.

    Names come out of the user's data and are given as they are: control characters are the caller's to escape.
    """
    tables = [(heading(table), [HEADINGS, *map(cells, table["rows"])]) for table in summary["tables"]]
    parts = ["\n".join([title, *_aligned(lines)]) for title, lines in tables]
    parts += ["\n".join(["below random:", *map(_loser, summary["losers"])])] if summary["losers"] else []
    return "\n\n".join([*parts, "\n".join(summary["notes"])])


def heading(table: Mapping[str, Any]) -> str:
    """Return what a table is of, on one line."""
    task = "mean over tasks" if table["task"] is None else table["task"]
    better = "higher" if table["higher_is_better"] else "lower"
    rows = table["held_out_rows"]
    return f"{task}, {table['budget']}: {table['metric']} ({better} is better) of {rows:,} held-out rows"


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a row of a table as texts, one for each of `HEADINGS`."""
    against, costs = row["versus_random"], row["costs"]
    select = costs["feature_flops"] + costs["select_flops"]
    seconds = costs["feature_seconds"] + costs["select_seconds"] + costs["train_seconds"]
    return (
        row["arm"],
        f"{row['score']:.4f}",
        "" if row["spread"] is None else f"{row['spread']:.4f}",
        "" if against is None else _interval(against),
        "" if against is None else against["verdict"],
        "" if not row["tied_with_best"] else "best" if row["versus_best"] is None else "tied",
        _operations(select),
        _operations(costs["train_flops"]),
        f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.1f}",
    )


def _interval(against: Mapping[str, Any]) -> str:
    low, high = against["low"], against["high"]
    around = "" if low is None or high is None else f" [{low:+.4f}, {high:+.4f}]"
    return f"{against['mean']:+.4f}{around}"


def _operations(flops: float) -> str:
    return f"{flops:.1e}" if flops else "0"


def _loser(loser: Mapping[str, Any]) -> str:
    where = "mean over tasks" if loser["task"] is None else loser["task"]
    noise = {"worse": "beyond noise", "tie": "within noise"}.get(loser["verdict"], loser["verdict"])
    return f"  {loser['arm']} on {where}, {loser['budget']}, {loser['metric']}: {_interval(loser)} ({noise})"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if at in _LEFT else text.rjust(width)
            for at, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
