"""An encoder with a classification head: trained on labelled texts, scored on held-out ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.evaluate.encoder_head import Classifier
from tasksift.progress import Progress, silent
from tasksift.represent.forward import BATCH_TOKENS, batches, collate
from tasksift.tune.randomness import own_randomness
from tasksift.tune.settings import BETAS, EPSILON, Settings
from tasksift.tune.training import total_steps


def train_classifier(
    classifier: Classifier,
    texts: Sequence[str],
    labels: Sequence[int],
    settings: Settings,
    *,
    freeze: bool = False,
    autocast: bool = False,
    progress: Progress = silent,
) -> Classifier:
    """Train on labelled texts by AdamW; the loss is the mean cross-entropy of a step's texts over all labels.

    Parameters
    ----------
    classifier : Classifier
        It is changed.
    texts, labels : sequences of n
    settings : Settings
        Epochs, learning rate, schedule, batch sizes, decay, norm, steps and seed; what belongs to adapters and to
        tokens does not apply.
    freeze : bool
        Train the head alone.
    autocast : bool
        Multiply in bfloat16 while the parameters are float32.

    Raises
    ------
    InputError
        If the loss is no longer a number.

    Notes
    -----
    Order and dropout depend on the seed alone; equal arguments give equal bits on one machine with as many threads.
    The global generators are put back.
    """
    import torch
    from transformers import get_scheduler

    tokens = classifier.encode(texts)
    wanted = torch.tensor(list(labels), device=classifier.device)
    model, total = classifier.model, total_steps(len(texts), settings)
    model.requires_grad_(True).train()
    if freeze:
        model.encoder.requires_grad_(False).eval()
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=settings.learning_rate, betas=BETAS, eps=EPSILON, weight_decay=settings.weight_decay
    )
    name = "constant_with_warmup" if settings.schedule == "constant" else settings.schedule
    schedule = get_scheduler(name, optimizer, math.ceil(settings.warmup_ratio * total), total)
    with own_randomness(torch, classifier.device), progress("training", total) as tick:
        torch.manual_seed(settings.seed)
        for step, rows in enumerate(_order(len(texts), settings)[:total], 1):
            for part in np.split(rows, range(settings.micro_batch or len(rows), len(rows), settings.micro_batch or 1)):
                batch = collate([tokens[k] for k in part], part, classifier.device)
                with torch.autocast(classifier.device.type, torch.bfloat16, enabled=autocast):
                    logits = model(batch.ids, batch.mask)
                loss = torch.nn.functional.cross_entropy(logits.float(), wanted[part], reduction="sum") / len(rows)
                if not torch.isfinite(loss):
                    raise InputError(f"the loss is no number at step {step}; lower --learning-rate")
                loss.backward()
            if settings.max_grad_norm:
                torch.nn.utils.clip_grad_norm_(trained, settings.max_grad_norm)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            tick(1)
    model.eval()
    return classifier


def score_classifier(
    classifier: Classifier,
    texts: Sequence[str],
    labels: Sequence[int],
    allowed: Sequence[int],
    *,
    batch_tokens: int = BATCH_TOKENS,
    autocast: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return cross-entropy in nats, and 1 where the label is the likeliest, among allowed labels; both float64 (I,).

    A tie is wrong. Cost: one forward pass.

    Parameters
    ----------
    texts, labels : sequences of I
        Each label is an allowed one.
    allowed : sequence of int
        The labels of the task, so that others of the pool take no part.
    batch_tokens : int
        Tokens of a batch at most, padding included; it changes nothing but the last bits.
    """
    import torch

    choices = sorted(set(allowed))
    if not set(labels) <= set(choices):
        raise ValueError("a label is not allowed")
    places = np.searchsorted(choices, np.asarray(labels, dtype=np.int64))
    logits = np.zeros((len(texts), len(choices)))
    with torch.no_grad(), torch.autocast(classifier.device.type, torch.bfloat16, enabled=autocast):
        for batch in batches(classifier.encode(texts), device=classifier.device, batch_tokens=batch_tokens):
            logits[batch.rows] = classifier.model(batch.ids, batch.mask)[:, choices].double().cpu().numpy()
    rows = np.arange(len(texts))
    right = logits[rows, places]
    losses = np.logaddexp.reduce(logits, axis=1) - right
    logits[rows, places] = -np.inf
    return losses, (right > logits.max(axis=1, initial=-np.inf)).astype(np.float64)


def _order(rows: int, settings: Settings) -> list[NDArray[np.int64]]:
    """Return the rows of every step; each epoch has an order of its own."""
    size, steps = settings.batch_size, []
    for epoch in range(settings.epochs):
        order = np.random.default_rng([settings.seed, epoch]).permutation(rows)
        steps += np.split(order, range(size, rows, size))
    return steps
