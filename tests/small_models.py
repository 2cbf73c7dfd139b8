"""Small language models and a tokenizer, made by the tests themselves."""

from __future__ import annotations

import ast
import json
from functools import cache
from pathlib import Path

import pytest

from tasksift.rows.example import Example, Turn

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@cache
def docstrings(n: int = 200) -> tuple[str, ...]:
    """Texts that every Python has."""
    texts: list[str] = []
    for module in (json, ast, pytest.importorskip("argparse")):
        for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                text = ast.get_docstring(node)
                if text:
                    texts += [part for part in text.split("\n\n") if part.strip()]
    return tuple(texts[:n])


@cache
def _tokenizer_json() -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|end|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(docstrings(), trainer)
    return tokenizer.to_str()


def make_tokenizer(chat_template: str | None = None):
    """A byte-pair tokenizer of 400 tokens; `CHATML` is a template that fits it."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(_tokenizer_json()), eos_token="<|end|>")
    fast.chat_template = chat_template
    return fast


def make_llama(seed: int = 0, *, hidden: int = 32, layers: int = 2, tied: bool = False, vocabulary: int = 400):
    """A decoder with RMS norms, rotary positions and gated layers, in evaluation mode."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=tied,
        bos_token_id=None, eos_token_id=0, pad_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


def make_gpt2(seed: int = 0, *, hidden: int = 32, layers: int = 2, vocabulary: int = 400):
    """A decoder with learned positions, layer norms, biases, transposed weights and tied embeddings."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=vocabulary, n_embd=hidden, n_layer=layers, n_head=4, n_positions=256,
        bos_token_id=0, eos_token_id=0, pad_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return GPT2LMHeadModel(config).eval()


def make_bert(seed: int = 0, *, hidden: int = 16, layers: int = 2):
    """An encoder with dropout, and without a pooler."""
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=400, hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers,
        num_attention_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return BertModel(config, add_pooling_layer=False)


def save(folder: Path, model=None, *, chat_template: str | None = None) -> Path:
    """Write a model and the tokenizer as a folder that `--model` takes."""
    (model if model is not None else make_llama()).save_pretrained(folder)
    make_tokenizer(chat_template).save_pretrained(folder)
    return folder


def make_examples(n: int = 12) -> list[Example]:
    """Conversations and documents of mixed lengths; the answers differ in length too."""
    texts = docstrings()
    examples = []
    for k in range(n):
        if k % 5 == 4:
            examples.append(Example((Turn("document", texts[k]),)))
        else:
            answer = " ".join(texts[(7 * k + 3) % len(texts)].split()[: 2 + 3 * k])
            examples.append(Example((Turn("user", texts[k]), Turn("assistant", answer))))
    return examples
