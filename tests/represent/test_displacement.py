"""A model moved along a projection, against the definition: the transpose, the distance, true margins, what is left."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from small_models import make_examples, make_gpt2, make_llama, make_tokenizer  # noqa: E402

from tasksift.represent import displacement as module  # noqa: E402
from tasksift.represent import objectives  # noqa: E402
from tasksift.represent.chat import ChatTokens  # noqa: E402
from tasksift.represent.displacement import Displacement, transposed  # noqa: E402
from tasksift.represent.forward import batches  # noqa: E402
from tasksift.represent.models import CausalModel  # noqa: E402
from tasksift.represent.parameters import choose_parameters  # noqa: E402
from tasksift.represent.projection import make_projection  # noqa: E402
from tasksift.rows.example import Example, Turn  # noqa: E402

KINDS = ("count-sketch", "rademacher", "factored", "none")
LAYOUT = {"head": (7, 30), "norm": (11,), "down": (12, 9), "up": (5, 2, 3), "scale": ()}
EXAMPLES = make_examples(6)


def displacement(model, kind="count-sketch", dim=64, params="linear", examples=EXAMPLES):
    names = choose_parameters(model, params)
    layout = {name: tuple(p.shape) for name, p in model.named_parameters() if name in names}
    tokenizer = make_tokenizer()
    return Displacement(
        CausalModel(model.requires_grad_(False), tokenizer), make_projection(kind, layout, dim, 5),
        ChatTokens(tokenizer, 48), examples,
    )  # fmt: skip


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def margins_of(model, examples=EXAMPLES):
    tokens = [ChatTokens(make_tokenizer(), 48).encode(example) for example in examples]
    found = np.zeros(len(tokens))
    with torch.no_grad():
        for k, each in enumerate(tokens):
            [batch] = batches([each])
            found[k] = objectives.margin(model, batch).item()
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [1, 16, 64, 1000])
@pytest.mark.parametrize("table", [4, 2**12, 2**28])
def test_it_is_the_transpose(kind, dim, table, monkeypatch):
    """<Pᵀg, w> = <g, P w>, however few rows are done at a time."""
    monkeypatch.setattr(module, "TABLE_BYTES", table)
    projection = make_projection(kind, LAYOUT, dim, 3)
    drawn = torch.Generator().manual_seed(0)
    grads = {name: torch.randn(1, *shape, generator=drawn) for name, shape in LAYOUT.items()}
    out = torch.zeros(1, projection.dim)
    for name, grad in grads.items():
        projection.add(out, name, grad)
    w = np.random.default_rng(1).normal(size=projection.dim)
    changes = {name: transposed(projection, name, w) for name in LAYOUT}
    assert {name: tuple(change.shape) for name, change in changes.items()} == LAYOUT
    right = sum(float((grads[name][0].double() * change).sum()) for name, change in changes.items())
    left = float(out[0].double().numpy() @ w)
    size = float(out[0].norm()) * np.linalg.norm(w)
    assert abs(left - right) <= 1e-5 * size


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_is_where_it_should_be_and_comes_back(kind):
    model = make_llama()
    moves = displacement(model, kind)
    before = state(model)
    w = 0.05 * np.random.default_rng(0).normal(size=moves.projection.dim)
    other = copy.deepcopy(model)
    moved, start = [], []
    for name, parameter in other.named_parameters():
        if name in moves.projection.layout:
            change = transposed(moves.projection, name, w)
            moved.append(change.flatten())
            start.append(parameter.detach().flatten().clone())
            parameter.data += change
    distance, margins = moves(w)
    assert distance == pytest.approx(float(torch.cat(moved).norm() / torch.cat(start).norm()), rel=1e-5)
    np.testing.assert_allclose(margins, margins_of(other), rtol=1e-4, atol=1e-4)
    assert margins.dtype == np.float64
    assert np.abs(margins - margins_of(model)).max() > 1e-3
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_what_does_not_move_is_where_it_was():
    model = make_gpt2()
    moves = displacement(model, params="c_attn")
    before = state(model)
    with moves.moved(np.ones(64)):
        changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if "c_attn" in name}


def test_no_move():
    moves = displacement(make_llama())
    distance, margins = moves(np.zeros(64))
    assert distance == 0
    np.testing.assert_allclose(margins, margins_of(make_llama()), rtol=1e-5, atol=1e-5)


def test_the_model_comes_back_after_an_error():
    model = make_llama()
    moves = displacement(model)
    before = state(model)
    with pytest.raises(KeyboardInterrupt), moves.moved(np.ones(64)):
        raise KeyboardInterrupt
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("kind", KINDS)
def test_margins_move_as_their_projected_gradients_say(kind):
    """For a short w, f(θ* + P w) - f(θ*) = g·w with g = Pᵀ∇f."""
    model = make_llama().double()
    moves = displacement(model, kind)
    own = {name: p for name, p in model.named_parameters() if name in moves.projection.layout}
    g = torch.zeros(len(EXAMPLES), moves.projection.dim, dtype=torch.float64)
    for k, example in enumerate(EXAMPLES):
        [batch] = batches([ChatTokens(make_tokenizer(), 48).encode(example)])
        for parameter in own.values():
            parameter.requires_grad_()
        grads = torch.autograd.grad(objectives.margin(model, batch).sum(), list(own.values()))
        model.requires_grad_(False)
        for name, grad in zip(own, grads, strict=True):
            moves.projection.add(g[k : k + 1], name, grad[None])
    w = np.random.default_rng(0).normal(size=moves.projection.dim)
    w *= 1e-3 / np.linalg.norm(w)
    (_, ahead), (_, behind) = moves(w), moves(-w)
    np.testing.assert_allclose((ahead - behind) / 2, g.numpy() @ w, rtol=1e-3, atol=1e-7)


def test_examples_without_an_answer_have_a_margin_of_zero():
    examples = [EXAMPLES[0], Example((Turn("user", "hello"),)), EXAMPLES[1]]
    _, margins = displacement(make_llama(), examples=examples)(np.ones(64))
    assert margins[1] == 0
    assert (margins[[0, 2]] != 0).all()


def test_margins_of_a_model_that_is_certain_are_finite():
    """p of 0 to the last bit: no clamp moves it, no logarithm of zero."""
    model = make_llama()
    with torch.no_grad():
        model.lm_head.weight *= 1e4
    _, margins = displacement(model)(np.zeros(64))
    assert np.isfinite(margins).all()
    assert margins.min() < -100
