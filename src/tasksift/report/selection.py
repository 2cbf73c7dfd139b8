"""The data of the report of a selection, made while the features of the run are at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.numbering import gather, highest
from tasksift.plan import Plan
from tasksift.report.basis import Basis
from tasksift.report.coverage import coverage
from tasksift.report.glance import glance
from tasksift.report.histograms import edges_of, shares
from tasksift.report.layout_map import layout_map
from tasksift.report.near_copies import near_copies
from tasksift.report.nearness import distances, measure
from tasksift.report.ranking_path import MOST, ranking_path
from tasksift.report.regularisation import regularisation
from tasksift.report.showable import cut, showable, spread
from tasksift.report.sources import Sources
from tasksift.report.texts import RowTexts
from tasksift.rows.ids import rank_names
from tasksift.scratch import chunks, large
from tasksift.selection import Selection, open_run

Int = NDArray[np.int64]

FIRST, OTHERS = 20, 40
"""Rows that are shown as samples: the first, and others spread over the ranks."""

SHORT = 160
"""Characters of a text on the map."""

DICTS, LISTS = ("distances", "copies", "lengths", "coverage", "map", "path"), ("sources", "samples")
"""The parts of a page besides its glance; any of them may be None."""

FILES = 100
"""Files of the pool and of the targets that the manifest on the page names."""


def report_of_run(run: Path) -> dict[str, Any]:
    """Return the data of a finished run's page, from its folder.

    A run that has no report data (an older one) gets what its other files allow, and texts only as far as the pool
    still lies where it was.

    Raises
    ------
    InputError
        If `run` is not a finished run directory.
    """
    selection = open_run(run)
    report = selection.report or selection_report(selection)
    if not _is_report(report):
        raise InputError(f"{run}: report_data.json is damaged; remove it for a report of what else the folder holds")
    return page_data(report, selection.manifest, (run / "config.yaml").read_text(encoding="utf-8"))


def _is_report(data: Any) -> bool:
    """Whether this looks like what `selection_report` makes: a page of anything else would break while it is drawn."""
    head = data.get("glance") if isinstance(data, dict) else None
    if not isinstance(head, dict) or not isinstance(head.get("sentence"), str):
        return False
    parts = [(data.get(name), kind) for names, kind in ((DICTS, dict), (LISTS, list)) for name in names]
    return all(part is None or isinstance(part, kind) for part, kind in parts)


def page_data(report: dict[str, Any], manifest: dict[str, Any], config: str) -> dict[str, Any]:
    """Return all that the page shows; `manifest` and `config` are those that the run folder holds."""
    # What an engine did is no part of what the selection is.
    shown = {name: value for name, value in manifest.items() if name != "engine"}
    for side in ("pool", "target"):
        listed = manifest[side]["files"]
        if len(listed) > FILES:
            shown[side] = {**manifest[side], "files": [*listed[:FILES], f"and {len(listed) - FILES:,} more"]}
    return {**report, "manifest": showable(shown), "config": config}


def selection_report(selection: Selection, basis: Basis | None = None) -> dict[str, Any]:
    """Make the data of a selection's report.

    Parameters
    ----------
    selection : Selection
    basis : Basis, optional
        What only the run itself has. Without it whatever needs vectors, or rows that the plan does not mention, is
        None.

    Returns
    -------
    dict
        Plain JSON: ``glance``, ``sources``, ``distances``, ``copies``, ``lengths``, ``coverage``, ``map``, ``samples``
        and ``path``; a part that does not apply is None. Numbers have six digits and texts are cut, so its size has a
        bound that does not depend on the pool. The same run gives the same data, on any number of threads.

    Notes
    -----
    Cost beside the pool's texts, read once as far as needed: 4·m·s·d operations for m targets and s selected rows, as
    many for 20,000 sampled rows as for half of so many selected, and a pass over the pool for 25 targets.
    """
    manifest, record = selection.manifest, selection.record
    sources = Sources.of(manifest["pool"]["sources"], manifest["selection"]["sources"])
    vectors = None if basis is None else basis.pair
    far = copies = covered = layout = None
    around: list[Int] = []
    dots = np.empty(0, dtype=np.int64)
    shown = selection.targets if basis is None or not basis.texts else basis.texts
    places = np.empty(0, dtype=np.int64) if basis is None else basis.places(selection.positions)
    if basis is not None and vectors is not None:
        pool, target = vectors
        near = measure(pool, target, places)
        lengths = np.sqrt(np.square(target.take(np.arange(min(100, len(target))))).sum(axis=1))
        unit = bool((np.abs(lengths - 1) < 1e-3).all())
        far = distances(basis, near, selection.copies, unit=unit)
        covered, around = coverage(basis, near, places, shown, selection.tasks)
        layout, dots = layout_map(basis, places)
    if not record["density"].null_count:
        sigma = selection.plan.info.get("sigma")
        pool_vectors = None if basis is None else basis.pool
        rank = np.arange(record.num_rows)
        copies = near_copies(record["density"].to_numpy(), rank, pool_vectors, places, sigma)
    listed = np.concatenate([np.arange(min(FIRST, record.num_rows)), FIRST + spread(record.num_rows - FIRST, OTHERS)])
    listed = listed[listed < record.num_rows]
    texts = RowTexts(selection, basis)
    examples = [] if copies is None else [each["place"] for each in copies["examples"]]
    texts.read_record(np.concatenate([listed, np.array(examples, dtype=np.int64)]))
    texts.read_pool(np.concatenate([dots[dots >= 0], *around]))
    texts.load()
    if copies is not None:
        copies["examples"] = [
            {**texts.of_record(each.pop("place")), **each, "density": each["density"]} for each in copies["examples"]
        ]
    if covered is not None:
        for each, rows in zip(covered["worst"], around, strict=True):
            each["neighbours"] = [
                {**texts.of_pool(row), **found} for row, found in zip(rows.tolist(), each["neighbours"], strict=True)
            ]
    if layout is not None:
        known: list[dict[str, Any]] = [
            texts.of_pool(dot) if dot >= 0 else {"text": shown[~dot], "source": None} for dot in dots.tolist()
        ]
        layout["text"] = [cut(each["text"], SHORT) for each in known]
        layout["sources"] = sources.names
        layout["source"] = [None if each["source"] is None else sources.code_of[each["source"]] for each in known]
    found = glance(selection, sources.table(), far)
    title = f"{found['rows']:,} of {found['pool_rows']:,} rows, selected by {found['preset']}"
    data = {
        "format": 1,
        "kind": "selection",
        "title": title,
        "version": manifest["tasksift"],
        "glance": found,
        "sources": sources.table(),
        "distances": far,
        "copies": copies,
        "lengths": _lengths(selection, basis),
        "coverage": covered,
        "map": layout,
        "samples": _samples(selection, listed.tolist(), texts),
        "path": _path(selection, basis, sources),
    }
    plain: dict[str, Any] = showable(data)
    plain["glance"]["sentence"] = found["sentence"]
    return plain


def _lengths(selection: Selection, basis: Basis | None) -> dict[str, Any] | None:
    if basis is None or basis.index.tokens is None or selection.record["tokens"].null_count:
        return None
    pool, selected = basis.index.tokens, np.maximum(selection.record["tokens"].to_numpy(), 1)
    edges = edges_of(np.maximum([pool.min(), pool.max()], 1), selected, log=True)
    estimated = selection.manifest["pool"]["token_rule"].startswith("estimate")
    return {
        "edges": edges,
        "pool": shares(pool, edges),
        "selected": shares(selected, edges, selection.copies),
        "unit": "tokens (about four bytes each)" if estimated else "tokens",
    }


def _samples(selection: Selection, lines: list[int], texts: RowTexts) -> list[dict[str, Any]]:
    samples = []
    for line, row in zip(lines, selection.record.take(pa.array(lines)).to_pylist(), strict=True):
        samples.append(
            {
                "rank": row["rank"],
                **texts.of_record(line),
                "task": row.get("task"),
                "reason": row["reason"],
                "weight": row["weight"],
                "distance": row["distance"],
                "tokens": row["tokens"],
                "where": f"{row['file']}:{row['row']}",
            }
        )
    return samples


def _path(selection: Selection, basis: Basis | None, sources: Sources) -> dict[str, Any] | None:
    config, plan = selection.config, selection.plan
    found = None
    limited = config.max_per_source is not None or config.min_per_source is not None
    if plan.kind == "mass":
        if basis is not None:
            index = basis.index
            of_name, codes = sources.codes(index.source_names), large(len(index), np.int64)
            for some in chunks(len(index)):
                codes[some] = of_name[index.sources[some]]
            alpha, scale = basis.parameters.get("alpha"), basis.parameters.get("scale", 0.0)
            found = regularisation(plan, codes, len(sources.names), len(selection), alpha=alpha, scale=scale)
    elif plan.check_draw(config.draw) == "top" and not limited:
        found = _ranking(selection, plan, sources, basis)
    return None if found is None else {**found, "sources": sources.names}


def _ranking(selection: Selection, plan: Plan, sources: Sources, basis: Basis | None) -> dict[str, Any]:
    table = selection.plan_table
    order = rank_names(table["id"]) if basis is None else gather(basis.index.order, plan.ids)
    best = highest(plan.values, int(MOST * len(selection)), order)
    # Minus scores, where there is no distance.
    known = not table["nearest_target"].null_count and (pc.min(table["distance"]).as_py() or 0.0) >= 0
    table = table.select(["source", "nearest_target", "distance"]).take(pa.array(best))
    near, far = (table[name].to_numpy() if known else None for name in ("nearest_target", "distance"))
    codes, ranking = sources.codes_of(table["source"]), np.arange(len(best))
    return ranking_path(ranking, codes, len(sources.names), len(selection), near, far, len(selection.targets))
