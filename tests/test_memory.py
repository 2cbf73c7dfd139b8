"""What is said of a run's size before it starts."""

import gzip
import json
import random
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasksift.memory import embedding_memory, estimate_rows, in_words, model_memory, peak_memory, worker_words
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


def test_the_estimate_grows_with_a_small_pool():
    run = {"dim": 256, "text": True, "search": True, "densities": True, "threads": 1}
    sizes = [peak_memory(n, 100, **run, lexical=True, processes=1, planned=n) for n in (10**4, 10**6, 10**7)]
    assert sizes[0] < sizes[1] <= sizes[2]


def test_what_lies_in_scratch_files_is_not_counted():
    run = {"text": False, "lexical": False, "threads": 1, "processes": 1}
    for more in (
        {"dim": 256, "search": True, "densities": True, "planned": 10**4},
        {"dim": 0, "search": False, "densities": False, "planned": 10**7},
    ):
        sizes = [peak_memory(n, 200, **run, **more) for n in (10**5, 10**7, 10**8)]
        assert sizes[0] < sizes[1] == sizes[2] < 0.5e9


def test_the_estimate_counts_workers():
    run = {"text": True, "search": True, "densities": True, "planned": 1000}
    sizes = [peak_memory(10**7, 100, **run, dim=384, lexical=False, threads=k, processes=1) for k in (1, 4, 16)]
    assert sizes[0] < sizes[1] < sizes[2]
    sizes = [embedding_memory(256, k) for k in (1, 8, 16)]
    assert sizes[0] < sizes[1] < sizes[2]
    assert embedding_memory(64, 1) < sizes[0]
    assert worker_words(1) == ""
    assert worker_words(8) == " with 8 worker processes"


@pytest.mark.parametrize(
    ("size", "words"), [(4.2e8, "420 MB"), (1, "10 MB"), (9.94e8, "990 MB"), (9.96e8, "1.0 GB"), (7.68e9, "7.7 GB")]
)
def test_sizes_in_words(size, words):
    assert in_words(size) == words


def test_a_model_is_what_the_process_holds_and_what_a_batch_needs():
    small = SimpleNamespace(hidden_size=64, num_hidden_layers=2, vocab_size=1000)
    large = SimpleNamespace(hidden_size=4096, num_hidden_layers=32, vocab_size=128_000)

    def embedder(size, **more):
        return SimpleNamespace(causal=SimpleNamespace(model=SimpleNamespace(config=size)), **more)

    assert 0 < model_memory(SimpleNamespace()) <= model_memory(embedder(small)) < model_memory(embedder(large))
    # A backward pass needs what every layer has computed.
    assert model_memory(embedder(large, weights=())) - model_memory(embedder(large)) > 31 * 2048 * 4096 * 4
