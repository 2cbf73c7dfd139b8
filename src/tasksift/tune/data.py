"""The rows of a tune: drawn from a pool, as tokens, as padded batches, as a digest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from tasksift.draw.budget import Budget
from tasksift.errors import InputError
from tasksift.represent import forward
from tasksift.represent.chat import ChatTokens, Tokens
from tasksift.rows import PoolFile, TextReader, expand, read
from tasksift.rows.example import Example

LEAST = 4
"""Rows with something to learn below which a tune is refused as a mistake."""

IGNORED = -100
"""The label of tokens that are not scored, as transformers has it."""


def sampled(
    pool: Any, *, sample: str | int | None = None, seed: int = 0, text_template: str | None = None
) -> Iterator[Example]:
    """Yield rows of a pool as examples, in their order.

    Parameters
    ----------
    pool
        Files, folders, globs or rows in memory, as `expand` takes them.
    sample : str or int, optional
        How many rows (``1000``) or which share of them (``5%``), drawn without replacement; all by default. A draw
        costs one more reading of the files, which counts the rows.
    seed : int
        Of the draw.
    text_template : str, optional
        As in `TextReader`.

    Raises
    ------
    InputError
        If a file cannot be read, a row has no text layout that is known, or the sample is more than there is.
    """
    files, reader = expand(pool), TextReader(text_template)
    chosen = None if sample is None else iter(_draw(files, sample, seed))
    wanted = next(chosen, None) if chosen is not None else None
    at = 0
    for file in files:
        for batch in read(file):
            for i, record in enumerate(batch.records):
                if chosen is None or at == wanted:
                    yield reader.example(record, batch.where(i))
                    wanted = next(chosen, None) if chosen is not None else None
                at += 1


def _draw(files: Sequence[PoolFile], sample: str | int, seed: int) -> list[int]:
    try:
        budget = Budget.parse(sample)
    except InputError as error:
        raise InputError(f"--sample {sample}: {error}") from None
    if budget.unit == "tokens":
        raise InputError(f"--sample {sample}: it takes rows (1000) or a share of the rows (5%)")
    rows = sum(len(batch.records) for file in files for batch in read(file))
    try:
        take = budget.rows(rows)
    except InputError:
        raise InputError(f"--sample {sample} is more than the {rows:,} rows of the pool; lower it") from None
    drawn: list[int] = np.sort(np.random.default_rng(seed).choice(rows, take, replace=False)).tolist()
    return drawn


def trainable(examples: Iterable[Example], coder: ChatTokens, say: Callable[[str], None]) -> list[Tokens]:
    """Return the tokens of the examples of which something is scored, and say how many are left out.

    Raises
    ------
    InputError
        If fewer than `LEAST` rows are left.
    """
    kept, seen = [], 0
    for example in examples:
        tokens = coder.encode(example)
        seen += 1
        if tokens.scored.any():
            kept.append(tokens)
    if len(kept) < LEAST:
        what = "an answer" if coder.score == "response" else "text"
        raise InputError(
            f"{len(kept)} of {seen} rows have {what} to train on within --max-length {coder.max_length}; "
            f"give at least {LEAST}"
        )
    if len(kept) < seen:
        say(f"{seen - len(kept):,} of {seen:,} rows have nothing to train on and are left out")
    return kept


def data_digest(tokens: Sequence[Tokens]) -> str:
    """Return the hex digest of tokens, of what is scored in them, and of their order."""
    digest = blake2b(digest_size=16)
    for each in tokens:
        digest.update(len(each.ids).to_bytes(8, "little"))
        digest.update(each.ids.astype("<i8").tobytes() + each.scored.tobytes())
    return digest.hexdigest()


def collate(examples: Sequence[Tokens]) -> dict[str, Any]:
    """Pad examples on the right to one batch as the Trainer takes it: ids, mask and labels, int64 tensors (b, t)."""
    batch = forward.collate(examples, np.arange(len(examples)))
    return {
        "input_ids": batch.ids,
        "attention_mask": batch.mask,
        "labels": batch.ids.masked_fill(~batch.scored, IGNORED),
    }
