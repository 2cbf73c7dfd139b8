"""Weights: that they are copies, that equal ones change nothing, and what has no place for them."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tasksift.errors import InputError
from tasksift.online.weighing import check_trainer
from tasksift.online.weights import WeightedCollator, WeightedLoss

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from small_models import make_gpt2, make_llama, make_tokenizer  # noqa: E402

WEIGHTS = (2.0, 1.0, 3.0, 1.0, 1.0, 2.0, 1.0, 1.0)


class WeightedTrainer(WeightedLoss, transformers.Trainer):
    pass


class Gradients(transformers.TrainerCallback):
    """The gradient of every step, as one vector."""

    def __init__(self):
        self.of_step = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.of_step.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))


def sentences(weights=WEIGHTS):
    """Rows of very different lengths, some of their tokens without a label."""
    rng = np.random.default_rng(5)
    rows = []
    for k, weight in enumerate(weights):
        ids = rng.integers(3, 400, 3 + 4 * k).tolist()
        rows.append({"input_ids": ids, "labels": [-100] * (k % 3) + ids[k % 3 :], "weight": weight})
    return rows


def classified(weights=WEIGHTS):
    return [{**row, "labels": k % 3} for k, row in enumerate(sentences(weights))]


def bare(rows):
    return [{name: value for name, value in row.items() if name != "weight"} for row in rows]


def pad(rows):
    """A collator of a few lines; labels are lists, or one class a row. What it does not know it drops."""
    longest = max(len(row["input_ids"]) for row in rows)
    lengths = [len(row["input_ids"]) for row in rows]
    ids = [row["input_ids"] + [0] * (longest - n) for row, n in zip(rows, lengths, strict=True)]
    batch = {
        "input_ids": torch.tensor(ids),
        "attention_mask": (torch.arange(longest) < torch.tensor(lengths)[:, None]).long(),
    }
    if "labels" in rows[0]:
        labels = [row["labels"] for row in rows]
        if isinstance(labels[0], list):
            labels = [each + [-100] * (longest - len(each)) for each in labels]
        batch["labels"] = torch.tensor(labels)
    return batch


def make_bert(kind=None):
    config = transformers.BertConfig(
        vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=64, hidden_dropout_prob=0, attention_probs_dropout_prob=0, num_labels=3,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return (kind or transformers.BertForSequenceClassification)(config)


def trainer_of(kind, model, rows, folder, *, batch=2, accumulation=2, evaluation=None, collator=pad, **options):
    chosen = {
        "output_dir": str(folder), "per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation,
        "per_device_eval_batch_size": 3, "num_train_epochs": 1, "learning_rate": 0.1, "optim": "sgd",
        "remove_unused_columns": False, "use_cpu": True, "dataloader_pin_memory": False, "report_to": "none",
        "disable_tqdm": True, "logging_steps": 1, "save_strategy": "no", **options,
    }  # fmt: skip
    own = {name: chosen.pop(name) for name in ("compute_loss_func",) if name in chosen}
    return kind(
        model=model, args=transformers.TrainingArguments(**chosen), train_dataset=rows, eval_dataset=evaluation,
        data_collator=collator, callbacks=[Gradients()], **own,
    )  # fmt: skip


def trained(*args, **options):
    """Train, and return the gradients, the logged losses and norms, and the parameters."""
    trainer = trainer_of(*args, **options)
    trainer.train()
    kept = next(c for c in trainer.callback_handler.callbacks if isinstance(c, Gradients))
    logged = [(line["loss"], line["grad_norm"]) for line in trainer.state.log_history if "loss" in line]
    parameters = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
    return torch.stack(kept.of_step), np.array(logged), parameters


def same(one, other, rtol=1e-4, atol=1e-6):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rtol, atol=atol)


def gradient(kind, model, rows, folder, **options):
    """The gradient of one step over all rows, without clipping."""
    options = {"batch": len(rows), "accumulation": 1, "max_grad_norm": 0, **options}
    gradients, logged, _ = trained(kind, model, rows, folder, **options)
    assert len(gradients) == 1
    return gradients[0].numpy(), logged[0, 0]


def steady_gpt2():
    """Without dropout, which differs from copy to copy."""
    model = make_gpt2()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0
    return model


def llama_head():
    model = make_llama()
    config = transformers.LlamaConfig(**{**model.config.to_dict(), "num_labels": 3, "pad_token_id": 0})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.LlamaForSequenceClassification(config)


def make_t5():
    config = transformers.T5Config(
        vocab_size=400, d_model=32, d_ff=64, d_kv=16, num_layers=1, num_heads=2, dropout_rate=0,
        decoder_start_token_id=0, pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.T5ForConditionalGeneration(config)


class Bare(torch.nn.Module):
    """A model that is not of transformers."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, input_ids, attention_mask=None, labels=None):
        return {"loss": self.weight.sum(), "logits": self.weight}


