"""A script: train two steps on a mixture with TRL's SFTTrainer."""

import json
import math
import sys
from pathlib import Path

from byte_tokenizer import byte_tokenizer
from datasets import concatenate_datasets, load_from_disk
from transformers import LlamaConfig, LlamaForCausalLM
from trl import SFTConfig, SFTTrainer


def main(folder: Path) -> None:
    """Open the folder, and train."""
    train = concatenate_datasets(list(load_from_disk(folder).values())).shuffle(seed=0)
    tokenizer = byte_tokenizer()
    shape = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    options = SFTConfig(
        "out",
        max_steps=2,
        per_device_train_batch_size=2,
        report_to="none",
        use_cpu=True,
        bf16=False,
        save_strategy="no",
    )
    trainer = SFTTrainer(LlamaForCausalLM(shape), options, train_dataset=train, processing_class=tokenizer)
    loss = trainer.train().training_loss
    sys.stdout.write("\n" + json.dumps({"rows": len(trainer.train_dataset), "finite": math.isfinite(loss)}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
