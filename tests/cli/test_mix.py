"""`tasksift mix` on the command line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def here(tmp_path: Path, pool: list[dict[str, Any]], lines: Callable[..., bytes]) -> Path:
    """A folder with a pool of three sources, 30 rows each."""
    (tmp_path / "pool.jsonl").write_bytes(lines(pool))
    return tmp_path


def test_mix(here: Path, tasksift: Callable[..., Any]):
    done = tasksift("mix", "pool.jsonl", "--shares", "maths=1,code=3", "-b", 80, "-o", "out", "--json")
    assert done.code == 0
    record = json.loads(done.out)
    assert [(domain["name"], domain["share"], domain["drawn"]) for domain in record["domains"]] == [
        ("code", 0.75, 60), ("maths", 0.25, 20),
    ]  # fmt: skip
    assert "code: 30 rows, share 0.7500, 60 drawn (2.0 times each)" in done.err
    assert "left out, as no row is asked of them: kitchen" in done.err
    assert done.err.endswith("2 domains, 80 rows -> out\n")
    train = [json.loads(line) for line in (here / "out" / "train.jsonl").read_text().splitlines()]
    assert Counter(Counter(row["n"] for row in train if row["source"] == "code").values()) == {2: 30}
    quiet = tasksift("mix", "pool.jsonl", "--format", "datasets", "-o", "more", "-q")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_clusters(here: Path, tasksift: Callable[..., Any]):
    assert tasksift("embed", "pool.jsonl", "--dim", 8, "-o", "features").code == 0
    done = tasksift("mix", "pool.jsonl", "--clusters", 3, "--features", "features", "-o", "out", "-f", "axolotl", "-q")
    assert done.code == 0
    assert (here / "out" / "domains.parquet").is_file()
    assert tasksift("mix", "pool.jsonl", "--clusters", "auto", "-o", "auto", "--json").out.count('"file"') == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "out", "--shares", "latin=1"], "no row is of the domain 'latin'; there are code, kitchen, maths"),
        (["-o", "out", "--shares", "code=0"], "--shares: the shares add to nothing"),
        (["-o", "out", "--shares", "run.jsonl"], "cannot read run.jsonl"),
        (["-o", "out", "--shares", "pool.jsonl"], "pool.jsonl, line 1: it does not say format 1"),
        (["-o", "out", "--domain-column", "topic"], "there is no column 'topic' (columns: n, text, source); correct "
         "--domain-column"),
        (["-o", "out", "--clusters", "some"], "--clusters 'some': it should be a whole number"),
        (["-o", "out", "--seed", "x"], "--seed 'x': it should be a whole number"),
        (["-o", "out", "--budget", "90001"], "--budget 90001 is more than 1,000 copies of each of the 90 rows"),
        (["-o", "out", "--clusters", "1001"], "--clusters 1001 is more than 1000, the most domains"),
        (["-o", "out", "--domain-column", ""], "there is no column ''"),
        (["-o", "x" * 300], "File name too long"),
        (["-o", ".", "--force"], "cannot write .: it has no name of its own"),
        (["-o", "out", "--budget", "much"], "--budget 'much': write a number of rows (1000) or a share of"),
        (["-o", "out", "--budget", "5tok"], "--budget 5tok is in tokens"),
        (["-o", "out", "--clusters", "0"], "--clusters 0: ask for a whole number from 1"),
        (["-o", "out", "--format", "x"], "--format x is not one of jsonl, llama-factory, axolotl, datasets"),
        (["-o", "pool.jsonl", "--force"], "lies in it"),
        (["-o", "pool.jsonl/out"], "cannot write pool.jsonl/out: Not a directory"),
        ([], "there is no --out"),
    ],
)  # fmt: skip
def test_what_is_refused(here: Path, tasksift: Callable[..., Any], arguments: list[str], message: str):
    done = tasksift("mix", "pool.jsonl", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert done.err.startswith("tasksift: ")
    assert done.err.count("\n") == 1
    assert [path.name for path in here.iterdir()] == ["pool.jsonl"]


def test_names_cannot_speak_to_the_terminal(tmp_path: Path, tasksift: Callable[..., Any], lines: Callable[..., bytes]):
    names = ["\x1b[2J", "a\nb", "\u202egnp", "数学"]
    (tmp_path / "pool.jsonl").write_bytes(lines([{"text": name, "source": name} for name in names]))
    done = tasksift("mix", "pool.jsonl", "-o", "out")
    assert done.code == 0
    shown = sorted(line.split(":")[0] for line in done.err.splitlines()[:-1])
    assert shown == ["\\u202egnp", "\\x1b[2J", "a\\nb", "数学"]
    assert "there are \\x1b[2J, a b, \\u202egnp" in tasksift("mix", "pool.jsonl", "-o", "more", "--shares", "z=1").err


def test_any_seed_serves_clusters(here: Path, tasksift: Callable[..., Any]):
    assert tasksift("mix", "pool.jsonl", "-o", "out", "--clusters", 2, "--seed", 2**70, "-q").code == 0
