"""Online data mixing in an unmodified `trl.SFTTrainer`: questions about the standard library, a package a domain.

    python examples/online_sft.py --out run --model FOLDER --lora     adapters on a causal model of yours
    python examples/online_sft.py --out run                           a small Llama from scratch
    python examples/online_sft.py --out run --resume                  goes on from the last checkpoint in run

Nothing about the trainer is new but its sampler and its callback; the data set has a column that names domains.
"""

import argparse
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    set_seed,
)
from trl import SFTConfig, SFTTrainer

from tasksift.demo_pool import docstrings, standard_library
from tasksift.online import OnlineMixing, OnlineSampler
from tasksift.progress import silent

PACKAGES = ("asyncio", "email", "logging", "tkinter", "unittest")


def questions():
    """Make a data set with the columns prompt, completion and source; put your own in its place."""
    rows = [(name, row) for name in PACKAGES for row in docstrings(standard_library() / name, silent)]
    return Dataset.from_list(
        [
            {"prompt": f"What is {name}.{row['name']}?\n", "completion": row["text"], "source": name}
            for name, row in rows
        ]
    )


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
    """Train, evaluate and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="online_sft", help="folder of the run")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--mode", default="released", help="released, paper, uniform, proportional or stratified")
    parser.add_argument("--model", help="folder or name of a causal model; a small one from scratch without")
    parser.add_argument("--lora", action="store_true", help="train adapters, not the model")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    args = parser.parse_args()

    data = questions().train_test_split(test_size=0.1, seed=0)
    train, held_out = data["train"], data["test"]

    set_seed(0)
    if args.model:
        model, tokenizer = AutoModelForCausalLM.from_pretrained(args.model), AutoTokenizer.from_pretrained(args.model)
    else:
        model, tokenizer = small_model(train["completion"])

    trainer = SFTTrainer(
        model,
        args=SFTConfig(
            args.out,
            max_steps=args.steps,  # or num_train_epochs
            per_device_train_batch_size=8,
            gradient_accumulation_steps=2,
            learning_rate=3e-4 if args.model else 3e-3,
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=5,
            max_length=128,
            logging_steps=max(1, args.steps // 20),
            save_steps=max(1, args.steps // 3),
            gradient_checkpointing=None,  # TRL's default is True; leave it out where memory is short
            bf16=torch.cuda.is_available(),  # TRL's default is True
            dataloader_pin_memory=torch.cuda.is_available(),
            report_to="none",  # or "wandb", "tensorboard", ...: the probabilities are logged there, too
        ),
        train_dataset=train,
        eval_dataset={name: held_out.filter(lambda row, name=name: row["source"] == name) for name in PACKAGES},
        processing_class=tokenizer,
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear") if args.lora else None,
    )
    sampler = OnlineSampler(domains=train["source"], mode=args.mode, seed=0)
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
