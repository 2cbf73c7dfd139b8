"""Published points: what five ways to select scored at six shares of a pool, read off the figures of one study.

Yin, Rush. Compute-Constrained Data Selection. ICLR 2025. arXiv 2410.16208. Llama-2 models with LoRA, one epoch, a pool
of 270,679 instructions, single runs. The scores in ``published.csv`` are measured off the study's figures, within 0.03;
empty cells are missing. The selection always ran on the model of 7 billion parameters.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from tasksift.evaluate.gain_curves import Fit, GainCurve, fit, gain_curve
from tasksift.evaluate.planner import Method

Float = NDArray[np.float64]

SHARES = np.array([0.025, 0.05, 0.1, 0.25, 0.5, 1.0])
FULL_TRAINING = {"7B": 4.593e18, "13B": 8.638e18, "70B": 4.926e19}
"""Operations of one epoch on everything, by trained model, off the figures."""

SELECTION = {"Random": 0.0, "BM25": 0.0, "Embed": 0.0, "PPL": 1.531e18, "LESS": 8.269e18}
"""Operations of selecting, off the figures: for PPL and LESS a third and 1.80 of a full training of the 7B model."""

REUSABLE = {"Random": 1.0, "BM25": 1.0, "Embed": 1.0, "PPL": 0.0, "LESS": 1.0}
"""Which part of that another target need not pay: gradients of the pool serve every target, while the model of the
perplexities is tuned on each."""

RUNS_THE_SELECTOR = frozenset({"PPL", "LESS"})
"""Whose selection is a pass of the model that selects, so that its cost goes by that model's size."""

NOT_FITTED = frozenset({"BBH-13B", "IFEval-7B"})
"""Panels whose curves saturating fits do not describe, or that miss values."""

TWO_EPOCHS = 47.42
"""MMLU of the 7B model trained on everything twice, a point of the study's fits."""

FIT_FIGURE = {"Random": 45.47, "BM25": 45.74}
"""MMLU-7B at 5 % as the figure of the fits has it; the other figure, and the file, have 45.64 and 45.84."""


@dataclass(frozen=True)
class Panel:
    """One benchmark and trained model.

    Attributes
    ----------
    name, model : str
        Such as ``MMLU-7B`` and ``7B``.
    scores : mapping of str to float64 (6,)
        By method, at `SHARES`; NaN where missing.
    """

    name: str
    model: str
    scores: Mapping[str, Float]

    def runs(self, method: str) -> dict[float, list[float]]:
        """Return the measured points as `gain_curve` takes them."""
        there = zip(SHARES.tolist(), self.scores[method].tolist(), strict=True)
        return {share: [score] for share, score in there if not np.isnan(score)}

    def curve(self, method: str) -> GainCurve:
        """Return a method's gain curve; its interval comes from residuals, as every point is one run."""
        return gain_curve(self.runs(method))

    def selection(self, method: str) -> float:
        """Return what the study's selection takes, in full trainings of this panel's model."""
        return SELECTION[method] / FULL_TRAINING[self.model]

    def methods(self) -> list[Method]:
        """Return the methods with the study's costs, in full trainings of this panel's model."""
        return [
            Method(name, self.curve(name), self.selection(name), REUSABLE[name], scales=name in RUNS_THE_SELECTOR)
            for name in self.scores
        ]

    def study_fit(self, method: str) -> Fit:
        """Fit as the study does: cost of the selection within x, start at least 0, ceiling the full score.

        MMLU-7B has a further point in the study, and two values of another figure.
        """
        points = {share: scores[0] for share, scores in self.runs(method).items()}
        if self.name == "MMLU-7B":
            points[2.0] = TWO_EPOCHS
            points[0.05] = FIT_FIGURE.get(method, points[0.05])
        x = np.array(list(points)) + self.selection(method)
        return fit(x, list(points.values()), floor=0.0)

    def base(self) -> float:
        """Return where random draws start from: the score that a training on nothing would have, by the fit."""
        x = list(self.runs("Random"))
        return fit(x, [scores[0] for scores in self.runs("Random").values()]).start


def panels() -> dict[str, Panel]:
    """Read the panels, by name in the order of the file."""
    found: dict[str, dict[str, Float]] = {}
    text = files("tasksift.evaluate").joinpath("published.csv").read_text(encoding="utf-8")
    for line in csv.DictReader(text.splitlines()):
        scores = np.array([float(line[f"p{100 * share:g}"] or "nan") for share in SHARES])
        found.setdefault(line["panel"], {})[line["method"]] = scores
    return {name: Panel(name, name.split("-")[1], scores) for name, scores in found.items()}


def pooled_runs(method: str) -> dict[float, list[float]]:
    """Return a method's share of the gain of a full training, in the panels that fit, as if these were seeds.

    0 is where random draws start from (`Panel.base`), 1 the score of training on everything.
    """
    runs: dict[float, list[float]] = {}
    for panel in panels().values():
        if panel.name not in NOT_FITTED:
            base, full = panel.base(), float(panel.scores[method][-1])
            for share, (score,) in panel.runs(method).items():
                runs.setdefault(share, []).append((score - base) / (full - base))
    return runs
