"""Online mixing in a real Trainer that is stopped, or killed, and goes on from a checkpoint: as if nothing had been."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from killed_runs import run_in_fork  # noqa: E402
from trainers import (  # noqa: E402
    Recording,
    labels_of,
    make_rows,
    prepared,
    same_weights,
    weights_of,
)
from transformers import TrainerCallback  # noqa: E402

from tasksift.errors import InputError  # noqa: E402
from tasksift.online import OnlineMixing  # noqa: E402

pytestmark = pytest.mark.usefixtures("short_collections")

ROWS = make_rows(30)
LABELS = labels_of(30)
SAVING = {"save_strategy": "steps", "save_steps": 1}


class EveryThird:
    """Selects other rows after every third step, without a look at the model."""

    def check(self, *_, **more):
        pass

    def due(self, step):
        return step % 3 == 0

    def rows(self, step, *_, **more):
        return np.random.default_rng(step).choice(30, 12)


def trained(folder, resume=None, *, reselect=None, batches="mixed", mode="released", also=(), **options):
    sampler = Recording(LABELS, seed=3, batches=batches, mode=mode)
    mixing = OnlineMixing(sampler, reselect=reselect)
    trainer, spy = prepared(folder, sampler, ROWS, callback=mixing, dropout=0.2, **{**SAVING, **options})
    for callback in also:
        trainer.add_callback(callback)
    trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    assert spy.steps == sampler.done
    return trainer, sampler


def outcome(folder, trainer, sampler):
    history = [{k: v for k, v in line.items() if "train_" not in k} for line in trainer.state.log_history]
    return (folder / "mixture.jsonl").read_bytes(), sampler.state_dict(), history


def checkpoints(folder):
    """Those that were written to their end, by their step."""
    found = {}
    for path in folder.glob("checkpoint-*"):
        try:
            found[json.loads((path / "trainer_state.json").read_text())["global_step"]] = path
        except (OSError, ValueError):
            continue
    return found


CASES = {
    "a step is a batch": ({}, (1, 8, 11)),
    "steps of several batches": ({"gradient_accumulation_steps": 3}, (1, 2, 3, 5)),
    "single": ({"gradient_accumulation_steps": 3, "batches": "single"}, (2, 3)),
    "exact shares": ({"gradient_accumulation_steps": 2, "mode": "stratified"}, (3, 4)),
    "workers": ({"gradient_accumulation_steps": 3, "dataloader_num_workers": 2}, (2, 3, 4)),
    "a read-ahead of an epoch": ({"gradient_accumulation_steps": 2, "dataloader_num_workers": 2}, (1, 6)),
    "other rows": ({"gradient_accumulation_steps": 2, "reselect": EveryThird()}, (2, 3, 5, 6)),
    "other rows and workers": (
        {"gradient_accumulation_steps": 3, "reselect": EveryThird(), "dataloader_num_workers": 1},
        (3, 4, 5),
    ),
    "steps of the Trainer": ({"gradient_accumulation_steps": 2, "max_steps": 9}, (3, 7)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_training_is_the_one_that_was_not_stopped(tmp_path, case):
    """Rows, probabilities, the file of the mixture and weights, to the bit."""
    options, steps = CASES[case]
    trainer, sampler = trained(tmp_path, **options)
    expected, weights = outcome(tmp_path, trainer, sampler), weights_of(trainer.model)
    done, followed = sampler.done, sampler.followed
    for step in steps:
        # The file has lines of steps beyond the checkpoint by now.
        trainer, sampler = trained(tmp_path, tmp_path / f"checkpoint-{step}", **options)
        assert sampler.done == done[step:]
        assert sampler.followed == followed[step:]
        assert outcome(tmp_path, trainer, sampler) == expected
        assert same_weights(weights_of(trainer.model), weights)


def test_a_training_that_is_resumed_twice(tmp_path):
    trainer, sampler = trained(tmp_path / "whole")
    expected, weights = outcome(tmp_path / "whole", trainer, sampler), weights_of(trainer.model)

    class Stops(TrainerCallback):
        def __init__(self, at):
            self.at = at

        def on_step_end(self, args, state, control, **more):
            control.should_training_stop = state.global_step == self.at

    folder = tmp_path / "parts"
    trained(folder, also=[Stops(3)])
    trained(folder, folder / "checkpoint-3", also=[Stops(9)])
    trainer, sampler = trained(folder, folder / "checkpoint-9")
    assert sampler.step == 16
    assert outcome(folder, trainer, sampler)[:2] == expected[:2]
    assert same_weights(weights_of(trainer.model), weights)


class Kills(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_pre_optimizer_step(self, args, state, control, **more):
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def killed(folder, options, kill_at=0, also=()):
    """The code and the events of a run in a fork."""

    def do():
        torch.set_num_threads(1)
        trained(folder, also=also, **options)

    return run_in_fork(do, folder, kill_at)


def test_a_killed_training_ends_as_one_that_was_not(tmp_path):
    """At random steps, and before random operations on files: in the middle of a checkpoint, or of the file's."""
    options = {"gradient_accumulation_steps": 2, "reselect": EveryThird(), "save_steps": 2}
    (tmp_path / "whole").mkdir()
    assert killed(tmp_path / "whole", options)[0] == 0
    trainer, sampler = trained(tmp_path / "whole", **options)
    expected, weights = outcome(tmp_path / "whole", trainer, sampler), weights_of(trainer.model)
    code, events = killed(tmp_path / "whole", options)
    assert code == 0
    rng = np.random.default_rng(0)
    # The file of the mixture is made ready at the beginning, and the first checkpoint comes after two of its lines.
    lines = [k for k, event in enumerate(events, 1) if "mixture.jsonl" in event]
    states = [k for k, event in enumerate(events, 1) if "trainer_state.json" in event]
    assert len(lines) >= 9
    assert len(states) == 4
    places = [(k, ()) for k in (lines[5], states[1], *rng.choice(np.arange(lines[0], len(events) + 1), 4).tolist())]
    places += [(0, (Kills(int(step)),)) for step in rng.choice(np.arange(8), 3, replace=False)]
    found = []
    for kill_at, also in places:
        folder = tmp_path / "killed"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        code, _ = killed(folder, options, kill_at, also)
        assert code == -signal.SIGKILL
        complete = checkpoints(folder)
        found.append(max(complete, default=0))
        trainer, sampler = trained(folder, complete[max(complete)] if complete else None, **options)
        assert sampler.step == 8
        assert outcome(folder, trainer, sampler) == expected
        assert same_weights(weights_of(trainer.model), weights)
    assert len(set(found)) > 2


