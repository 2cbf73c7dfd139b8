"""What online mixing cannot go with is said when training begins, or at its first step, in one line."""

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from torch.utils.data import IterableDataset  # noqa: E402
from trainers import (  # noqa: E402
    Recording,
    arguments,
    labels_of,
    make_model,
    make_rows,
)
from transformers import Trainer  # noqa: E402

from tasksift.errors import InputError  # noqa: E402
from tasksift.online import OnlineMixing, OnlineSampler  # noqa: E402

pytestmark = pytest.mark.usefixtures("short_collections")

ROWS = make_rows(30)
LABELS = labels_of(30)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(ROWS)


class Part(torch.nn.Module):
    """A model whose output is made of that of another; it takes no labels itself unless they are passed on."""

    def __init__(self, change):
        super().__init__()
        self.inner, self.change = make_model(), change

    def forward(self, input_ids, labels=None):
        output = self.inner(input_ids=input_ids, labels=labels)
        return self.change(dict(output))


class Twice(Trainer):
    def compute_loss(self, model, inputs, **more):
        model(**inputs)
        return super().compute_loss(model, inputs, **more)


def only_loss(output):
    return {"loss": output["loss"]}


def with_penalty(output):
    return {"loss": output["loss"] + 1, "logits": output["logits"]}


def own_loss(outputs, labels, num_items_in_batch=None):
    return torch.nn.functional.cross_entropy(outputs.logits.flatten(0, 1), labels.flatten())


def run(folder, *, sampler=None, rows=ROWS, model=None, trainer=Trainer, loss=None, **options):
    sampler = Recording(LABELS) if sampler is None else sampler
    made = trainer(
        make_model() if model is None else model,
        arguments(folder, **{"num_train_epochs": 1, **options}),
        train_dataset=rows,
        compute_loss_func=loss,
        callbacks=[OnlineMixing(sampler)],
    )
    made.train()
    return made, sampler


REFUSED = {
    "a stream": ({"rows": Stream(), "max_steps": 3}, "a data set with a length"),
    "rows dealt by one process": ({"accelerator_config": {"dispatch_batches": True}}, "dispatch_batches"),
    "fewer rows": ({"rows": ROWS[:29]}, "the training set has 29 rows and the sampler 30 domains of rows"),
    "more rows": ({"rows": ROWS + make_rows(1)}, "the training set has 31 rows and the sampler 30"),
    "no skipping": ({"ignore_data_skip": True}, "ignore_data_skip is of no use here"),
    "groups by length": ({"train_sampling_strategy": "group_by_length"}, "'group_by_length' .* two samplers"),
    "an order": ({"train_sampling_strategy": "sequential"}, "'sequential' .* two samplers"),
    "label smoothing": ({"label_smoothing_factor": 0.1}, "do without label smoothing, compute_loss_func"),
    "a loss of one's own": ({"loss": own_loss}, "do without label smoothing, compute_loss_func"),
    "no logits": ({"model": Part(only_loss)}, "no logits .* OnlineSampler\\(batches='single'\\)"),
    "a loss of several parts": ({"model": Part(with_penalty)}, "other parts; use OnlineSampler\\(batches='single'\\)"),
    "two passes": ({"trainer": Twice}, "trained on 2 batches in a step of 1"),
    "no label": (
        {"sampler": OnlineSampler(LABELS, batches="single"), "label_smoothing_factor": 0.1},
        "the model returns no loss to mix by",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(tmp_path, case):
    options, message = REFUSED[case]
    with pytest.raises(InputError, match=message) as caught:
        run(tmp_path, **options)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("change", [only_loss, with_penalty])
def test_what_a_message_advises_works(tmp_path, change):
    _, sampler = run(tmp_path, model=Part(change), sampler=Recording(LABELS, batches="single"))
    assert sampler.step == 8
    assert [len(told[0][0]) for told in sampler.observed] == [1] * 8


@pytest.mark.parametrize("change", [None, only_loss, with_penalty])
def test_a_mixture_that_never_changes_asks_nothing_of_the_model(tmp_path, change):
    """Losses are only written down then, so a training goes on without them."""
    model = None if change is None else Part(change)
    _, sampler = run(tmp_path, model=model, sampler=Recording(LABELS, mode="stratified"))
    assert sampler.step == 8
    assert [len(told) for told in sampler.observed] == [1 if change is None else 0] * 8


def test_another_trainer_than_ones_own(tmp_path):
    mixing = OnlineMixing(OnlineSampler(LABELS), Trainer(make_model(), arguments(tmp_path), train_dataset=ROWS))
    trainer = Trainer(make_model(), arguments(tmp_path), train_dataset=ROWS, callbacks=[mixing])
    with pytest.raises(InputError, match="another Trainer than the one"):
        trainer.train()


def test_several_devices_in_one_process(tmp_path):
    """DataParallel needs two devices, so the question is put to the callback alone."""
    trainer = Trainer(make_model(), arguments(tmp_path), train_dataset=ROWS)
    loader = trainer.get_train_dataloader()
    args = SimpleNamespace(n_gpu=2, world_size=1, process_index=0, ignore_data_skip=False, packing=False)
    with pytest.raises(InputError, match=r"does not go with DataParallel; start one process per GPU \(torchrun\)"):
        OnlineMixing(OnlineSampler(LABELS)).on_train_begin(
            args, None, None, train_dataloader=loader, model=trainer.model
        )
