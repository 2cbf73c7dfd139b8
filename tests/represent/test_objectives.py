"""Losses per example: against one example and one token at a time, and closed forms of their gradients."""

from __future__ import annotations

import pytest
from small_models import make_gpt2, make_llama

from tasksift.represent import objectives
from tasksift.represent.chat import Tokens
from tasksift.represent.forward import Batch, batches
from tasksift.represent.gradient_sinks import Materialised
from tasksift.represent.per_example import PerExample

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


def random_batch(n, seed, *, scored=None, longest=20):
    """One batch of examples of mixed lengths, rows in order."""
    generator = torch.Generator().manual_seed(seed)
    tokens = []
    for _ in range(n):
        length = int(torch.randint(4, longest, (1,), generator=generator))
        ids = torch.randint(1, 400, (length,), generator=generator).numpy()
        tokens.append(Tokens(ids, torch.arange(length).numpy() >= length - (scored or length // 2)))
    (batch,) = batches(tokens)
    order = batch.rows.argsort()
    return Batch(batch.rows[order], batch.ids[order], batch.mask[order], batch.scored[order])


def gradients(model, losses, count):
    """Gradients (count, p) of all weights of the blocks, in the order of their names."""
    names = [name for name, _ in model.named_parameters() if ".h." in name]
    grads, engine = {}, PerExample(model, names)
    engine.accumulate(
        losses, count, Materialised(engine.layout, count, lambda name, each, row: grads.update({name: each}))
    )
    return torch.cat([grads[name].flatten(1) for name in names], 1)


def test_values_are_those_of_the_definition():
    model, batch = make_llama(), random_batch(5, 0)
    found = {
        "mean": objectives.sft(model, batch), "sum": objectives.sft(model, batch, mean=False),
        "logprob": objectives.sequence_logprob(model, batch), "p": objectives.probability(model, batch),
        "margin": objectives.margin(model, batch),
    }  # fmt: skip
    found = {name: values.detach() for name, values in found.items()}
    for k in range(5):
        ids = batch.ids[k][batch.mask[k].bool()]
        p = model(input_ids=ids[None]).logits[0].double().softmax(-1)
        p = torch.stack([p[t - 1, ids[t]] for t in range(len(ids)) if batch.scored[k, t]])
        right = {
            "mean": -p.log().mean(), "sum": -p.log().sum(), "logprob": p.log().sum(), "p": p.mean(),
            "margin": (p / (1 - p)).log().mean(),
        }  # fmt: skip
        for name, values in found.items():
            assert values.shape == (5,)
            assert values.dtype == torch.float32
            assert float(values[k]) == pytest.approx(float(right[name].detach()), rel=1e-5), name


def test_margin_is_exact_where_p_rounds_to_one():
    class Sure(torch.nn.Module):
        """Gives token 1 a lead of 60, of which p keeps nothing."""

        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(2, 4, bias=False)
            self.head.weight.data = torch.tensor([[0.0, 0], [60, 0], [0, 0], [0, 0]])

        def get_output_embeddings(self):
            return self.head

        def forward(self, input_ids, **_):
            hidden = torch.ones(*input_ids.shape, 2)
            return type("Out", (), {"logits": self.head(hidden)})

    ids = torch.ones(1, 2, dtype=torch.int64)
    batch = Batch(torch.arange(1).numpy(), ids, ids, torch.tensor([[False, True]]))
    with torch.no_grad():
        p, margin = objectives.probability(Sure(), batch), objectives.margin(Sure(), batch)
    assert float(p) == 1
    assert float(margin) == pytest.approx(60 - torch.log(torch.tensor(3.0)).item(), rel=1e-6)


def test_gradients_of_loss_and_margin_are_linked():
    """With one scored token: grad loss = -(1 - p) grad margin."""
    model, batch = make_gpt2().double(), random_batch(6, 1, scored=1)
    loss = gradients(model, lambda: objectives.sft(model, batch), 6)
    margin = gradients(model, lambda: objectives.margin(model, batch), 6)
    with torch.no_grad():
        p = objectives.probability(model, batch)
    assert (loss + (1 - p)[:, None] * margin).norm() <= 1e-10 * loss.norm()


@pytest.mark.parametrize("beta", [0.1, 2.0])
def test_preference_gradient_is_the_closed_form(beta):
    """-beta sigmoid(-delta) (grad log pi(chosen) - grad log pi(rejected)), to 1e-6."""
    model, reference = make_gpt2().double(), make_gpt2(seed=1).double()
    chosen, rejected = random_batch(5, 2), random_batch(5, 3, longest=9)
    with torch.no_grad():
        anchors = [objectives.sequence_logprob(reference, each) for each in (chosen, rejected)]
        here = [objectives.sequence_logprob(model, each) for each in (chosen, rejected)]
    delta = beta * ((here[0] - anchors[0]) - (here[1] - anchors[1]))
    found = gradients(model, lambda: objectives.dpo(model, chosen, rejected, *anchors, beta), 5)
    up, down = (
        gradients(model, lambda each=each: objectives.sequence_logprob(model, each), 5) for each in (chosen, rejected)
    )
    right = -beta * (-delta).sigmoid()[:, None] * (up - down)
    assert ((found - right).norm(dim=1) <= 1e-6 * right.norm(dim=1)).all()
    with torch.no_grad():
        values = objectives.dpo(model, chosen, rejected, *anchors, beta)
    assert torch.allclose(values, torch.log1p((-delta).exp()))


def test_swapped_pairs_flip_the_sign_at_the_reference():
    model, chosen, rejected = make_gpt2().double(), random_batch(4, 4), random_batch(4, 5)
    with torch.no_grad():
        anchors = [objectives.sequence_logprob(model, each) for each in (chosen, rejected)]
    one = gradients(model, lambda: objectives.dpo(model, chosen, rejected, *anchors), 4)
    other = gradients(model, lambda: objectives.dpo(model, rejected, chosen, *anchors[::-1]), 4)
    assert (one + other).norm() <= 1e-10 * one.norm()


def test_pairs_must_match():
    model, batch = make_gpt2(), random_batch(3, 6)
    other = Batch(batch.rows[::-1], batch.ids, batch.mask, batch.scored)
    with pytest.raises(ValueError, match="not of the same pairs"):
        objectives.dpo(model, batch, other, torch.zeros(3), torch.zeros(3))
