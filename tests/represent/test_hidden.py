import numpy as np
import pytest
from small_models import CHATML, make_examples, make_gpt2, make_llama, make_tokenizer

from tasksift.errors import InputError
from tasksift.represent.chat import ChatTokens
from tasksift.represent.hidden import HiddenStates, weights
from tasksift.represent.models import CausalModel
from tasksift.rows.example import Example, Turn

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

EXAMPLES = make_examples()
MODELS = {"llama": make_llama, "gpt2": make_gpt2}


def causal(kind="llama", template=CHATML, dtype=torch.float32):
    model = MODELS[kind]()
    with torch.no_grad():  # a norm that does something
        for name, parameter in model.named_parameters():
            if "norm" in name or "ln_f" in name:
                parameter += torch.linspace(-0.5, 0.5, len(parameter))
    return CausalModel(model.requires_grad_(False).to(dtype), make_tokenizer(template), {"digest": kind})


def by_the_definition(model, ids, weighting):
    """A double loop over the last of the hidden states that transformers itself gives."""
    states = model(input_ids=torch.from_numpy(ids)[None], output_hidden_states=True).hidden_states[-1][0]
    length = len(ids)
    total = np.zeros(states.shape[1])
    for i in range(1, length + 1):
        weight = {"position": i / (length * (length + 1) / 2), "mean": 1 / length, "last": float(i == length)}[
            weighting
        ]
        for k in range(len(total)):
            total[k] += weight * float(states[i - 1, k])
    return total


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("weighting", ["position", "mean", "last"])
def test_the_definition(kind, weighting):
    asked = causal(kind)
    tokens = ChatTokens(asked.tokenizer, 48, score="text")
    found = HiddenStates(asked, max_length=48, weighting=weighting).transform(EXAMPLES)
    expected = [by_the_definition(asked.model, tokens.encode(each).ids, weighting) for each in EXAMPLES]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("kind", MODELS)
def test_states_are_what_the_output_layer_sees(kind):
    asked = causal(kind)
    tokens = ChatTokens(asked.tokenizer, 64, score="text").encode(EXAMPLES[0])
    seen = []
    handle = asked.model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    asked.model(input_ids=torch.from_numpy(tokens.ids)[None])
    handle.remove()
    found = HiddenStates(asked, max_length=64, weighting="last").transform(EXAMPLES[:1])
    np.testing.assert_allclose(found[0], seen[0][0, -1], atol=1e-5)
    assert not asked.model.get_output_embeddings()._forward_pre_hooks


def test_the_output_layer_works_on_one_token_of_each():
    asked = causal()
    sizes = []
    asked.model.get_output_embeddings().register_forward_hook(lambda _, inputs, out: sizes.append(out.shape[1]))
    HiddenStates(asked, max_length=64).transform(EXAMPLES)
    assert set(sizes) == {1}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_batches_and_padding_change_nothing(kind, dtype):
    asked = causal(kind, dtype=dtype)
    alone, together = (HiddenStates(asked, max_length=64, batch_tokens=size) for size in (1, 4096))
    one_by_one = np.concatenate([alone.transform([each]) for each in EXAMPLES])
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    np.testing.assert_allclose(together.transform(EXAMPLES), one_by_one, atol=tolerance)
    order = np.random.default_rng(0).permutation(len(EXAMPLES))
    np.testing.assert_allclose(together.transform([EXAMPLES[k] for k in order]), one_by_one[order], atol=tolerance)


def test_bfloat16_is_near_float32_and_summed_in_float32():
    texts = [Example((Turn("document", " ".join(each.text for each in EXAMPLES)),))]
    fine = HiddenStates(causal(), max_length=250, weighting="mean").transform(texts)
    asked = causal(dtype=torch.bfloat16)
    coarse = HiddenStates(asked, max_length=250, weighting="mean").transform(texts)
    np.testing.assert_allclose(coarse, fine, atol=3e-2)
    ids = ChatTokens(asked.tokenizer, 250, score="text").encode(texts[0]).ids
    np.testing.assert_allclose(coarse[0], by_the_definition(asked.model, ids, "mean"), atol=1e-5)


def test_weights_leave_the_padding_out():
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    np.testing.assert_allclose(weights(mask, "position"), [[0.1, 0.2, 0.3, 0.4], [1 / 3, 2 / 3, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(weights(mask, "mean"), [[0.25] * 4, [0.5, 0.5, 0, 0]])
    np.testing.assert_allclose(weights(mask, "last"), [[0, 0, 0, 1], [0, 1, 0, 0]])


def test_without_text():
    found = HiddenStates(causal(template=None), max_length=64).transform([Example(()), EXAMPLES[0]])
    assert not found[0].any()
    assert found[1].any()
    assert HiddenStates(causal(), max_length=64).transform([]).shape == (0, 32)


def test_identity_tells_apart_what_changes_the_numbers():
    identities = [
        HiddenStates(causal(), max_length=64).identity,
        HiddenStates(causal("gpt2"), max_length=64).identity,
        HiddenStates(causal(), max_length=63).identity,
        HiddenStates(causal(template=None), max_length=64).identity,
        HiddenStates(causal(), max_length=64, weighting="mean").identity,
        HiddenStates(causal(dtype=torch.bfloat16), max_length=64).identity,
    ]
    assert all(one != other for k, one in enumerate(identities) for other in identities[:k])
    assert HiddenStates(causal(), max_length=64, batch_tokens=1).identity == identities[0]


def test_requests_that_cannot_be_served():
    with pytest.raises(InputError, match=r"--weighting max does not exist; use one of position, mean, last"):
        HiddenStates(causal(), max_length=64, weighting="max")
    broken = causal()
    with torch.no_grad():
        broken.model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(InputError, match=r"^a\.jsonl, line 3: .* not finite"):
        HiddenStates(broken, max_length=64).transform([Example(EXAMPLES[0].turns, "a.jsonl, line 3")])
