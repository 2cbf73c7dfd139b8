"""Online data mixing in an unmodified `transformers.Trainer`: docstrings of the standard library, a package a domain.

    python examples/online_trainer.py --out run               a small Llama from scratch, under a minute on one core
    python examples/online_trainer.py --out run --resume      goes on from the last checkpoint in run

Nothing about the trainer is new but its sampler and its callback; every row has the name of its domain.
"""

import argparse
from pathlib import Path

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

from tasksift.demo_pool import docstrings, standard_library
from tasksift.online import OnlineMixing, OnlineSampler
from tasksift.progress import silent

PACKAGES = ("asyncio", "email", "logging", "tkinter", "unittest")


def small_tokenizer(texts):
    """Train a byte-pair tokenizer of 1000 tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "<end>"]
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=1000, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>")


def small_llama(tokenizer):
    """Make an untrained Llama of 0.4 million parameters."""
    shape = {"hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4}
    special = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **shape, **special))


def main():
    """Train, evaluate and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="online_trainer", help="folder of the run")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--mode", default="released", help="released, paper, uniform, proportional or stratified")
    parser.add_argument("--model", help="folder or name of a causal model; a small one from scratch without")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    args = parser.parse_args()

    # Your own rows: anything with a length, and for each row the name of its domain.
    rows = [
        {"text": row["text"], "source": package}
        for package in PACKAGES
        for row in docstrings(standard_library() / package, silent)
    ]
    train, held_out = [row for k, row in enumerate(rows) if k % 10], rows[::10]

    set_seed(0)
    if args.model:
        tokenizer = AutoTokenizer.from_pretrained(args.model)
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        model = AutoModelForCausalLM.from_pretrained(args.model)
    else:
        tokenizer = small_tokenizer(row["text"] for row in train)
        model = small_llama(tokenizer)

    def tokens(rows):
        return [tokenizer(row["text"], truncation=True, max_length=128) for row in rows]

    trainer = Trainer(
        model,
        TrainingArguments(
            args.out,
            max_steps=args.steps,  # or num_train_epochs
            per_device_train_batch_size=16,
            learning_rate=3e-3,
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=5,
            logging_steps=max(1, args.steps // 30),
            save_steps=max(1, args.steps // 3),
            dataloader_pin_memory=torch.cuda.is_available(),
            report_to="none",  # or "wandb", "tensorboard", ...: the probabilities are logged there, too
        ),
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        train_dataset=tokens(train),
        eval_dataset={name: tokens(row for row in held_out if row["source"] == name) for name in PACKAGES},
        processing_class=tokenizer,
    )
    sampler = OnlineSampler(domains=[row["source"] for row in train], mode=args.mode, seed=0)
    trainer.add_callback(OnlineMixing(sampler, trainer))

    trainer.train(resume_from_checkpoint=args.resume)
    losses = trainer.evaluate()
    trainer.save_model()

    print(f"\n{'domain':12}{'rows':>6}{'drawn':>7}{'probability':>13}{'held-out loss':>15}")
    for k, name in enumerate(sampler.domains.names):
        drawn, probability = sampler.served[k], sampler.probabilities()[k]
        print(f"{name:12}{sampler.domains.sizes[k]:6}{drawn:7}{probability:13.3f}{losses[f'eval_{name}_loss']:15.3f}")
    print(f"\nmodel in {args.out}, mixture step by step in {Path(args.out) / 'mixture.jsonl'}")


if __name__ == "__main__":
    main()
