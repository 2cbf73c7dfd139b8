"""The labels of a classification: the different responses of pool and targets."""

from __future__ import annotations

from collections.abc import Iterable

from tasksift.errors import InputError

MOST_LABELS = 2000
"""Different responses above which a pool does not pass for labelled data."""


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
