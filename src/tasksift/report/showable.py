"""What a page can show of any value: finite numbers and texts of bounded length, as plain JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tasksift.rows.encode import well_formed

DIGITS = 6
"""Significant digits that are kept."""

LONGEST = 600
"""Characters of a text."""

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


def counted(number: int, what: str) -> str:
    """Return a number and what it counts, with an s where there is not just one."""
    return f"{number:,} {what}{'s' * (number != 1)}"


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
