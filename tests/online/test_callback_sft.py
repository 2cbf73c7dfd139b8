"""Online mixing in TRL's SFTTrainer, on conversations as users have them."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
trl = pytest.importorskip("trl")
peft = pytest.importorskip("peft")
datasets = pytest.importorskip("datasets")

from small_models import CHATML, docstrings, make_llama, make_tokenizer  # noqa: E402
from trainers import (  # noqa: E402
    Recording,
    Spy,
    arguments,
    by_domain,
    hand_losses,
    weights_of,
)

from tasksift.errors import InputError  # noqa: E402
from tasksift.online import OnlineMixing  # noqa: E402

# TRL and PEFT ask transformers for names that it has given up.
pytestmark = [
    pytest.mark.usefixtures("short_collections"),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing. is deprecated:FutureWarning"),
]


def pairs(count=22):
    texts = docstrings()
    return [
        {
            "prompt": f"{k}: " + " ".join(texts[k].split()[:4]),
            "completion": " " + " ".join(texts[k + 40].split()[: 2 + k % 5]),
            "source": "abc"[k * k % 3 + k % 2],
        }
        for k in range(count)
    ]


def conversations():
    return [
        {
            "messages": [
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row["completion"]},
            ],
            "source": row["source"],
        }
        for row in pairs()
    ]


def bare(lora=None):
    model = make_llama(hidden=16, layers=1)
    return model if lora is None else peft.get_peft_model(model, lora)


def adapter():
    return peft.LoraConfig(
        r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights="gaussian"
    )


def prepared(folder, rows=None, *, lora=None, batches="mixed", **options):
    data = datasets.Dataset.from_list(pairs() if rows is None else rows)
    sampler = Recording(data["source"], seed=3, batches=batches)
    trainer = trl.SFTTrainer(
        bare(),
        arguments(folder, trl.SFTConfig, **{"bf16": False, "num_train_epochs": 1, **options}),
        train_dataset=data,
        processing_class=make_tokenizer(CHATML),
        peft_config=lora,
        callbacks=[OnlineMixing(sampler)],
    )
    return trainer, sampler, Spy(trainer)


def check_credit(spy, sampler, lora=None, batches="mixed"):
    """What was observed is what a plain model of these weights gives, one example at a time."""
    model = bare(lora)
    codes = sampler.domains.codes.tolist()
    assert len(sampler.observed) == len(spy.steps) > 2
    for weights, parts, rows, ((said, losses, tokens),) in zip(
        spy.weights, spy.inputs, spy.steps, sampler.observed, strict=True
    ):
        examples = [hand_losses(model, weights, inputs) for inputs in parts]
        expected, counts = (np.concatenate([each[k] for each in examples]) for k in (0, 1))
        rows = np.ravel(rows).tolist()
        if batches == "mixed":
            assert said.tolist() == rows
            np.testing.assert_allclose(losses, expected, rtol=1e-4)
            assert tokens.tolist() == counts.tolist()
        of_domains = by_domain(codes, said.tolist(), losses, tokens, 3)
        np.testing.assert_allclose(of_domains, by_domain(codes, rows, expected, counts, 3), rtol=1e-4)


@pytest.mark.parametrize("batches", ["mixed", "single"])
@pytest.mark.parametrize(
    "options",
    [{}, {"gradient_accumulation_steps": 4}, {"activation_checkpointing": True}, {"rows": conversations()}],
    ids=["pairs", "accumulation", "checkpointing", "conversations"],
)
def test_rows_and_credit(tmp_path, batches, options):
    trainer, sampler, spy = prepared(tmp_path, batches=batches, **{"num_train_epochs": 2, **options})
    before = json.dumps(trainer.train_dataset.to_list())
    trainer.train()
    assert spy.steps == sampler.done
    assert trainer.state.global_step == (4 if "gradient_accumulation_steps" in options else 12)
    check_credit(spy, sampler, batches=batches)
    assert json.dumps(trainer.train_dataset.to_list()) == before
    assert "source" in trainer.train_dataset.column_names
    if "rows" not in options:
        assert any((inputs["labels"] == -100).any() for inputs in spy.inputs[0])


@pytest.mark.parametrize("batches", ["mixed", "single"])
def test_rows_and_credit_with_lora(tmp_path, batches):
    trainer, sampler, spy = prepared(tmp_path, lora=adapter(), batches=batches, gradient_accumulation_steps=2)
    frozen = weights_of(trainer.model)
    trainer.train()
    assert spy.steps == sampler.done
    check_credit(spy, sampler, adapter(), batches)
    changed = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, frozen[name])}
    assert changed
    assert all("lora" in name for name in changed)


def test_a_resumed_training_with_lora_is_the_one_that_was_not_stopped(tmp_path):
    options = {"lora": adapter(), "save_strategy": "steps", "save_steps": 1, "gradient_accumulation_steps": 2}
    trainer, sampler, _ = prepared(tmp_path, **options)
    trainer.train()
    expected, file = (sampler.done, sampler.followed), (tmp_path / "mixture.jsonl").read_bytes()
    resumed, again, _ = prepared(tmp_path, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert (again.done, again.followed) == tuple(part[2:] for part in expected)
    assert (tmp_path / "mixture.jsonl").read_bytes() == file
    for name, value in weights_of(trainer.model).items():
        assert torch.equal(value, resumed.model.state_dict()[name])


@pytest.mark.parametrize("batches", ["mixed", "single"])
@pytest.mark.filterwarnings("ignore:.*packing.*", "ignore:.*padding-free.*", "ignore:.*[Ff]lash.*")
def test_packing_is_refused_in_one_line(tmp_path, batches):
    """Even where there happen to be as many packed rows as there were."""
    for length in (32, 4):
        trainer, _, _ = prepared(tmp_path, packing=True, max_length=length, batches=batches)
        with pytest.raises(InputError, match=r"^packing makes rows of several domains out of .*; train without it$"):
            trainer.train()


@pytest.mark.filterwarnings("ignore:.*padding.free.*", "ignore:.*[Ff]lash.*", "ignore:.*attention implementation.*")
def test_batches_without_padding_are_taken_as_a_whole_or_not_at_all(tmp_path):
    """Regression 5.3 #5: the loss of a mixed batch never goes to its first example."""
    trainer, _, _ = prepared(tmp_path, padding_free=True, max_length=None)
    with pytest.raises(InputError, match=r"batches of \[1\] rows, and 4 were drawn for each; .* padding_free$"):
        trainer.train()
    trainer, sampler, spy = prepared(tmp_path, padding_free=True, max_length=None, batches="single")
    trainer.train()
    assert spy.steps == sampler.done
    assert len(spy.steps) == 6
    for weights, (rows,), ((_, losses, tokens),) in zip(spy.weights, spy.steps, sampler.observed, strict=True):
        total = count = 0
        for row in rows:
            example = trainer.train_dataset[row]
            ((loss,), (learnt,)) = hand_losses(
                bare(), weights, {name: torch.tensor([example[name]]) for name in ("input_ids", "labels")}
            )
            total, count = total + loss * learnt, count + learnt
        assert losses[0] == pytest.approx(total / count, rel=1e-4)
        assert tokens.tolist() == [count]


