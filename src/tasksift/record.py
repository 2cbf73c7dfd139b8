"""Tables of a run: the plan, row by row, and the record of why each drawn row was taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasksift.draw import Drawn, draw, rows_for_tokens
from tasksift.draw.budget import Budget, parse_limit
from tasksift.errors import InputError
from tasksift.numbering import inverse, numbers
from tasksift.plan import Plan
from tasksift.rows.ids import CHUNK_ROWS, rank_names
from tasksift.rows.index import PoolIndex, nulls

TURNS = ("round-robin", "bm25-turns")
"""Selectors whose values are minus the turn at which a row was picked."""

Int = NDArray[np.int64]
Float = NDArray[np.float64]


def plan_table(plan: Plan, index: PoolIndex, nearest_target: Int | None, distance: Float | None) -> pa.Table:
    """The plan as a table: one line per row that it mentions.

    Parameters
    ----------
    plan : Plan
    index : PoolIndex
    nearest_target, distance : (len(plan.ids),) or None
        The target nearest to each planned row and how far it is, where there are features.

    Returns
    -------
    pyarrow.Table with ``row`` (position in the input), ``id``, ``probability`` or ``score``, ``source``, ``file``,
    ``file_row``, ``tokens``, ``nearest_target``, ``distance``, ``density``, and ``task`` (its number) where the plan
    names one; sources and files as dictionaries.
    """
    n = len(plan.ids)
    places = index.take(plan.ids)
    task = {} if plan.task is None else {"task": pa.array(plan.task, pa.int64())}
    return pa.table(
        {
            "row": pa.array(plan.ids, pa.int64()),
            "id": places["id"],
            "probability" if plan.kind == "mass" else "score": pa.array(plan.values, pa.float64()),
            "source": places["source"],
            "file": places["file"],
            "file_row": places["file_row"],
            "tokens": places["tokens"],
            "nearest_target": _column(nearest_target, n, pa.int64()),
            "distance": _column(distance, n, pa.float64()),
            "density": _column(plan.density, n, pa.float64()),
            **task,
        }
    )


def draw_from(
    plan: Plan,
    table: pa.Table,
    budget: Budget,
    *,
    pool_rows: int,
    source_names: list[str],
    seed: int,
    order: Int | None = None,
    method: str | None = None,
    max_per_source: str | None = None,
    min_per_source: str | None = None,
) -> Drawn:
    """Draw a budget from a plan and its table. The drawn ids are line numbers of the table; errors as in `draw`.

    `order` ranks the lines by their ids, where that is known already.
    """
    n = table.num_rows
    local = Plan(kind=plan.kind, selector=plan.selector, ids=numbers(n), values=plan.values, complete=plan.complete)
    tokens = None if table["tokens"].null_count else table["tokens"].to_numpy()
    if budget.unit == "tokens":
        if tokens is None:
            raise InputError(f"the budget {budget} counts tokens, but vectors alone have none; give a number of rows")
        about = max(1, int(budget.amount / max(1.0, float(np.mean(tokens)))))
    else:
        about = budget.rows(pool_rows)
    for name, limit in (("--min-per-source", min_per_source), ("--max-per-source", max_per_source)):
        if budget.unit == "tokens" and limit is not None and "%" in limit:
            raise InputError(
                f"{name} {limit} is a share of the rows, but the budget is in tokens; give a number of rows"
            )
    limited = min_per_source is not None or max_per_source is not None
    options: dict[str, Any] = {
        "seed": seed,
        "order": rank_names(table["id"]) if order is None else order,
        "method": method,
        "sources": _codes(table["source"], source_names) if limited else None,
        "source_names": source_names,
        "minimum": parse_limit(min_per_source, about, "--min-per-source"),
        "maximum": parse_limit(max_per_source, about, "--max-per-source"),
    }
    if budget.unit == "tokens":
        assert tokens is not None
        return rows_for_tokens(local, tokens.astype(np.int64), int(budget.amount), **options)
    return draw(local, about, **options)


def record_table(plan: Plan, table: pa.Table, drawn: Drawn, meaning: str, tasks: list[str] | None = None) -> pa.Table:
    """The selection record: one line per distinct drawn row, best first.

    Parameters
    ----------
    meaning : str
        What the plan's values are, see `Selector`.
    tasks : list of m str, optional
        The task of each target, where there are several tasks.

    Returns
    -------
    pyarrow.Table with ``id``, ``source``, ``file``, ``row`` (position in the file), ``position`` (in the input),
    ``rank``, ``probability``, ``score``, ``inclusion`` (expected copies in such a draw, null where they are not known),
    ``weight``, ``copies``, ``nearest_target``, ``distance``, ``density``, ``tokens``, ``reason``, and, with several
    tasks, ``task``: that for which the row was taken, or else that of the nearest target.
    """
    rows = _lines(table, drawn.ids)
    n = rows.num_rows
    none = pa.nulls(n, pa.float64())
    mass = plan.kind == "mass"
    task = {}
    if tasks is not None and "task" in rows.column_names:
        names = list(dict.fromkeys(tasks))
        task["task"] = pa.array([names[number] for number in rows["task"].to_pylist()])
    elif tasks is not None and not rows["nearest_target"].null_count:
        task["task"] = pa.array([tasks[target] for target in rows["nearest_target"].to_pylist()])
    return pa.table(
        {
            "id": rows["id"],
            "source": rows["source"].cast(pa.string()),
            "file": rows["file"].cast(pa.string()),
            "row": rows["file_row"],
            "position": rows["row"],
            "rank": pa.array(np.arange(1, n + 1)),
            "probability": rows["probability"] if mass else none,
            "score": none if mass else rows["score"],
            "inclusion": pa.array(drawn.inclusion, pa.float64(), from_pandas=True),
            "weight": pa.array(drawn.weight, pa.float64()),
            "copies": pa.array(drawn.copies, pa.int64()),
            "nearest_target": rows["nearest_target"],
            "distance": rows["distance"],
            "density": rows["density"],
            "tokens": rows["tokens"],
            "reason": pa.array(_reasons(plan, rows, drawn, meaning), pa.string()),
            **task,
        }
    )


def _lines(table: pa.Table, lines: Int) -> pa.Table:
    """Take lines of a table, a part of it at a time: Arrow joins the parts of what it takes from."""
    if table.num_rows <= CHUNK_ROWS:
        return table.take(pa.array(lines))
    order = np.argsort(lines, kind="stable")
    ascending = lines[order]
    found = []
    for start in range(0, table.num_rows, CHUNK_ROWS):
        low, high = np.searchsorted(ascending, [start, start + CHUNK_ROWS])
        found.append(table.slice(start, CHUNK_ROWS).take(pa.array(ascending[low:high] - start)))
    return pa.concat_tables(found).combine_chunks().take(pa.array(inverse(order, len(lines))))


def how_far(distance: float) -> str:
    """A distance in words; where likeness is a score that has no distance, links hold minus the score."""
    return f"distance {distance:.3f}" if distance >= 0 else f"score {-distance:.3f}"


def _reasons(plan: Plan, rows: pa.Table, drawn: Drawn, meaning: str) -> list[str]:
    """One sentence a row: why it is in."""
    if plan.selector.startswith("random"):
        return ["drawn at random"] * rows.num_rows
    pulls = _pulls(plan, drawn.ids)
    reasons = []
    for k, line in enumerate(rows.to_pylist()):
        near = ""
        if line["nearest_target"] is not None:
            near = f"nearest to target {line['nearest_target']} ({how_far(line['distance'])})"
        if plan.kind == "mass":
            count, share = pulls[k] if pulls else (0, 0.0)
            text = f"{meaning}; {near}" if meaning else near
            if pulls:
                sent = f"{count} target{'s send' if count != 1 else ' sends'}"
                text = f"{near}; {sent} {line['probability']:.3%} of the mass"
            if count > 1:
                text = f"{text}, {share:.0%} of it from one"
            if line["density"] is not None and line["density"] > 1.05:
                text = f"{text}; shares its place with {line['density'] - 1:.1f} near-copies"
        elif plan.selector in TURNS:
            text = f"picked at turn {1 - int(line['score'])}; {near}"
        elif plan.selector == "scalar":
            text = f"{_number(plan, line['score'])}, rank {k + 1}; {near}"
        else:
            value = f"{meaning} {line['score']:.4g}, " if meaning else ""
            text = f"{value}rank {k + 1}; {near}"
        reasons.append(text.removeprefix("; ").removesuffix("; "))
    return reasons


def _number(plan: Plan, value: float) -> str:
    """A value of `tasksift.selectors.scalar`, which orders rows, as what was measured."""
    metric, direction = plan.info["metric"], plan.info["direction"]
    if direction == "middle":
        return f"{abs(value):g} places from the median {metric}"
    return f"{metric} {value if direction == 'highest' else 0.0 - value:.4g}"


def _pulls(plan: Plan, lines: Int) -> list[tuple[int, float]]:
    """For each drawn line of a mass plan: how many targets pull its row, and the largest share of one of them."""
    if plan.links is None or plan.kind != "mass":
        return []
    used = plan.links.mass > 0
    row, mass = plan.links.row[used], plan.links.mass[used]
    where = np.searchsorted(plan.ids, row)
    count = np.bincount(where, minlength=len(plan.ids))
    largest = np.zeros(len(plan.ids))
    np.maximum.at(largest, where, mass)
    return list(zip(count[lines].tolist(), (largest[lines] / plan.values[lines]).tolist(), strict=True))


def _codes(column: pa.ChunkedArray, names: list[str]) -> Int:
    """The place in `names` of every source."""
    codes = []
    for chunk in column.chunks:
        coded = chunk.dictionary_encode()
        places = pc.index_in(coded.dictionary, pa.array(names, pa.string())).to_numpy()
        codes.append(places[coded.indices.to_numpy()].astype(np.int64))
    return np.concatenate(codes) if codes else np.empty(0, dtype=np.int64)


def _column(values: Int | Float | None, n: int, kind: pa.DataType) -> pa.Array:
    return nulls(n, kind) if values is None else pa.array(values, kind)
