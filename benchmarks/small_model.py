"""A decoder and its tokenizer, made on the spot: no download, and of the shape that language models have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tasksift.represent.models import CausalModel

END = "<|end|>"


def tokenizer(texts: Sequence[str], vocabulary: int) -> Any:
    """A byte-pair tokenizer trained on the texts, without a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END)


def decoder(
    texts: Sequence[str], *, vocabulary: int, hidden: int, layers: int, longest: int, device: str, dtype: str
) -> CausalModel:
    """A Llama with random weights and an output layer of its own, and a tokenizer of the texts."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    words = tokenizer(texts, vocabulary)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=hidden * 11 // 4, num_hidden_layers=layers,
        num_attention_heads=hidden // 32, num_key_value_heads=hidden // 32, max_position_embeddings=longest,
        bos_token_id=None, eos_token_id=0, pad_token_id=None, tie_word_embeddings=False,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    model.eval().requires_grad_(False).to(device, getattr(torch, dtype))
    return CausalModel(model, words, {"digest": "random weights"})


def checkpoint(causal: CausalModel) -> Any:
    """A `Checkpoint` in memory: the model as it is, and moments of noise, as large as gradients of such a model are."""
    import torch

    generator = torch.Generator().manual_seed(0)
    own = dict(causal.model.named_parameters())
    first = {name: 1e-4 * torch.randn(value.shape, generator=generator) for name, value in own.items()}
    second = {name: (1e-3 * torch.randn(value.shape, generator=generator)).square() for name, value in own.items()}
    return SimpleNamespace(
        folder=Path("made-up"), step=100, learning_rate=1e-4, digest="made up", moments_digest="made up",
        parameters=tuple(own), weights=dict, moments=lambda: (first, second),
    )  # fmt: skip
