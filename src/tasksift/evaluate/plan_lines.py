"""A plan as lines for people: the table of methods and budgets, the front, break-evens, the advice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasksift.evaluate.plan_words import score_text, share_text

Record = Mapping[str, Any]

SUBJECTS = {
    "ratio": "size of the trained model over the selecting one's",
    "targets": "targets that share the selection, at this budget",
    "budget": "FLOPs for each target",
}


def lines(record: Record) -> Iterator[str]:
    """Yield the lines of what `advise` returns."""
    for case in record["cases"]:
        whom = "one target" if record["targets"] == 1 else f"each of {record['targets']:g} targets"
        what, full = f"{case['name']} ({case['metric']})", case["full_training"]
        yield f"{what}: {record['budget']:.3g} FLOPs for {whom}; a full training takes {full:.3g}"
        yield ""
        yield from _table(case)
        yield ""
        yield "Measured points that nothing beats at their price:"
        for point in case["front"]:
            score = score_text(case["metric"], point["score"])
            yield f"  {point['flops']:.2e} FLOPs  {score:>7}  {point['method']}, {share_text(point['share'])}"
        yield ""
        if case["break_even"]:
            yield "From where on a dear selection is worth it (95 % interval):"
            yield from _ranges(case["break_even"])
            yield ""
        if record["across_panels"]:
            yield "The same, smallest and largest over the published panels:"
            yield from _ranges(record["across_panels"])
            yield ""
        yield case["advice"]
        yield ""
    yield from record["notes"]


def _table(case: Record) -> Iterator[str]:
    """One line per method, one column per budget: the predicted score, * the best, = what cannot be told from it."""
    plans = case["table"]
    asked = case["plan"]["full_trainings"]
    marks = [">" if each["full_trainings"] == asked else "" for each in plans]
    head = [f"{mark}{share_text(each['full_trainings'])}" for mark, each in zip(marks, plans, strict=True)]
    rows = [["of a full training", *head]]
    for method in case["methods"]:
        name = method["method"]
        cells = []
        for each in plans:
            choice = next((choice for choice in each["choices"] if choice["method"] == name), None)
            sign = "*" if each["best"] == name else "=" if name in each["tied"] else " "
            cells.append("-  " if choice is None else f"{score_text(case['metric'], choice['score'])} {sign}")
        rows.append([name, *cells])
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        cells = [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)]
        yield "  ".join([row[0].ljust(widths[0]), *cells])
    yield "* best, = cannot be told from it, - the budget does not pay for a share that was measured, > your budget"


def _ranges(found: Sequence[Record]) -> Iterator[str]:
    for each in found:
        value = "{:.2e}" if each["what"] == "budget" else "{:g}"
        low, high = (None if each[end] is None else value.format(each[end]) for end in ("low", "high"))
        span = "nowhere" if low is None else f"{low} to nowhere" if high is None else f"{low} to {high}"
        if each.get("never") and low:
            span = f"from {low} on, nowhere in {each['never']} of {each['cases']}"
        yield f"  {each['method']:<6}  {SUBJECTS[each['what']]}: {span}"
