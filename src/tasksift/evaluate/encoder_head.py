"""An encoder with a classification head: loaded, begun anew, and the tokens that it reads."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tasksift.errors import InputError
from tasksift.represent.chat import Tokens
from tasksift.represent.models import check_device, find_model, longest_input, need_models, quiet_loading
from tasksift.tune.randomness import own_randomness

LONGEST = 256
"""Tokens of a text at most, unless asked otherwise."""

_SPREAD = 0.02
"""Of the head's first weights."""

_UNLOADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, AttributeError)


@dataclass(frozen=True)
class Classifier:
    """An encoder with a head.

    Attributes
    ----------
    model : torch.nn.Module
        From ids and mask, both (b, t), to logits (b, labels): the mean of the last hidden states over the tokens of a
        text, dropout, a linear layer.
    tokenizer : transformers tokenizer
    labels, max_length : int
        How many labels there are, and how many tokens of a text are read, from its beginning.
    identity : dict
        Name, revision and digest of the encoder, as JSON.
    """

    model: Any
    tokenizer: Any
    labels: int
    max_length: int
    identity: dict[str, Any]

    @property
    def parameters(self) -> int:
        """How many there are; training takes 6 operations a parameter and token, scoring 2."""
        return sum(each.numel() for each in self.model.parameters())

    @property
    def device(self) -> Any:
        """Where the model is."""
        return self.model.head.weight.device

    def fresh(self, seed: int) -> Classifier:
        """Return a copy whose head begins anew with the random numbers of a seed."""
        other = replace(self, model=copy.deepcopy(self.model))
        _begin(other.model.head, seed)
        return other

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the tokens of texts as they are read; nothing in them is scored."""
        if not texts:
            return []
        coded = self.tokenizer(list(texts), truncation=True, max_length=self.max_length, verbose=False)
        # A text without a token, of tokenizers that add none, is the token 0.
        each = [np.array(ids or [0], dtype=np.int64) for ids in coded["input_ids"]]
        return [Tokens(ids, np.zeros(len(ids), dtype=bool)) for ids in each]


def load_classifier(
    model: str | Path,
    labels: int,
    *,
    seed: int = 0,
    dropout: float = 0.1,
    max_length: int | None = None,
    device: str = "cpu",
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Classifier:
    """Load an encoder in float32 and put a new head on it.

    Parameters
    ----------
    model : str or Path
        A folder or hub name of a model that transformers or sentence-transformers has saved. Of the latter the
        transformer alone is taken; texts are averaged whatever its own pooling is.
    labels : int
    seed : int
        Of the head's first weights.
    dropout : float
        Before the head; the encoder keeps its own.
    max_length : int, optional
        Tokens of a text; by default what the model reads, `LONGEST` at most.
    device, revision, trust_remote_code
        As in `load_causal`.

    Raises
    ------
    InputError
        If it cannot be loaded, has no safetensors or not all of its weights, or reads fewer than `max_length` tokens.
    """
    torch, transformers = need_models("a classifier")
    from safetensors import SafetensorError

    place = check_device(device)
    folder, identity = find_model(model, revision, code=trust_remote_code)
    folder = _transformer(folder)
    if not any(folder.glob("*.safetensors")):
        raise InputError(f"--model {model}: {folder} holds no *.safetensors; save the model with safetensors")
    with own_randomness(torch, place):
        torch.manual_seed(0)  # of a pooler that the model lacks
        try:
            with quiet_loading():
                encoder, info = transformers.AutoModel.from_pretrained(
                    folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=trust_remote_code,
                    output_loading_info=True, ignore_mismatched_sizes=True,
                )  # fmt: skip
                tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
        except (*_UNLOADABLE, SafetensorError) as error:
            raise InputError(f"--model {model} cannot be loaded: {' '.join(str(error).split())[:300]}") from None
        # A pooler is not used, and many models are saved without one.
        absent = sorted(
            str(key) for key in [*info["missing_keys"], *info["mismatched_keys"]] if "pooler" not in str(key)
        )
        if absent:
            raise InputError(f"--model {model}: {folder} lacks weights ({', '.join(absent)[:200]}); save it whole")
        if encoder.config.is_encoder_decoder:
            encoder = encoder.get_encoder()
        whole = _with_head(torch, encoder, labels, dropout).to(place).eval()
    _begin(whole.head, seed)
    limit = min(longest_input(encoder.config), tokenizer.model_max_length)
    if max_length is not None and not 0 < max_length <= limit:
        raise InputError(
            f"--max-length {max_length} is not between 1 and the {limit} tokens that --model {model} reads"
        )
    return Classifier(whole, tokenizer, labels, max_length or min(limit, LONGEST), identity)


def _transformer(folder: Path) -> Path:
    """Return where the transformer of a sentence-transformers folder lies; other folders as they are."""
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        return folder / next(str(each["path"]) for each in modules if str(each["type"]).endswith(".Transformer"))
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return folder


def _with_head(torch: Any, encoder: Any, labels: int, dropout: float) -> Any:
    class MeanPooled(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder
            self.dropout = torch.nn.Dropout(dropout)
            self.head = torch.nn.Linear(encoder.config.hidden_size, labels)

        def forward(self, ids: Any, mask: Any) -> Any:
            hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask[..., None].to(hidden.dtype)
            return self.head(self.dropout((hidden * weights).sum(1) / weights.sum(1)))

    return MeanPooled()


def _begin(head: Any, seed: int) -> None:
    import torch

    with torch.no_grad():
        first = torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(seed))
        head.weight.copy_(_SPREAD * first)
        head.bias.zero_()
