"""Projected per-example gradients of a language model, at one model or at the checkpoints of a tune.

LESS (Xia et al., ICML 2024, arXiv 2402.04333), ROSE (arXiv 2412.00631), TRAK (Park et al., ICML 2023, arXiv 2303.14186)
and TAROT (arXiv 2412.00420) differ in what the gradient is of and in how checkpoints are put together.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.represent import objectives
from tasksift.represent.chat import ChatTokens, Tokens
from tasksift.represent.checkpoints import Checkpoint, apply
from tasksift.represent.displacement import Displacement
from tasksift.represent.forward import BATCH_TOKENS, Batch, batches, collate, fitting
from tasksift.represent.gradient_sinks import Materialised
from tasksift.represent.models import CausalModel
from tasksift.represent.parameters import choose_parameters
from tasksift.represent.per_example import PerExample
from tasksift.represent.preconditioner import adam_direction
from tasksift.represent.projection import CHUNK_BYTES, DEVICE_BYTES, Projection, make_projection
from tasksift.rows.example import Example

Float = NDArray[np.float32]

GRADIENT_BYTES = 2**29
"""Gradients of the largest parameter that a batch may hold at a time."""


class Gradients:
    """Projected gradients of examples, an `Embedder`.

    Parameters
    ----------
    causal : CausalModel
        In evaluation mode; with `checkpoints` as `load_tuned` gives it.
    checkpoints : sequence of Checkpoint
        Where gradients are taken; by default only at the model as it is.
    params : str, optional
        Which parameters, see `choose_parameters`.
    objective : str
        ``sft``: mean cross-entropy of the scored tokens; ``margin``: mean margin log(p / (1 - p)) of these (TRAK);
        ``dpo``: preference loss of pairs, log-probabilities summed over tokens (ROSE).
    optimizer : str
        ``sgd``: plain gradients; ``adam``: the step that Adam would take from the checkpoint's moments (LESS).
    momentum, less_compat
        As in `adam_direction`; with ``centred`` rows stay as they are, for `unit_blocks` once the pool's mean is known.
    projection, dim, seed
        As in `make_projection`; every checkpoint has the same projection.
    combine : str
        ``concat``: the checkpoints side by side, each of length sqrt(its share of the learning rates), so that the
        cosine of two rows is LESS's sum over checkpoints of learning rate times cosine; ``mean``: the mean gradient;
        ``separate``: the checkpoints side by side as they are, each by a projection of its own, and then one number
        for each, what the gradient is of (TRAK, GradEx); see `split`.
    max_length, score
        As in `ChatTokens`.
    beta, reference
        Of dpo; `reference` is a context in which the model is the frozen reference, or a model; None: as it is.

    Raises
    ------
    InputError
        If parameters have no moments in a checkpoint, or their gradients cannot be told apart by example.

    Notes
    -----
    A row without a scored token has a row of zeros. Cost: one forward and backward pass for each checkpoint, and the
    projection.
    """

    def __init__(
        self,
        causal: CausalModel,
        *,
        checkpoints: Sequence[Checkpoint] = (),
        params: str | None = None,
        objective: str = "sft",
        target_objective: str | None = None,
        optimizer: str = "sgd",
        momentum: str = "paper",
        less_compat: bool = False,
        projection: str = "count-sketch",
        dim: int = 4096,
        seed: int = 0,
        combine: str = "concat",
        max_length: int = 2048,
        score: str = "response",
        beta: float = 0.1,
        reference: Callable[[], CausalModel] | None = None,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        self.causal, self.checkpoints = causal, tuple(checkpoints)
        self.objective, self.target_objective = objective, target_objective or objective
        self.optimizer, self.momentum, self.less_compat = optimizer, momentum, less_compat
        self.combine, self.beta, self.batch_tokens = combine, beta, fitting(causal.model, batch_tokens)
        self.tokens = ChatTokens(causal.tokenizer, max_length, score=score)  # type: ignore[arg-type]
        self._per_example = PerExample(causal.model, choose_parameters(causal.model, params))
        layout = self._per_example.layout
        seeds = range(seed, seed + len(self.checkpoints or (None,))) if combine == "separate" else (seed,)
        self.projections: tuple[Projection, ...] = tuple(
            make_projection(projection, layout, dim, each, causal.model.device) for each in seeds
        )
        """One for all checkpoints, or, with ``separate``, one for each."""
        self._most = max(1, min(64, GRADIENT_BYTES // (4 * max(map(prod, layout.values())))))
        self._reference = reference
        self.raw = False
        """Whether the checkpoints of ``concat`` stay as they are, for `unit_blocks` once means over rows are known."""
        self._verified = False
        if optimizer == "adam":
            if not self.checkpoints:
                raise InputError("--optimizer adam needs --checkpoints, whose moments it takes; run tasksift tune")
            lacking = sorted(set(layout) - set(self.checkpoints[0].parameters))
            if lacking:
                raise InputError(f"--params: {lacking[0]} was not trained, so it has no moments; use --optimizer sgd")
        rates = np.array([each.learning_rate for each in self.checkpoints] or [1.0])
        if not rates.sum() > 0:
            raise InputError("the checkpoints' learning rates are all 0; tune with --learning-rate above 0")
        self.weights: NDArray[np.float64] = rates / rates.sum()
        """Share of each checkpoint in the learning rates, float64 (checkpoints,)."""

    @property
    def dim(self) -> int:
        """Numbers of a row."""
        width, count = self.projections[0].dim, len(self.weights)
        return {"concat": width * count, "mean": width, "separate": (width + 1) * count}[self.combine]

    @property
    def identity(self) -> dict[str, Any]:
        """What decides about the numbers, as JSON; the targets' objective does not."""
        adam = self.optimizer == "adam"
        return {
            "model": self.causal.identity,
            "tokens": self.tokens.identity,
            "dtype": self.causal.precision,
            "objective": self.objective,
            "reduction": "sum" if self.objective == "dpo" else "mean",
            "optimizer": {"name": self.optimizer, "momentum": self.momentum, "less_compat": self.less_compat}
            if adam
            else {"name": self.optimizer},
            "projection": self.projections[0].identity,
            "checkpoints": [
                {"weights": each.digest, "moments": each.moments_digest if adam else None, "rate": each.learning_rate}
                for each in self.checkpoints
            ],
            "combine": self.combine,
        }

    def for_targets(self) -> Gradients:
        """Return the same for targets: their own objective, plain gradients, checkpoints at their own lengths."""
        other = copy.copy(self)
        other.objective, other.optimizer, other.momentum = self.target_objective, "sgd", "paper"
        other.raw = True
        return other

    def moved(self, examples: Sequence[Example]) -> Displacement:
        """Return what moves the last checkpoint along its projection and reads the margins of examples there."""
        if self.checkpoints:
            apply(self.causal.model, self.checkpoints[-1])
        return Displacement(self.causal, self.projections[-1], self.tokens, examples)

    def transform(self, examples: Sequence[Example]) -> Float:
        """Return float32 (n, dim), one row for each example.

        Raises
        ------
        InputError
            If an example is no preference pair and the objective is dpo.
        """
        if not self._verified:
            self._verify()
            self._verified = True
        chosen = [self.tokens.encode(example) for example in examples]
        rejected: list[Tokens] = []
        margins: Float = np.zeros((2, 0), dtype=np.float32)
        if self.objective == "dpo":
            rejected = [self._rejected(example) for example in examples]
            margins = self._reference_logprobs(chosen, rejected)
        parts: list[tuple[Float, Float]] = []
        for checkpoint in self.checkpoints or (None,):
            if checkpoint is not None:
                apply(self.causal.model, checkpoint)
            projection = self.projections[min(len(parts), len(self.projections) - 1)]
            parts.append(self._at(checkpoint, projection, chosen, rejected, margins))
        grads = [each for each, _ in parts]
        if self.combine == "mean":
            mean: Float = np.mean(grads, axis=0, dtype=np.float32)
            return mean
        if self.combine == "separate":
            return np.hstack([*grads, *(values[:, None] for _, values in parts)])
        rows: Float = np.hstack(grads)
        if self.raw:
            return rows
        return rows if self.optimizer == "adam" and self.momentum == "centred" else unit_blocks(rows, self.weights)

    def _at(
        self,
        checkpoint: Checkpoint | None,
        projection: Projection,
        chosen: list[Tokens],
        rejected: list[Tokens],
        margins: Float,
    ) -> tuple[Float, Float]:
        """The projected gradients at the model as it is, float32 (n, d), and what they are of, (n,)."""
        import torch

        model = self.causal.model
        moments = None
        if self.optimizer == "adam" and checkpoint is not None:
            first, second = checkpoint.moments()
            device = model.device
            moments = {name: (first[name].to(device), second[name].to(device)) for name in projection.layout}
        rows, values = np.zeros((len(chosen), projection.dim), dtype=np.float32), np.zeros(len(chosen), np.float32)
        for batch in batches(chosen, device=model.device, batch_tokens=self.batch_tokens, most=self._most):
            out = torch.zeros(len(batch.rows), projection.dim, device=model.device)
            losses, owners = self._losses(batch, rejected, margins)
            if moments is None:
                sink: Any = _Projected(projection, out)
            else:
                budget = CHUNK_BYTES if model.device.type == "cpu" else DEVICE_BYTES
                pass_on = self._stepped(checkpoint, moments, projection, out)
                sink = Materialised(projection.layout, len(batch.rows), pass_on, model.device, budget // 4)
            found = self._per_example.accumulate(losses, len(batch.rows), sink, owners)
            out[~batch.scored.any(1)] = 0  # momentum alone is nothing of the row's own
            rows[batch.rows], values[batch.rows] = out.cpu().numpy(), found.float().cpu().numpy()
        return rows, values

    def _verify(self) -> None:
        """Make sure, on a few rows of noise, that gradients of this model can be told apart by example."""
        import torch

        rng, most = np.random.default_rng(0), self.causal.model.get_output_embeddings().weight.shape[0]
        noise = [
            Tokens(rng.integers(0, most, length), np.arange(length) > 0)
            for length in (min(length, self.tokens.max_length) for length in (7, 9, 12))
        ]
        batch = collate(noise, np.arange(3), self.causal.model.device)
        losses, owners = self._losses(batch, noise[::-1], np.zeros((2, 3), dtype=np.float32))
        self._per_example.verify(losses, 3, torch.Generator().manual_seed(0), owners)

    def _losses(self, batch: Batch, rejected: list[Tokens], margins: Float) -> tuple[Callable[[], Any], list[Any]]:
        import torch

        model = self.causal.model
        if self.objective == "sft":
            return lambda: objectives.sft(model, batch), objectives.owners(batch)
        if self.objective == "margin":
            return lambda: objectives.margin(model, batch), objectives.owners(batch)
        other = collate([rejected[row] for row in batch.rows], batch.rows, model.device)
        known = torch.from_numpy(margins[:, batch.rows]).to(model.device)
        return (
            lambda: objectives.dpo(model, batch, other, known[0], known[1], self.beta),
            objectives.owners(batch, other),
        )

    def _stepped(
        self, checkpoint: Any, moments: dict[str, tuple[Any, Any]], projection: Projection, out: Any
    ) -> Callable[[str, Any, int], None]:
        momentum: Any = "none" if self.momentum == "none" else "paper"

        def pass_on(name: str, grads: Any, row: int) -> None:
            first, second = (each[row : row + grads.shape[1]] for each in moments[name])
            step = adam_direction(
                grads, first, second, checkpoint.step, momentum=momentum, less_compat=self.less_compat
            )
            projection.add(out, name, step, row)

        return pass_on

    def _rejected(self, example: Example) -> Tokens:
        if example.rejected is None:
            raise InputError(f"{example.where}: no preference pair; dpo needs columns 'chosen' and 'rejected'")
        return self.tokens.encode_turns(example.rejected, example.where)

    def _reference_logprobs(self, chosen: list[Tokens], rejected: list[Tokens]) -> Float:
        """Log-probabilities of both answers under the frozen reference, float32 (2, n)."""
        import torch

        model = self.causal.model
        alone = nullcontext()
        if self._reference is not None:
            model = self._reference().model
        elif hasattr(model, "disable_adapter"):
            alone = model.disable_adapter()
        found = np.zeros((2, len(chosen)), dtype=np.float32)
        with alone, torch.no_grad():
            for k, side in enumerate((chosen, rejected)):
                for batch in batches(side, device=model.device, batch_tokens=self.batch_tokens):
                    found[k, batch.rows] = objectives.sequence_logprob(model, batch).float().cpu().numpy()
        return found


class _Projected:
    """A sink that projects what comes at once: projections are linear, so parts may come one by one."""

    def __init__(self, projection: Projection, out: Any) -> None:
        self._projection, self._out = projection, out

    def outer(self, name: str, left: Any, right: Any) -> None:
        self._projection.add_outer(self._out, name, left, right)

    def add(self, name: str, grads: Any) -> None:
        self._projection.add(self._out, name, grads)

    def done(self, name: str) -> None:
        pass


def split(rows: NDArray[Any], checkpoints: int, width: int) -> tuple[list[NDArray[Any]], NDArray[Any]]:
    """Return the gradients and values of rows that were made with ``separate``.

    Parameters
    ----------
    rows : float (n, M (d + 1)) or more columns, which are passed over
    checkpoints, width : int
        M and d.

    Returns
    -------
    list of M float (n, d) and float (n, M), without copying
    """
    grads = [rows[:, k * width : (k + 1) * width] for k in range(checkpoints)]
    return grads, rows[:, checkpoints * width : checkpoints * (width + 1)]


def unit_blocks(rows: NDArray[Any], weights: NDArray[np.float64]) -> Float:
    """Scale the blocks of every row, one per checkpoint, to length sqrt(weight); a block of zeros stays.

    The inner product of two such rows is sum_i weight_i cos_i, LESS's score for weights that are shares of the learning
    rates. One column that is left over, as stores have it, is kept.

    Parameters
    ----------
    rows : float (n, N d) or (n, N d + 1)
    weights : float64 (N,)
    """
    count, width = len(weights), rows.shape[1] // len(weights)
    out = np.array(rows, dtype=np.float32)
    for k in range(count):
        block = out[:, k * width : (k + 1) * width]
        length = np.sqrt(np.square(block, dtype=np.float64).sum(axis=1))
        scale = np.divide(np.sqrt(weights[k]), length, out=np.zeros_like(length), where=length > 0)
        block *= scale[:, None].astype(np.float32)
    return out
