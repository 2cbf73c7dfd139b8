"""The base model of the benchmark: a byte-pair tokenizer and a small Llama, trained from nothing on a general mixture.

The mixture is the pool without the sources named ``train_*``, which hold rows of the target tasks: what a selection
finds there is new to the model. Rows are laid out as everywhere (`ChatTokens`), joined, and cut into blocks.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from small_model import tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from tasksift.represent.chat import ChatTokens
from tasksift.rows.example import Example, Turn

LONGEST = 4096
"""Tokens of a row that are read; blocks are shorter."""


def main() -> None:
    """Make the folder of the base model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, required=True, help="parquet with source, prompt, response")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=2_400_000, help="tokens of the training")
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--block", type=int, default=128, help="tokens of a block, and of an example later")
    parser.add_argument("--batch", type=int, default=16, help="blocks of a step")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    make(**vars(args))


def make(
    *, pool: Path, out: Path, tokens: int, vocabulary: int, hidden: int, layers: int, block: int, batch: int,
    learning_rate: float, device: str, seed: int,
) -> None:  # fmt: skip
    """Train tokenizer and model, and save both; `tokens` of training in blocks, AdamW, a cosine to a tenth."""
    rows = general(pool, seed)
    words = tokenizer([f"{prompt}\n{response}" for prompt, response in rows[: len(rows) // 4]], vocabulary)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary, hidden_size=hidden, intermediate_size=hidden * 11 // 4, num_hidden_layers=layers,
            num_attention_heads=hidden // 32, num_key_value_heads=hidden // 32, max_position_embeddings=max(block, 512),
            bos_token_id=None, eos_token_id=0, pad_token_id=None, tie_word_embeddings=True,
        )
    ).to(device)  # fmt: skip
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{count:,} parameters, {len(rows):,} rows of a general mixture")
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.1)
    total = tokens // (block * batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, total))
    begun, losses = time.perf_counter(), []
    for step, ids in zip(range(total), blocks(rows, words, block, batch), strict=False):
        ids = torch.from_numpy(ids).to(device)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        losses.append(loss.item())
        if (step + 1) % 50 == 0:
            speed = (step + 1) * block * batch / (time.perf_counter() - begun)
            print(
                f"step {step + 1:,} of {total:,}: loss {np.mean(losses[-50:]):.3f}, {speed:,.0f} tokens/s", flush=True
            )
    model.save_pretrained(out)
    words.save_pretrained(out)


def general(pool: Path, seed: int) -> list[tuple[str, str]]:
    """Prompts and responses of every row outside ``train_*``, shuffled."""
    table = pq.read_table(pool, columns=["source", "prompt", "response"])
    columns = (table[name].to_pylist() for name in ("source", "prompt", "response"))
    rows = [(p or "", r or "") for source, p, r in zip(*columns, strict=True) if not source.startswith("train_")]
    return [rows[k] for k in np.random.default_rng(seed).permutation(len(rows))]


def blocks(rows: list[tuple[str, str]], words: Any, block: int, batch: int) -> Iterator[np.ndarray]:
    """Yield int64 (batch, block), for as long as anyone asks; a pass over the rows follows the other."""
    coder = ChatTokens(words, LONGEST)
    held = np.empty(0, dtype=np.int64)
    while True:
        for prompt, response in rows:
            turns = (Turn("user", prompt), Turn("assistant", response))
            held = np.append(held, coder.encode(Example(turns=turns, where="the pool")).ids)
            while len(held) >= block * batch:
                yield held[: block * batch].reshape(batch, block)
                held = held[block * batch :]


def rate(step: int, total: int) -> float:
    """Rise in a line for the first fiftieth, then fall as a cosine to a tenth."""
    rise = max(1, total // 50)
    if step < rise:
        return (step + 1) / rise
    return 0.55 + 0.45 * math.cos(math.pi * (step - rise) / max(1, total - rise))


if __name__ == "__main__":
    main()
