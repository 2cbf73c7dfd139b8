"""Weights in TRL's SFTTrainer: equal ones change nothing, its metrics included; a weight of two is two copies."""

import numpy as np
import pytest

from tasksift.errors import InputError
from tasksift.online.weighing import check_trainer
from tasksift.online.weights import WeightedCollator, WeightedLoss

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
datasets = pytest.importorskip("datasets")
trl = pytest.importorskip("trl")

from small_models import docstrings, make_llama, make_tokenizer  # noqa: E402
from trainers import Gradients  # noqa: E402

from tasksift.online import OnlineMixing, OnlineSampler  # noqa: E402

WEIGHTS = (2.0, 1.0, 3.0, 1.0, 1.0, 2.0)
METRICS = ("loss", "grad_norm", "entropy", "mean_token_accuracy", "num_tokens")

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")  # TRL sets it by itself


class WeightedSFT(WeightedLoss, trl.SFTTrainer):
    pass


@pytest.fixture(scope="module", autouse=True)
def no_bars():
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def rows(weights=WEIGHTS, copies=False):
    """Prompts and completions of very different lengths; with copies, as often as the weight says."""
    texts = [" ".join(text.split()[: 4 + 6 * k]) for k, text in enumerate(docstrings()[:6])]
    made = []
    for k, (text, weight) in enumerate(zip(texts, weights, strict=True)):
        row = {"prompt": f"{k}: ", "completion": text}
        made += [row] * int(weight) if copies else [{**row, "weight": weight}]
    return datasets.Dataset.from_list(made)


def trainer_of(kind, data, folder, *, batch=2, accumulation=2, evaluation=None, more=(), **options):
    tokenizer = make_tokenizer()
    tokenizer.pad_token = "<|end|>"
    chosen = {
        "output_dir": str(folder), "per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation,
        "per_device_eval_batch_size": 2, "num_train_epochs": 1, "learning_rate": 0.1, "optim": "sgd", "max_length": 48,
        "remove_unused_columns": False, "use_cpu": True, "bf16": False, "gradient_checkpointing": False,
        "dataloader_pin_memory": False, "report_to": "none", "disable_tqdm": True, "logging_steps": 1,
        "save_strategy": "no", **options,
    }  # fmt: skip
    return kind(
        model=make_llama(), args=trl.SFTConfig(**chosen), train_dataset=data, eval_dataset=evaluation,
        processing_class=tokenizer, callbacks=[Gradients(), *more],
    )  # fmt: skip


def trained(*args, **options):
    trainer = trainer_of(*args, **options)
    trainer.train()
    kept = next(c for c in trainer.callback_handler.callbacks if isinstance(c, Gradients))
    logged = [[line[name] for name in METRICS] for line in trainer.state.log_history if "loss" in line]
    return torch.stack(kept.of_step).numpy(), np.array(logged, dtype=float)


def gradient(kind, data, folder, **options):
    gradients, logged = trained(kind, data, folder, max_grad_norm=0, **options)
    assert len(gradients) == 1
    return np.append(gradients[0], logged[0, 0])


def test_weights_of_one_are_the_plain_trainer(tmp_path):
    data = rows([1.0] * 6)
    ours, plain = (
        trained(kind, data, tmp_path, batch=2, accumulation=2, num_train_epochs=2)
        for kind in (WeightedSFT, trl.SFTTrainer)
    )
    assert len(plain[0]) == 4
    for one, other in zip(ours, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_weight_of_two_is_two_copies(tmp_path):
    theirs = gradient(trl.SFTTrainer, rows(copies=True), tmp_path, batch=10, accumulation=1)
    for batch, factor in ((6, 1.0), (2, 1.0), (1, 1e-3)):
        data = rows([weight * factor for weight in WEIGHTS])
        ours = gradient(WeightedSFT, data, tmp_path, batch=batch, accumulation=6 // batch)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_weight_of_zero_is_absence(tmp_path):
    weights = (0.0, 1.0, 1.0, 0.0, 1.0, 1.0)
    theirs = gradient(trl.SFTTrainer, rows(weights, copies=True), tmp_path, batch=4, accumulation=1)
    ours = gradient(WeightedSFT, rows(weights), tmp_path, batch=2, accumulation=3)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_evaluation_does_not_look_at_weights(tmp_path):
    found = []
    for kind, data in ((trl.SFTTrainer, rows()), (WeightedSFT, rows()), (WeightedSFT, rows([1.0] * 6, copies=True))):
        metrics = trainer_of(kind, rows(), tmp_path, evaluation=data).evaluate()
        found.append([metrics[f"eval_{name}"] for name in ("loss", "entropy", "mean_token_accuracy")])
    np.testing.assert_allclose(found, [found[0]] * 3, rtol=1e-6)


def test_a_mixture_sees_losses_without_weights(tmp_path):
    losses = []
    for kind, weights in ((trl.SFTTrainer, [1.0] * 6), (WeightedSFT, [1.0] * 6), (WeightedSFT, [5.0, *[1.0] * 5])):
        sampler = OnlineSampler(list("aabbcc"), seed=1, mode="uniform")
        trained(kind, rows(weights), tmp_path, batch=3, accumulation=2, more=[OnlineMixing(sampler)])
        losses.append(sampler.losses)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    np.testing.assert_allclose(losses[2], losses[0], rtol=1e-5)  # one step, so the weights come too late to matter


def test_the_collator_of_trl():
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    examples = [{"input_ids": [1, 2, 3], "weight": 2.0, "text": "kept"}, {"input_ids": [4, 5], "weight": 0}]
    batch = WeightedCollator(DataCollatorForLanguageModeling(pad_token_id=0))(examples)
    assert batch["weight"].tolist() == [2.0, 0.0]
    assert batch["labels"].tolist() == [[1, 2, 3], [4, 5, -100]]
    with pytest.raises(InputError, match=r"made 1 rows of 2 examples.*padding_free=False"):
        WeightedCollator(DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True))(examples)


def test_arguments_that_leave_no_place_for_weights(tmp_path):
    with pytest.raises(InputError, match="set remove_unused_columns=False"):
        trainer_of(WeightedSFT, rows(), tmp_path, remove_unused_columns=True)
    trainer = trainer_of(WeightedSFT, rows(), tmp_path)
    plain = dict(vars(trainer.args))
    for changes, message in (
        ({"packing": True}, "set both to False"),
        ({"padding_free": True}, "set both to False"),
        ({"loss_type": "dft"}, "loss_type='nll'"),
        ({"label_smoothing_factor": 0.1}, "without label smoothing"),
    ):
        vars(trainer.args).update({**plain, **changes})
        with pytest.raises(InputError, match=message):
            check_trainer(trainer)


def test_rows_without_weights(tmp_path):
    with pytest.raises(InputError, match="no weights; set remove_unused_columns=False"):
        trainer_of(WeightedSFT, rows(copies=True), tmp_path).train()
