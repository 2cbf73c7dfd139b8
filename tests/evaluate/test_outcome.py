"""What a comparison writes besides its cells, of names that would be something else to a page."""

from __future__ import annotations

from pathlib import Path

from made_cells import made_cell

from tasksift.evaluate.outcome import write_outcome

ODD = 'tsds/α: "x" <b>\u202e\n\\'


def test_the_outcome_of_odd_names(tmp_path: Path):
    """A hostile name goes through tables, summary and report, and is text in each."""
    cells = [
        made_cell(arm, seed, {"loss": [1 / 3, 2.0]}, task=ODD, budget="5%")
        for arm in ("random", ODD)
        for seed in (0, 1, 2)
    ]
    manifest = {
        "kind": "comparison", "version": "0", "pool": {"files": [], "rows": 10_000, "digest": ""},
        "tasks": [{"name": ODD, "targets": 3, "held_out": 3, "metrics": ["loss"]}],
        "model": {"name": "<script>", "parameters": 7}, "arms": ["random", ODD], "budgets": ["5%"], "seeds": [0, 1, 2],
        "cells": {"done": 6, "asked": 6},
    }  # fmt: skip
    (tmp_path / "cells").mkdir()
    for k, each in enumerate(cells):
        each.write(tmp_path / "cells" / f"{k}.json")
    (tmp_path / "config.yaml").write_text("")
    summary = write_outcome(tmp_path, cells, manifest)
    assert {row["arm"] for row in summary["tables"][0]["rows"]} == {"random", ODD}
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<b>" not in page.split('id="data">')[1].split("</script>")[0]
    assert not list(tmp_path.glob("*.part"))
