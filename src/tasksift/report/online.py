"""The data of the report of an online run: each domain's probability, loss and rows as training went on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift import __version__
from tasksift.online.history import HistoryTable, read_history
from tasksift.report.showable import counted, named, showable, spread

HISTORY = "mixture.jsonl"
"""What an online run writes into its folder."""

STEPS = 300
"""Logged steps that are shown."""

DOMAINS = 40
"""Domains that are shown; where there are more, the last of them is the sum of the rest."""

Float = NDArray[np.float64]


def online_data(folder: Path) -> dict[str, Any]:
    """Return what the page shows of an online run.

    Parameters
    ----------
    folder : Path
        The folder that holds ``mixture.jsonl``, such as a Trainer's output, or such a file of any name.

    Returns
    -------
    dict
        Plain JSON. ``domains`` is a list of K ``{"name", "rows", "drawn"}`` by rows drawn, most first; the rest beyond
        `DOMAINS` has the name None. ``probabilities`` and ``losses`` are t lists of K numbers, at t <= `STEPS` logged
        steps, evenly spread, the first and the last among them. A loss is None where nothing of a domain was seen;
        that of the rest is the mean over its domains that were, by rows drawn.

    Raises
    ------
    InputError
        If the file cannot be read or is no record of a mixture.
    """
    history = read_history(folder / HISTORY if folder.is_dir() else folder)
    steps = spread(len(history.steps), STEPS)
    drawn = history.rows[-1] if len(history.steps) else np.zeros(len(history.names), dtype=np.int64)
    order = np.argsort(-drawn, kind="stable")
    kept, rest = (order, order[:0]) if len(order) <= DOMAINS else (order[: DOMAINS - 1], order[DOMAINS - 1 :])
    domains: list[dict[str, Any]] = [
        {"name": history.names[k], "rows": history.sizes[k], "drawn": drawn[k]} for k in kept.tolist()
    ]
    probabilities, losses = history.probabilities[steps][:, kept], history.losses[steps][:, kept]
    if len(rest):
        domains.append({"name": None, "rows": history.sizes[rest].sum(), "drawn": drawn[rest].sum()})
        summed = history.probabilities[steps][:, rest].sum(axis=1)
        mean = _mean(history.losses[steps][:, rest], history.rows[steps][:, rest])
        probabilities, losses = np.column_stack([probabilities, summed]), np.column_stack([losses, mean])
    count = len(history.names)
    last = history.steps[-1] if len(history.steps) else 0
    data: dict[str, Any] = showable(
        {
            "format": 1,
            "kind": "online",
            "title": f"Online mixing of {counted(count, 'domain')}",
            "version": __version__,
            "glance": {
                "sentence": "",
                "mode": history.about.get("mode"),
                "domains": count,
                "steps": last,
            },
            "domains": domains,
            "steps": history.steps[steps],
            "probabilities": probabilities,
            "losses": losses,
            "manifest": {"about": history.about, "logged_steps": len(history.steps), "shown_steps": len(steps)},
        }
    )
    data["glance"]["sentence"] = _sentence(history)  # longer than a text out of a file may be
    return data


def _mean(losses: Float, rows: NDArray[np.int64]) -> Float:
    """Mean over the domains that were seen at each step, by rows drawn; NaN where none was."""
    weights = np.where(np.isnan(losses), 0.0, np.maximum(rows, 1))
    total = weights.sum(axis=1)
    with np.errstate(over="ignore"):
        sums = (np.nan_to_num(losses) * weights).sum(axis=1)
    mean: Float = np.where(total > 0, sums / np.maximum(total, 1), np.nan)
    return mean


def _sentence(history: HistoryTable) -> str:
    names = [f"“{named(name)}”" for name in history.names]
    count = len(names)
    what = f"{count} domains" if count > 1 else f"one domain, {names[0]},"
    if not len(history.steps):
        return f"A training on {what} was asked for; no step is logged yet."
    first, last, drawn = history.probabilities[0], history.probabilities[-1], history.rows[-1]
    total = int(drawn.sum())
    parts = [f"Up to step {history.steps[-1]:,}, {total:,} rows of {what} were drawn."]
    if count > 1:
        k = int(np.argmax(drawn))
        parts.append(
            f"The largest part, {drawn[k] / max(total, 1):.1%}, is of {names[k]}, which has "
            f"{history.sizes[k] / max(int(history.sizes.sum()), 1):.1%} of the training rows."
        )
        change = last - first
        up, down = int(np.argmax(change)), int(np.argmin(change))
        if not change.any():
            parts.append("The shares were the same at the first and the last logged step.")
        else:
            parts.append(
                f"Between the first and the last logged step the share of {names[up]} rose most, from {first[up]:.1%} "
                f"to {last[up]:.1%}, and that of {names[down]} fell most, from {first[down]:.1%} to {last[down]:.1%}."
            )
    seen = ~np.isnan(history.losses[-1])
    if seen.any():
        k = int(np.nanargmax(history.losses[-1]))
        parts.append(f"The largest training loss at the end is that of {names[k]}, {history.losses[-1, k]:.3f}.")
    return " ".join(parts)
