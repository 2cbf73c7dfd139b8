"""The errors that tasksift raises on purpose.

Whatever a user can mend is an `InputError`: one line that says what is wrong, with which value, in which file and
row, and how to mend it. The command line prints that line and exits with code 2.
"""

from __future__ import annotations


class InputError(ValueError):
    """The request or its data cannot be served; the message is one line meant for the user."""


class ShortPlanError(InputError):
    """A plan mentions too few rows for the budget, although the pool may hold more."""


class UnfinishedError(InputError):
    """Something outside gave up in the middle, such as a server; what is done is kept, and the same command goes on."""


class MissingExtraError(InputError):
    """An optional dependency is needed; the message names the pip line that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}: pip install 'tasksift[{extra}]'")
