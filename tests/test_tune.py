"""Tuning: what is learnt, what is kept, and that a killed tune ends like one that was not."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
pytest.importorskip("accelerate")

from safetensors.torch import load_file  # noqa: E402
from small_models import make_examples, make_gpt2, make_llama, save  # noqa: E402

from tasksift.errors import InputError  # noqa: E402
from tasksift.represent.chat import ChatTokens, Tokens  # noqa: E402
from tasksift.represent.models import load_causal  # noqa: E402
from tasksift.rows.example import Example, Turn  # noqa: E402
from tasksift.tune import Settings, finetune, sampled, total_steps, tune, tune_rows  # noqa: E402
from tasksift.tune.data import collate, data_digest  # noqa: E402

pytestmark = pytest.mark.usefixtures("short_collections")


SMALL = {"rank": 2, "alpha": 4, "batch_size": 4, "epochs": 2, "learning_rate": 1e-2, "max_length": 48}


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return save(tmp_path_factory.mktemp("models") / "gpt2", make_gpt2())


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tokens_of(folder, n=10, max_length=48):
    coder = ChatTokens(load_causal(folder).tokenizer, max_length)
    return [coder.encode(example) for example in make_examples(n)]


class Stop(Exception):
    """Raised in the middle of a training."""


def stops_after(steps):
    """A progress that lets so many steps pass."""
    from contextlib import contextmanager

    @contextmanager
    def progress(label, total):
        left = steps

        def tick(amount):
            nonlocal left
            left -= amount
            if left < 0:
                raise Stop

        yield tick

    return progress


def test_full_training_is_adamw_on_the_mean_over_scored_tokens(gpt2):
    """A plain loop in a few lines, with dropout off: loss, clipping, schedule, optimizer, and micro-batches."""
    tokens = tokens_of(gpt2)
    settings = Settings(
        method="full", epochs=1, batch_size=10, micro_batch=2, learning_rate=1e-2, max_steps=1, warmup_ratio=0.0
    )
    ours = load_causal(gpt2).model
    for module in ours.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    trained = finetune(ours, tokens, settings)
    plain = load_causal(gpt2).model.requires_grad_(True)
    total = 0.0
    for each in tokens:
        logits = plain(input_ids=torch.from_numpy(each.ids)[None]).logits[0, :-1]
        losses = torch.nn.functional.cross_entropy(logits, torch.from_numpy(each.ids)[1:], reduction="none")
        total = total + losses[torch.from_numpy(each.scored)[1:]].sum()
    loss = total / sum(each.scored.sum() for each in tokens)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
    torch.optim.AdamW(plain.parameters(), lr=1e-2, weight_decay=0.0).step()
    assert trained.steps[0].loss == pytest.approx(float(loss.detach()), rel=1e-5)
    for name, parameter in plain.named_parameters():
        # Where a gradient is next to nothing the first step of Adam is a coin toss of rounding.
        sure = parameter.grad.abs() > 1e-6
        mine = dict(trained.model.named_parameters())[name]
        torch.testing.assert_close(mine[sure], parameter[sure], rtol=1e-4, atol=1e-6)
    assert not trained.model.training


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_learning_rates_are_those_that_the_steps_were_made_with(llama, schedule):
    settings = Settings(**{**SMALL, "epochs": 3}, schedule=schedule, warmup_ratio=0.3)
    trained = finetune(load_causal(llama).model, tokens_of(llama), settings)
    assert total_steps(10, settings) == len(trained.steps) == 9
    for k, step in enumerate(trained.steps):
        after = (k - 3) / 6
        fall = {"linear": 1 - after, "cosine": (1 + np.cos(np.pi * after)) / 2, "constant": 1.0}[schedule]
        assert step.step == k + 1
        assert step.learning_rate == pytest.approx(1e-2 * (k / 3 if k < 3 else fall))


def test_it_learns_and_leaves_the_global_generators_alone(llama):
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    settings = Settings(**{**SMALL, "epochs": 6}, method="full")
    trained = finetune(load_causal(llama).model, tokens_of(llama), settings)
    assert trained.steps[-1].loss < 0.8 * trained.steps[0].loss
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])


def test_what_is_written(llama, tmp_path, capfd):
    lines = []
    tuned = tune(llama, make_examples(10), tmp_path / "out", Settings(**SMALL, max_steps=5), say=lines.append)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert sorted(path.name for path in tuned.folder.iterdir()) == ["epoch-1", "epoch-2", "tune.json"]
    assert [(each.epoch, each.step) for each in tuned.checkpoints] == [(1, 3), (2, 5)]
    record = json.loads((tuned.folder / "tune.json").read_text())
    assert record["format"] == "tasksift tune 1"
    assert record["model"] == {**load_causal(llama).identity, "path": str(llama)}
    assert record["rows"] == 10
    assert record["data"] == data_digest(tokens_of(llama))
    assert record["settings"]["betas"] == [0.9, 0.999]
    rates = [0.0, *(1e-2 * k / 4 for k in (4, 3, 2, 1))]
    assert tuned.checkpoints[0].learning_rate == pytest.approx(np.mean(rates[:3]))
    assert tuned.checkpoints[1].learning_rate == pytest.approx(np.mean(rates[3:]))
    assert len(tuned.losses) == 2
    assert any("5 steps" in line for line in lines)
    assert capfd.readouterr() == ("", "")


def test_stopped_anywhere_and_resumed_it_ends_with_the_same_bytes(gpt2, tmp_path):
    settings = Settings(**SMALL, method="full", micro_batch=2)  # GPT-2 has dropout
    tune(gpt2, make_examples(14), tmp_path / "whole", settings, save_every=3)
    for steps in (2, 5):  # before anything was saved, and in the second epoch
        with pytest.raises(Stop):
            tune(gpt2, make_examples(14), tmp_path / "out", settings, save_every=3, progress=stops_after(steps))
        assert not (tmp_path / "out").exists()
    half = tmp_path / "out.part" / "trainer" / "checkpoint-7"  # as a kill leaves it; it is passed over
    half.mkdir()
    (half / "optimizer.pt").write_bytes(b"half")
    lines = []
    tune(gpt2, make_examples(14), tmp_path / "out", settings, save_every=3, say=lines.append)
    assert any("going on" in line for line in lines)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert not (tmp_path / "out.part").exists()


SCRIPT = """
import sys, time
from small_models import make_examples
from tasksift.tune import Settings, tune

