"""A selection at a glance: its figures, and what was done and found in plain sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tasksift.report.showable import named
from tasksift.selection import Selection


def glance(selection: Selection, sources: list[dict[str, Any]], distances: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the part of the report."""
    manifest = selection.manifest
    pool, drawn = manifest["pool"]["rows"], manifest["selection"]
    tasks = list(manifest["target"]["tasks"])
    return {
        "rows": drawn["rows"],
        "distinct": drawn["distinct"],
        "pool_rows": pool,
        "share": drawn["rows"] / pool,
        "tokens": drawn["tokens"],
        "targets": manifest["target"]["rows"],
        "tasks": tasks if len(tasks) > 1 else None,
        "budget": str(drawn["budget"]),
        "preset": manifest["preset"]["name"],
        "about": manifest["preset"]["summary"],
        "paper": manifest["preset"]["paper"],
        "representation": representation(manifest["representation"]),
        "seed": drawn["seed"],
        "sentence": sentence(selection, sources, distances),
    }


def representation(about: Mapping[str, Any] | None) -> str:
    """What was compared, in a few words."""
    if about is None:
        return "none: no vectors are compared"
    name = {"tfidf": "TF-IDF of words and pairs of words", "vectors": "vectors given by the user"}.get(
        str(about.get("name")), str(about.get("name"))
    )
    model = about.get("model")
    of = f" of {named(str(model))}" if isinstance(model, str) else ""
    return f"{name}{of}, {about['dim']} dimensions" if about.get("dim") else f"{name}{of}"


def sentence(selection: Selection, sources: list[dict[str, Any]], distances: Mapping[str, Any] | None) -> str:
    """What was done and found."""
    manifest, plan = selection.manifest, selection.plan
    drawn, rows = manifest["selection"], manifest["pool"]["rows"]
    share = drawn["rows"] / rows
    targets, tasks = manifest["target"]["rows"], list(manifest["target"]["tasks"])
    one = drawn["rows"] == 1
    parts = [f"{drawn['rows']:,} row{'' if one else 's'} of {rows:,} ({share:.{2 if share < 0.1 else 0}%})"]
    parts[0] += f" {'was' if one else 'were'} selected"
    if plan.selector.startswith("random"):
        parts[0] += " at random."
    elif targets:
        of = f"of {len(tasks)} tasks" if len(tasks) > 1 else f"of “{named(tasks[0])}”"
        parts[0] += f" for the {targets:,} example{'s' * (targets != 1)} {of}."
    else:
        parts[0] += "."
    if drawn["distinct"] < drawn["rows"]:
        parts.append(f"Some were taken several times: {drawn['distinct']:,} of them are different.")
    if plan.breadth is not None:
        parts.append(
            f"Each example asks for its {plan.breadth:,.{0 if plan.breadth >= 10 else 1}f} nearest rows; near-copies "
            "count as one."
            if plan.breadth >= 1.05
            else "Each example asks for its nearest row and the near-copies of that."
        )
    pool = np.array([each["pool"] for each in sources], dtype=np.float64)
    taken = np.array([each["selected"] for each in sources], dtype=np.float64)
    if len(sources) > 1:
        k = int(np.argmax(taken / taken.sum() - pool / pool.sum()))
        name = "the smaller sources together" if sources[k]["name"] is None else f"“{named(sources[k]['name'])}”"
        before, after = pool[k] / pool.sum(), taken[k] / taken.sum()
        if after > before:
            grown = f"from {before:.1%} of the pool to {after:.1%} of the selection"
            parts.append(f"The share of {name} grew most: {grown}.")
    if distances is not None:
        parts.append(
            f"Half of the selected rows lie within {distances['median_selected']:.2f} of an example; of all rows, half "
            f"lie within {distances['median_pool']:.2f}."
        )
    left_out = sum(manifest["left_out"].values())
    if left_out:
        parts.append(f"{left_out:,} rows were left out beforehand.")
    return " ".join(parts)
