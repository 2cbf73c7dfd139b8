"""Per-example gradients: against a loop over examples, finite differences, and models that must be refused."""

from __future__ import annotations

import pytest
from small_models import make_gpt2, make_llama

from tasksift.errors import InputError
from tasksift.represent import objectives
from tasksift.represent.chat import Tokens
from tasksift.represent.forward import Batch, batches
from tasksift.represent.gradient_sinks import Materialised
from tasksift.represent.parameters import choose_parameters
from tasksift.represent.per_example import PerExample

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


def random_tokens(n=9, longest=24, seed=0, vocabulary=400):
    """Examples of mixed lengths, of which the last part is scored."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, longest, (n,), generator=generator).tolist()
    ids = [torch.randint(1, vocabulary, (length,), generator=generator).numpy() for length in lengths]
    return [Tokens(each, torch.arange(len(each)).numpy() >= max(1, len(each) // 3)) for each in ids]


def keep_in(grads):
    """What puts whole gradients into a dict."""
    return lambda name, whole, row: grads.update({name: whole})


def per_example(model, names, losses, count, owners=()):
    """All gradients (count, *shape) by name."""
    grads = {}
    engine = PerExample(model, names)
    engine.accumulate(losses, count, Materialised(engine.layout, count, keep_in(grads)), owners)
    return grads


def by_batches(model, names, tokens, objective=objectives.sft, most=64):
    """The same, rows in the order of the examples."""
    grads = {name: torch.zeros(len(tokens), *shape) for name, shape in PerExample(model, names).layout.items()}
    for batch in batches(tokens, most=most):
        part = per_example(
            model, names, lambda batch=batch: objective(model, batch), len(batch.rows), objectives.owners(batch)
        )
        for name, values in part.items():
            grads[name][batch.rows] = values.to(grads[name])
    return grads


def by_loop(model, names, losses):
    """Ordinary autograd, one loss at a time; `losses` are callables."""
    parameters = dict(model.named_parameters())
    model.requires_grad_(True)
    rows = [
        torch.autograd.grad(loss(), [parameters[name] for name in names], allow_unused=True, materialize_grads=True)
        for loss in losses
    ]
    model.requires_grad_(False)
    return {name: torch.stack([row[k] for row in rows]) for k, name in enumerate(names)}


def loop_of(model, names, tokens, objective=objectives.sft):
    alone = [next(batches([each])) for each in tokens]
    return by_loop(model, names, [lambda batch=batch: objective(model, batch)[0] for batch in alone])


def assert_same(grads, expected, most=1e-5):
    assert set(grads) == set(expected)
    for name, right in expected.items():
        scale = max(right.flatten(1).norm(dim=1).max(), 1e-3)
        assert (grads[name] - right).flatten(1).norm(dim=1).max() <= most * scale, name


def everything(model):
    return [name for name, _ in model.named_parameters()]


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


class Shift(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.by = torch.nn.Parameter(torch.ones(6))

    def forward(self, values):
        return values + self.by


class Shared(torch.nn.Module):
    """One layer and one norm used twice, a bias of its own, an extra that is used by nothing."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.layer = torch.nn.Linear(6, 6)
        self.norm, self.shift = torch.nn.RMSNorm(6), Shift()
        self.scale = torch.nn.Parameter(torch.randn(6, generator=generator))
        self.unused = torch.nn.Linear(2, 2)
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, generator=generator)

    def forward(self, values):
        values = self.shift(self.norm(self.layer(values))).tanh_()
        return self.scale * self.norm(self.layer(values) * self.scale)


def test_modules_that_run_twice():
    model, values = Shared(), torch.randn(5, 4, 6, generator=torch.Generator().manual_seed(1))
    names = everything(model)
    seen = []

    class Watch(Materialised):
        def done(self, name):
            seen.append(name)
            super().done(name)

    grads, engine = {}, PerExample(model, names)
    engine.accumulate(lambda: (model(values) ** 3).sum((1, 2)), 5, Watch(engine.layout, 5, keep_in(grads)))
    assert sorted(seen) == sorted(names)
    assert_same(grads, by_loop(model, names, [lambda k=k: (model(values[k : k + 1]) ** 3).sum() for k in range(5)]))
    assert not grads["unused.weight"].any()
    assert grads["unused.weight"].shape == (5, 2, 2)


def test_matrices_are_passed_on_one_by_one():
    """At most one whole gradient is held where no parameter is used twice."""
    model, (batch,) = make_llama(layers=3), batches(random_tokens())
    engine = PerExample(model, choose_parameters(model))
    sink = Materialised(engine.layout, len(batch.rows), lambda *_: held.append(len(sink._held) + len(sink._factors)))
    held = []
    engine.accumulate(lambda: objectives.sft(model, batch), len(batch.rows), sink)
    assert held == [0] * len(engine.layout)


