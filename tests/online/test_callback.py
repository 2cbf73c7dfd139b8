"""Online mixing in a real Trainer: the rows that a model is trained on, and that nothing else changes."""

import json
import random
from collections import defaultdict

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from trainers import (  # noqa: E402
    Recording,
    arguments,
    labels_of,
    make_model,
    make_rows,
    prepared,
    same_weights,
    weights_of,
)
from transformers import Trainer, TrainerCallback  # noqa: E402

from tasksift.online import OnlineMixing, OnlineSampler, read_history  # noqa: E402

pytestmark = pytest.mark.usefixtures("short_collections")

ROWS = make_rows(30)
LABELS = labels_of(30)

SHAPES = {
    "one": {},
    "accumulation": {"gradient_accumulation_steps": 2},
    "an epoch that does not divide": {"gradient_accumulation_steps": 3},
    "an epoch below a step": {"gradient_accumulation_steps": 9},
    "dropping the last": {"dataloader_drop_last": True, "gradient_accumulation_steps": 2},
    "steps": {"max_steps": 5, "gradient_accumulation_steps": 3},
    "part of an epoch": {"num_train_epochs": 1.5, "gradient_accumulation_steps": 2},
    "workers": {"dataloader_num_workers": 2},
    "workers and accumulation": {"dataloader_num_workers": 2, "gradient_accumulation_steps": 3},
    "a worker that stays": {"dataloader_num_workers": 1, "dataloader_persistent_workers": True},
}
SINGLE = ("an epoch that does not divide", "dropping the last", "workers")


def trained(folder, sampler, rows=None, **options):
    trainer, spy = prepared(folder, sampler, ROWS if rows is None else rows, **options)
    trainer.train()
    return trainer, spy


def schedule(trainer):
    """What a training says of its course, but for losses and clocks."""
    kept = ("step", "epoch", "learning_rate")
    lines = [{name: line[name] for name in kept if name in line} for line in trainer.state.log_history]
    return lines, trainer.state.global_step, trainer.state.max_steps, trainer.state.num_train_epochs


def generators():
    state = np.random.get_state()  # noqa: NPY002
    return random.getstate(), state[1].tolist(), state[2], torch.get_rng_state().tolist()


@pytest.mark.parametrize(
    ("shape", "batches"), [(shape, "mixed") for shape in SHAPES] + [(shape, "single") for shape in SINGLE]
)
def test_a_model_is_trained_on_the_rows_of_the_sampler_for_as_long_as_without(tmp_path, shape, batches):
    sampler = Recording(LABELS, seed=3, batches=batches)
    trainer, spy = trained(tmp_path, sampler, **SHAPES[shape])
    assert spy.steps == sampler.done
    assert sampler.step == trainer.state.global_step == len(spy.steps)
    plain, seen = trained(tmp_path, None, **{k: v for k, v in SHAPES[shape].items() if "workers" not in k})
    assert schedule(trainer) == schedule(plain)
    assert [len(step) for step in spy.steps] == [len(step) for step in seen.steps]
    if batches == "single":
        assert all(len({LABELS[row] for row in batch}) == 1 for step in spy.steps for batch in step)
        assert len({LABELS[batch[0]] for step in spy.steps for batch in step}) == 3


@pytest.mark.parametrize("mode", ["released", "paper", "stratified", "proportional"])
def test_within_a_domain_every_row_comes_once_before_any_comes_twice(tmp_path, mode):
    _, spy = trained(tmp_path, Recording(LABELS, seed=1, mode=mode), num_train_epochs=4)
    of_domain = defaultdict(list)
    for row in np.ravel(spy.steps).tolist():
        of_domain[LABELS[row]].append(row)
    assert max(map(len, of_domain.values())) > 30
    for name, rows in of_domain.items():
        members = [k for k, label in enumerate(LABELS) if label == name]
        for start in range(0, len(rows), len(members)):
            some = rows[start : start + len(members)]
            assert len(set(some)) == len(some)
            assert sorted(some) == members or len(some) < len(members)


def test_epochs_of_one_domain_are_permutations(tmp_path):
    _, spy = trained(tmp_path, Recording(["only"] * 28, seed=1), ROWS[:28])
    epochs = np.array(spy.steps).reshape(2, 28)
    assert (np.sort(epochs) == np.arange(28)).all()
    assert epochs[0].tolist() != epochs[1].tolist()


