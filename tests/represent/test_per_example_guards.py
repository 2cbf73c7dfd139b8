"""Per-example gradients: odd modules, what the engine holds and leaves behind, and models that must be refused."""

from __future__ import annotations

import pytest
from per_example_by_hand import assert_same, by_loop, everything, keep_in, random_tokens
from small_models import make_gpt2, make_llama

from tasksift.errors import InputError
from tasksift.represent import objectives
from tasksift.represent.forward import batches
from tasksift.represent.gradient_sinks import Materialised
from tasksift.represent.parameters import choose_parameters
from tasksift.represent.per_example import PerExample

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


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
