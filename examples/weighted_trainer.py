"""Weights that count in `transformers.Trainer`: the rows of highest probability, each with its weight in the loss.

    python examples/weighted_trainer.py --out run                 a small Llama from scratch, under a minute on one core
    python examples/weighted_trainer.py --out run --model FOLDER  a causal model of yours

What is new in it is marked by `weight`: the class with `WeightedLoss`, the column, and remove_unused_columns=False.
"""

import argparse

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    set_seed,
)

import tasksift as ts
from tasksift.demo_pool import demo_rows, docstrings, standard_library
from tasksift.online import WeightedLoss
from tasksift.progress import silent


class WeightedTrainer(WeightedLoss, Trainer):
    """The Trainer, with the column `weight` in its loss."""


def small_model(texts):
    """Make an untrained Llama of 0.4 million parameters and a byte-pair tokenizer for it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    options = {"special_tokens": ["<pad>", "<end>"], "initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=1000, show_progress=False, **options))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>")
    special = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    shape = {"hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(vocab_size=1000, max_position_embeddings=128, **shape, **special)), tokenizer


def main():
    """Select, train with weights, evaluate on the target and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="weighted_trainer", help="folder of the run")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--model", help="folder or name of a causal model; a small one from scratch without")
    args = parser.parse_args()

    rows = demo_rows(docstrings(standard_library(), silent))  # put your own pool and target in its place
    selection = ts.select(rows.pool, rows.target, 200, draw="top")
    picked = [rows.pool[position]["text"] for position in selection.positions]
    print(f"{len(selection)} rows, weights from {selection.weights.min():.2f} to {selection.weights.max():.2f}")

    set_seed(0)
    if args.model:
        model, tokenizer = AutoModelForCausalLM.from_pretrained(args.model), AutoTokenizer.from_pretrained(args.model)
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    else:
        model, tokenizer = small_model(picked)

    def tokens(text):
        return tokenizer(text, truncation=True, max_length=128)

    trainer = WeightedTrainer(
        model,
        TrainingArguments(
            args.out,
            max_steps=args.steps,
            per_device_train_batch_size=8,
            gradient_accumulation_steps=2,
            learning_rate=3e-3,
            logging_steps=max(1, args.steps // 10),
            save_strategy="no",
            remove_unused_columns=False,  # or the Trainer drops the column `weight`
            dataloader_pin_memory=torch.cuda.is_available(),
            report_to="none",
        ),
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        train_dataset=[
            {**tokens(text), "weight": weight} for text, weight in zip(picked, selection.weights, strict=True)
        ],
        eval_dataset=[{**tokens(row["text"])} for row in rows.target],
    )
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    after = trainer.evaluate()["eval_loss"]
    trainer.save_model()
    print(f"loss on the target: {before:.3f} before, {after:.3f} after {args.steps} steps; model in {args.out}")


if __name__ == "__main__":
    main()
