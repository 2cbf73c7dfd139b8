"""Online mixing in a real Trainer: that each domain is credited with the losses of its own examples."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from trainers import (  # noqa: E402
    Recording,
    Spy,
    arguments,
    by_domain,
    hand_losses,
    labels_of,
    make_model,
    make_rows,
    prepared,
)
from transformers import LlamaForSequenceClassification, Trainer  # noqa: E402

from tasksift.online import Mixture, OnlineMixing  # noqa: E402

pytestmark = pytest.mark.usefixtures("short_collections")

ROWS = make_rows(30)
LABELS = labels_of(30)


def trained(folder, sampler, **options):
    trainer, spy = prepared(folder, sampler, ROWS, **options)
    trainer.train()
    return trainer, spy


def by_hand(spy):
    """Rows, losses and tokens of every example of every step, batch by batch."""
    model = make_model()
    for weights, batches, rows in zip(spy.weights, spy.inputs, spy.steps, strict=True):
        yield rows, [hand_losses(model, weights, inputs) for inputs in batches]


@pytest.mark.parametrize("accumulation", [1, 3])
def test_every_example_of_a_mixed_batch_gives_its_own_loss(tmp_path, accumulation):
    """Regression 5.3 #5: never that of the first example, nor of the last batch; 3 batches share one normalisation."""
    sampler = Recording(LABELS, seed=3)
    _, spy = trained(tmp_path, sampler, gradient_accumulation_steps=accumulation)
    for (rows, batches), told in zip(by_hand(spy), sampler.observed, strict=True):
        ((said, losses, tokens),) = told
        assert said.tolist() == np.ravel(rows).tolist()
        np.testing.assert_allclose(losses, np.concatenate([batch[0] for batch in batches]), rtol=2e-5)
        assert tokens.tolist() == np.concatenate([batch[1] for batch in batches]).tolist()


def test_a_batch_of_one_domain_gives_the_loss_of_the_whole(tmp_path):
    sampler = Recording(LABELS, seed=3, batches="single")
    _, spy = trained(tmp_path, sampler, gradient_accumulation_steps=3)
    for (rows, batches), told in zip(by_hand(spy), sampler.observed, strict=True):
        ((said, losses, tokens),) = told
        assert [LABELS[row] for row in said] == [LABELS[batch[0]] for batch in rows]
        means = [np.average(losses, weights=tokens) for losses, tokens in batches]
        np.testing.assert_allclose(losses, means, rtol=2e-5)
        assert tokens.tolist() == [sum(tokens) for _, tokens in batches]


@pytest.mark.parametrize("batches", ["mixed", "single"])
def test_probabilities_follow_from_the_mean_over_the_tokens_of_each_domain(tmp_path, batches):
    """Regression 5.3 #5: the policy, fed by hand with what each domain gave in the whole step."""
    sampler = Recording(LABELS, seed=4, batches=batches, alpha=0.3)
    _, spy = trained(tmp_path, sampler, gradient_accumulation_steps=3, num_train_epochs=4)
    codes = sampler.domains.codes.tolist()
    policy = Mixture(sampler.domains.sizes, alpha=0.3)
    for step, ((rows, examples), followed) in enumerate(zip(by_hand(spy), sampler.followed, strict=True), 1):
        rows = np.ravel(rows).tolist()
        losses, tokens = (np.concatenate([batch[k] for batch in examples]) for k in (0, 1))
        means = by_domain(codes, rows, losses, tokens, 3)
        policy.update(step, means, [not np.isnan(mean) for mean in means])
        np.testing.assert_allclose(followed, policy.probabilities, rtol=1e-4)
    assert np.ptp(sampler.followed[-1]) > 0.01


def test_both_ways_agree_where_a_batch_is_of_one_domain(tmp_path):
    """All of one domain: the loss by examples is the loss of the batch, and what the Trainer logs."""
    losses = []
    for batches in ("mixed", "single"):
        sampler = Recording(["x"] * 30, seed=3, batches=batches)
        trainer, _ = trained(tmp_path, sampler, gradient_accumulation_steps=2)
        logged = [line["loss"] for line in trainer.state.log_history if "loss" in line]
        told = [np.average(losses, weights=tokens) for ((_, losses, tokens),) in sampler.observed]
        np.testing.assert_allclose(told, logged, rtol=1e-5)
        losses.append(told)
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_a_row_without_a_learnt_token_gives_nothing(tmp_path):
    rows = [{**row, "labels": [-100] * 10} if label == "a" else row for row, label in zip(ROWS, LABELS, strict=True)]
    sampler = Recording(LABELS, guard=False)
    trainer = Trainer(make_model(), arguments(tmp_path), train_dataset=rows, callbacks=[OnlineMixing(sampler)])
    trainer.train()
    assert np.isnan(sampler.losses[0])
    assert np.isfinite(sampler.losses[1:]).all()
    assert sampler.ignored == 0


def test_gradient_norms_by_hand(tmp_path):
    """The reward grad_norm: the mean length of softmax - one-hot, over the learnt tokens."""
    sampler = Recording(LABELS, seed=3, reward="grad_norm")
    _, spy = trained(tmp_path, sampler, num_train_epochs=1)
    model = make_model()
    for weights, (inputs,), ((_, norms, tokens),) in zip(spy.weights, spy.inputs, sampler.observed, strict=True):
        model.load_state_dict(weights)
        with torch.no_grad():
            p = model(input_ids=inputs["input_ids"]).logits[:, :-1].softmax(2)
        gold = inputs["labels"][:, 1:]
        lengths = (p - torch.nn.functional.one_hot(gold.clamp(min=0), p.shape[2])).norm(dim=2) * (gold != -100)
        np.testing.assert_allclose(norms, lengths.sum(1) / (gold != -100).sum(1), rtol=1e-4)
        assert tokens.tolist() == (gold != -100).sum(1).tolist()


@pytest.mark.parametrize("batches", ["mixed", "single"])
def test_a_classifier_gives_one_loss_for_each_row(tmp_path, batches):
    config = make_model().config
    config.num_labels, config.pad_token_id = 3, 0
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(config)
    rows = [{"input_ids": row["input_ids"], "labels": k % 3} for k, row in enumerate(ROWS)]
    sampler = Recording(LABELS, seed=3, batches=batches)
    trainer = Trainer(model, arguments(tmp_path, gradient_accumulation_steps=2), train_dataset=rows)
    trainer.add_callback(OnlineMixing(sampler))
    spy = Spy(trainer)
    trainer.train()
    assert spy.steps == sampler.done
    for weights, parts, ((_, losses, _),) in zip(spy.weights, spy.inputs, sampler.observed, strict=True):
        model.load_state_dict(weights)
        expected = []
        for inputs in parts:
            with torch.no_grad():
                logits = model(input_ids=inputs["input_ids"]).logits
            each = torch.nn.functional.cross_entropy(logits, inputs["labels"], reduction="none")
            expected += each.tolist() if batches == "mixed" else [float(each.mean())]
        np.testing.assert_allclose(losses, expected, rtol=1e-4)
