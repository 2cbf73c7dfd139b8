"""Small models in the middle of a training, and selections with them."""

from __future__ import annotations

import peft
import torch
from small_models import docstrings, make_llama, make_tokenizer

from tasksift.online.reselect import Reselect
from tasksift.represent.checkpoints import load_tuned, quiet_peft, read_tuned
from tasksift.represent.models import find_model
from tasksift.represent.store import replace_json
from tasksift.tune.keeping import Step
from tasksift.tune.saving import describe, write_checkpoint

ROWS = [{"prompt": text[:40], "response": text[-30:], "task": "ab"[k % 2]} for k, text in enumerate(docstrings(60))]
TARGET = ROWS[:4]
FAST = {"max_length": 24, "budget": 6}
LESS = {"preset": "less", "dim": 16}


def trained(kind="full", steps=3, *, make=make_llama, dropout=0.0):
    """A model in training mode after some steps of AdamW, its tokenizer and the optimizer."""
    model = make(3, hidden=16, layers=1)
    if kind == "lora":
        config = peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear", lora_dropout=dropout)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            with quiet_peft():
                model = peft.get_peft_model(model, config)
    model.train()
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        for _ in range(steps):
            ids = torch.randint(3, 400, (4, 20), generator=generator)
            optimizer.zero_grad()
            model(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
    return model, make_tokenizer(), optimizer


def again(folder, **options):
    return Reselect(ROWS, TARGET, **{"every": 1, "folder": folder, **FAST, **LESS, **options})


def saved_by_hand(folder, model, tokenizer, optimizer, step, base):
    """A tune's folder as `tasksift tune` writes it, and the plain model, adapters merged."""
    write_checkpoint(folder / "tune" / "epoch-1", model, tokenizer, optimizer, step)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    record = {
        "format": "tasksift tune 1",
        "model": {**find_model(base)[1], "path": str(base)},
        "settings": {"method": "lora" if hasattr(model, "peft_config") else "full"},
        "parameters": names,
        "checkpoints": describe(folder / "tune", [Step(step, 1.0, 1e-2)]),
    }
    replace_json(folder / "tune" / "tune.json", record)
    plain = model
    if hasattr(model, "peft_config"):
        plain = load_tuned(read_tuned(folder / "tune")).model.merge_and_unload()
    plain.save_pretrained(folder / "plain")
    tokenizer.save_pretrained(folder / "plain")
    return folder
