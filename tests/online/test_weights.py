"""Weights: that they are copies, and that equal ones change nothing."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tasksift.online.weights import WeightedCollator

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from small_models import make_llama, make_tokenizer  # noqa: E402
from weighted import (  # noqa: E402
    CAUSAL,
    HEADS,
    WEIGHTS,
    WeightedTrainer,
    bare,
    classified,
    gradient,
    make_bert,
    make_t5,
    pad,
    pad_both,
    same,
    sentences,
    steady_gpt2,
    trained,
    trainer_of,
)


@pytest.mark.parametrize("model", CAUSAL)
@pytest.mark.parametrize("options", [{}, {"label_smoothing_factor": 0.2}, {"batch": 3, "accumulation": 1}], ids=str)
def test_weights_of_one_are_the_plain_trainer(model, options, tmp_path):
    rows = sentences([1.0] * 7)
    ours, plain = (
        trained(kind, CAUSAL[model](), rows, tmp_path, num_train_epochs=2, **options)
        for kind in (WeightedTrainer, transformers.Trainer)
    )
    assert len(plain[0]) > 3
    same(ours, plain)


@pytest.mark.parametrize("model", HEADS)
def test_weights_of_one_are_the_plain_classifier(model, tmp_path):
    rows = classified([1.0] * 7)
    ours, plain = (
        trained(kind, HEADS[model](), rows, tmp_path, batch=4, accumulation=1)
        for kind in (WeightedTrainer, transformers.Trainer)
    )
    same(ours, plain)


@pytest.mark.parametrize(
    ("model", "collator"), [(lambda: make_bert(transformers.BertForMaskedLM), pad), (make_t5, pad_both)]
)
def test_weights_of_one_where_labels_are_not_shifted(model, collator, tmp_path):
    rows = sentences([1.0] * 7)
    ours, plain = (
        trained(kind, model(), rows, tmp_path, batch=4, accumulation=1, collator=collator)
        for kind in (WeightedTrainer, transformers.Trainer)
    )
    same(ours, plain)


@pytest.mark.parametrize(
    ("model", "rows"), [(make_llama, sentences), (steady_gpt2, sentences), (make_bert, classified)]
)
def test_a_weight_of_two_is_two_copies(model, rows, tmp_path):
    weighted = rows()
    copies = [row for row, weight in zip(bare(weighted), WEIGHTS, strict=True) for _ in range(int(weight))]
    assert len(copies) == sum(WEIGHTS)
    theirs = gradient(transformers.Trainer, model(), copies, tmp_path)
    for split in (1, 4):
        ours = gradient(WeightedTrainer, model(), weighted, tmp_path, batch=8 // split, accumulation=split)
        same(ours, theirs)


@pytest.mark.parametrize(("model", "rows"), [(make_llama, sentences), (make_bert, classified)])
def test_a_weight_of_zero_is_absence(model, rows, tmp_path):
    weighted = rows([1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    present = [row for row in weighted if row["weight"]]
    theirs = gradient(transformers.Trainer, model(), present, tmp_path)
    same(gradient(WeightedTrainer, model(), weighted, tmp_path, batch=2, accumulation=4), theirs)


def test_the_loss_scale_does_not_depend_on_batch_size_or_the_scale_of_weights(tmp_path):
    whole = gradient(WeightedTrainer, make_llama(), sentences(), tmp_path)
    for batch, factor in ((1, 1.0), (4, 1.0), (2, 1e-3), (8, 1e3)):
        rows = sentences([weight * factor for weight in WEIGHTS])
        same(gradient(WeightedTrainer, make_llama(), rows, tmp_path, batch=batch, accumulation=8 // batch), whole)


def test_the_scale_of_a_classifier_does_not_grow_with_accumulation(tmp_path):
    whole = gradient(WeightedTrainer, make_bert(), classified(), tmp_path)
    same(gradient(WeightedTrainer, make_bert(), classified(), tmp_path, batch=2, accumulation=4), whole)


def test_a_step_without_weight_learns_nothing(tmp_path):
    found, loss = gradient(WeightedTrainer, make_llama(), sentences([0.0] * 8), tmp_path)
    assert not found.any()
    assert loss == 0


def test_evaluation_does_not_look_at_weights(tmp_path):
    losses = []
    for kind, rows in (
        (transformers.Trainer, sentences()), (WeightedTrainer, sentences()), (WeightedTrainer, bare(sentences())),
    ):  # fmt: skip
        trainer = trainer_of(kind, make_llama(), sentences(), tmp_path, evaluation=rows)
        losses.append(trainer.evaluate()["eval_loss"])
        unlabelled = [{name: row[name] for name in row if name != "labels"} for row in rows]
        assert len(trainer.predict(unlabelled).predictions) == 8
    assert losses == [losses[0]] * 3


def test_evaluation_in_the_middle_of_training_changes_nothing(tmp_path):
    often = {"eval_strategy": "steps", "eval_steps": 1, "evaluation": bare(sentences())}
    same(
        trained(WeightedTrainer, make_llama(), sentences(), tmp_path, **often),
        trained(WeightedTrainer, make_llama(), sentences(), tmp_path),
        rtol=0, atol=0,
    )  # fmt: skip


def test_the_column_may_have_another_name(tmp_path):
    renamed = [{**{k: row[k] for k in row if k != "weight"}, "w": row["weight"]} for row in sentences()]
    ours = gradient(WeightedTrainer, make_llama(), renamed, tmp_path, collator=WeightedCollator(pad, "w"))
    same(ours, gradient(WeightedTrainer, make_llama(), sentences(), tmp_path))


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks transformers for it
def test_adapters_are_weighed(tmp_path):
    peft = pytest.importorskip("peft")

    def model():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return peft.get_peft_model(make_llama(), peft.LoraConfig(r=2, target_modules=["q_proj"]))

    ones, plain = (
        gradient(kind, model(), sentences([1.0] * 8), tmp_path) for kind in (WeightedTrainer, transformers.Trainer)
    )
    same(ones, plain)
    assert np.abs(gradient(WeightedTrainer, model(), sentences(), tmp_path)[0] - plain[0]).max() > 1e-4


@pytest.mark.parametrize("collator", ["padding", "language", "default"])
def test_collators_of_transformers(collator):
    tokenizer = make_tokenizer()
    tokenizer.pad_token = "<|end|>"
    plain = {
        "padding": transformers.DataCollatorWithPadding(tokenizer),
        "language": transformers.DataCollatorForLanguageModeling(tokenizer, mlm=False),
        "default": transformers.default_data_collator,
    }[collator]
    n = 4 if collator == "default" else 1
    rows = [{"input_ids": [5, 6, 7, 8], "attention_mask": [1] * 4}, {"input_ids": [9] * n, "attention_mask": [1] * n}]
    weighted = [{**row, "weight": weight} for row, weight in zip(rows, (0.5, np.float64(2)), strict=True)]
    batch = WeightedCollator(plain)(weighted)
    expected = plain(rows)
    assert batch["weight"].dtype == torch.float32
    assert batch.pop("weight").tolist() == [0.5, 2.0]
    assert set(batch) == set(expected)
    assert all(torch.equal(batch[name], expected[name]) for name in expected)
    assert weighted[0]["weight"] == 0.5, "the examples are left alone"
    assert "weight" not in WeightedCollator(plain)(rows)


RANK = """
import sys
import numpy, torch
import weighted as here

found, _ = here.gradient(
    here.WeightedTrainer, here.make_llama(), here.sentences(), sys.argv[1], batch=1, accumulation=4, ddp_backend="gloo"
)
if torch.distributed.get_rank() == 1:
    numpy.save(sys.argv[2], found)
torch.distributed.destroy_process_group()
"""


def test_ranks_together_are_one_step(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = [str(Path(__file__).parents[1]), *sys.path]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(tmp_path), str(tmp_path / "found.npy")],
            env={**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank, "PYTHONPATH": os.pathsep.join(folders)},
            stderr=subprocess.PIPE,
        )
        for rank in "01"
    ]
    try:
        for process in processes:
            said = process.communicate(timeout=180)[1].decode()
            assert process.returncode == 0, said
    finally:
        for process in processes:
            process.kill()
            process.wait()
    theirs, _ = gradient(WeightedTrainer, make_llama(), sentences(), tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), theirs, rtol=1e-4, atol=1e-6)
