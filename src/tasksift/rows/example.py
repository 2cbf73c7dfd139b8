"""An example as the turns of a conversation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Turn(NamedTuple):
    """What one side says.

    Attributes
    ----------
    role : str
        ``system``, ``user``, ``assistant``, or ``document`` for text that is nobody's turn.
    text : str
    """

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Example:
    """A row of a pool or a target.

    Attributes
    ----------
    turns : tuple of Turn
        The last turn is the assistant's where there is an answer.
    where : str
        File and row, for messages.
    rejected : tuple of Turn or None
        For a preference pair: the conversation with the answer that was not preferred.
    """

    turns: tuple[Turn, ...]
    where: str = "an example"
    rejected: tuple[Turn, ...] | None = None

    @property
    def response(self) -> str:
        """The last answer, or the document; empty without one."""
        return self.turns[-1].text if self.turns and self.turns[-1].role in ("assistant", "document") else ""

    @property
    def prompt(self) -> str:
        """Every turn before the response, each on lines of its own."""
        before = self.turns[:-1] if self.turns and self.turns[-1].role in ("assistant", "document") else self.turns
        return "\n".join(turn.text for turn in before if turn.text)

    @property
    def text(self) -> str:
        """Prompt, newline, response; without the newline when one of them is empty."""
        prompt, response = self.prompt, self.response
        return f"{prompt}\n{response}" if prompt and response else prompt or response
