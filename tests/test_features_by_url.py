"""Features, scores and vectors behind a URL: found again, and with the bytes of a local run."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("moto")

from hashed_features import chat, open_hashes, write

import tasksift as ts
from tasksift import features, places
from tasksift.errors import InputError
from tasksift.online.found import find_domains
from tasksift.represent.shard_cache import cache_folder
from tasksift.represent.shelf import shelf


@pytest.fixture
def bucket(storage, tmp_path, monkeypatch):
    """The URL of an empty bucket; the run is in an empty folder, which holds the cache as well."""
    monkeypatch.setenv("TASKSIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(features, "SHARD_ROWS", 50)
    lines = [json.dumps({"text": f"row {i} of {'cats' if i % 2 else 'dogs'}, {i * 7 % 13}"}) for i in range(120)]
    Path("pool.jsonl").write_text("\n".join(lines))
    Path("target.jsonl").write_text(json.dumps({"text": "row 3 of dogs"}))
    return storage.url("").rstrip("/")


def everything(folder):
    place = shelf(folder)
    return {name: place.read(name) for name in place.names()}


def select(out, **options):
    return ts.select("pool.jsonl", "target.jsonl", budget=10, out=out, dim=4, **options)


def test_a_second_selection_finds_the_features_of_the_first(bucket, storage):
    url = f"{bucket}/features"
    select("local.jsonl", features="features")
    select("first.jsonl", features=url)
    for folder in ("", "/model"):
        assert everything(url + folder) == everything(Path("features" + folder))
    storage.asked.clear()
    ts.select("pool.jsonl", "target.jsonl", budget=10, out="second.jsonl", features=url)  # options come from there
    assert {method for method, _ in storage.asked} <= {"GET", "HEAD"}
    for out in ("first", "second"):
        assert Path(f"{out}.jsonl").read_bytes() == Path("local.jsonl").read_bytes()
        record = [Path(f"{name}.jsonl.run/selection.parquet").read_bytes() for name in (out, "local")]
        assert record[0] == record[1]


def test_embedding_goes_on_where_it_was_killed(bucket, monkeypatch):
    url, real, left = f"{bucket}/deep/features", places.write_bytes, [6]

    def dies(url, data):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        real(url, data)

    with monkeypatch.context() as patch:
        patch.setattr(places, "write_bytes", dies)
        with pytest.raises(KeyboardInterrupt):
            ts.embed("pool.jsonl", url, dim=4)
    assert next((cache_folder() / "work").iterdir()).name.endswith("-embed")
    there = everything(url)
    assert "shard-00000.json" in there
    assert "shard-00002.json" not in there
    done = ts.embed("pool.jsonl", url, dim=4)
    ts.embed("pool.jsonl", "features", dim=4)
    assert everything(url) == everything(Path("features"))
    assert done.folder == url
    assert len(done.vectors) == 120
    assert not list((cache_folder() / "work").iterdir())


def test_vectors_by_url_and_by_path_select_the_same(bucket):
    rng = np.random.default_rng(0)
    for name, rows in (("pool", 90), ("target", 3)):
        np.save(f"{name}.npy", rng.normal(size=(rows, 6)))
        places.write_bytes(f"{bucket}/{name}.npy", Path(f"{name}.npy").read_bytes())
    local = ts.select(vectors="pool.npy", target_vectors="target.npy", budget=5)
    remote = ts.select(vectors=f"{bucket}/pool.npy", target_vectors=f"{bucket}/target.npy", budget=5)
    assert remote.ids == local.ids
    with pytest.raises(InputError, match=f"--vectors {bucket}/none.npy does not exist"):
        ts.select(vectors=f"{bucket}/none.npy", target_vectors="target.npy", budget=5)


def test_a_models_features_go_on_where_rows_were_appended(bucket, monkeypatch):
    model, url = open_hashes(monkeypatch), f"{bucket}/features"
    rows = [chat(k) for k in range(40)]
    write(Path("rows.jsonl"), rows)
    options = {"representation": "hidden", "model": "toy"}
    ts.embed("rows.jsonl", url, **options)
    assert model.rows == 40
    write(Path("rows.jsonl"), [*rows, *(chat(k) for k in range(30, 50))])
    for folder, computed in (("features", 50), (url, 10)):
        model.rows = 0
        vectors = ts.embed("rows.jsonl", folder, **options).vectors
        assert model.rows == computed  # rows like earlier ones have their vectors
        np.testing.assert_array_equal(vectors.rows(np.arange(40, 50)), vectors.rows(np.arange(30, 40)))
    np.testing.assert_array_equal(find_domains(url, 3).codes, find_domains("features", 3).codes)


def test_features_by_url_are_refused_like_those_in_a_folder(bucket):
    url = f"{bucket}/features"
    ts.embed("pool.jsonl", url, dim=4)
    with pytest.raises(InputError, match=rf"{url} holds other features \(dim: 4 there, 5 here\)"):
        ts.embed("pool.jsonl", url, dim=5)
    with pytest.raises(InputError, match="--features: a s3:// URL with credentials in it"):
        select("x.jsonl", features="s3://me:secret@bucket/features")
    with pytest.raises(InputError, match="--out: a s3:// URL with credentials in it"):
        ts.embed("pool.jsonl", "s3://me:secret@bucket/features")
    places.write_bytes(f"{bucket}/mine/x.npy", b"")
    with pytest.raises(InputError, match=r"mine holds \.npy files but no feature store"):
        ts.embed("pool.jsonl", f"{bucket}/mine", dim=4)