def test_rows_that_fill_no_batch(tmp_path):
    """One row, and fewer than a batch: the batch is filled by passes to come."""
    for count in (1, 3):
        sampler = Recording(["x"] * count)
        trainer, spy = trained(tmp_path, sampler, make_rows(count))
        assert trainer.state.global_step == 2
        assert spy.steps == sampler.done
        assert sorted(set(np.ravel(spy.steps).tolist())) == list(range(count))
        assert sampler.probabilities().tolist() == [1.0]


@pytest.mark.parametrize("batches", ["mixed", "single"])
def test_training_itself_is_that_of_a_trainer_that_reads_the_same_rows_in_this_order(tmp_path, batches):
    """To the bit, with dropout, so that no random number was taken from the Trainer (3.5 #8)."""
    options = {"num_train_epochs": 1, "gradient_accumulation_steps": 2, "dropout": 0.2}
    with_mixing, spy = trained(tmp_path, Recording(LABELS, seed=5, batches=batches), **options)
    states = generators()
    drawn = [ROWS[row] for step in spy.steps for batch in step for row in batch]
    plain = Trainer(
        make_model(0.2),
        arguments(tmp_path, train_sampling_strategy="sequential", num_train_epochs=1, gradient_accumulation_steps=2),
        train_dataset=drawn,
    )
    plain.train()
    assert same_weights(weights_of(with_mixing.model), weights_of(plain.model))
    assert generators() == states
    losses = [[line.get("loss") for line in each.state.log_history] for each in (with_mixing, plain)]
    assert losses[0] == losses[1]


def test_what_the_global_generators_are_at_changes_no_row_and_no_probability(tmp_path):
    """Regression 3.5 #8."""
    runs = []
    for seed in (42, 43):
        sampler = Recording(LABELS, seed=7)
        trained(tmp_path, sampler, seed=seed)
        runs.append((sampler.done, sampler.followed))
    assert runs[0] == runs[1]


def test_training_twice_begins_anew(tmp_path):
    sampler = Recording(LABELS, seed=2)
    trainer, spy = prepared(tmp_path, sampler, ROWS)
    start = weights_of(trainer.model)
    results = []
    for _ in range(2):
        trainer.model.load_state_dict(start)
        trainer.optimizer = None
        torch.manual_seed(0)
        trainer.train()
        assert spy.steps == sampler.done
        results.append((spy.steps, sampler.followed, (tmp_path / "mixture.jsonl").read_bytes()))
    assert len(results[0][0]) == 16
    assert results[0] == results[1]


def test_the_model_is_left_as_it_was(tmp_path):
    trainer, _ = trained(tmp_path, Recording(LABELS))
    assert not trainer.model._forward_hooks


def test_a_training_that_failed_leaves_nothing_to_the_next(tmp_path):
    class Fails(TrainerCallback):
        due = True

        def on_substep_end(self, args, state, control, **more):
            if state.global_step == 3 and self.due:
                raise RuntimeError("stop")

    sampler = Recording(LABELS, seed=2)
    trainer, spy = prepared(tmp_path, sampler, ROWS, gradient_accumulation_steps=2)
    fails = Fails()
    trainer.add_callback(fails)
    with pytest.raises(RuntimeError, match="stop"):
        trainer.train()
    fails.due = False
    trainer.train()
    assert spy.steps == sampler.done
    assert len(spy.steps) == 8
    assert all(len(told) == 1 and len(told[0][0]) == 8 for told in sampler.observed)


def test_evaluation_is_not_touched(tmp_path):
    """Regression: nothing is observed in an evaluation, and neither its rows nor its figures change."""
    held_out, seen = make_rows(9, seed=1), []

    class Watch(TrainerCallback):
        def on_evaluate(self, args, state, control, metrics=None, model=None, **more):
            seen.append((state.global_step, metrics["eval_loss"], weights_of(model)))

    sampler = Recording(LABELS, seed=3)
    trainer, _ = prepared(
        tmp_path, sampler, ROWS, held_out=held_out, eval_strategy="steps", eval_steps=3, eval_on_start=True
    )
    trainer.add_callback(Watch())
    read = []
    trainer.model.register_forward_pre_hook(
        lambda model, args, inputs: None if model.training else read.append(inputs["input_ids"].tolist()),
        with_kwargs=True,
    )
    trainer.train()
    assert [step for step, _, _ in seen] == [0, 3, 6, 9, 12, 15, 16]
    assert [ids for batch in read for ids in batch] == [row["input_ids"] for row in held_out] * 7
    assert [len(told) for told in sampler.observed] == [1] * 16
    without = Recording(LABELS, seed=3)
    trained(tmp_path, without)
    assert sampler.followed == without.followed
    for _, loss, weights in seen:
        model = make_model()
        model.load_state_dict(weights)
        plain = Trainer(model, arguments(tmp_path), eval_dataset=held_out)
        assert plain.evaluate()["eval_loss"] == loss


