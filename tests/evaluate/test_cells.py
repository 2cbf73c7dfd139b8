"""Cells: written and read again, and as tables."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tasksift.evaluate.cells import Cell, Costs, cell_table, row_table
from tasksift.evaluate.names import HIGHER_IS_BETTER

ODD = 'tsds/α: "x" <b>\u202e\n\\'


def cell(**changes) -> Cell:
    values = {
        "task": ODD, "arm": ODD, "budget": "5%", "seed": 3, "preset": "tsds", "rows": 6, "distinct": 5, "tokens": 70,
        "epochs": 2, "pool_rows": 120, "scores": {"loss": np.array([1 / 3, 2.0, 0.0])},
        "weights": {"loss": np.array([1.0, 3.0, 0.0])}, "costs": Costs(feature_seconds=0.1, train_flops=1e21),
    }  # fmt: skip
    return Cell(**{**values, **changes})


def test_written_and_read_again(tmp_path: Path):
    first = cell(scores={"loss": np.array([1 / 3, 1e-300]), "exact-match": np.array([0.0, 1.0])}, weights={})
    first.write(tmp_path / "cell.json")
    again = Cell.read(tmp_path / "cell.json")
    assert asdict(again).keys() == asdict(first).keys()
    for name in first.scores:
        assert again.scores[name].tobytes() == first.scores[name].tobytes()
        assert again.scores[name].dtype == np.float64
    assert {**asdict(again), "scores": 0} == {**asdict(first), "scores": 0}
    assert [path.name for path in tmp_path.iterdir()] == ["cell.json"]


def test_the_score_is_weighted():
    assert cell().score("loss") == pytest.approx((1 / 3 + 6) / 4)
    assert cell(weights={}).score("loss") == pytest.approx((1 / 3 + 2) / 3)
    assert cell().fraction == 0.05


def test_tables():
    untrained = cell(arm="zero-shot", budget=None, seed=None, preset=None, scores={"accuracy": np.ones(2)}, weights={})
    cells, rows = cell_table([cell(), untrained]), row_table([cell(), untrained])
    assert cells.schema.names[:6] == ["task", "arm", "preset", "budget", "seed", "rows"]
    assert [cells.schema.field(name).type for name in ("seed", "loss", "train_flops")] == [
        pa.int64(), pa.float64(), pa.float64()
    ]  # fmt: skip
    assert {name.replace("-", "_") for name in HIGHER_IS_BETTER} <= set(cells.schema.names)
    assert cells["arm"].to_pylist() == [ODD, "zero-shot"]
    assert cells["loss"].to_pylist() == [cell().score("loss"), None]
    assert cells["accuracy"].to_pylist() == [None, 1.0]
    assert cells["seed"].to_pylist() == [3, None]
    assert rows.schema.names == ["task", "arm", "budget", "seed", "metric", "row", "score", "weight"]
    assert rows.num_rows == 3 + 2
    of_loss = rows.filter(pa.compute.equal(rows["metric"], "loss"))
    scores, weights = of_loss["score"].to_numpy(), of_loss["weight"].to_numpy()
    assert np.average(scores, weights=weights) == cell().score("loss")
    assert rows["row"].to_pylist() == [0, 1, 2, 0, 1]
    assert rows["weight"].to_pylist()[3:] == [1.0, 1.0]
    assert cell_table([]).schema == cells.schema
