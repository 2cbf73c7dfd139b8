"""Per-example gradients of a batch from one forward and one backward pass, exact, by hooks.

The gradient of a linear layer is a sum over tokens of (output gradient) (input)^T; rows of both that belong to one
example give the gradient of that example (Goodfellow 2015, arXiv 1510.01799). Norms and biases are sums over tokens
too. Weights themselves need no gradient, which saves a third of a backward pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasksift.errors import InputError
from tasksift.represent.gradient_sinks import Sink, Weighted, wide
from tasksift.represent.layer_gradients import Rule, by_example, rule_of
from tasksift.represent.models import need_models
from tasksift.represent.parameters import some_of


class PerExample:
    """Per-example gradients of chosen parameters of a model.

    Linear layers, the transposed ones of GPT-2, embeddings, layer norms and their biases are known; any other chosen
    parameter must be 1-d and used elementwise, as the weights of RMS norms are. The model must be in evaluation mode.
    `verify` tells whether the numbers are right for a model; call it once.

    Parameters
    ----------
    model : torch.nn.Module
    names : sequence of str
        Of ``model.named_parameters()``.

    Attributes
    ----------
    layout : dict
        Shape of each chosen parameter, in the order of `names`.

    Raises
    ------
    InputError
        If there is no such parameter, or its gradients cannot be told apart by example.
    """

    def __init__(self, model: Any, names: Sequence[str]) -> None:
        need_models("per-example gradients")
        parameters = dict(model.named_parameters())
        for name in names:
            if name not in parameters:
                raise InputError(f"the model has no parameter {name}; {some_of(parameters)}")
        self._model = model
        self.layout: dict[str, tuple[int, ...]] = {name: tuple(parameters[name].shape) for name in names}
        self._parameters = {name: parameters[name] for name in self.layout}
        chosen = {id(parameter): name for name, parameter in self._parameters.items()}
        self._watched: list[tuple[Any, dict[str, str], Rule | None]] = []
        for module in model.modules():
            owned = module.named_parameters(recurse=False, remove_duplicate=False)
            mine = {key: chosen[id(parameter)] for key, parameter in owned if id(parameter) in chosen}
            rule = rule_of(module)
            for name in mine.values():
                if rule is None and len(self.layout[name]) != 1:
                    raise InputError(
                        f"--params: gradients of {name} cannot be had per example, its module is a "
                        f"{type(module).__name__}; choose other parameters by --params"
                    )
            if mine:
                self._watched.append((module, mine, rule))

    def accumulate(self, losses: Callable[[], Any], count: int, sink: Sink, owners: Sequence[Any] = ()) -> Any:
        """Run forward and backward once and hand the gradients of every example to the sink.

        Parameters
        ----------
        losses : callable
            Runs the model, once or several times, and returns the losses (count,). The first dimension of what goes
            through the model is the example, in every run.
        count : int
            Examples of the batch.
        sink : Sink
        owners : sequence of int64 tensors (n,)
            For a layer that sees the tokens of all examples as (1, n, d), as the output layer under
            `forward.predict`: the example of each token, ascending; one tensor for each time the layer runs.

        Returns
        -------
        Tensor (count,)
            The losses, detached.

        Raises
        ------
        InputError
            If the first dimension of what a chosen layer sees is not the example.
        """
        import torch

        run = _Pass(count, sink, owners)
        handles: list[Any] = []
        trained = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        try:
            for parameter in trained:
                parameter.requires_grad_(False)
            for watched in self._watched:
                handles += run.watch(*watched)
            with torch.enable_grad():
                values = losses()
                if values.shape != (count,):
                    raise ValueError(f"losses of shape {tuple(values.shape)}, expected ({count},)")
                if values.requires_grad:
                    values.sum().backward()
        finally:
            for handle in handles:
                handle.remove()
            run.restore()
            for parameter in trained:
                parameter.requires_grad_()
        for name in self.layout:
            if name not in run.finished:
                sink.done(name)
        return values.detach()

    def verify(self, losses: Callable[[], Any], count: int, generator: Any, owners: Sequence[Any] = ()) -> None:
        """Check a batch against ordinary autograd, so that an unforeseen architecture is never silently wrong.

        With random weights w, sum_b w_b (gradient of b) must be the gradient of sum_b w_b loss_b. The batch must hold
        several examples, for with one there is nothing to confuse; short ones do. Cost: an ordinary pass and a
        per-example pass.

        Parameters
        ----------
        losses, count, owners
            As of `accumulate`.
        generator : torch.Generator
            For the weights.

        Raises
        ------
        InputError
            If they differ; the message names the first parameter that does.
        """
        import torch

        weights = torch.randn(count, generator=generator, device=generator.device)
        trained = {name for name, parameter in self._model.named_parameters() if parameter.requires_grad}
        try:
            for name, parameter in self._model.named_parameters():
                parameter.requires_grad_(name in self.layout)
            with torch.enable_grad():
                values = losses()
                weights = weights.to(values)
                truth = torch.autograd.grad(values @ weights, list(self._parameters.values()), allow_unused=True)
        finally:
            for name, parameter in self._model.named_parameters():
                parameter.requires_grad_(name in trained)
        sums = Weighted(weights)
        try:
            self.accumulate(losses, count, sums, owners)
        except RuntimeError as error:
            if isinstance(error, torch.cuda.OutOfMemoryError):
                raise
            raise InputError(
                f"per-example gradients do not fit this model ({' '.join(str(error).split())[:200]}); choose other "
                "parameters by --params"
            ) from None
        # Parameters without any influence (biases of attention keys) have gradients of rounding noise alone.
        whole = sum(float(each.to(wide(each)).square().sum()) for each in truth if each is not None) ** 0.5
        for (name, parameter), expected in zip(self._parameters.items(), truth, strict=True):
            right = torch.zeros_like(parameter) if expected is None else expected
            error_norm = float((sums.total.get(name, 0.0) - right).norm())
            least = 1e-3 if parameter.dtype in (torch.float32, torch.float64) else 5e-2
            if not error_norm <= least * (float(right.norm()) + 1e-3 * whole):
                raise InputError(
                    f"--params: per-example gradients of {name} do not add up to the gradient of the batch (error "
                    f"{error_norm:.2g} of {float(right.norm()):.2g}): the model uses it in an unforeseen way; choose "
                    "other parameters by --params"
                )


@dataclass
class _Pass:
    """One forward and backward pass: the hooks, and what they still wait for."""

    count: int
    sink: Sink
    owners: Sequence[Any]
    finished: set[str] = field(default_factory=set)
    _awaited: Counter[str] = field(default_factory=Counter)
    _narrowed: Counter[int] = field(default_factory=Counter)
    _replaced: list[tuple[Any, str, Any]] = field(default_factory=list)

    def watch(self, module: Any, names: dict[str, str], rule: Rule | None) -> list[Any]:
        """Install the hooks of a module and return their handles."""
        if rule is None:
            before = module.register_forward_pre_hook(self._replace(names), with_kwargs=True)
            return [before, module.register_forward_hook(lambda *_: self.restore(module))]
        return [module.register_forward_hook(self._follow(names, rule), with_kwargs=True)]

    def _follow(self, names: dict[str, str], rule: Rule) -> Any:
        def ran(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            seen = _first(args, kwargs)
            if not seen.is_floating_point():
                if len(seen) == 1 < self.count:  # positions, the same for every example
                    seen, output = (each.expand(self.count, *each.shape[1:]) for each in (seen, output))
                seen = seen[..., None]
            owner = self._owner(module, seen, names)
            if not output.requires_grad:
                # A copy, because what follows may work in place, which autograd forbids on a leaf.
                output = output.detach().requires_grad_().clone()
            kept = [seen.detach()]
            self._awaited.update(names.values())

            def arrived(grad: Any) -> None:
                # Popped, because the hook itself lives as long as the graph.
                inputs, grads = (by_example(each, self.count, owner) for each in (kept.pop(), grad))
                rule(module, names, inputs, grads, self.sink)
                self._arrived(names)

            output.register_hook(arrived)
            return output

        return ran

    def _replace(self, names: dict[str, str]) -> Any:
        """Let the module run with a parameter of its own for every example."""

        def runs(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen = _first(args, kwargs)
            if seen is None or len(seen) != self.count:
                self._refuse(next(iter(names.values())), seen)
            for key, name in names.items():
                parameter = module._parameters[key]
                own = parameter.detach().expand(self.count, *(1,) * (seen.ndim - 2), len(parameter)).clone()
                own.requires_grad_()
                self._awaited[name] += 1

                def arrived(grad: Any, key: str = key, name: str = name) -> None:
                    self.sink.add(name, grad.reshape(self.count, -1, grad.shape[-1]).sum(1, dtype=wide(grad)))
                    self._arrived({key: name})

                own.register_hook(arrived)
                self._replaced.append((module, key, parameter))
                module._parameters[key] = own

        return runs

    def restore(self, module: Any = None) -> None:
        """Give the module that ran last, or all of them, their parameters back."""
        while self._replaced and (module is None or self._replaced[-1][0] is module):
            owner, key, parameter = self._replaced.pop()
            owner._parameters[key] = parameter

    def _arrived(self, names: dict[str, str]) -> None:
        for name in names.values():
            self._awaited[name] -= 1
            if not self._awaited[name]:
                self.finished.add(name)
                self.sink.done(name)

    def _owner(self, module: Any, seen: Any, names: dict[str, str]) -> Any:
        """The example of each token that a module sees, or None where examples come first, tokens flattened or not."""
        if len(seen) == self.count or (seen.ndim == 2 and len(seen) and len(seen) % self.count == 0):
            return None
        turn = self._narrowed[id(module)]
        if turn >= len(self.owners) or seen.shape[:-1] != (1, len(self.owners[turn])):
            self._refuse(next(iter(names.values())), seen)
        self._narrowed[id(module)] += 1
        return self.owners[turn]

    def _refuse(self, name: str, seen: Any) -> None:
        shape = "no tensor" if seen is None else f"an input of shape {tuple(seen.shape)}"
        raise InputError(
            f"--params: gradients of {name} cannot be had per example: its module sees {shape}, not {self.count} "
            "examples; choose other parameters by --params"
        )


def _first(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    import torch

    return next((each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor)), None)
