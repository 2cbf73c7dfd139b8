"""A script: read a mixture as Axolotl does, and print what comes out."""

import json
import sys
from pathlib import Path

import yaml
from axolotl.utils.config import validate_config
from axolotl.utils.data.sft import _load_and_prepare_datasets
from axolotl.utils.dict import DictDefault
from byte_tokenizer import byte_tokenizer


def main(folder: Path) -> None:
    """Check the configuration by Axolotl's own schema, and load, tokenize and merge its data sets."""
    given = yaml.safe_load((folder / "axolotl.yaml").read_text(encoding="utf-8"))
    more = {
        "base_model": "none", "micro_batch_size": 1, "gradient_accumulation_steps": 1, "learning_rate": 1e-4,
        "num_epochs": 1, "sequence_len": 4096, "dataset_num_proc": 1, "seed": 1, "val_set_size": 0, "output_dir": "out",
    }  # fmt: skip
    config = validate_config(DictDefault({**given, **more}))
    tokenizer = byte_tokenizer()
    train, _, _ = _load_and_prepare_datasets(tokenizer, config, split="train")
    seen = [
        [
            tokenizer.decode(row["input_ids"]),
            tokenizer.decode([t for t, label in zip(row["input_ids"], row["labels"], strict=True) if label != -100]),
        ]
        for row in train
    ]
    sys.stdout.write("\n" + json.dumps(seen) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
