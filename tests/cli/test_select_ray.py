"""`select` on a Ray cluster of two nodes gives the bytes of the local engine, also when a node goes in the middle."""

from __future__ import annotations

import gc
import io
import json
import os
import random
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import pyarrow.json
import pyarrow.parquet as pq
import pytest
from ray_jobs import IGNORED
from s3_server import SECRETS, slow

from tasksift.errors import InputError
from tasksift.pipeline import select
from tasksift.represent.lexical_job import LexicalJob

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings(*IGNORED)

ROWS = 50_000
FILES = ("{out}", "{out}.run/selection.parquet", "{out}.run/config.yaml")


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Fifty thousand rows in three files of three formats, some of them copies, and the targets."""
    folder, rng = tmp_path_factory.mktemp("pool"), random.Random(8)
    words = [f"{a}{b}{c}" for a in "bdfgklm" for b in "aeiou" for c in ("n", "rt", "x", "lo", "s")]
    lines = []
    for k in range(ROWS):
        near = words[k % 160 :][:12]
        text = " ".join(rng.choices(near, k=6) + rng.choices(words, k=rng.randint(3, 20)))
        lines.append(json.dumps({"prompt": text, "response": rng.choice(near), "source": f"s{k % 5}"}))
    lines[40_000:40_400] = lines[:400]
    (folder / "a.jsonl").write_text("\n".join(lines[:30_000]) + "\n")
    (folder / "b.jsonl").write_text("\n".join(lines[30_000:45_000]))
    (folder / "c.jsonl").write_text("\n".join(lines[45_000:]))
    pq.write_table(pyarrow.json.read_json(folder / "b.jsonl"), folder / "b.parquet", row_group_size=4000)
    (folder / "b.jsonl").unlink()
    targets = [{"prompt": " ".join(words[:12]), "response": words[k]} for k in range(12)]
    (folder / "dev.json").write_text(json.dumps(targets))
    return [folder / "a.jsonl", folder / "b.parquet", folder / "c.jsonl"], folder / "dev.json"


@pytest.fixture(scope="module")
def local(pool, tmp_path_factory):
    return run(pool, tmp_path_factory.mktemp("local"))


@pytest.fixture(scope="module", autouse=True)
def collected():
    """What Python says of processes of the cluster that nobody waited for is said here, and not at the end."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@contextmanager
def cluster(nodes=2):
    """A cluster of one core a node; yields it and its second node."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 10**8, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        patch.setenv("RAY_BACKEND_LOG_LEVEL", "fatal")
        patch.setenv("RAY_worker_niceness", "0")  # other tests run beside this one
        made = Cluster(initialize_head=True, head_node_args=node)
        try:
            second = made.add_node(num_cpus=1, object_store_memory=10**8)
            ray.init(made.address, log_to_driver=False, logging_level="ERROR")
            yield made, second
        finally:
            ray.shutdown()
            made.shutdown()


def run(pool, folder, **more):
    """Select in that folder, and return what was written."""
    files, target = pool
    before = Path.cwd()
    os.chdir(folder)  # names of files are part of what is written
    try:
        select(files, target, 400, out="picked.jsonl", **more)
    finally:
        os.chdir(before)
    written = {name: (folder / name.format(out="picked.jsonl")).read_bytes() for name in FILES}
    return written, json.loads((folder / "picked.jsonl.run" / "manifest.json").read_bytes())


def at(label, share, act):
    """A progress that acts once, when that share of a step is done."""
    left = [act]

    @contextmanager
    def progress(name, total):
        done = 0

        def tick(amount):
            nonlocal done
            done += amount
            if left and name.startswith(label) and done >= share * total:
                left.pop()()

        yield tick

    return progress


@pytest.fixture(params=[False, True], ids=["tasks", "actors"])
def heavy(request, monkeypatch):
    """Whether shards are made by actors, as they are where a model is loaded."""
    monkeypatch.setattr(LexicalJob, "heavy", request.param)


@pytest.mark.usefixtures("heavy")
def test_a_node_that_goes_in_the_middle_changes_nothing(pool, local, tmp_path):
    with cluster() as (made, second):
        remove = at("embedding the pool", 0.3, lambda: made.remove_node(second, allow_graceful=False))
        written, manifest = run(pool, tmp_path, engine="ray", progress=remove)
        assert len([node for node in ray.nodes() if node["Alive"]]) == 1
    assert written == local[0]
    engine = manifest.pop("engine")
    assert manifest == local[1]
    assert engine["total"]["rows"] == ROWS
    assert engine["spilled_bytes"] == 0
    assert sum(each.get("rows", 0) for each in engine["workers"].values()) == ROWS


class Stop(BaseException):
    """A driver that ends in the middle."""


def test_a_stopped_driver_goes_on_here_where_the_cluster_was(pool, local, tmp_path):
    def stop():
        raise Stop

    with cluster(), pytest.raises(Stop):
        run(pool, tmp_path, engine="ray", progress=at("embedding the pool", 0.4, stop))
    shards = tmp_path / "picked.jsonl.run.part" / "features"
    max(shards.glob("shard-*.json")).unlink()  # however fast the workers were, something is left
    # A worker may have ended between a shard and its mark, and then the shard is made again.
    made = {mark.stem: mark.with_suffix(".npy").stat().st_mtime_ns for mark in shards.glob("shard-*.json")}
    assert len(made) >= 2
    kept = []

    def look():
        kept.append({path.stem: path.stat().st_mtime_ns for path in shards.glob("shard-*.npy")})

    written, manifest = run(pool, tmp_path, progress=at("embedding the pool", 1, look))
    assert (written, manifest) == local
    # Here shards are made in their order, from the first that is missing on.
    first = next(k for k in range(len(kept[0])) if f"shard-{k:05d}" not in made)
    assert {made[f"shard-{k:05d}"] for k in range(first)} <= set(kept[0].values())


@pytest.mark.usefixtures("heavy")
def test_a_pool_on_s3_with_a_slow_object_and_one_that_disappears(pool, local, storage, tmp_path):
    urls = [storage.put(f"pool/{path.name}", path.read_bytes()) for path in pool[0]]
    key = "pool/b.parquet"
    data = storage.get(key)
    with cluster() as (made, second):
        lose = at("embedding the pool", 0.2, lambda: storage.delete(key))
        with pytest.raises(InputError, match=r"s3://pool-bucket/pool/b\.parquet"):
            run((urls, pool[1]), tmp_path, engine="ray", progress=lose)
        storage.put(key, data)
        storage.fault = slow(key, 0.3)
        remove = at("embedding the pool", 0.6, lambda: made.remove_node(second, allow_graceful=False))
        written, manifest = run((urls, pool[1]), tmp_path, engine="ray", progress=remove)
    picked, record = "{out}", "{out}.run/selection.parquet"
    assert written[picked] == local[0][picked]
    ours, theirs = (pq.read_table(io.BytesIO(each[record])) for each in (written, local[0]))
    assert ours.drop(["file"]).equals(theirs.drop(["file"]))
    assert manifest["plan"] == local[1]["plan"]
    assert manifest["pool"]["digest"] == local[1]["pool"]["digest"]
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert not any(secret.encode() in path.read_bytes() for secret in SECRETS.values()), path
