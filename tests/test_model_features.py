"""The store of a model's vectors, by an embedder that is a hash: what is taken from it, refused, and kept of a row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hashed_features import Hashes, chat, embed, enter_folder, open_hashes, select, snapshot, touched, write

import tasksift
from tasksift import model_features
from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.rows.example import Example, Turn


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> Hashes:
    return open_hashes(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return enter_folder(tmp_path, monkeypatch)


def test_select_takes_how_it_was_made_from_the_folder(folder: Path, model: Hashes):
    embed(text_template="{prompt}: {response}", max_length=77)
    written, model.rows = snapshot(folder / "features"), 0
    done = tasksift.select("pool.jsonl", "target.jsonl", 8, features="features")
    assert model.rows == 2
    config = done.config
    assert (config.representation, config.model, config.max_length) == ("hidden", "hashes", 77)
    assert config.text_template == "{prompt}: {response}"
    assert snapshot(folder / "features") == written
    plain = select(representation="hidden", model="hashes", text_template="{prompt}: {response}", max_length=77)
    assert list(done.ids) == plain
    assert sorted(p.name for p in folder.iterdir()) == ["features", "pool.jsonl", "target.jsonl"]


def test_a_folder_that_nobody_may_write_serves(folder: Path, monkeypatch: pytest.MonkeyPatch):
    embed()
    expected = select(features="features")
    real = Path.replace

    def replace(path: Path, other: Path) -> Path:
        assert "features" not in path.parts
        return real(path, other)

    monkeypatch.setattr(Path, "replace", replace)
    assert select(features="features") == expected


def test_what_the_user_says_wins_and_is_refused(folder: Path, model: Hashes):
    embed(text_template="{prompt}: {response}")
    there = snapshot(folder / "features")
    for options, difference in [
        ({"text_template": "{prompt}"}, "text_template: '{prompt}: {response}' there, '{prompt}' here"),
        ({"source_column": "id"}, "source_column: None there, 'id' here"),
        ({"store_dtype": "float16"}, "store_dtype: 'float32' there, 'float16' here"),
        ({"representation": "tfidf"}, "representation: 'hidden' there, 'tfidf' here"),
        ({"representation": "encoder", "model": "m"}, "representation: 'hidden' there, 'encoder' here"),
    ]:
        model.rows = 0
        with pytest.raises(InputError, match="features holds other features") as refusal:
            select(features="features", **options)
        assert f"({difference})" in str(refusal.value)
        assert model.rows == 0
        assert snapshot(folder / "features") == there
    model.more = {"model": {"digest": "d2"}, "max_length": 5}
    with pytest.raises(InputError) as refusal:
        select(features="features")
    assert "(made.max_length: absent there, 5 here; made.model.digest: 'd1' there, 'd2' here)" in str(refusal.value)
    assert snapshot(folder / "features") == there


@pytest.mark.parametrize("how", ["embed", "select"])
def test_another_model_is_refused_before_the_pool_is_read(folder: Path, model: Hashes, how: str):
    embed()
    model.more = {"model": {"digest": "d2"}}
    with (folder / "pool.jsonl").open("a") as file:
        file.write("{oops\n")
    with pytest.raises(InputError, match=r"made\.model\.digest"):
        embed() if how == "embed" else select(features="features")
    if how == "embed":
        with pytest.raises(InputError, match="line 41: not JSON"):
            embed(force=True)
    else:  # whose force is about its output
        with pytest.raises(InputError, match=r"made\.model\.digest"):
            select(features="features", force=True)


def test_a_model_that_was_moved_is_the_same(folder: Path, model: Hashes):
    (folder / "models").mkdir()
    tasksift.embed("pool.jsonl", "features", representation="hidden", model="models")
    there = touched(folder / "features")
    assert json.loads((folder / "features/representation.json").read_text())["model"] == str(folder / "models")
    (folder / "models").rename(folder / "elsewhere")
    model.more = {"model": {"name": "elsewhere", "revision": "x"}}
    model.rows = 0
    done = tasksift.select("pool.jsonl", "target.jsonl", 8, features="features", model="elsewhere")
    assert model.rows == 2
    assert touched(folder / "features") == there
    assert json.loads((folder / "features/representation.json").read_text())["model"] == str(folder / "elsewhere")
    assert list(done.ids) == select(features="features")


def test_code_of_strangers_is_allowed_by_the_user_alone(folder: Path):
    embed(trust_remote_code=True)
    assert not tasksift.select("pool.jsonl", "target.jsonl", 8, features="features").config.trust_remote_code
    done = tasksift.select("pool.jsonl", "target.jsonl", 8, features="features", trust_remote_code=True)
    assert done.config.trust_remote_code


@pytest.mark.parametrize("content", ["[1]", "{oops", '"text"', ""])
def test_damaged_options_are_one_line(folder: Path, content: str):
    embed()
    (folder / "features/representation.json").write_text(content)
    with pytest.raises(InputError, match=r"representation\.json is damaged"):
        select(features="features")
    embed()
    assert len(select(features="features")) == 8


def test_rows_without_an_answer_are_like_each_other_and_like_no_other(folder: Path):
    rows = [chat(k, "" if k % 3 == 0 else None) for k in range(40)]
    write(folder / "pool.jsonl", rows)
    found = embed().vectors
    vectors = np.concatenate([np.asarray(shard) for shard in found.shards])
    assert vectors.shape == (40, 7)
    cosines = vectors @ vectors.T
    empty = np.arange(40) % 3 == 0
    assert np.array_equal(cosines[np.ix_(empty, empty)], np.ones((14, 14)))
    assert not cosines[np.ix_(empty, ~empty)].any()
    assert len(select(budget=10, features="features")) == 10
    assert len(select(budget=30, features="features", preset="nearest")) == 30


@pytest.mark.parametrize("name", ["hidden", "loss", "sketch"])
def test_a_target_without_an_answer_is_refused_by_its_row(folder: Path, model: Hashes, name: str):
    write(folder / "target.jsonl", [chat(1000), chat(1001), chat(1002, "")])
    words = "the target's hidden vector is zero" if name == "hidden" else "the target has no answer that counts"
    with pytest.raises(InputError, match=rf"target\.jsonl, line 3: {words}"):
        select(representation=name, model="hashes")
    assert model.rows == 3  # the pool was not embedded for it
    assert sorted(p.name for p in folder.iterdir()) == ["pool.jsonl", "target.jsonl"]
    if name == "loss":  # all tokens count, those of the question too
        assert len(select(representation=name, model="hashes", score="text")) == 8


def test_a_vector_that_is_not_finite_leaves_nothing_behind(folder: Path):
    write(folder / "pool.jsonl", [chat(k, "poison" if k == 9 else None) for k in range(40)])
    with pytest.raises(InputError, match=r"pool\.jsonl, line 10: its hidden vector is not finite"):
        embed()
    with pytest.raises(InputError, match=r"pool\.jsonl, line 10: its hidden vector is not finite"):
        select(features="features", representation="hidden", model="hashes")
    assert sorted(p.name for p in folder.iterdir()) == ["pool.jsonl", "target.jsonl"]


def test_halves_keep_cosines(folder: Path, model: Hashes):
    model.dim = 512
    whole = embed("whole").vectors
    half = embed("half", store_dtype="float16").vectors
    a, b = (np.concatenate([np.asarray(s, dtype=np.float64) for s in each.shards]) for each in (whole, half))
    assert half.shards[0].dtype == np.float16
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    assert np.abs(a @ a.T - b @ b.T).max() < 1e-3
    assert select(features="half", preset="nearest", budget=3) == select(features="whole", preset="nearest", budget=3)


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e12])
def test_halves_of_small_and_large_rows(size: float):
    class Sized(Hashes):
        def transform(self, examples: Sequence[Example]) -> np.ndarray:
            return super().transform(examples) * np.float32(size)

    config = RunConfig.create(representation="hidden", model="m", store_dtype="float16")
    examples = [Example((Turn("user", "q"), Turn("assistant", f"a {k}"))) for k in range(4)]
    rows = model_features.embed_examples(Sized(), examples, config).astype(np.float64)
    plain = Hashes().transform(examples)
    expected = plain / np.linalg.norm(plain, axis=1, keepdims=True)
    np.testing.assert_allclose(rows, np.column_stack([expected, np.zeros(4)]), atol=1e-3)


def test_centred_needs_lengths(folder: Path):
    with pytest.raises(InputError, match="--store-dtype float16"):
        tasksift.embed(
            "pool.jsonl", "features", representation="gradient", checkpoints="c", momentum="centred",
            store_dtype="float16",
        )  # fmt: skip