def test_a_checkpoint_without_a_mixture_is_refused_in_one_line(tmp_path):
    """Regression 3.5 #3."""
    trainer, _ = prepared(tmp_path, None, ROWS, **SAVING, max_steps=2)
    trainer.train()
    with pytest.raises(
        InputError, match=r"^the checkpoint of step 2 was written without OnlineMixing, so .*beginning$"
    ):
        trained(tmp_path, tmp_path / "checkpoint-2")


def edited(folder, change):
    """A checkpoint whose state was changed."""
    path = folder / "checkpoint-2" / "trainer_state.json"
    state = json.loads(path.read_text())
    change(state["stateful_callbacks"])
    path.write_text(json.dumps(state))
    return path.parent


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda states: states.update({"tasksift.OnlineMixing": {}}), "no state of an OnlineSampler"),
        (lambda states: states["tasksift.OnlineMixing"].update(step=1), "state in it of step 1"),
    ],
)
def test_a_damaged_state_is_refused_in_one_line(tmp_path, change, message):
    trained(tmp_path, max_steps=2)
    with pytest.raises(InputError, match=message) as caught:
        trained(tmp_path, edited(tmp_path, change), max_steps=4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per_device_train_batch_size": 3}, "rows of a round"),
        ({"gradient_accumulation_steps": 2}, "accumulation"),
        ({"dataloader_num_workers": 2}, "delay"),
        ({"batches": "single"}, "batches"),
        ({"mode": "paper"}, "mode"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*checkpoint.*")
def test_a_checkpoint_of_another_layout_is_refused_in_one_line(tmp_path, options, message):
    trained(tmp_path, max_steps=2)
    with pytest.raises(InputError, match=message) as caught:
        trained(tmp_path, tmp_path / "checkpoint-2", **{"max_steps": 4, **options})
    assert "\n" not in str(caught.value)


def test_the_state_in_a_checkpoint_is_small_and_plain(tmp_path):
    trained(tmp_path, max_steps=3)
    state = json.loads(Path(tmp_path / "checkpoint-3" / "trainer_state.json").read_text())
    assert state["stateful_callbacks"]["tasksift.OnlineMixing"]["step"] == 3
    assert len(json.dumps(state["stateful_callbacks"]["tasksift.OnlineMixing"])) < 4000
