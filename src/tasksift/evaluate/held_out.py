"""Held-out rows of a task: what a finetuned model is scored on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasksift.errors import InputError
from tasksift.evaluate.choices import find_options
from tasksift.rows import PoolFile, TextReader, read
from tasksift.rows.example import Example


@dataclass(frozen=True)
class HeldOut:
    """The held-out rows of one task.

    Attributes
    ----------
    examples : tuple of I Example
    options : tuple of I tuples of str, or None
        The answers to choose from, for each row; None where rows have none.
    answers : tuple of I int, or None
        The right one of the options.
    """

    examples: tuple[Example, ...]
    options: tuple[tuple[str, ...], ...] | None = None
    answers: tuple[int, ...] | None = None


def read_held_out(
    files: Sequence[PoolFile], *, text_template: str | None = None, most: int | None = None, seed: int = 0
) -> HeldOut:
    """Read held-out rows, and their options where all of them have some.

    Parameters
    ----------
    files : sequence of PoolFile
        All rows are read into memory.
    text_template : str, optional
        As in `TextReader`.
    most : int, optional
        Of more rows, so many are drawn; they keep their order.
    seed : int
        Of the draw.

    Raises
    ------
    InputError
        If a file cannot be read, or a row has no response; and what `find_options` raises.
    """
    if most is not None and most < 1:
        raise InputError(f"at most {most} held-out rows leave nothing to score; give at least 1")
    reader = TextReader(text_template)
    batches = [batch for file in files for batch in read(file)]
    found = [(record, batch.where(i)) for batch in batches for i, record in enumerate(batch.records)]
    if most is not None and most < len(found):
        drawn = np.random.default_rng([seed, len(found)]).choice(len(found), most, replace=False)
        found = [found[k] for k in np.sort(drawn)]
    examples = tuple(reader.example(record, where) for record, where in found)
    for example in examples:
        if not example.response.strip():
            raise InputError(f"{example.where}: the held-out row has no response to score; fill it or remove the row")
    options = find_options([record for record, _ in found], examples)
    return HeldOut(examples, *options) if options is not None else HeldOut(examples)
