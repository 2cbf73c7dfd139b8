"""An encoder with a classification head: loaded, trained on labelled texts, scored on held-out ones."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.progress import Progress, silent
from tasksift.represent.chat import Tokens
from tasksift.represent.forward import BATCH_TOKENS, batches, collate
from tasksift.represent.models import check_device, find_model, longest_input, need_models, quiet_loading
from tasksift.tune.randomness import own_randomness
from tasksift.tune.settings import BETAS, EPSILON, Settings
from tasksift.tune.training import total_steps

MOST_LABELS = 2000
"""Different responses above which a pool does not pass for labelled data."""

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


def label_set(pool: Iterable[str], target: Iterable[str], *, most: int = MOST_LABELS) -> dict[str, int]:
    """Number the labels of a pool and a target: their different responses, without white space around them, sorted.

    Raises
    ------
    InputError
        If a response is empty, all are equal, or there are more than `most`.
    """
    found: set[str] = set()
    for what, responses in (("pool", pool), ("target", target)):
        for row, response in enumerate(responses):
            label = response.strip()
            if not label:
                raise InputError(f"row {row} of the {what} has no response, so no label; fill it or remove the row")
            found.add(label)
    if len(found) > most:
        raise InputError(
            f"pool and target have {len(found):,} different responses, above {most:,}: this is not labelled data; "
            "compare with a causal language model instead"
        )
    if len(found) < 2:
        raise InputError(f"pool and target have {len(found)} different responses; a classifier needs at least 2 labels")
    return {label: k for k, label in enumerate(sorted(found))}


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


def train_classifier(
    classifier: Classifier,
    texts: Sequence[str],
    labels: Sequence[int],
    settings: Settings,
    *,
    freeze: bool = False,
    autocast: bool = False,
    progress: Progress = silent,
) -> Classifier:
    """Train on labelled texts by AdamW; the loss is the mean cross-entropy of a step's texts over all labels.

    Parameters
    ----------
    classifier : Classifier
        It is changed.
    texts, labels : sequences of n
    settings : Settings
        Epochs, learning rate, schedule, batch sizes, decay, norm, steps and seed; what belongs to adapters and to
        tokens does not apply.
    freeze : bool
        Train the head alone.
    autocast : bool
        Multiply in bfloat16 while the parameters are float32.

    Raises
    ------
    InputError
        If the loss is no longer a number.

    Notes
    -----
    Order and dropout depend on the seed alone; equal arguments give equal bits on one machine with as many threads.
    The global generators are put back.
    """
    import torch
    from transformers import get_scheduler

    tokens = classifier.encode(texts)
    wanted = torch.tensor(list(labels), device=classifier.device)
    model, total = classifier.model, total_steps(len(texts), settings)
    model.requires_grad_(True).train()
    if freeze:
        model.encoder.requires_grad_(False).eval()
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=settings.learning_rate, betas=BETAS, eps=EPSILON, weight_decay=settings.weight_decay
    )
    name = "constant_with_warmup" if settings.schedule == "constant" else settings.schedule
    schedule = get_scheduler(name, optimizer, math.ceil(settings.warmup_ratio * total), total)
    with own_randomness(torch, classifier.device), progress("training", total) as tick:
        torch.manual_seed(settings.seed)
        for step, rows in enumerate(_order(len(texts), settings)[:total], 1):
            for part in np.split(rows, range(settings.micro_batch or len(rows), len(rows), settings.micro_batch or 1)):
                batch = collate([tokens[k] for k in part], part, classifier.device)
                with torch.autocast(classifier.device.type, torch.bfloat16, enabled=autocast):
                    logits = model(batch.ids, batch.mask)
                loss = torch.nn.functional.cross_entropy(logits.float(), wanted[part], reduction="sum") / len(rows)
                if not torch.isfinite(loss):
                    raise InputError(f"the loss is no number at step {step}; lower --learning-rate")
                loss.backward()
            if settings.max_grad_norm:
                torch.nn.utils.clip_grad_norm_(trained, settings.max_grad_norm)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            tick(1)
    model.eval()
    return classifier


def score_classifier(
    classifier: Classifier,
    texts: Sequence[str],
    labels: Sequence[int],
    allowed: Sequence[int],
    *,
    batch_tokens: int = BATCH_TOKENS,
    autocast: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return cross-entropy in nats, and 1 where the label is the likeliest, among allowed labels; both float64 (I,).

    A tie is wrong. Cost: one forward pass.

    Parameters
    ----------
    texts, labels : sequences of I
        Each label is an allowed one.
    allowed : sequence of int
        The labels of the task, so that others of the pool take no part.
    batch_tokens : int
        Tokens of a batch at most, padding included; it changes nothing but the last bits.
    """
    import torch

    choices = sorted(set(allowed))
    if not set(labels) <= set(choices):
        raise ValueError("a label is not allowed")
    places = np.searchsorted(choices, np.asarray(labels, dtype=np.int64))
    logits = np.zeros((len(texts), len(choices)))
    with torch.no_grad(), torch.autocast(classifier.device.type, torch.bfloat16, enabled=autocast):
        for batch in batches(classifier.encode(texts), device=classifier.device, batch_tokens=batch_tokens):
            logits[batch.rows] = classifier.model(batch.ids, batch.mask)[:, choices].double().cpu().numpy()
    rows = np.arange(len(texts))
    right = logits[rows, places]
    losses = np.logaddexp.reduce(logits, axis=1) - right
    logits[rows, places] = -np.inf
    return losses, (right > logits.max(axis=1, initial=-np.inf)).astype(np.float64)


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


def _order(rows: int, settings: Settings) -> list[NDArray[np.int64]]:
    """Return the rows of every step; each epoch has an order of its own."""
    size, steps = settings.batch_size, []
    for epoch in range(settings.epochs):
        order = np.random.default_rng([settings.seed, epoch]).permutation(rows)
        steps += np.split(order, range(size, rows, size))
    return steps
