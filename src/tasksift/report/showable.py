"""What a page can show: finite numbers, texts of bounded length and some of many things, as plain JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.rows.encode import well_formed

DIGITS = 6
"""Significant digits that are kept."""

LONGEST = 600
"""Characters of a text."""

NAME = 60
"""Characters of a name within a sentence."""

DEEPEST = 16
"""Levels of what is nested."""


def showable(value: Any, *, longest: int = LONGEST) -> Any:
    """Return what JSON and a page can show of `value`.

    Numbers that are not finite become None, others keep `DIGITS` digits; texts are cut to `longest` characters, with
    "…" at their end; what is nested beyond `DEEPEST` levels becomes "…".
    """
    return _shown(value, longest, DEEPEST)


def cut(text: str, longest: int = LONGEST) -> str:
    """Return at most `longest` characters of a text; "…" stands for the rest, "\ufffd" for half characters."""
    text = text if len(text) <= longest else text[: longest - 1] + "…"
    return well_formed(text)


def named(name: str) -> str:
    """Return a name as a sentence takes it, cut to `NAME` characters."""
    return cut(name, NAME)


def counted(number: int, what: str) -> str:
    """Return a number and what it counts, with an s where there is not just one."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def spread(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of the places 0 to count - 1, evenly spread, with the first and the last; none for count <= 0."""
    return np.unique(np.linspace(0, count - 1, max(0, min(count, most))).round().astype(np.int64))


def _shown(value: Any, longest: int, levels: int) -> Any:
    if value is None or isinstance(value, bool | np.bool_):
        return None if value is None else bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, str):
        return cut(value, longest)
    if not levels:
        return "…"
    if isinstance(value, Mapping):
        return {cut(str(key), longest): _shown(each, longest, levels - 1) for key, each in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_shown(each, longest, levels - 1) for each in value]
    return cut(str(value), longest)
