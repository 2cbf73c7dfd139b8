import copy
import json
import math

import numpy as np
import pytest
from small_models import CHATML, docstrings, make_examples, make_gpt2, make_llama, make_tokenizer

from tasksift.errors import InputError
from tasksift.represent import sketch
from tasksift.represent.chat import ChatTokens
from tasksift.represent.forward import Predictions, batches, predict
from tasksift.represent.models import CausalModel
from tasksift.represent.sketch import HeadSketch
from tasksift.rows.example import Example, Turn

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

KINDS = ("kron", "tensor")


@pytest.fixture(scope="module")
def llama():
    """A decoder that has learned a little, so that its hidden states have directions in common, as real ones have."""
    model, tokenizer = make_llama(), make_tokenizer()
    text = torch.tensor([token for doc in docstrings() for token in tokenizer(doc)["input_ids"]])
    drawn, steps = torch.Generator().manual_seed(0), torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        ids = text[torch.randint(0, len(text) - 65, (16, 1), generator=drawn) + torch.arange(64)]
        steps.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        steps.step()
    return CausalModel(model.requires_grad_(False), tokenizer, {"digest": "llama"})


@pytest.fixture(scope="module")
def gpt2():
    return CausalModel(make_gpt2().requires_grad_(False), make_tokenizer(CHATML), {"digest": "gpt2"})


@pytest.fixture(params=["llama", "gpt2"])
def causal(request):
    return request.getfixturevalue(request.param)


def exact_gradients(causal, examples, score="text"):
    """Autograd of the summed loss with respect to the output layer alone, float64 (n, vocabulary, d)."""
    model = copy.deepcopy(causal.model).double()
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    coder, found = ChatTokens(causal.tokenizer, 256, score=score), []
    for example in examples:
        tokens = coder.encode(example)
        ids, scored = torch.from_numpy(tokens.ids), torch.from_numpy(tokens.scored[1:])
        logits = model(input_ids=ids[None]).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits[scored], ids[1:][scored], reduction="sum")
        found.append(torch.autograd.grad(loss, head.weight)[0])
    return torch.stack(found)


def embed(causal, examples, kind="kron", k=8, seed=0, **options):
    options = {"score": "text", "max_length": 256} | options
    return HeadSketch(causal, sketch=kind, hidden_dims=k, vocabulary_dims=2 * k, seed=seed, **options)


def cosines(rows):
    unit = torch.nn.functional.normalize(torch.as_tensor(rows).double().flatten(1))
    upper = torch.triu_indices(len(unit), len(unit), 1)
    return (unit @ unit.T)[upper[0], upper[1]]


@pytest.mark.parametrize("score", ["response", "text"])
def test_kron_is_the_gradient_projected_on_both_sides(causal, score):
    examples = make_examples()
    embedder = embed(causal, examples, score=score)
    rows = embedder.transform(examples)
    left, right = embedder._sketch._left.double(), embedder._sketch._right.double()
    expected = torch.einsum("nvd,dh,vk->nhk", exact_gradients(causal, examples, score), left, right).flatten(1)
    assert rows.dtype == np.float32
    assert rows.shape == (len(examples), 128) == (len(examples), embedder.dim)
    np.testing.assert_allclose(rows, expected, atol=1e-5 * float(expected.abs().max()), rtol=1e-5)
    assert {abs(value) for value in left.flatten().tolist()} == {np.float32(8**-0.5)}
    assert {abs(value) for value in right.flatten().tolist()} == {0.25}


