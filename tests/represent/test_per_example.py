"""Per-example gradients: against a loop over examples and finite differences, for models of many kinds."""

from __future__ import annotations

import pytest
from per_example_by_hand import assert_same, by_batches, by_loop, everything, loop_of, per_example, random_tokens
from small_models import make_gpt2, make_llama

from tasksift.represent import objectives
from tasksift.represent.forward import Batch, batches
from tasksift.represent.parameters import choose_parameters
from tasksift.represent.per_example import PerExample

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def lora():
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=3, lora_alpha=6, lora_dropout=0.1, target_modules=["q_proj", "v_proj", "down_proj"])
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = peft.get_peft_model(make_llama(), config).eval()
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.parametrize(
    ("make", "objective"),
    [
        (make_llama, objectives.sft),
        (make_llama, objectives.margin),
        (make_gpt2, objectives.sft),
        (lambda: make_llama(tied=True), objectives.sft),
    ],
    ids=["llama", "llama-margin", "gpt2", "tied"],
)
@pytest.mark.parametrize("most", [1, 64])
def test_equals_a_loop(make, objective, most):
    model, tokens = make(), random_tokens()
    names = everything(model)
    assert_same(by_batches(model, names, tokens, objective, most), loop_of(model, names, tokens, objective))


def test_adapters_equal_a_loop(lora):
    tokens, names = random_tokens(), choose_parameters(lora)
    assert len(names) == 2 * 2 * 3
    expected = loop_of(lora, names, tokens)
    assert all(right.abs().max() > 0 for right in expected.values())
    for most in (1, 64):
        assert_same(by_batches(lora, names, tokens, most=most), expected)


def test_padding_changes_nothing():
    model, (example, *_) = make_gpt2(), random_tokens()
    names = everything(model)
    batch = next(batches([example]))
    wide = Batch(batch.rows, *(torch.nn.functional.pad(each, (0, 9)) for each in (batch.ids, batch.mask, batch.scored)))
    one, other = (
        per_example(model, names, lambda each=each: objectives.sft(model, each), 1, objectives.owners(each))
        for each in (batch, wide)
    )
    assert_same(other, one)


@pytest.mark.parametrize("task", ["masked", "classes"])
def test_encoder_equals_a_loop(task):
    from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

    config = BertConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=40, num_labels=3,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = (BertForMaskedLM if task == "masked" else BertForSequenceClassification)(config).eval()
    tokens = random_tokens(vocabulary=100)
    tokens[1].ids[-2] = config.pad_token_id  # has no gradient, although it is seen

    def losses(batch):
        logits = model(input_ids=batch.ids, attention_mask=batch.mask).logits
        if task == "classes":
            return torch.nn.functional.cross_entropy(logits, batch.ids[:, 0] % 3, reduction="none")
        each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch.ids, reduction="none")
        return (each * batch.scored).sum(1)

    names = everything(model)
    (batch,) = batches(tokens)
    alone = [next(batches([tokens[row]])) for row in batch.rows]
    expected = by_loop(model, names, [lambda each=each: losses(each)[0] for each in alone])
    assert_same(per_example(model, names, lambda: losses(batch), len(batch.rows)), expected)
    PerExample(model, names).verify(lambda: losses(batch), len(batch.rows), torch.Generator().manual_seed(0))


def test_preference_pairs_equal_a_loop():
    """Two runs of the model in one graph, the output layer among the parameters."""
    model, names = make_llama(tied=True), everything(make_llama(tied=True))
    chosen, rejected = batch_of(random_tokens(4, seed=1)), batch_of(random_tokens(4, seed=2))
    reference = torch.tensor([-30.0, -50.0, -40.0, -20.0])

    def pairs(a, b, k=slice(None)):
        return objectives.dpo(model, a, b, reference[k], reference[k] - 3, beta=0.2)

    grads = per_example(model, names, lambda: pairs(chosen, rejected), 4, objectives.owners(chosen, rejected))
    one = [(row(chosen, k), row(rejected, k), slice(k, k + 1)) for k in range(4)]
    assert_same(grads, by_loop(model, names, [lambda each=each: pairs(*each)[0] for each in one]))


def batch_of(tokens):
    """One batch, rows in order."""
    (batch,) = batches(tokens)
    order = batch.rows.argsort()
    return Batch(batch.rows[order], batch.ids[order], batch.mask[order], batch.scored[order])


def row(batch, k):
    return Batch(batch.rows[k : k + 1], batch.ids[[k]], batch.mask[[k]], batch.scored[[k]])


def test_finite_differences():
    model, tokens = make_gpt2().double(), random_tokens(5)
    names = everything(model)
    (batch,) = batches(tokens)
    grads = per_example(
        model, names, lambda: objectives.margin(model, batch), len(batch.rows), objectives.owners(batch)
    )
    parameters, step = dict(model.named_parameters()), 1e-5
    generator = torch.Generator().manual_seed(0)
    for name in names[::5]:
        values, grad = parameters[name].data.view(-1), grads[name].flatten(1)
        assert grad.dtype == torch.float64
        at = (
            int(torch.randint(len(values), (1,), generator=generator))
            if name != names[0]
            else int(batch.ids[0, 1] * 32)
        )
        kept, both = values[at].clone(), []
        for sign in (1, -1):
            values[at] = kept + sign * step
            with torch.no_grad():
                both.append(objectives.margin(model, batch))
        values[at] = kept
        assert torch.allclose((both[0] - both[1]) / (2 * step), grad[:, at], rtol=1e-6, atol=1e-9), name


def test_examples_without_scored_tokens_have_no_gradient():
    model, tokens = make_llama(), random_tokens(4)
    tokens[2].scored[:] = False
    grads = by_batches(model, everything(model), tokens)
    assert all(not each[2].any() and each[0].any() for name, each in grads.items() if "embed" not in name)
    alone = by_batches(model, everything(model), tokens[2:3])
    assert not any(each.any() for each in alone.values())


@pytest.mark.parametrize("kind", ["Gemma", "Qwen3", "OPT"])
def test_other_architectures(kind):
    """Norms that scale by 1 + w, norms of heads, tokens that are flattened between layers."""
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"max_position_embeddings": 64, "pad_token_id": None, "bos_token_id": None, "eos_token_id": 0}
    sizes |= {"ffn_dim": 48, "word_embed_proj_dim": 32} if kind == "OPT" else {
        "intermediate_size": 48, "head_dim": 8, "num_key_value_heads": 2,
    }  # fmt: skip
    config = getattr(transformers, f"{kind}Config")(**sizes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    tokens, names = random_tokens(), choose_parameters(model, "layers")
    assert any("norm" in name for name in names)
    assert_same(by_batches(model, names, tokens), loop_of(model, names, tokens))


@pytest.mark.parametrize("make", [make_llama, make_gpt2])
def test_bfloat16_is_close(make):
    model, tokens = make(), random_tokens()
    names = everything(model)
    expected = by_batches(model, names, tokens)
    model.to(torch.bfloat16)
    grads = by_batches(model, names, tokens)
    flat = [torch.cat([each[name].flatten(1) for name in names], 1) for each in (grads, expected)]
    assert torch.nn.functional.cosine_similarity(*flat).min() > 0.999
    (batch,) = batches(tokens)
    engine = PerExample(model, names)
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        engine.verify(lambda: objectives.sft(model, batch), len(batch.rows), generator, objectives.owners(batch))
