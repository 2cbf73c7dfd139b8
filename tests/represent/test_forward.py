import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_models import CHATML, make_examples, make_gpt2, make_llama, make_tokenizer

from tasksift.represent.chat import ChatTokens, Tokens
from tasksift.represent.forward import batches, per_example, predict

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

MODELS = {"llama": make_llama, "gpt2": make_gpt2}
TOKENS = [ChatTokens(make_tokenizer(CHATML), 100).encode(each) for each in make_examples()]


def made(lengths):
    generator = np.random.default_rng(0)
    return [Tokens(generator.integers(1, 400, n), generator.random(n) < 0.5) for n in lengths]


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 120), st.integers(1, 6))
def test_every_example_is_in_one_batch(lengths, batch_tokens, most):
    tokens = made(lengths)
    rows, widths = [], []
    for batch in batches(tokens, batch_tokens=batch_tokens, most=most):
        count, width = batch.ids.shape
        assert batch.ids.dtype == batch.mask.dtype == torch.int64
        assert batch.mask.shape == batch.scored.shape == batch.ids.shape
        assert count == len(batch.rows) <= most
        assert count == 1 or count * width <= batch_tokens
        widths.append(width)
        rows += list(batch.rows)
        for k, row in enumerate(batch.rows):
            length = lengths[row]
            assert np.array_equal(batch.ids[k, :length], tokens[row].ids)
            assert np.array_equal(batch.scored[k, :length], tokens[row].scored)
            assert batch.mask[k].tolist() == [1] * length + [0] * (width - length)
            assert not batch.ids[k, length:].any()
            assert not batch.scored[k, length:].any()
    assert sorted(rows) == [k for k, length in enumerate(lengths) if length]
    assert widths == sorted(widths, reverse=True)


def test_batches_are_full():
    assert [len(batch.rows) for batch in batches(made([8] * 10), batch_tokens=33)] == [4, 4, 2]
    assert [len(batch.rows) for batch in batches(made([8] * 10), batch_tokens=10**6, most=7)] == [7, 3]
    # Equal lengths stay in order, so that the same examples always meet in the same batches.
    assert np.concatenate([batch.rows for batch in batches(made([8] * 10), batch_tokens=33)]).tolist() == [*range(10)]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("batch_tokens", [1, 300, 10**6])
def test_predictions_at_the_scored_tokens(kind, batch_tokens):
    model = MODELS[kind]().requires_grad_(False)
    for batch in batches(TOKENS, batch_tokens=batch_tokens):
        found = predict(model, batch)
        owners = []
        at = 0
        for k, row in enumerate(batch.rows):
            ids, scored = TOKENS[row].ids, TOKENS[row].scored
            alone = model(input_ids=torch.from_numpy(ids)[None], output_hidden_states=True)
            for t in np.flatnonzero(scored):
                torch.testing.assert_close(found.logits[at], alone.logits[0, t - 1], atol=1e-5, rtol=1e-5)
                torch.testing.assert_close(found.hidden[at], alone.hidden_states[-1][0, t - 1], atol=1e-5, rtol=1e-5)
                assert found.labels[at] == ids[t]
                owners.append(k)
                at += 1
        assert found.owner.tolist() == owners
        assert len(found.logits) == len(found.hidden) == len(found.labels) == at
    assert not model.get_output_embeddings()._forward_pre_hooks


def test_predictions_where_nothing_is_scored():
    model = make_llama().requires_grad_(False)
    (batch,) = batches([Tokens(np.array([5, 6, 7]), np.array([True, False, False]))])
    found = predict(model, batch)
    assert (len(found.hidden), len(found.logits), len(found.labels), len(found.owner)) == (0, 0, 0, 0)


def test_the_output_layer_sees_the_scored_tokens_only():
    model = make_llama()
    sizes = []
    model.get_output_embeddings().register_forward_hook(lambda _, inputs, out: sizes.append(out.shape[:-1].numel()))
    (batch,) = batches(TOKENS, batch_tokens=10**6)
    predict(model, batch)
    assert sizes == [sum(int(each.scored.sum()) for each in TOKENS)]


@pytest.mark.parametrize("kind", MODELS)
def test_gradients_flow_through(kind):
    model = MODELS[kind]()
    (batch,) = batches(TOKENS[:3], batch_tokens=10**6)
    found = predict(model, batch)
    torch.nn.functional.cross_entropy(found.logits, found.labels).backward()
    narrow = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    labels = torch.where(batch.scored, batch.ids, -100)
    model(input_ids=batch.ids, attention_mask=batch.mask, labels=labels).loss.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(narrow[name], parameter.grad, atol=1e-6, rtol=1e-4)


def test_the_hook_goes_when_the_model_fails():
    model = make_gpt2()
    with pytest.raises(IndexError):
        predict(model, next(batches(made([300]))))  # more tokens than the model has positions
    assert not model.get_output_embeddings()._forward_pre_hooks


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_sums_over_the_tokens_of_an_example(mean, dtype):
    generator = torch.Generator().manual_seed(0)
    owner = torch.tensor([0] * 600 + [2] + [3] * 300)
    values = torch.rand(len(owner), generator=generator).to(dtype)
    found = per_example(values, owner, 5, mean=mean)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    for k in range(5):
        mine = values[owner == k].double()
        expected = float(mine.sum()) / (max(1, len(mine)) if mean else 1)
        assert float(found[k]) == pytest.approx(expected, rel=1e-5)
