"""A script: read a mixture as LLaMA-Factory does, and print what comes out."""

import json
import sys
from pathlib import Path

import yaml
from byte_tokenizer import byte_tokenizer
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.data.loader import _get_merged_dataset
from llamafactory.data.parser import get_dataset_list
from llamafactory.hparams import DataArguments, ModelArguments
from transformers import HfArgumentParser, Seq2SeqTrainingArguments


def main(folder: Path) -> None:
    """Parse the YAML and the entries, merge the data sets, tokenize them."""
    config = yaml.safe_load((folder / "mix.yaml").read_text(encoding="utf-8"))
    stage = config.pop("stage")
    more = {"output_dir": "out", "template": "chatml", "cutoff_len": 4096, "report_to": "none", "seed": 1}
    parser = HfArgumentParser((DataArguments, Seq2SeqTrainingArguments))
    data, training = parser.parse_dict({**config, **more})
    model = ModelArguments(model_name_or_path="none")
    merged = _get_merged_dataset(data.dataset, model, data, training, stage)
    tokenizer = byte_tokenizer()
    template = get_template_and_fix_tokenizer(tokenizer, data)
    rows = get_dataset(template, model, data, training, stage, tokenizer)["train_dataset"]
    trained = [
        tokenizer.decode([t for t, label in zip(row["input_ids"], row.get("labels", row["input_ids"]), strict=True)
                          if label != -100])
        for row in rows
    ]  # fmt: skip
    seen = {
        "names": [str(each) for each in get_dataset_list(data.dataset, data.dataset_dir)],
        "stage": stage,
        "probabilities": data.interleave_probs,
        "rows": [[row["_system"], row["_prompt"], row["_response"]] for row in merged],
        "trained": trained,
    }
    sys.stdout.write("\n" + json.dumps(seen) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