@pytest.mark.filterwarnings("ignore:.*label_smoothing_factor. is deprecated.*")
@pytest.mark.parametrize("batches", ["mixed", "single"])
def test_label_smoothing_is_refused_in_one_line(tmp_path, batches):
    trainer, _, _ = prepared(tmp_path, label_smoothing_factor=0.1, batches=batches)
    with pytest.raises(InputError, match=r"do without label smoothing, compute_loss_func") as caught:
        trainer.train()
    assert "\n" not in str(caught.value)


def test_evaluation_gives_nothing_to_learn_from(tmp_path):
    held_out = datasets.Dataset.from_list(pairs(30)[22:])
    data = datasets.Dataset.from_list(pairs())
    sampler = Recording(data["source"], seed=3)
    trainer = trl.SFTTrainer(
        bare(),
        arguments(tmp_path, trl.SFTConfig, bf16=False, num_train_epochs=1, eval_strategy="steps", eval_steps=2),
        train_dataset=data,
        eval_dataset=held_out,
        processing_class=make_tokenizer(CHATML),
        callbacks=[OnlineMixing(sampler)],
    )
    trainer.train()
    assert [len(told) for told in sampler.observed] == [1] * 6
    assert [line["step"] for line in trainer.state.log_history if "eval_loss" in line] == [2, 4, 6]
    plain, alone, _ = prepared(tmp_path)
    plain.train()
    assert alone.followed == sampler.followed
