"""The pool of a mixture: what the domain of a row is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasksift import embed, select
from tasksift.errors import InputError
from tasksift.mix import mix

Row = dict[str, Any]
Lines = Callable[[Path], list[Row]]
Write = Callable[[Path, list[Row]], Path]


def test_any_pool_and_any_column(tmp_path: Path, lines: Lines):
    table = pa.table({"text": ["a", "b", "c"], "topic": [1, None, 1], "source": ["x", "x", "y"]})
    mix(table, tmp_path / "out", domain_column="topic")
    assert {row["text"] for row in lines(tmp_path / "out" / "1.jsonl")} == {"a", "c"}
    assert [row["text"] for row in lines(tmp_path / "out" / "none.jsonl")] == ["b"]
    with pytest.raises(InputError, match=r"there is no column 'gone'.*correct --domain-column"):
        mix(table, tmp_path / "gone", domain_column="gone")
    with pytest.raises(InputError, match=r"1001 domains and 1000 is the most; name a coarser --domain-column"):
        mix([{"text": "a", "n": k} for k in range(1001)], tmp_path / "many", domain_column="n")


def test_names_that_are_the_same_once_written_are_one_domain(tmp_path: Path):
    rows = [{"text": str(k), "source": source} for k, source in enumerate(("b", "\ud800", "a", "\ud801", "\ufffd"))]
    domains = mix(rows, tmp_path / "out").domains
    assert domains.names == ("a", "b", "\ufffd")
    assert domains.codes.tolist() == [1, 2, 0, 2, 2]


def test_sources_that_select_recorded_are_the_domains(tmp_path: Path, lines: Lines, write: Write):
    # Rows that name no source are from their file, which the picked rows no longer tell.
    for name in ("maths", "code"):
        write(tmp_path / f"{name}.jsonl", [{"text": f"{name} {word}"} for word in ("one", "two", "three", "four")])
    target = write(tmp_path / "target.jsonl", [{"text": "maths one code two"}])
    pool, picked = [str(tmp_path / "maths.jsonl"), str(tmp_path / "code.jsonl")], tmp_path / "picked.jsonl"
    select(pool=pool, target=str(target), budget=8, preset="tsds", draw="multinomial").write(picked)
    done = mix(picked, tmp_path / "out")
    assert done.domains.names == ("code", "maths")
    for name in done.domains.names:
        assert {row["text"].split()[0] for row in lines(tmp_path / "out" / f"{name}.jsonl")} == {name}
    write(picked, [{"text": "another"}])
    assert mix(picked, tmp_path / "other").domains.names == ("picked",)


def test_clusters_are_written_down(tmp_path: Path, rows: list[Row]):
    done = mix(rows, tmp_path / "out", clusters=3)
    table = pq.read_table(tmp_path / "out" / "domains.parquet")
    assert table.column_names == ["id", "file", "row", "domain"]
    assert table["domain"].to_pylist() == [done.domains.names[code] for code in done.domains.codes]
    assert table["row"].to_pylist() == list(range(len(rows)))
    assert len(set(table["id"].to_pylist())) == len(rows)
    assert done.domains.names == ("cluster-00", "cluster-01", "cluster-02")


TOPICS = {
    "maths": "sum of the numbers equals half the product divided by three",
    "kitchen": "stir butter into warm flour and fold in the eggs",
    "code": "loop over items return none if the key is missing",
}


@pytest.fixture
def topical() -> list[Row]:
    """Rows of three topics in turn."""
    return [{"text": f"{TOPICS[topic]} {k}", "topic": topic} for k in range(8) for topic in TOPICS]


def test_features_that_are_there_serve(tmp_path: Path, topical: list[Row]):
    embed(topical, tmp_path / "features", dim=8)
    done = mix(topical, tmp_path / "out", clusters=3, features=tmp_path / "features")
    assert len({(row["topic"], code) for row, code in zip(topical, done.domains.codes, strict=True)}) == 3


def test_features_of_other_rows_are_refused(tmp_path: Path, topical: list[Row]):
    embed(topical, tmp_path / "features", dim=8)
    for other in (topical[:-1], topical[::-1]):
        with pytest.raises(InputError, match="are of 24 other rows than"):
            mix(other, tmp_path / "out", clusters=3, features=tmp_path / "features")
    assert not (tmp_path / "out").exists()