@pytest.mark.parametrize("k", [2, 4, 16])
def test_tensor_is_a_count_sketch_of_the_gradient(causal, k):
    examples = make_examples()
    embedder = embed(causal, examples, "tensor", k)
    rows, inner, dim = embedder.transform(examples), embedder._sketch, embedder.dim
    vocabulary = torch.zeros(400, dim)
    inner._vocabulary.add(vocabulary, "vocabulary", torch.eye(400))
    exact = exact_gradients(causal, examples)
    by_bucket = torch.einsum("nvd,vk->ndk", exact, vocabulary.double())
    expected = torch.zeros(len(examples), dim, dtype=torch.float64)
    for i in range(exact.shape[2]):
        expected += inner._signs[i] * by_bucket[:, i].roll(int(inner._buckets[i]), dims=1)
    np.testing.assert_allclose(rows, expected, atol=2e-5 * float(expected.abs().max()), rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_inner_products_are_unbiased(llama, kind):
    """K1."""
    examples = make_examples(7)
    exact = exact_gradients(llama, examples).flatten(1)
    upper = torch.triu_indices(7, 7, 0)
    exact = (exact @ exact.T)[upper[0], upper[1]].numpy()
    coder, found = ChatTokens(llama.tokenizer, 256, score="text"), []
    (batch,) = batches([coder.encode(example) for example in examples], batch_tokens=10**4)
    seen, order = predict(llama.model, batch), batch.rows.argsort()
    for seed in range(300):
        inner = {"kron": sketch._Kron, "tensor": sketch._Tensor}[kind](32, 400, 8, 16, seed, "cpu")
        rows = inner(seen, 7).double().numpy()[order]
        found.append((rows @ rows.T)[upper[0], upper[1]])
    mean, error = np.mean(found, axis=0), np.std(found, axis=0) / math.sqrt(len(found))
    assert len(exact) == 28
    assert np.mean(np.abs(mean - exact) <= 3 * error) >= 0.95
    assert error.mean() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize(("kind", "sizes"), [("kron", (16, 32, 64)), ("tensor", (8, 16, 32))])
def test_error_follows_the_sides_or_the_dimensions(llama, kind, sizes):
    """K2."""
    examples = make_examples()
    exact, scaled = cosines(exact_gradients(llama, examples)), []
    for k in sizes:
        errors = [cosines(embed(llama, examples, kind, k, seed).transform(examples)) - exact for seed in range(16)]
        rms = float(torch.cat(errors).square().mean().sqrt())
        scaled.append(rms * math.sqrt(2 * k if kind == "kron" else 2 * k * k))
    expected = np.mean(scaled) if kind == "kron" else 1.1
    np.testing.assert_allclose(scaled, expected, rtol=0.15 if kind == "kron" else 0.2)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_batches_and_chunks_change_nothing(causal, kind, monkeypatch):
    """K4."""
    examples = make_examples()
    rows = embed(causal, examples, kind).transform(examples)
    tolerance = {"atol": 1e-5 * np.abs(rows).max(), "rtol": 1e-5}
    alone = np.concatenate([embed(causal, examples, kind).transform([example]) for example in examples])
    np.testing.assert_allclose(rows, alone, **tolerance)
    np.testing.assert_allclose(rows, embed(causal, examples, kind, batch_tokens=1).transform(examples), **tolerance)
    monkeypatch.setattr(sketch, "CHUNK_BYTES", 4 * 400 * 7)
    np.testing.assert_allclose(rows, embed(causal, examples, kind).transform(examples), **tolerance)
    monkeypatch.setattr("tasksift.represent.forward.LOGIT_BYTES", 1)
    np.testing.assert_allclose(rows, embed(causal, examples, kind).transform(examples), **tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_scored_tokens_are_zero(llama, kind):
    examples = make_examples(3)
    empty = [Example(()), Example((Turn("user", "a question"),)), Example((Turn("user", "?"), Turn("assistant", "")))]
    mixed = [empty[0], examples[0], empty[1], examples[1], empty[2], examples[2]]
    embedder = embed(llama, examples, kind, score="response")
    rows = embedder.transform(mixed)
    assert not rows[[0, 2, 4]].any()
    np.testing.assert_allclose(rows[[1, 3, 5]], embedder.transform(examples), atol=1e-4, rtol=1e-5)
    assert embedder.transform(empty).shape == (3, embedder.dim)
    assert embedder.transform([]).shape == (0, embedder.dim)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_summed_in_full(llama, kind):
    half = CausalModel(copy.deepcopy(llama.model).bfloat16(), llama.tokenizer, llama.identity)
    examples = make_examples(6)
    embedder = embed(half, examples, kind)
    rows = embedder.transform(examples)
    coder = ChatTokens(half.tokenizer, 256, score="text")
    (batch,) = batches([coder.encode(example) for example in examples], batch_tokens=10**4)
    seen = predict(half.model, batch)
    assert seen.logits.dtype == torch.bfloat16
    wide = Predictions(seen.hidden.float(), seen.logits.float(), seen.labels, seen.owner)
    expected = embedder._sketch(wide, len(examples))
    np.testing.assert_allclose(rows[batch.rows], expected, atol=1e-5 * np.abs(rows).max(), rtol=1e-5)
    assert embedder.identity["dtype"] == "bfloat16"


def test_a_wide_model_takes_several_blocks_of_buckets():
    drawn = torch.Generator().manual_seed(0)
    hidden, logits = torch.randn(5, 50, generator=drawn), torch.randn(5, 30, generator=drawn)
    seen = Predictions(hidden, logits, torch.tensor([1, 2, 3, 4, 5]), torch.tensor([0, 0, 2, 2, 2]))
    inner = sketch._Tensor(50, 30, 2, 8, 0, "cpu")
    errors = torch.softmax(logits, 1) - torch.nn.functional.one_hot(seen.labels, 30)
    vocabulary = torch.zeros(30, 16)
    inner._vocabulary.add(vocabulary, "vocabulary", torch.eye(30))
    expected = torch.zeros(3, 16)
    for t, owner in enumerate(seen.owner):
        for i in range(50):
            expected[owner] += (hidden[t, i] * inner._signs[i] * errors[t] @ vocabulary).roll(int(inner._buckets[i]))
    torch.testing.assert_close(inner(seen, 3), expected, atol=1e-5, rtol=1e-5)
    assert len(set(inner._buckets[:16].tolist())) == 16


def test_threads_change_only_last_bits(llama):
    examples, before, rows = make_examples(), torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            rows.append(embed(llama, examples).transform(examples))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(*rows, atol=1e-5 * np.abs(rows[0]).max(), rtol=1e-5)


def test_identity_tells_what_decides(llama, gpt2):
    examples = make_examples(1)
    base = embed(llama, examples).identity
    json.dumps(base)
    assert base == embed(llama, examples, batch_tokens=7).identity
    assert base["model"] == {"digest": "llama"}
    assert base["dtype"] == "float32"
    assert base["sketch"] | {"digest": ""} == {
        "type": "kron", "hidden_dims": 8, "vocabulary_dims": 16, "seed": 0, "digest": ""
    }  # fmt: skip
    others = [
        embed(llama, examples, "tensor"), embed(llama, examples, seed=1), embed(llama, examples, k=9),
        embed(llama, examples, score="response"), embed(llama, examples, max_length=9), embed(gpt2, examples),
    ]  # fmt: skip
    assert all(other.identity != base for other in others)
    digests = {other.identity["sketch"]["digest"] for other in others[:3]}
    assert len(digests | {base["sketch"]["digest"]}) == 4


def test_refusals(llama):
    with pytest.raises(InputError, match="--sketch dense does not exist; use one of kron, tensor"):
        HeadSketch(llama, sketch="dense")
    with pytest.raises(InputError, match="at least 1, not 0 x 128"):
        HeadSketch(llama, hidden_dims=0)
    broken = CausalModel(copy.deepcopy(llama.model), llama.tokenizer, {})
    broken.model.get_output_embeddings().weight[3] = float("nan")
    with pytest.raises(InputError, match=r"pool.jsonl:4: the model's predictions are not finite"):
        embed(broken, []).transform([Example((Turn("document", "some words"),), "pool.jsonl:4")])
