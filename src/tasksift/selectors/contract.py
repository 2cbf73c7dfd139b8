"""What a selector is: one line of the list of selectors, what it is told, and the parameters that it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.plan import Kind, Plan
from tasksift.progress import Progress, silent
from tasksift.selectors.parameter import Parameter
from tasksift.vectors import Vectors

Int = NDArray[np.int64]

Need = Literal["target", "vectors", "lengths", "margins", "texts", "scores"]
"""What a selector may ask for: target rows; vectors; these at their own lengths; gradients of margins with the margins
themselves, checkpoint by checkpoint; the texts; numbers of each row."""


@dataclass(frozen=True)
class Texts:
    """The texts of pool and targets.

    Attributes
    ----------
    pool : callable
        Each call starts a pass over the texts of the pool, a batch of rows at a time, in order.
    target : list of m str
    """

    pool: Callable[[], Iterator[list[str]]]
    target: list[str]


@dataclass(frozen=True)
class Margins:
    """Gradients of margins and the margins, of pool and targets, at M checkpoints.

    Attributes
    ----------
    pool : sequence of M Vectors (n, d)
        Projected gradients, by independent projections, at their own lengths. A row without an answer has zeros.
    target : sequence of M arrays, float32 (m, d)
    pool_values, target_values : float64 (M, n) and (M, m)
        The margins themselves.
    moved : callable or None
        ``moved(weights)`` puts the model at θ* + P w for one float64 (d,) and returns its distance ||P w|| / ||θ*|| and
        the true margins of the targets there, float64 (m,). None where there is no model at hand.
    """

    pool: Sequence[Vectors]
    target: Sequence[NDArray[Any]]
    pool_values: NDArray[np.float64]
    target_values: NDArray[np.float64]
    moved: Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]] | None = None


@dataclass(frozen=True)
class Context:
    """What the pipeline knows when it calls a selector.

    Attributes
    ----------
    order : int64 (n,)
        Rank of every pool row in the order of row ids, for breaking ties and for whatever must not depend on the order
        of the input.
    sources : int64 (n,)
        Source code of every pool row.
    groups : int64 (n,) or None
        Group code of every pool row, where the user named a column of groups.
    group_names : tuple of str
    pool, target : Vectors or None
        Features as they are compared: by distance, directions at unit length. `target` is None without target rows.
    lengths, target_lengths : Vectors or None
        The same features before they are brought to unit length.
    tasks : int64 (m,) or None
        Task code of every target row.
    task_names : tuple of str
    task_target : Vectors or None
        One vector for each task, (len(task_names), d): the mean of its target rows as they were before they were
        brought to unit length (for gradients the gradient of the task's mean loss), compared like `target`.
    margins : Margins or None
    scores : Vectors or None
        Numbers of every pool row as they are, (n, len(score_names)).
    score_names : tuple of str
    texts : Texts or None
    keys : uint64 (n, 2) or None
        Content keys of the features, if they are known already.
    seed : int
        Of whatever is random before the draw.
    backend : str
        What multiplies, see `tasksift.neighbors.backends`; it changes no answer.
    progress : callable
    """

    order: Int
    sources: Int
    groups: Int | None = None
    group_names: tuple[str, ...] = ()
    pool: Vectors | None = None
    target: Vectors | None = None
    lengths: Vectors | None = None
    target_lengths: Vectors | None = None
    tasks: Int | None = None
    task_names: tuple[str, ...] = ()
    task_target: Vectors | None = None
    margins: Margins | None = None
    scores: Vectors | None = None
    score_names: tuple[str, ...] = ()
    texts: Texts | None = None
    keys: NDArray[np.uint64] | None = None
    seed: int = 0
    backend: str = "numpy"
    progress: Progress = silent

    def pair(self) -> tuple[Vectors, Vectors]:
        """Return the features of pool and targets."""
        if self.pool is None or self.target is None:
            raise ValueError("this selector needs features of pool and target")
        return self.pool, self.target

    def column(self, name: str) -> NDArray[np.float64]:
        """Return one column of the scores, float64 (n,)."""
        if self.scores is None or name not in self.score_names:
            there = ", ".join(self.score_names) or "none"
            raise InputError(f"there is no score {name!r} (scores: {there}); name it in --metrics or --score-column")
        at = self.score_names.index(name)
        parts = [self.scores.raw(span)[:, at].astype(np.float64) for span in self.scores.spans()]
        return np.concatenate(parts)


Planner = Callable[[int], Plan]
"""A selector after its one-time work: a function from a budget in rows to a plan. A budget of 0 lets a selector that
estimates sizes choose how many rows to take."""


@dataclass(frozen=True)
class Size:
    """What the cost of a method depends on.

    Attributes
    ----------
    rows, targets : int
        Of the pool, and target rows.
    tokens : int
        Of a row.
    dim : int
        Dimensions of the features, of all checkpoints together.
    parameters, trained : float
        Of the language model, and those among them that gradients are of.
    checkpoints : int
    budget : int
        Rows to take.
    """

    rows: int = 1_000_000
    targets: int = 100
    tokens: int = 300
    dim: int = 4096
    parameters: float = 1e9
    trained: float = 1e7
    checkpoints: int = 4
    budget: int = 10_000


def one_pass(size: Size) -> float:
    """Operations of comparing every row with every target, 2·targets·rows·dims."""
    return 2.0 * size.targets * size.rows * size.dim


@dataclass(frozen=True)
class Selector:
    """One line of the list of selectors.

    Attributes
    ----------
    prepare : callable
        ``prepare(context, parameters)`` does what is done once and returns a `Planner`; `parameters` has a value for
        every name.
    kind : str
        The kind of its plans.
    parameters : mapping of str to Parameter
    needs : frozenset of str
        What it asks for, see `Need`.
    plans_all_rows : bool
        Whether its plans mention every row of the pool.
    ignores_copies : bool
        Whether n exact copies of a row together receive what the single row would have received.
    sizes_itself : bool
        Whether it can estimate how many rows to take.
    takes_groups : bool
        Whether a column of groups means anything to it.
    seeded : bool
        Whether its plans depend on the seed, as draws always do.
    flops : callable
        Its floating-point operations for a `Size`, features not counted.
    memory : callable
        Bytes that it holds of its own for a `Size`, where these are many.
    meaning : str
        What the values of its plans are, in a word or two, or why rows with a chance have one; empty where they only
        order the rows.
    """

    prepare: Callable[[Context, Mapping[str, Any]], Planner]
    kind: Kind
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    needs: frozenset[Need] = frozenset({"target", "vectors"})
    plans_all_rows: bool = False
    ignores_copies: bool = False
    sizes_itself: bool = False
    takes_groups: bool = False
    seeded: bool = False
    flops: Callable[[Size], float] = one_pass
    memory: Callable[[Size], float] = lambda size: 0.0
    meaning: str = ""

    @property
    def needs_features(self) -> bool:
        """Whether it looks at vectors of any kind."""
        return bool(self.needs & {"vectors", "margins"})

    def settle(self, given: Mapping[str, Any], preset: str) -> dict[str, Any]:
        """Return the defaults with what was given in their place, checked.

        Raises
        ------
        InputError
            If there is no such parameter, or its value is out of range.
        """
        found = {name: each.default for name, each in self.parameters.items()}
        for name, value in given.items():
            if name not in self.parameters:
                there = f"there are {', '.join(self.parameters)}" if self.parameters else "it has none"
                raise InputError(f"--set {name}: --preset {preset} has no such parameter; {there}")
            found[name] = self.parameters[name].read(name, value)
        return found
