"""Cost models of selection and training, in floating-point operations: 2 N a token forward, 6 N a token to train.

Adapters on a frozen base skip part of the backward pass; training is counted as 6 N a token all the same, as the study
of compute-constrained selection (Yin, Rush, ICLR 2025) does, since what is saved depends on the trainer.
`tasksift.costs` counts presets by rows; here totals of tokens are given, and conventions of papers can be chosen.
"""

from __future__ import annotations

from tasksift.costs import WARM_UP_EPOCHS
from tasksift.warm_up import SHARE

WARM_UP = SHARE / 100
"""Share of the pool that LESS trains on before."""

REFERENCE_EPOCHS = 25
"""Passes over the targets for the reference of a perplexity, in the study."""

STUDY_PASSES = 5.4
"""Forward passes over the pool that LESS took in the study, measured off its figures; they cannot be derived."""

PAPER_LENGTH = 2048
"""Tokens of every row in the convention of Ivison et al. 2025."""


def forward(parameters: float, tokens: float) -> float:
    """Operations of a forward pass, 2·N·tokens: hidden states, perplexities, and output sketches alike."""
    return 2.0 * parameters * tokens


def training(parameters: float, tokens: float, epochs: float = 1.0) -> float:
    """Operations of training, 6·N·tokens·epochs; with adapters too, see above."""
    return 6.0 * parameters * tokens * epochs


def embedding(parameters: float, tokens_per_row: float, rows: float, max_length: float = 256) -> float:
    """Operations of a sentence encoder that reads the first `max_length` tokens of every row."""
    return forward(parameters, min(tokens_per_row, max_length) * rows)


def reference(parameters: float, target_tokens: float, epochs: float = REFERENCE_EPOCHS) -> float:
    """Operations of tuning the model of a perplexity on the targets, which every target pays anew."""
    return training(parameters, target_tokens, epochs)


def less(
    parameters: float,
    trained: float,
    rows: float,
    tokens: float,
    *,
    checkpoints: int = 4,
    projection: float = 1.0,
    warm_up: float = WARM_UP,
    warm_up_epochs: float = WARM_UP_EPOCHS,
) -> float:
    """Operations of LESS as they add up: a gradient of every row at every checkpoint, after a warm-up.

    Parameters
    ----------
    parameters, trained : float
        Of the model, and of its adapters.
    rows, tokens : float
        Of the pool; all its tokens. With the targets' and without a warm-up: what a target pays.
    checkpoints : int
    projection : float
        Operations of the projection by 2·trained a row: the width of a dense one, 1 for a sparse one.
    warm_up, warm_up_epochs : float
        Share of the pool that is trained on before, 0 for none, and passes over it.
    """
    gradients = 2.0 * forward(parameters, tokens) + training(trained, tokens) + 2.0 * projection * trained * rows
    return checkpoints * gradients + training(parameters, tokens * warm_up, warm_up_epochs)


def less_in_papers(parameters: float, rows: float) -> float:
    """Operations of LESS as Ivison et al. 2025 count: three gradients of every row at 2048 tokens, no warm-up."""
    return 3.0 * training(parameters, PAPER_LENGTH * rows)


def less_in_the_study(parameters: float, tokens: float) -> float:
    """Operations of LESS as the study paid: 5.4 forward passes, 1.8 of a full training of the same model."""
    return STUDY_PASSES * forward(parameters, tokens)
