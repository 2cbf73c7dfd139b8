"""Small models and rows, trained with and without weights."""

from __future__ import annotations

import numpy as np
import torch
import transformers
from small_models import make_gpt2, make_llama
from trainers import Gradients

from tasksift.online.weights import WeightedLoss

WEIGHTS = (2.0, 1.0, 3.0, 1.0, 1.0, 2.0, 1.0, 1.0)


class WeightedTrainer(WeightedLoss, transformers.Trainer):
    pass


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
