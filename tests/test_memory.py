"""What is said of a run's size before it starts."""

import gzip
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasksift.memory import estimate_rows, peak_memory
from tasksift.rows import expand

WORDS = [f"{k:x}word" for k in range(2000)]


def test_rows_are_counted_by_footers_and_estimated_from_the_first_lines(tmp_path):
    rng = random.Random(0)
    rows = [{"text": " ".join(rng.choices(WORDS, k=k % 37 + 3))} for k in range(3000)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert estimate_rows(expand(tmp_path / "a.parquet")) == 3000
    assert estimate_rows(expand(tmp_path / "b.jsonl")) == pytest.approx(3000, rel=0.05)
    assert estimate_rows(expand([tmp_path / "a.parquet", tmp_path / "b.jsonl"])) == pytest.approx(6000, rel=0.05)
    assert estimate_rows(expand(rows)) == 3000
    with gzip.open(tmp_path / "c.jsonl.gz", "wt") as file:
        file.write((tmp_path / "b.jsonl").read_text())
    # How well a text packs is not known beforehand.
    assert 1000 < estimate_rows(expand(tmp_path / "c.jsonl.gz")) < 9000
    assert estimate_rows(expand("hf:some/name")) is None


def test_the_estimate_grows_with_the_pool():
    sizes = [peak_memory(n, 100, vector_bytes=1024.0 * n, lexical=True, planned=n) for n in (10**4, 10**5, 10**6)]
    assert sizes == sorted(sizes)
    # A million rows: the vectors, some hundred bytes a row, and what the program itself needs.
    assert 1.5e9 < sizes[-1] < 3e9
