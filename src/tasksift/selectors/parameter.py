"""One parameter of a selector: its default, what it may be, and how a user's word for it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tasksift.errors import InputError


@dataclass(frozen=True)
class Parameter:
    """One parameter of a selector.

    Attributes
    ----------
    default : any
    help : str
        One line.
    words : tuple of str
        The words that it may be; for numbers, words that it may be besides.
    kind : type
        bool, int, float or str; that of the default unless given.
    low, high : float or None
        Bounds of a number, themselves allowed.
    """

    default: Any
    help: str
    words: tuple[str, ...] = ()
    kind: type | None = None
    low: float | None = None
    high: float | None = None

    def read(self, name: str, value: Any) -> Any:
        """Return a value that a user gave, as text or as it is, checked.

        Raises
        ------
        InputError
            If it is none that the parameter may take.
        """
        kind = self.kind or type(self.default)
        if isinstance(value, str) and value in self.words:
            return value
        found: Any = None
        if kind is bool:
            found = {"true": True, "false": False}.get(str(value).lower())
        elif kind is str:
            found = str(value) if not self.words else None
        else:
            try:
                number = float(value)
                if np.isfinite(number) and not isinstance(value, bool) and (kind is float or number == int(number)):
                    found = kind(number)
            except (TypeError, ValueError):
                pass
            if found is not None and (
                (self.low is not None and found < self.low) or (self.high is not None and found > self.high)
            ):
                found = None
        if found is None:
            raise InputError(f"--set {name}={value}: it should be {self.range()}")
        return found

    def range(self) -> str:
        """What it may be, in words."""
        kind = self.kind or type(self.default)
        ways = {bool: "true or false", int: "a whole number", float: "a number", str: ""}[kind]
        if kind in (int, float):
            ways += f" from {self.low:g}" if self.low is not None else ""
            ways += f" to {self.high:g}" if self.high is not None else ""
        elif kind is str and not self.words:
            ways = "text"
        return " or ".join(filter(None, [ways, ", ".join(self.words)]))
