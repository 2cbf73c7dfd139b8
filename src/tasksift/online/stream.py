"""One stream of rows, step by step: where it stands, what was read ahead of training, and how to go back to a step."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasksift.online.checks import Floats, every, numbers
from tasksift.online.decks import Decks
from tasksift.online.domains import Domains
from tasksift.online.drawing import draw_domains

Ints = NDArray[np.int64]


class Version(NamedTuple):
    """What the rows of a step are drawn by.

    Attributes
    ----------
    probabilities : float64 (K,)
    unseen : bool (K,)
        Domains that are drawn before chance decides.
    generation : int
        Which restriction holds.
    """

    probabilities: Floats
    unseen: NDArray[np.bool_]
    generation: int


class Mark(NamedTuple):
    """Where the stream stood before a step was drawn, and the rows of the step.

    Attributes
    ----------
    generation : int
    taken : int64 (K,)
        Rows dealt from each deck of this generation.
    served : int64 (K,)
        Rows of each domain since the beginning.
    expected : float64 (K,)
        What they would be, had every step followed its probabilities exactly.
    rows : int64 (n,)
    """

    generation: int
    taken: Ints
    served: Ints
    expected: Floats
    rows: Ints


class Stream:
    """Rows drawn by domain, each domain without replacement.

    Parameters
    ----------
    domains : Domains
    seed : int
    exact : bool
        Whether the counts of domains follow the probabilities exactly, not by chance.
    unit : int
        Rows that are drawn together from one domain.
    """

    def __init__(self, domains: Domains, seed: int, *, exact: bool, unit: int) -> None:
        self._domains, self._seed, self._exact, self._unit = domains, seed, exact, unit
        # As lists, so that a state is had at every step at no cost.
        self._rows: dict[int, list[int] | None] = {0: None}
        self._decks = {0: Decks(domains, seed)}
        self._marks: dict[int, Mark] = {}
        none = np.zeros(len(domains.names), dtype=np.int64)
        self._now = Mark(0, none, none, none.astype(np.float64), none[:0])

    @property
    def generation(self) -> int:
        """The last restriction; 0 is none."""
        return max(self._rows)

    @property
    def some(self) -> NDArray[np.bool_]:
        """Domains, (K,), of which the last restriction leaves rows."""
        return self._decks[self.generation].sizes > 0

    def has(self, generation: int) -> bool:
        """Say whether a restriction is known."""
        return generation in self._rows

    def drawn(self, step: int) -> bool:
        """Say whether the rows of a step stand ready."""
        return step in self._marks

    def rows(self, step: int) -> Ints:
        """Return the rows of a step that stands ready."""
        return self._marks[step].rows

    def at(self, step: int) -> Mark:
        """Return where the stream stood before a step, which is the next to be drawn if it is not drawn yet."""
        return self._marks.get(step, self._now)

    def draw(self, step: int, count: int, version: Version) -> None:
        """Draw `count` rows for a step; steps are drawn in their order."""
        generation, taken, served, expected, _ = self._now
        decks = self._decks[version.generation]
        taken = taken.copy() if generation == version.generation else np.zeros_like(taken)
        some = decks.sizes > 0
        # Where every probable domain is empty, those that are not share alike.
        probabilities = np.where(some, version.probabilities, 0.0)
        probabilities = probabilities if probabilities.any() else some.astype(np.float64)
        then = expected + probabilities * (count / probabilities.sum())
        codes = draw_domains(
            count // self._unit,
            probabilities,
            first=version.unseen,
            due=(then - served) / self._unit if self._exact else None,
            rng=np.random.default_rng([self._seed, 0, step]),
        ).repeat(self._unit)
        rows = decks.deal(codes, taken)
        self._marks[step] = Mark(generation, self._now.taken, served, expected, rows)
        served = served + np.bincount(codes, minlength=len(served))
        self._now = Mark(version.generation, taken, served, then, rows[:0])

    def rewind(self, step: int) -> None:
        """Forget what was read ahead: `step` is the next to be drawn."""
        mark = self.at(step)
        self._now = mark._replace(rows=mark.rows[:0])
        self._marks.clear()

    def done(self, step: int, versions: list[Version]) -> None:
        """Forget a step that was trained on, and restrictions that none of the versions still in use names."""
        self._marks.pop(step, None)
        used = {each.generation for each in versions} | {each.generation for each in [*self._marks.values(), self._now]}
        for old in self._rows.keys() - used:
            del self._rows[old], self._decks[old]

    def restrict(self, rows: Ints) -> int:
        """Make a generation that deals from these rows only, and return its number."""
        new = self.generation + 1
        self._rows[new], self._decks[new] = rows.tolist(), Decks(self._domains, self._seed, rows, new)
        return new

    def state(self, step: int) -> dict[str, Any]:
        """Return what drawing from `step` on depends on, as plain JSON."""
        here = self.at(step)
        return {
            "generation": here.generation,
            "taken": here.taken.tolist(),
            "served": here.served.tolist(),
            "expected": here.expected.tolist(),
            "rows": {str(generation): rows for generation, rows in self._rows.items()},
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take a state of a stream with the same arguments."""
        self._marks.clear()
        self._rows = {int(generation): rows for generation, rows in state["rows"].items()}
        self._decks = {
            generation: Decks(self._domains, self._seed, None if rows is None else np.array(rows), generation)
            for generation, rows in self._rows.items()
        }
        count = len(self._domains.names)
        taken, served, expected = (numbers(name, state[name], count) for name in ("taken", "served", "expected"))
        every("taken", taken, taken >= 0, "it is a number of rows")
        every("served", served, served >= 0, "it is a number of rows")
        every("expected", expected, expected >= 0, "it is a number of rows")
        none = np.empty(0, dtype=np.int64)
        self._now = Mark(int(state["generation"]), taken.astype(np.int64), served.astype(np.int64), expected, none)
