"""Trainers that train in a blink, and what they are watched with."""

from __future__ import annotations

import copy
from collections import Counter

import numpy as np
import torch
from small_models import make_llama
from transformers import Trainer, TrainerCallback, TrainingArguments

from tasksift.online import OnlineMixing, OnlineSampler

LENGTH, VOCABULARY = 10, 64


def make_rows(count, seed=0):
    """Rows that differ, with 3 to 9 tokens of 10 that are learnt."""
    rng = np.random.default_rng([seed, count])
    rows = []
    for k in range(count):
        ids = [k % VOCABULARY, *rng.integers(0, VOCABULARY, LENGTH - 1).tolist()]
        silent = int(rng.integers(1, 7))
        rows.append({"input_ids": ids, "labels": [-100] * silent + ids[silent:]})
    return rows


def make_model(dropout=0.0):
    """A decoder of one layer, whose random numbers are those of dropout."""
    model = make_llama(hidden=16, layers=1, vocabulary=VOCABULARY)
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = dropout
    return model


def arguments(folder, kind=TrainingArguments, **options):
    plain = {
        "per_device_train_batch_size": 4, "num_train_epochs": 2, "learning_rate": 1e-2, "logging_steps": 1,
        "save_strategy": "no", "report_to": "none", "use_cpu": True, "disable_tqdm": True,
    }  # fmt: skip
    return kind(str(folder), **{**plain, **options})


class Recording(OnlineSampler):
    """Notes the rows of every step that is done, what was observed in it, and what followed."""

    def reset(self):
        super().reset()
        self.done, self.observed, self.followed, self._told = [], [], [], []

    def observe(self, rows, losses, tokens=None):
        self._told.append((np.array(rows), np.array(losses), None if tokens is None else np.array(tokens)))
        super().observe(rows, losses, tokens)

    def update(self, reduce=None):
        self.done.append(self.own(self.step).tolist())
        self.observed.append(self._told)
        self._told = []
        super().update(reduce)
        self.followed.append(self.probabilities().tolist())


class Spy(TrainerCallback):
    """Notes the rows that a model is trained on, as it is given them, and its weights before every step."""

    def __init__(self, trainer):
        dataset = trainer.train_dataset
        self._row = {tuple(row["input_ids"]): k for k, row in enumerate(dataset)}
        assert len(self._row) == len(dataset)
        self.steps, self.weights, self.inputs = [], [], []
        trainer.model.register_forward_pre_hook(self._forward, with_kwargs=True)
        trainer.add_callback(self)

    def on_train_begin(self, args, state, control, **more):
        self.steps, self.weights, self.inputs = [], [], []

    def on_step_begin(self, args, state, control, model=None, **more):
        self.steps.append([])
        self.inputs.append([])
        self.weights.append(copy.deepcopy(model.state_dict()))

    def _forward(self, model, args, inputs):
        if model.training and torch.is_grad_enabled():
            self.steps[-1].append(self.rows(inputs))
            self.inputs[-1].append({name: value for name, value in inputs.items() if torch.is_tensor(value)})

    def rows(self, inputs):
        """The rows of a batch."""
        ids, mask = inputs["input_ids"], inputs.get("attention_mask")
        if mask is None and inputs.get("position_ids") is not None:
            # One line of several rows, without padding.
            starts = np.flatnonzero(inputs["position_ids"][0].numpy() == 0)[1:]
            return [self._row[tuple(part.tolist())] for part in np.split(ids[0].numpy(), starts)]
        mask = torch.ones_like(ids) if mask is None else mask
        return [self._row[tuple(line[kept.bool()].tolist())] for line, kept in zip(ids, mask, strict=True)]


def prepared(folder, sampler, rows, *, dropout=0.0, callback=None, held_out=None, **options):
    """A Trainer with a mixture and a spy; the sampler may be None."""
    trainer = Trainer(make_model(dropout), arguments(folder, **options), train_dataset=rows, eval_dataset=held_out)
    if sampler is not None:
        trainer.add_callback(OnlineMixing(sampler) if callback is None else callback)
    return trainer, Spy(trainer)


def labels_of(count, names="abc"):
    """Domains of several sizes, in no order."""
    shares = np.arange(1, len(names) + 1)
    return np.random.default_rng(count).choice(list(names), count, p=shares / shares.sum()).tolist()


def weights_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same_weights(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def hand_losses(model, weights, inputs):
    """The mean loss and the number of learnt tokens of each example of a batch, one example at a time."""
    model.load_state_dict(weights)
    losses, tokens = [], []
    with torch.no_grad():
        for k in range(len(inputs["input_ids"])):
            one = {name: value[k : k + 1] for name, value in inputs.items() if value.ndim and name != "labels"}
            gold = inputs["labels"][k, 1:]
            each = torch.nn.functional.cross_entropy(model(**one).logits[0, :-1], gold, reduction="none")
            losses.append(float(each.sum() / (gold != -100).sum()))
            tokens.append(int((gold != -100).sum()))
    return losses, tokens


def by_domain(codes, rows, losses, tokens, count):
    """Mean over the tokens of every domain; NaN where there is none."""
    total, seen = [0.0] * count, Counter()
    for row, loss, some in zip(rows, losses, tokens, strict=True):
        total[codes[row]] += loss * some
        seen[codes[row]] += some
    return [total[k] / seen[k] if seen[k] else float("nan") for k in range(count)]


class Gradients(TrainerCallback):
    """The gradient of every step, as one vector."""

    def __init__(self):
        self.of_step = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.of_step.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
