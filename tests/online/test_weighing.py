"""What has no place for weights, and is refused in one line."""

from types import SimpleNamespace

import pytest

from tasksift.errors import InputError
from tasksift.online.weighing import check_trainer
from tasksift.online.weights import WeightedCollator, WeightedLoss

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from small_models import make_llama  # noqa: E402
from weighted import (  # noqa: E402
    Bare,
    WeightedTrainer,
    bare,
    classified,
    make_bert,
    make_t5,
    pad,
    sentences,
    trained,
    trainer_of,
)


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
