"""Numbers of rows besides their vectors: whose model they are of, where they are kept, and who reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tasksift as ts
from tasksift import embedding, line
from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.request import settle
from tasksift.rows.example import Example
from tasksift.scores import score_config, score_folder, scored

VALUES = {"loss": 1.0, "perplexity": 2.0, "entropy": 3.0, "el2n": 4.0}


class Lengths:
    """An embedder of numbers: the answer's length times what each metric is worth. It counts what it is given."""

    def __init__(self, config: RunConfig) -> None:
        self.names = tuple(config.metrics.split(",")) if config.representation == "loss" else ("x", "y")
        self.model, self.rows = config.model, 0

    @property
    def dim(self) -> int:
        return len(self.names)

    @property
    def identity(self) -> dict[str, Any]:
        return {"model": {"digest": self.model}, "names": list(self.names)}

    def transform(self, examples: Sequence[Example]) -> np.ndarray:
        self.rows += len(examples)
        sizes = np.array([len(each.response) for each in examples], dtype=np.float32)
        return np.stack([sizes * VALUES.get(name, 5.0) for name in self.names], axis=1)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Lengths]:
    """Every embedder that was opened, none of which is a model."""
    found: list[Lengths] = []

    def open_embedder(config: RunConfig, say: Any = None) -> Lengths:
        found.append(Lengths(config))
        return found[-1]

    for module in (embedding, line):
        monkeypatch.setattr(module, "open_embedder", open_embedder)
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    sizes = np.random.default_rng(0).permutation(30) + 1
    rows = [{"prompt": f"q{k}", "response": "a" * int(size), "own": int(100 - size)} for k, size in enumerate(sizes)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "target.jsonl").write_text('{"prompt": "q", "response": "aaaaa"}\n')
    return tmp_path


def sizes_of(done: ts.Selection) -> list[int]:
    rows = [json.loads(text) for text in Path("pool.jsonl").read_text().splitlines()]
    return [len(rows[k]["response"]) for k in done.positions]


def config_of(preset: str = "perplexity-lowest", metric: str | None = None, **options: Any) -> RunConfig:
    return score_config(settle(RunConfig.create(pool=["p"], target=["t"], budget=1, preset=preset, **options)), metric)


def test_who_needs_a_model():
    def asks(**options: Any) -> bool:
        return scored(RunConfig.create(pool=["p"], budget=1, **options))

    assert asks(preset="perplexity-lowest")
    assert asks(preset="bws")
    assert not asks(preset="perplexity-lowest", score_column="own")
    assert not asks(preset="tsds")
    assert not asks(preset="column", score_column="own")


def test_the_model_is_the_runs_own_unless_another_is_named():
    assert config_of(model="m").model == "m"
    one = config_of(model="m", revision="r1", max_length=99, dtype="bfloat16", device="cuda", score="text")
    assert (one.revision, one.max_length, one.dtype, one.device, one.score) == ("r1", 99, "bfloat16", "cuda", "text")
    other = config_of(model="m", revision="r1", max_length=99, score_model="small")
    assert (other.model, other.revision, other.max_length) == ("small", None, 99)
    assert config_of(score_model="small").model == "small"
    for made in (one, other):
        assert (made.representation, made.metrics) == ("loss", "perplexity")


def test_options_of_an_encoder_say_nothing_of_a_language_model():
    options = {"preset": "bws", "representation": "encoder", "model": "enc", "max_length": 5, "device": "cuda"}
    with pytest.raises(InputError, match="bws needs loss of each row: give --model or --score-model"):
        config_of(**options)
    made = config_of(**options, score_model="small")
    assert (made.model, made.max_length, made.device) == ("small", None, "cuda")
    made = config_of(preset="bws", model="m", max_length=5)  # hidden states are of a language model
    assert (made.model, made.max_length) == ("m", 5)


def test_metrics_are_those_of_the_preset_and_of_the_parameter():
    assert config_of("adapt-infinity", model="m").metrics == "perplexity,el2n,entropy"
    assert config_of(model="m", metric="entropy").metrics == "perplexity,entropy"
    assert config_of(model="m", metric="perplexity").metrics == "perplexity"
    assert config_of(model="m", metric="score").metrics == "perplexity"  # a column is no metric
    assert config_of(model="m", metrics="ifd,loss").metrics == "ifd,loss"


@pytest.mark.parametrize(
    ("preset", "named"), [("perplexity-lowest", "perplexity"), ("adapt-infinity", "perplexity, el")]
)
def test_without_any_model(preset: str, named: str):
    representation = {"representation": "tfidf"} if preset == "adapt-infinity" else {}
    with pytest.raises(InputError, match=f"--preset {preset} needs {named}.*--score-model.*--scores.*--score-column"):
        config_of(preset, **representation)


def test_a_folder_is_given_all_of_the_usual_metrics():
    assert config_of(model="m", scores="none-yet").metrics == "loss,perplexity,entropy,el2n"
    assert config_of(model="m", features="none-yet", metric="ifd").metrics == "loss,perplexity,entropy,el2n,ifd"
    assert config_of(model="m", scores="none-yet", metrics="perplexity").metrics == "perplexity"