def pad_both(rows):
    batch = pad(rows)
    before = torch.nn.functional.pad(batch["labels"], (1, 0), value=0)[:, :-1]
    return {**batch, "decoder_input_ids": before.clamp(min=0)}


CAUSAL = {"llama": make_llama, "gpt2": make_gpt2}
HEADS = {"bert": make_bert, "llama": llama_head}


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


@pytest.mark.parametrize("value", [None, -1, float("nan"), float("inf"), "heavy", [1.0]])
def test_bad_weights(value):
    rows = sentences()[:3]
    rows[1]["weight"] = value
    with pytest.raises(InputError, match=r"example 1 of a batch has weight .*finite numbers from 0"):
        WeightedCollator(pad)(rows)


def test_some_rows_without_a_weight():
    with pytest.raises(InputError, match="example 2 of a batch has weight None"):
        WeightedCollator(pad)([*sentences()[:2], *bare(sentences()[:1])])


def test_flattened_rows_have_no_weights():
    flat = transformers.DataCollatorWithFlattening()
    with pytest.raises(InputError, match=r"made 1 rows of 3 examples.*padding_free=False and packing=False"):
        WeightedCollator(flat)(sentences()[:3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"remove_unused_columns": True}, "set remove_unused_columns=False"),
        ({"batch": 1, "accumulation": 1}, "raise per_device_train_batch_size or gradient_accumulation_steps"),
        ({"compute_loss_func": lambda outputs, labels, num_items_in_batch=None: 0}, "leave it out"),
    ],
)
def test_arguments_that_leave_no_place_for_weights(options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        trainer_of(WeightedTrainer, make_llama(), sentences(), tmp_path, **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"_n_gpu": 2}, "CUDA_VISIBLE_DEVICES"), ({"packing": True}, "set both"), ({"padding_free": True}, "set both")],
)
def test_other_arguments_that_leave_no_place_for_weights(changes, message, tmp_path):
    trainer = trainer_of(WeightedTrainer, make_llama(), sentences(), tmp_path)
    vars(trainer.args).update(changes)
    with pytest.raises(InputError, match=message):
        check_trainer(trainer)


def test_split_examples_are_refused(tmp_path):
    trainer = trainer_of(WeightedTrainer, make_llama(), sentences(), tmp_path)
    for name in ("cp_enabled", "sp_enabled"):
        split = SimpleNamespace(parallelism_config=SimpleNamespace(**{name: True}))
        with pytest.raises(InputError, match="weights need whole ones"):
            check_trainer(SimpleNamespace(args=trainer.args, accelerator=split, compute_loss_func=None))


@pytest.mark.parametrize(
    ("model", "rows", "message"),
    [
        (make_llama, bare(sentences()), "no weights; set remove_unused_columns=False"),
        (make_llama, [{k: r[k] for k in r if k != "labels"} for r in sentences()], "no tensor of labels"),
        (make_bert, [{**row, "labels": 0.5} for row in classified()], "not one class for each row"),
        (lambda: make_bert(transformers.BertForMultipleChoice), classified(), "BertForMultipleChoice is not known"),
        (make_t5, sentences(), "DataCollatorForSeq2Seq"),
        (Bare, sentences(), "the loss of Bare is not known"),
    ],
)
def test_batches_that_cannot_be_weighed(model, rows, message, tmp_path):
    with pytest.raises(InputError, match=message):
        trained(WeightedTrainer, model(), rows, tmp_path)


def test_a_trainer_with_its_own_loss_is_refused(tmp_path):
    class Own(transformers.Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            return model(**inputs).loss

    class WeightedOwn(WeightedLoss, Own):
        pass

    with pytest.raises(InputError, match="WeightedOwn computes its loss by itself"):
        trained(WeightedOwn, make_llama(), sentences(), tmp_path)


RANK = """
import sys
import numpy, torch
import test_weights as here

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
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path]
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