def test_gradients_in_rows_are_the_same():
    model = Shared()
    values = torch.randn(5, 4, 6, generator=torch.Generator().manual_seed(1))
    engine, whole, parts = PerExample(model, everything(model)), {}, {}
    for numbers, pass_on in (
        (None, keep_in(whole)),
        (50, lambda name, each, row: parts.setdefault(name, []).append(each)),
    ):
        sink = Materialised(engine.layout, 5, pass_on, numbers=numbers)
        engine.accumulate(lambda: (model(values) ** 3).sum((1, 2)), 5, sink)
    assert max(len(each) for each in parts.values()) == 6
    assert_same({name: torch.cat(each, 1) for name, each in parts.items()}, whole)


def test_model_is_left_as_it_was():
    model, (batch,) = make_gpt2(), batches(random_tokens())
    model.requires_grad_(False)
    model.transformer.ln_f.bias.requires_grad_()
    before = {name: (id(parameter), parameter.requires_grad) for name, parameter in model.named_parameters()}
    engine = PerExample(model, everything(model))

    def fail():
        objectives.sft(model, batch)
        raise OSError

    sink = Materialised(engine.layout, len(batch.rows), lambda *_: None)
    with pytest.raises(OSError):
        engine.accumulate(fail, len(batch.rows), sink, objectives.owners(batch))
    for losses in (lambda: objectives.sft(model, batch), lambda: torch.zeros(len(batch.rows))):
        with torch.no_grad():
            engine.accumulate(losses, len(batch.rows), sink, objectives.owners(batch))
    engine.verify(lambda: objectives.sft(model, batch), len(batch.rows), torch.Generator(), objectives.owners(batch))
    assert before == {name: (id(parameter), parameter.requires_grad) for name, parameter in model.named_parameters()}
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


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


class Wrong(torch.nn.Module):
    """A model that does in `how` what hooks cannot see."""

    def __init__(self, how):
        super().__init__()
        self.how, self.first, self.last = how, torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
        self.shift = torch.nn.Parameter(torch.ones(4))
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(len(parameter)))

    def forward(self, values):
        values = self.first(values).tanh()
        if self.how == "mixes":
            values = values - values.mean(0)
        if self.how == "functional":
            return torch.nn.functional.linear(values, self.last.weight)
        if self.how == "half":
            return self.last(values) + values @ self.last.weight
        if self.how == "flat":
            return self.last(values.flatten(0, 1)).view(values.shape)
        if self.how == "tokens first":
            return self.last(values.transpose(0, 1).flatten(0, 1)).view(3, 5, 4).transpose(0, 1)
        if self.how == "some":
            return values + self.last(values.flatten(0, 1)[:7]).mean()
        if self.how == "shape":
            return self.last(values) + torch.outer(self.shift, self.shift).sum(0)
        return self.last(values)


@pytest.mark.parametrize(
    ("how", "names", "says"),
    [
        ("mixes", ["first.weight", "last.weight"], "first.weight do not add up"),
        ("functional", ["first.weight", "last.weight"], "last.weight do not add up"),
        ("half", ["last.weight"], "last.weight do not add up"),
        ("flat", ["first.weight", "last.weight", "last.bias"], None),
        ("tokens first", ["first.weight", "last.weight"], "last.weight do not add up"),
        ("some", ["first.weight", "last.bias"], r"last.bias cannot .* shape \(7, 4\), not 5 examples"),
        ("shape", ["shift", "last.weight"], "do not fit this model"),
    ],
)
def test_guard_refuses(how, names, says):
    values = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    right, wrong = Wrong("nothing"), Wrong(how)
    for model in (right, wrong):
        engine = PerExample(model, names)
        check = (lambda model=model: (model(values) ** 2).sum((1, 2)), 5, torch.Generator().manual_seed(0))
        if model is right or says is None:
            engine.verify(*check)
        else:
            with pytest.raises(InputError, match=says):
                engine.verify(*check)


def test_unknown_modules_and_names_are_refused():
    model = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 1))
    with pytest.raises(InputError, match=r"0\.weight cannot be had per example, its module is a Conv1d"):
        PerExample(model, ["0.weight"])
    with pytest.raises(InputError, match=r"no parameter 1\.weight; there are 2, as 0\.weight, 0\.bias"):
        PerExample(model, ["1.weight"])
