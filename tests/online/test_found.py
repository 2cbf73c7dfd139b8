"""Domains found by clustering."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasksift import embed
from tasksift.errors import InputError
from tasksift.online import find_domains
from tasksift.online.found import automatic_count

TOPICS = {
    "maths": "sum of the numbers equals half the product divided by three",
    "kitchen": "stir butter into warm flour and fold in the eggs",
    "code": "loop over items return none if the key is missing",
}


def _rows(n: int) -> list[dict[str, str]]:
    return [{"text": f"{TOPICS[topic]} {k}", "topic": topic} for k in range(n) for topic in TOPICS]


def test_clusters_of_vectors():
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    truth = rng.integers(0, 3, 60)
    vectors = centres[truth] + rng.normal(size=(60, 2))
    domains = find_domains(vectors, 3)
    assert len(domains) == 60
    assert domains.names == ("cluster-00", "cluster-01", "cluster-02")
    assert len({(a, b) for a, b in zip(truth, domains.codes, strict=True)}) == 3
    in_shards = find_domains([vectors[:20], vectors[20:]], 3)
    assert in_shards.codes.tolist() == domains.codes.tolist()


def test_rows_are_clustered_by_their_words_whatever_their_order():
    rows = _rows(8)
    domains = find_domains(rows, 3)
    assert len({(row["topic"], code) for row, code in zip(rows, domains.codes, strict=True)}) == 3
    moved = np.random.default_rng(1).permutation(len(rows))
    assert find_domains([rows[k] for k in moved], 3).codes.tolist() == domains.codes[moved].tolist()


@pytest.mark.parametrize(("n", "k"), [(1, 2), (4, 2), (9, 3), (99, 9), (224, 14), (225, 15), (10**7, 15)])
def test_automatic_count(n: int, k: int):
    assert automatic_count(n) == k


def test_automatic_count_of_few_rows():
    assert find_domains(np.ones((1, 2))).names == ("cluster-00",)
    assert find_domains(np.ones((5, 2))).names == ("cluster-00",)  # one distinct vector
    assert len(find_domains(np.eye(16)).names) == 4


def test_features_that_are_there_serve(tmp_path: Path):
    rows = _rows(8)
    embed(rows, tmp_path / "features", dim=8)
    domains = find_domains(tmp_path / "features", 3)
    assert len({(row["topic"], code) for row, code in zip(rows, domains.codes, strict=True)}) == 3


@pytest.mark.parametrize("clusters", [0, -1, 2.5, True, "many", None])
def test_what_is_refused(clusters: object):
    with pytest.raises(InputError, match=f"--clusters {clusters!r}: ask for a whole number from 1, or for auto"):
        find_domains(np.eye(3), clusters=clusters)
    with pytest.raises(InputError, match="--clusters 4 for 3 rows: ask for 3 at most"):
        find_domains(np.eye(3), clusters=4)
    with pytest.raises(InputError, match="there are 3 vectors and 2 rows"):
        find_domains(np.eye(3), 2, order=np.arange(2))


@pytest.mark.parametrize("seed", [-1, "x", 1.5])
def test_a_seed_is_a_whole_number(seed: object):
    with pytest.raises(InputError, match=r"seed .* is a whole number from 0"):
        find_domains(np.eye(3), 2, seed=seed)  # type: ignore[arg-type]
