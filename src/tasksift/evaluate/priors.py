"""Priors: the published curves with the costs that the user's own model and pool would have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tasksift.costs import ENCODER_PARAMETERS
from tasksift.errors import InputError
from tasksift.evaluate import cost_models
from tasksift.evaluate.gain_curves import gain_curve
from tasksift.evaluate.names import GAIN
from tasksift.evaluate.outlook import Case
from tasksift.evaluate.planner import Method
from tasksift.evaluate.published import REUSABLE, RUNS_THE_SELECTOR, Panel, panels, pooled_runs

ALL = "all"

TARGET_ROWS = 100
"""Target rows, of the pool's mean length, where nothing is said."""

ADAPTERS = 0.01
"""Parameters of adapters over the model's, where LESS takes its gradients."""

LESS_COSTS = ("counted", "study", "paper")

MARGIN = 0.05
"""Points that a lead must have: figures were read to within 0.03."""


@dataclass(frozen=True)
class Sizes:
    """What is trained, on what, and with what it is selected.

    Attributes
    ----------
    model_params, selector_params, encoder_params : float
    pool_rows, pool_tokens : float
    epochs : float
        Passes of the training.
    target_tokens : float or None
        Of all target rows; `TARGET_ROWS` of mean length by default.
    less_cost : str
        ``counted``: what the preset ``less`` does, warm-up included; ``study``: 5.4 forward passes; ``paper``: three
        gradients at 2048 tokens a row.
    """

    model_params: float
    selector_params: float
    pool_rows: float
    pool_tokens: float
    epochs: float = 1.0
    encoder_params: float = ENCODER_PARAMETERS
    target_tokens: float | None = None
    less_cost: str = "counted"

    @property
    def full_training(self) -> float:
        """Operations of training on everything."""
        return cost_models.training(self.model_params, self.pool_tokens, self.epochs)

    def selections(self, tuned_perplexity: bool) -> dict[str, tuple[float, float]]:
        """Return what each published method takes: from the pool, and for every target."""
        model, mean = self.selector_params, self.pool_tokens / self.pool_rows
        asked = TARGET_ROWS * mean if self.target_tokens is None else self.target_tokens
        perplexity = cost_models.reference(model, asked) if tuned_perplexity else 0.0
        return {
            "Random": (0.0, 0.0),
            "BM25": (0.0, 0.0),
            "Embed": (
                cost_models.embedding(self.encoder_params, mean, self.pool_rows),
                cost_models.embedding(self.encoder_params, mean, asked / mean),
            ),
            "PPL": (cost_models.forward(model, self.pool_tokens), perplexity),
            "LESS": (self._less(self.pool_rows, self.pool_tokens, True), self._less(asked / mean, asked, False)),
        }

    def _less(self, rows: float, tokens: float, warm: bool) -> float:
        if self.less_cost == "study":
            return cost_models.less_in_the_study(self.selector_params, tokens)
        if self.less_cost == "paper":
            return cost_models.less_in_papers(self.selector_params, rows)
        trained = ADAPTERS * self.selector_params
        share = cost_models.WARM_UP if warm else 0.0
        return cost_models.less(self.selector_params, trained, rows, tokens, warm_up=share)


def prior(
    panel: str, sizes: Sizes, *, reusable: Mapping[str, float] | None = None, scores: tuple[float, float] | None = None
) -> Case:
    """Return the case of a published panel, or of all that fit taken together, with the user's costs.

    Parameters
    ----------
    panel : str
        Name of a panel, or ``all``: scores are then shares of the gain of a full training, and panels stand for seeds.
    sizes : Sizes
    reusable : mapping of str to float, optional
        Per method; the study's by default.
    scores : pair of float, optional
        The user's own score before training, and after training on everything: curves are rescaled to these.

    Raises
    ------
    InputError
        If there is no such panel or method, or the two scores are one.
    """
    parts = {**REUSABLE, **(reusable or {})}
    if unknown := set(parts) - set(REUSABLE):
        raise InputError(f"there is no method {min(unknown)!r} to reuse; there are {', '.join(REUSABLE)}")
    costs = sizes.selections(tuned_perplexity=parts["PPL"] < 1)
    runs, metric, unit, margin = _runs(panel)
    if scores is not None:
        start, full = scores
        if not (np.isfinite(start) and np.isfinite(full) and start != full):
            raise InputError(f"scores {start:g} before and {full:g} after training on everything: they should differ")
        zero, one = unit
        slope = abs(full - start) / (one - zero)
        below = start if full > start else -start  # a loss comes in negated
        runs = {
            method: {share: [below + slope * (score - zero) for score in found] for share, found in points.items()}
            for method, points in runs.items()
        }
        metric, margin = "score", margin * slope
    methods = [
        Method(
            name,
            gain_curve(points, basis="panels"),
            costs[name][0],
            parts[name],
            costs[name][1],
            scales=name in RUNS_THE_SELECTOR,
        )
        for name, points in runs.items()
    ]
    higher = scores is None or scores[1] > scores[0]
    ratio = sizes.model_params / sizes.selector_params
    return Case(panel, metric, higher, tuple(methods), sizes.full_training, ratio, margin)


def each_panel(sizes: Sizes, reusable: Mapping[str, float] | None = None) -> list[Case]:
    """Return the case of every panel with all its values: what ranges of break-evens are taken over."""
    whole = [each for each in panels().values() if not any(np.isnan(scores).any() for scores in each.scores.values())]
    return [prior(each.name, sizes, reusable=reusable) for each in whole]


def _runs(panel: str) -> tuple[dict[str, dict[float, list[float]]], str, tuple[float, float], float]:
    """Return runs by method, their metric, the scores that stand for no training and a full one, and the margin."""
    if panel == ALL:
        return {method: pooled_runs(method) for method in REUSABLE}, GAIN, (0.0, 1.0), 0.0
    found = panels()
    if panel not in found:
        raise InputError(f"there is no --panel {panel!r}; there are {ALL}, {', '.join(found)}")
    own: Panel = found[panel]
    ends = own.base(), float(own.scores["Random"][-1])
    return {method: own.runs(method) for method in own.scores}, panel.split("-")[0], ends, MARGIN
