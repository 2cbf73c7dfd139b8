"""Scores of held-out rows by a causal model: loss, the choice among options, and answers word for word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.evaluate.held_out import HeldOut
from tasksift.represent.chat import ChatTokens, Tokens
from tasksift.represent.forward import BATCH_TOKENS, by_length
from tasksift.represent.models import quiet_loading
from tasksift.represent.token_scores import NLL, token_scores
from tasksift.rows.example import Example, Turn

Float = NDArray[np.float64]
Per = Literal["byte", "answer"]

MARGIN = 8
"""Tokens that a generated answer may have more than the longest expected one, as it may be cut into others."""


def row_losses(
    model: Any,
    coder: ChatTokens,
    examples: Sequence[Example],
    *,
    batch_tokens: int = BATCH_TOKENS,
    autocast: bool = False,
) -> tuple[Float, Float]:
    """Return the loss of each row, in nats per scored token, and how many tokens that are; both float64 (I,).

    Their weighted mean is the loss per scored token. A row of which nothing is scored has loss 0 and no tokens.
    Cost: one forward pass.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        In evaluation mode.
    coder : ChatTokens
        As in training.
    batch_tokens : int
        Tokens of a batch at most, padding included; it changes nothing but the last bits.
    autocast : bool
        Multiply in bfloat16, as in training.
    """
    sums, counts = _summed(model, [coder.encode(example) for example in examples], coder, batch_tokens, autocast)
    return sums / np.maximum(counts, 1), counts


def choice_accuracy(
    model: Any,
    coder: ChatTokens,
    held_out: HeldOut,
    *,
    per: Per = "byte",
    batch_tokens: int = BATCH_TOKENS,
    autocast: bool = False,
) -> Float:
    """Return 1 for each row whose right option the model finds likelier than every other, else 0; float64 (I,).

    An option takes the place of the response, and is laid out as in training. Its likelihood is that of all its tokens
    with the one that ends the answer, given what stands before. Cost: one forward pass over the row for each option.

    Parameters
    ----------
    held_out : HeldOut
        With options.
    per : str
        What log-likelihoods are compared by. ``byte``: divided by the bytes of the option, so that long options are
        not at a loss (what the field calls normalised accuracy). ``answer``: as they are.
    model, coder, batch_tokens, autocast
        As in `row_losses`.

    Notes
    -----
    A tie is wrong: a model that sees no difference knows no answer. Options of equal text are one. So is wrong a row of
    which the maximal length leaves no token of the right option.
    """
    if held_out.options is None or held_out.answers is None:
        raise ValueError("these held-out rows have no options")
    tokens = [
        coder.encode(replace(example, turns=(*example.turns[:-1], Turn("assistant", option))), last=True)
        for example, options in zip(held_out.examples, held_out.options, strict=True)
        for option in options
    ]
    sums, counts = _summed(model, tokens, coder, batch_tokens, autocast)
    likely = np.where(counts > 0, -sums, -np.inf)
    if per == "byte":
        likely /= [max(1, len(option.encode())) for options in held_out.options for option in options]
    right, at = np.zeros(len(held_out.examples)), 0
    for i, (options, answer) in enumerate(zip(held_out.options, held_out.answers, strict=True)):
        found = likely[at : at + len(options)]
        others = [value for value, option in zip(found, options, strict=True) if option != options[answer]]
        right[i] = found[answer] > max(others, default=-np.inf)
        at += len(options)
    return right


def exact_match(
    model: Any,
    coder: ChatTokens,
    examples: Sequence[Example],
    max_new_tokens: int | None = None,
    *,
    batch_tokens: int = BATCH_TOKENS,
    autocast: bool = False,
) -> Float:
    """Return 1 for each row whose response the model writes word for word, else 0; float64 (I,).

    The model writes the likeliest token each time (greedy), until a special token ends the answer; one that does not
    end is wrong. White space around answers does not count. A row is left as soon as it cannot match any more, so that
    wrong answers cost a few tokens.

    Parameters
    ----------
    max_new_tokens : int, optional
        Tokens of an answer at most; by default `MARGIN` more than the longest response has, but half of the coder's
        maximal length at most.
    model, coder, batch_tokens, autocast
        As in `row_losses`.

    Raises
    ------
    InputError
        If a row has no prompt, the tokenizer has no token that ends an answer, or `max_new_tokens` is too large.
    """
    if not examples:
        return np.zeros(0)
    expected = [example.response.strip() for example in examples]
    if max_new_tokens is None:
        coded = coder.tokenizer(expected, add_special_tokens=False, verbose=False)["input_ids"]
        max_new_tokens = min(coder.max_length // 2, max(map(len, coded)) + MARGIN)
    if not 0 < max_new_tokens < coder.max_length:
        raise InputError(f"{max_new_tokens} new tokens do not fit a maximal length of {coder.max_length}; lower them")
    prompts = [coder.prompt(example, max_new_tokens) for example in examples]
    for example, ids in zip(examples, prompts, strict=True):
        if not len(ids) or example.turns[-1].role == "document":
            raise InputError(
                f"{example.where}: the row has no prompt to answer; give rows with a prompt and a response"
            )
    matches = np.zeros(len(examples))
    lengths = np.array([len(ids) + max_new_tokens for ids in prompts], dtype=np.int64)
    for rows in by_length(lengths, batch_tokens, 64):
        texts = [expected[k] for k in rows]
        written = _write(model, coder.tokenizer, [prompts[k] for k in rows], texts, max_new_tokens, autocast)
        matches[rows] = [one == text for one, text in zip(written, texts, strict=True)]
    return matches


def _summed(
    model: Any, tokens: Sequence[Tokens], coder: ChatTokens, batch_tokens: int, autocast: bool
) -> tuple[Float, Float]:
    """Return the summed loss of the scored tokens of each example, and how many they are."""
    with _precision(model, autocast):
        scores = token_scores(model, tokens, width=coder.max_length, batch_tokens=batch_tokens)
    sums = np.array([each[:, NLL].sum(dtype=np.float64) for each in scores], dtype=np.float64)
    return sums, np.array([len(each) for each in scores], dtype=np.float64)


@contextmanager
def _precision(model: Any, autocast: bool) -> Iterator[None]:
    import torch

    with torch.autocast(model.device.type, torch.bfloat16, enabled=autocast):
        yield


def _write(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[NDArray[np.int64]],
    expected: Sequence[str],
    max_new_tokens: int,
    autocast: bool,
) -> list[str | None]:
    """Continue each prompt until it ends or cannot become what is expected; return texts, or None without an end."""
    import torch
    from transformers import GenerationConfig, StoppingCriteriaList

    ends = _ends(tokenizer)
    longest = max(map(len, prompts))
    ids = np.full((len(prompts), longest), ends[0], dtype=np.int64)
    mask = np.zeros_like(ids)
    for k, prompt in enumerate(prompts):
        ids[k, longest - len(prompt) :], mask[k, longest - len(prompt) :] = prompt, 1

    def texts(new: Any) -> list[str]:
        decoded = tokenizer.batch_decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return [text.strip() for text in decoded]

    def hopeless(seen: Any, scores: Any, **_: Any) -> Any:
        # The bytes of a character may come one by one; what is not yet one shows as U+FFFD.
        begun = [text.rstrip("\ufffd").rstrip() for text in texts(seen[:, longest:])]
        lost = [not whole.startswith(text) for text, whole in zip(begun, expected, strict=True)]
        return torch.tensor(lost, device=seen.device)

    own = model.generation_config
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=ends, pad_token_id=ends[0], use_cache=True
    )
    try:
        with torch.no_grad(), quiet_loading(), _precision(model, autocast):
            out = model.generate(
                input_ids=torch.from_numpy(ids).to(model.device),
                attention_mask=torch.from_numpy(mask).to(model.device),
                stopping_criteria=StoppingCriteriaList([hopeless]),
            )
    finally:
        model.generation_config = own
    new = out[:, longest:]
    ended = torch.isin(new, torch.tensor(ends, device=new.device)).any(1).tolist()
    return [text if end else None for text, end in zip(texts(new), ended, strict=True)]


def _ends(tokenizer: Any) -> list[int]:
    """Return the tokens that end an answer: every special one, whatever closes a turn in the model's layout."""
    added = [at for at, token in tokenizer.added_tokens_decoder.items() if token.special]
    ends = sorted({*added, *([] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id])})
    if not ends:
        raise InputError("the model's tokenizer has no end-of-text token, so that no answer ends; give it one")
    return ends
