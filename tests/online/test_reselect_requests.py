"""What re-selection refuses, in one line and before training where it can be known."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from reselections import FAST, LESS, ROWS, TARGET, again, trained  # noqa: E402
from small_models import make_llama  # noqa: E402

from tasksift.errors import InputError  # noqa: E402
from tasksift.online.reselect import Reselect  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:.*is_gradient_checkpointing:FutureWarning"
)

BAD = {
    "never": ({"every": None}, "selects never"),
    "zero": ({"every": 0}, "every 0 is out of range"),
    "half": ({"every": 2.5}, r"every 2\.5 is out of range"),
    "unknown": ({"breath": 3}, "there is no such option"),
    "checkpoints": ({"checkpoints": "warm"}, "checkpoints does not apply to re-selection"),
    "features": ({"features": "f"}, "features does not apply to re-selection"),
    "model": ({"model": "gpt2"}, "model does not apply to re-selection"),
    "out": ({"out": "x.jsonl"}, "there is no such option"),
    "set": ({"parameters": {"folds": 3}}, "folds"),
    "other-method": ({"alpha": 0.5}, "--alpha does not apply"),
    "preset": ({"preset": "lesss"}, "does not exist"),
    "budget": ({"budget": "many"}, "budget"),
    "bm25": ({"preset": "bm25", "dim": None, "max_length": None}, "nothing that training changes"),
    "tfidf": ({"preset": "tsds", "dim": None, "max_length": None}, "nothing that training changes"),
    "encoder": (
        {"preset": "tsds", "representation": "encoder", "dim": None, "model": "x"},
        "nothing that training changes",
    ),
    "no target": ({"target": None}, "there is no target"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_request_that_cannot_be_served_fails_before_training(tmp_path, case):
    options, says = BAD[case]
    with pytest.raises(InputError, match=says) as error:
        Reselect(ROWS, **{"target": TARGET, "every": 2, "folder": tmp_path / "run", **FAST, **LESS, **options})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_what_is_wrong_with_model_and_optimizer_is_said_before_training(tmp_path):
    reselect = again(tmp_path / "run")
    model, tokenizer, optimizer = trained()
    reselect.check(model, optimizer, rows=60)
    with pytest.raises(InputError, match="budget"):
        reselect.check(model, optimizer, rows=5)
    with pytest.raises(InputError, match="by its save_pretrained"):
        reselect.check(torch.nn.Linear(2, 2), optimizer)
    with pytest.raises(InputError, match="the optimizer is another"):
        reselect.check(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(InputError, match=r"betas \(0.9, 0.95\)"):
        reselect.check(model, torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95)))
    with pytest.raises(InputError, match="holds no moments"):
        reselect.rows(3, model, tokenizer, torch.optim.AdamW(model.parameters()))
    with pytest.raises(InputError, match="there is no optimizer"):
        reselect.rows(3, model, tokenizer)
    with pytest.raises(InputError, match="needs the tokenizer"):
        reselect.rows(3, model, None, optimizer)
    with pytest.raises(InputError, match="the pool has 60 rows and the training set 61"):
        reselect.rows(3, model, tokenizer, optimizer, of=61)
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"])
    with pytest.raises(InputError, match="trained beside the adapters"):
        reselect.check(peft.get_peft_model(make_llama(3, hidden=16, layers=1), config))
    sgd = again(tmp_path / "sgd", optimizer="sgd")
    assert len(sgd.rows(3, model, tokenizer, torch.optim.SGD(model.parameters(), lr=0.1))) == 6


def test_a_folder_with_other_things_is_not_replaced(tmp_path):
    (tmp_path / "step-3").mkdir()
    (tmp_path / "step-3" / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="holds other things"):
        again(tmp_path).rows(3, *trained())
    assert (tmp_path / "step-3" / "thesis.tex").read_text() == "precious"