def test_a_look_at_the_model_in_the_middle_of_a_step_is_no_observation(tmp_path):
    batch = {name: torch.tensor([row[name] for row in ROWS[:5]]) for name in ("input_ids", "labels")}

    class Looks(TrainerCallback):
        def on_substep_end(self, args, state, control, model=None, **more):
            with torch.no_grad():
                model(**batch)

        on_pre_optimizer_step = on_substep_end

    runs = []
    for looks in (False, True):
        sampler = Recording(LABELS, seed=3)
        trainer, _ = prepared(tmp_path, sampler, ROWS, gradient_accumulation_steps=2)
        if looks:
            trainer.add_callback(Looks())
        trainer.train()
        runs.append((sampler.done, sampler.followed))
    assert runs[0] == runs[1]


def test_columns_and_rows_of_the_data_set_stay_as_they_are(tmp_path):
    """Regression 3.6 (peers drop every column); unused ones are left out by the Trainer, as ever."""
    rows = [{**row, "source": label, "text": "x" * k} for k, (row, label) in enumerate(zip(ROWS, LABELS, strict=True))]
    before = json.dumps(rows)
    sampler = Recording([row["source"] for row in rows])
    trainer, spy = trained(tmp_path, sampler, rows)
    assert spy.steps == sampler.done
    assert trainer.train_dataset is rows
    assert json.dumps(rows) == before


def test_one_line_is_written_for_each_logged_step(tmp_path):
    """Regression 3.6: not one for each sample; the last step has one too."""
    sampler = Recording(LABELS)
    trained(tmp_path, sampler, logging_steps=3, gradient_accumulation_steps=2, num_train_epochs=4)
    history = read_history(tmp_path / "mixture.jsonl")
    assert history.steps.tolist() == [3, 6, 9, 12, 15, 16]
    assert history.names == ("a", "b", "c")
    np.testing.assert_allclose(history.probabilities, np.array(sampler.followed)[history.steps - 1], rtol=1e-5)
    served = np.cumsum([[sum(LABELS[r] == n for r in np.ravel(step)) for n in "abc"] for step in sampler.done], axis=0)
    # A line holds what was drawn for the steps that are done.
    assert history.rows.tolist() == served[history.steps - 1].tolist()
    assert (tmp_path / "mixture.jsonl").read_text().count("\n") == 7


@pytest.mark.parametrize("first", ["hears", "mixing"])
@pytest.mark.parametrize("knows", [True, False])
def test_probabilities_reach_the_loggers_of_a_trainer_in_its_own_lines(tmp_path, first, knows):
    """One for each logged step, and whatever the Trainer itself has to say is still said."""
    heard = []

    class Hears(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **more):
            heard.append(dict(logs))

    sampler = Recording(LABELS, seed=3)
    trainer = Trainer(make_model(), arguments(tmp_path, logging_steps=4), train_dataset=ROWS)
    mixing = OnlineMixing(sampler, trainer if knows else None)
    for callback in (Hears(), mixing) if first == "hears" else (mixing, Hears()):
        trainer.add_callback(callback)
    trainer.train()
    lines = [line for line in trainer.state.log_history if "loss" in line]
    assert [line["step"] for line in lines] == [4, 8, 12, 16]
    assert len(trainer.state.log_history) == len(heard) == 5
    for line in lines:
        assert {"loss", "grad_norm", "learning_rate", "epoch"} < line.keys()
        assert [line[f"mixture/{name}"] for name in "abc"] == sampler.followed[line["step"] - 1]
    if knows or first == "mixing":
        assert [line["mixture/b"] for line in heard[:4]] == [line["mixture/b"] for line in lines]


def test_a_log_of_ones_own(tmp_path):
    mixing = OnlineMixing(OnlineSampler(LABELS), log=tmp_path / "deep" / "m.jsonl")
    trainer = Trainer(make_model(), arguments(tmp_path / "out"), train_dataset=ROWS, callbacks=[mixing])
    trainer.train()
    assert not (tmp_path / "out" / "mixture.jsonl").exists()
    assert read_history(tmp_path / "deep" / "m.jsonl").steps.tolist() == list(range(1, 17))