def test_how_rows_are_read_is_the_runs_own():
    made = config_of(model="m", text_template="{a}", source_column="from")
    assert (made.text_template, made.source_column, made.pool) == ("{a}", "from", ["p"])


def test_folders():
    def place(**options: Any) -> str | None:
        found = score_folder(RunConfig.create(pool=["p"], budget=1, preset="bws", **options))
        return None if found is None else str(found)

    assert place() is None
    assert place(scores="s") == "s"
    assert place(features="f") == "f/scores"
    assert place(features="f", scores="s") == "s"


def test_rows_go_by_their_numbers(folder: Path, opened: list[Lengths]):
    done = ts.select("pool.jsonl", budget=5, preset="perplexity-lowest", model="m")
    assert sizes_of(done) == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(-done.record["score"].to_numpy(), [2, 4, 6, 8, 10])
    highest = ts.select("pool.jsonl", budget=3, preset="perplexity-highest", model="m")
    assert sizes_of(highest) == [30, 29, 28]
    assert [each.names for each in opened] == [("perplexity",)] * 2
    other = ts.select("pool.jsonl", budget=3, preset="perplexity-highest", model="m", parameters={"metric": "entropy"})
    assert opened[-1].names == ("perplexity", "entropy")
    np.testing.assert_allclose(other.record["score"].to_numpy(), [90, 87, 84])
    assert sorted(path.name for path in folder.iterdir()) == ["pool.jsonl", "target.jsonl"]


def test_a_column_takes_the_place_of_a_model(folder: Path, opened: list[Lengths]):
    done = ts.select("pool.jsonl", budget=4, preset="perplexity-lowest", score_column="own")
    assert sizes_of(done) == [30, 29, 28, 27]
    assert sizes_of(ts.select("pool.jsonl", budget=2, preset="column", score_column="own")) == [1, 2]
    assert not opened


def test_numbers_are_kept_and_found_again(folder: Path, opened: list[Lengths]):
    first = ts.select("pool.jsonl", budget=5, preset="perplexity-lowest", model="m", scores="kept")
    assert opened[-1].rows == 30
    bytes_of = {path.name: path.read_bytes() for path in Path("kept").iterdir()}
    # The folder knows its model and its metrics.
    again = ts.select("pool.jsonl", budget=5, preset="perplexity-lowest", scores="kept")
    assert (opened[-1].rows, opened[-1].model) == (0, "m")
    assert again.ids == first.ids
    assert {path.name: path.read_bytes() for path in Path("kept").iterdir()} == bytes_of
    with Path("pool.jsonl").open("a") as file:
        file.write('{"prompt": "new", "response": "", "own": 0}\n')
    ts.select("pool.jsonl", budget=5, preset="perplexity-lowest", scores="kept")
    assert opened[-1].rows == 1


def test_numbers_of_another_model_are_refused_before_they_are_computed(folder: Path, opened: list[Lengths]):
    ts.select("pool.jsonl", budget=5, preset="perplexity-lowest", model="m", scores="kept")
    with Path("pool.jsonl").open("a") as file:
        file.write("{oops")  # which nobody comes to read
    with pytest.raises(InputError, match=r"kept holds other features \(made\.model\.digest: 'm' there, 'n' here\)"):
        ts.select("pool.jsonl", budget=5, preset="perplexity-lowest", model="n", scores="kept")
    assert opened[-1].rows == 0
    assert Path("kept").is_dir()


def test_a_folder_of_embed_serves(folder: Path, opened: list[Lengths]):
    ts.embed("pool.jsonl", "kept", representation="loss", model="m", metrics="loss,entropy,perplexity")
    done = ts.select("pool.jsonl", budget=3, preset="perplexity-highest", scores="kept")
    assert opened[-1].rows == 0
    np.testing.assert_allclose(done.record["score"].to_numpy(), [60, 58, 56])
    ts.embed("pool.jsonl", "less", representation="loss", model="m", metrics="loss")
    with pytest.raises(InputError, match="looks at perplexity, and there is only loss; add it to --metrics"):
        ts.select("pool.jsonl", budget=3, preset="perplexity-highest", scores="less")


def test_a_score_model_that_is_not_there(folder: Path):
    pytest.importorskip("transformers")
    with pytest.raises(InputError, match=r"--model \./nowhere: there is no such folder"):
        ts.select("pool.jsonl", budget=3, preset="perplexity-lowest", score_model="./nowhere")


def test_features_and_numbers_lie_in_one_folder(folder: Path, opened: list[Lengths]):
    options = {"budget": 5, "preset": "bws", "representation": "encoder", "score_model": "m", "features": "f"}
    done = ts.select("pool.jsonl", "target.jsonl", model="enc", **options)
    usual = ("loss", "perplexity", "entropy", "el2n")  # for whoever looks at the folder next
    assert {(each.names, each.rows) for each in opened} == {(usual, 30), (("x", "y"), 31)}
    assert sorted(path.name for path in Path("f").iterdir() if path.is_dir()) == ["scores"]
    opened.clear()
    again = ts.select("pool.jsonl", "target.jsonl", budget=5, preset="bws", features="f")
    assert again.ids == done.ids
    assert {(each.names, each.model, each.rows) for each in opened} == {(usual, "m", 0), (("x", "y"), "enc", 1)}
