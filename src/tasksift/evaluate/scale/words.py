"""A plan of a larger pool as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tasksift.evaluate.scale.advice import in_time
from tasksift.memory import in_words

HEAD = ("stage", "time", "low to high", "where", "read", "written", "sent", "bound by")


def lines(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of what `plan_scale` returns."""
    cluster, total = record["cluster"], record["total"]
    place = f"{cluster['workers']} workers on {cluster['machines']} machines"
    if cluster["local"]:
        place = f"this machine, {record['machine']['cores']} workers"
    if cluster["gpus"]:
        place += f", {cluster['gpus']} GPUs"
    what = record["representation"] or "no vectors"
    yield f"{record['rows']:,} rows, {record['preset']} by {what}, {record['selected']:,} rows selected; {place}"
    yield ""
    table: list[tuple[str, ...]] = [HEAD]
    for stage in record["stages"]:
        time = stage["time"]
        numbers = (_bytes(stage[name]) for name in ("read", "written", "sent"))
        bound = f"{stage['bound']}"
        table.append((stage["name"], in_time(time["value"]), _span(time), stage["where"], *numbers, bound))
    numbers = (_bytes(record["bytes"][name]) for name in ("read", "written", "sent"))
    table.append(("total", in_time(total["value"]), _span(total), "", *numbers, ""))
    widths = [max(len(row[k]) for row in table) for k in range(len(HEAD))]
    for row in table:
        # Words to the left, numbers to the right.
        cells = [
            text.ljust(width) if k in (0, 3, 7) else text.rjust(width)
            for k, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
    yield ""
    memory = record["memory"]
    parts = [f"driver {in_words(memory['driver'])}"]
    if memory["worker"]:
        parts.append(f"each worker {in_words(memory['worker'])}")
    yield f"Peak memory: {', '.join(parts)}. On disk in the end: {_bytes(record['bytes']['held'])}, the pool included."
    sizes = record["sizes"]
    if sizes["lists"]:
        passes = " and ".join(f"{length:,}" for length in sizes["lists"])
        dense = f"; {sizes['candidates']:,.0f} rows get a density" if sizes["candidates"] else ""
        yield f"Neighbours of a target: {passes}{dense}."
    yield ""
    yield record["advice"]
    yield from record["problems"][1:]
    yield ""
    yield from record["notes"]


def _span(time: Mapping[str, float]) -> str:
    return f"{in_time(time['low'])} to {in_time(time['high'])}"


def _bytes(size: float) -> str:
    if not size:
        return "-"
    if size >= 1e12:
        return f"{size / 1e12:,.1f} TB"
    return in_words(size) if size >= 1e7 else f"{size / 1e6:.2g} MB"