def say(line):
    print(line, flush=True)
    if line.startswith("epoch 2"):
        time.sleep(600)

settings = Settings(rank=2, alpha=4, batch_size=4, epochs=3, learning_rate=1e-2, max_length=48)
tune(sys.argv[1], make_examples(10), sys.argv[2], settings, save_every=4, say=say)
"""


def test_killed_outright_it_goes_on_and_ends_with_the_same_bytes(llama, tmp_path):
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "src")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    out = tmp_path / "out"
    command = [sys.executable, "-c", SCRIPT, str(llama), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        for line in process.stdout:
            if line.startswith("epoch 2"):
                process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    # The second epoch is there, and what the Trainer goes on from lies before its end.
    assert (tmp_path / "out.part" / "epoch-2").is_dir()
    assert [path.name for path in (tmp_path / "out.part" / "trainer").iterdir()] == ["checkpoint-4"]
    settings = Settings(**{**SMALL, "epochs": 3})
    tune(llama, make_examples(10), out, settings)
    tune(llama, make_examples(10), tmp_path / "whole", settings)
    assert contents(out) == contents(tmp_path / "whole")


def test_other_arguments_are_refused_by_name(llama, gpt2, tmp_path):
    def go(model=llama, n=10, progress=None, dtype="float32", force=False, **changed):
        more = {"progress": progress} if progress else {}
        settings = Settings(**{**SMALL, **changed})
        return tune(model, make_examples(n), tmp_path / "out", settings, dtype=dtype, force=force, **more)

    with pytest.raises(Stop):
        go(progress=stops_after(3))
    for change, named in (
        ({"learning_rate": 1e-3}, r"settings.learning_rate: 0.01 there, 0.001 here"),
        ({"seed": 1}, "settings.seed: 0 there, 1 here"),
        ({"model": gpt2}, "model.digest"),
        ({"n": 11}, "rows: 10 there, 11 here"),
        ({"max_length": 40}, "tokens.max_length: 48 there, 40 here"),
        ({"dtype": "bfloat16"}, "dtype: 'float32' there, 'bfloat16' here"),
        ({"method": "full"}, "settings.method: 'lora' there, 'full' here"),
    ):
        with pytest.raises(InputError, match=named):
            go(**change)
    assert go(force=True, epochs=1).record["settings"]["epochs"] == 1
    with pytest.raises(InputError, match="out exists; use --force"):
        go()
    assert len(go(force=True).checkpoints) == 2


def test_force_replaces_a_tune_and_nothing_else(llama, tmp_path):
    for name in ("folder", "folder.txt"):
        (tmp_path / name).mkdir() if name == "folder" else (tmp_path / name).write_text("mine")
    (tmp_path / "folder" / "thesis.txt").write_text("mine")
    for name in ("folder", "folder.txt"):
        with pytest.raises(InputError, match="no tune"):
            tune(llama, make_examples(10), tmp_path / name, Settings(**SMALL), force=True)
    (tmp_path / "new.part").mkdir()
    (tmp_path / "new.part" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"new\.part.*other things"):
        tune(llama, make_examples(10), tmp_path / "new", Settings(**SMALL), force=True)


def test_rows_without_an_answer_are_left_out_and_too_few_are_refused(llama, tmp_path):
    asked = [Example((Turn("user", "What is this?"),))] * 6
    with pytest.raises(InputError, match="0 of 6 rows have an answer"):
        tune(llama, asked, tmp_path / "out", Settings(**SMALL))
    with pytest.raises(InputError, match="3 of 9 rows have an answer"):
        tune(llama, asked + make_examples(3), tmp_path / "out", Settings(**SMALL))
    assert list(tmp_path.iterdir()) == []
    lines = []
    mixed = tune(llama, asked + make_examples(5), tmp_path / "out", Settings(**SMALL), say=lines.append)
    plain = tune(llama, make_examples(5), tmp_path / "plain", Settings(**SMALL))
    assert lines[0] == "6 of 11 rows have nothing to train on and are left out"
    assert mixed.checkpoints[-1].digest == plain.checkpoints[-1].digest


def test_rows_of_a_pool_are_drawn_by_a_seed(llama, tmp_path):
    pool = [{"prompt": f"Add {k} and 1.", "response": str(k + 1)} for k in range(40)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pool))

    def answers(sample, seed=0):
        return [int(each.response) for each in sampled(tmp_path / "pool.jsonl", sample=sample, seed=seed)]

    assert answers(None) == list(range(1, 41))
    assert len(set(answers("25%"))) == len(answers(10)) == 10
    assert answers("25%") == answers("25%") == sorted(answers("25%"))
    assert answers("25%") != answers("25%", seed=1)
    for sample, named in (("3tok", "rows"), (41, "more than the 40 rows"), ("none", "--sample none")):
        with pytest.raises(InputError, match=named):
            answers(sample)
    tuned = tune_rows(tmp_path / "pool.jsonl", tmp_path / "out", model=llama, sample="25%", settings=Settings(**SMALL))
    assert tuned.record["rows"] == 10


def test_full_in_bfloat16_keeps_its_weights_in_float32(llama, tmp_path):
    tuned = tune(llama, make_examples(6), tmp_path / "out", Settings(**SMALL, method="full"), dtype="bfloat16")
    assert {tensor.dtype for tensor in tuned.checkpoints[0].weights().values()} == {torch.float32}
    adapted = tune(llama, make_examples(6), tmp_path / "adapted", Settings(**SMALL), dtype="bfloat16")
    assert {tensor.dtype for tensor in adapted.checkpoints[0].moments()[1].values()} == {torch.float32}


def test_settings_that_make_no_sense_are_refused(llama, tmp_path):
    for wrong, named in (
        ({"method": "qlora"}, "--method qlora is not one of lora, full"),
        ({"schedule": "steps"}, "--schedule"),
        ({"rank": 0}, "--rank 0 must be at least 1"),
        ({"learning_rate": 0.0}, "--learning-rate 0.0 must be above 0"),
        ({"dropout": 1.0}, "--dropout"),
        ({"weight_decay": -1.0}, "--weight-decay"),
        ({"batch_size": 8, "micro_batch": 3}, "--micro-batch 3 does not divide --batch-size 8"),
    ):
        with pytest.raises(InputError, match=named):
            Settings(**wrong)
    with pytest.raises(InputError, match=r"--modules \('w_proj',\)"):
        tune(llama, make_examples(6), tmp_path / "out", Settings(**SMALL, modules=["w_proj"]))
    assert not (tmp_path / "out.part").exists()  # nothing to go on from, so other arguments may follow
    with pytest.raises(InputError, match="loss is no number"):
        finetune(make_llama(), tokens_of(llama), Settings(**{**SMALL, "method": "full", "learning_rate": 1e30}))


def test_batches_are_padded_and_only_scored_tokens_are_labels():
    long = Tokens(np.array([5, 6, 7]), np.array([False, False, True]))
    short = Tokens(np.array([8, 9]), np.array([False, True]))
    batch = {name: tensor.tolist() for name, tensor in collate([long, short]).items()}
    assert batch == {
        "input_ids": [[5, 6, 7], [8, 9, 0]],
        "attention_mask": [[1, 1, 1], [1, 1, 0]],
        "labels": [[-100, -100, 7], [-100, 9, -100]],
    }


def test_moments_are_those_of_the_optimizer(llama, tmp_path):
    """A tune of one epoch: its moments follow from the clipped gradients of a plain loop of one step."""
    settings = Settings(**{**SMALL, "epochs": 1, "batch_size": 6}, method="full")
    tuned = tune(llama, make_examples(6), tmp_path / "out", settings)
    plain = load_causal(llama).model.requires_grad_(True)
    batch = collate(tokens_of(llama, 6))
    losses = plain(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"]).loss
    losses.backward()
    torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
    first, second = tuned.checkpoints[0].moments()
    assert list(first) == list(second) == [name for name, _ in plain.named_parameters()]
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(first[name], 0.1 * parameter.grad, rtol=1e-3, atol=1e-7)
        torch.testing.assert_close(second[name], 0.001 * parameter.grad**2, rtol=1e-3, atol=1e-9)
    assert len(load_file(tuned.folder / "epoch-1" / "moments.safetensors")) == 2 * len(first)
