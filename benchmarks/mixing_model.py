"""What the benchmarks of mixing train: rows as tokens, a small decoder, and the arguments of an unmodified Trainer."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments

Tokens = Sequence[NDArray[np.int32]]


class Rows(torch.utils.data.Dataset[dict[str, Any]]):
    """Rows of tokens, each with its number."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"row": row, "tokens": self.tokens[row]}


class Collator:
    """Pads rows to the longest of a batch, every token with a loss, and remembers which rows it gave out."""

    def __init__(self) -> None:
        self.given: deque[list[int]] = deque()

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Make a batch."""
        self.given.append([row["row"] for row in rows])
        return padded([row["tokens"] for row in rows])


def padded(tokens: Tokens) -> dict[str, torch.Tensor]:
    """A batch, with its padding on the right."""
    longest = max(map(len, tokens))
    ids = np.zeros((len(tokens), longest), dtype=np.int64)
    mask = np.zeros_like(ids)
    for at, row in enumerate(tokens):
        ids[at, : len(row)], mask[at, : len(row)] = row, 1
    labels = np.where(mask == 1, ids, -100)
    arrays = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def decoder(*, vocabulary: int, hidden: int, layers: int, longest: int, seed: int) -> LlamaForCausalLM:
    """A Llama with the random weights of a seed, and an output layer of its own."""
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=hidden * 11 // 4, num_hidden_layers=layers,
        num_attention_heads=hidden // 32, num_key_value_heads=hidden // 32, max_position_embeddings=longest,
        bos_token_id=None, eos_token_id=0, pad_token_id=None, tie_word_embeddings=False, use_cache=False,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def arguments(out: Path, *, batch: int, steps: int, seed: int, **others: Any) -> TrainingArguments:
    """The Trainer's arguments: nothing saved, nothing reported, tokens counted without padding."""
    return TrainingArguments(
        output_dir=str(out), per_device_train_batch_size=batch, max_steps=steps, seed=seed, use_cpu=True,
        save_strategy="no", report_to="none", disable_tqdm=True, remove_unused_columns=False,
        include_num_input_tokens_seen="non_padding", **others,
    )  # fmt: skip
