"""What a selector returns: one frozen `Plan`, and the one table that says which draws are legal for which kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.scratch import chunks

if TYPE_CHECKING:
    from tasksift.transport.sweep import Lists

Kind = Literal["mass", "score", "similarity", "logprob", "quota"]
DrawName = Literal["systematic", "multinomial", "top", "gumbel", "apportion"]
Status = Literal["converged", "pool_exhausted", "exhausted"]

LEGAL_DRAWS: dict[Kind, tuple[DrawName, ...]] = {
    "mass": ("systematic", "multinomial", "top"),
    "score": ("top",),
    "similarity": ("top",),
    "logprob": ("gumbel", "top"),
    "quota": ("apportion", "systematic"),
}
"""The draws that each kind of plan admits; the first is the default. Any other pairing is an error."""


@dataclass(frozen=True)
class Links:
    """Which target rows each planned row answers, in coordinate form: three arrays of one length.

    Attributes
    ----------
    row : int64 (n,)
        Pool row.
    target : int64 (n,)
        Target row.
    mass : float64 (n,)
        Probability mass shipped from the target to the row; zero for selectors that ship none.
    distance : float64 (n,)
        Distance between the two in the representation.
    """

    row: NDArray[np.int64]
    target: NDArray[np.int64]
    mass: NDArray[np.float64]
    distance: NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """What a selector decided, before any row is drawn. Higher value = keep, for every kind.

    Attributes
    ----------
    kind : str
        One of ``mass``, ``score``, ``similarity``, ``logprob``, ``quota``.
    selector : str
        The name of the selector.
    ids : int64 (n,)
        Positions in the pool, ascending, each at most once.
    values : float64 (n,)
        Probability (``mass``; positive, sums to 1), or score.
    status : str
        ``converged``; ``pool_exhausted``: the whole pool was used and the answer is final; ``exhausted``: neighbours
        ran out before the answer was reached and the answer is only the best so far.
    complete : bool
        Whether rows that the plan does not mention have nothing to offer. False for plans that were cut at the
        budget, so that a draw which runs short can ask for a longer one.
    breadth, alpha : float or None
        The effective number of distinct neighbours per target, and the trade-off that it stands for (TSDS).
    density : float64 (n,) or None
        How crowded each row's surroundings are, 1 = alone.
    links : Links or None
        Which target pulled which row.
    task : int64 (n,) or None
        The task that each row is for, where the selector looks at the targets task by task.
    info : dict
        Everything else worth keeping in the manifest: certificate, bandwidth, prefetch, counts.
    path : dict of str to float64 (b,) or None
        The regularisation path, breakpoint by breakpoint (TSDS): ``breadth`` and ``alpha``.
    searched : callable or None
        Returns the neighbour lists, of pool rows, from which plans of other breadths follow, and the largest breadth
        for which their weights are known; beyond it they are guessed (TSDS, until the plan is written).
    """

    kind: Kind
    selector: str
    ids: NDArray[np.int64]
    values: NDArray[np.float64]
    status: Status = "converged"
    complete: bool = True
    breadth: float | None = None
    alpha: float | None = None
    density: NDArray[np.float64] | None = None
    links: Links | None = None
    task: NDArray[np.int64] | None = None
    info: dict[str, Any] = field(default_factory=dict)
    path: dict[str, NDArray[np.float64]] | None = None
    searched: Callable[[], tuple[Lists, float]] | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InputError(f"plan kind {self.kind!r} does not exist; it is one of {', '.join(get_args(Kind))}")
        if self.ids.shape != self.values.shape or self.ids.ndim != 1:
            raise ValueError(f"ids {self.ids.shape} and values {self.values.shape} must be vectors of one length")
        parts = list(chunks(len(self.ids)))
        if not all(bool(np.all(np.diff(self.ids[max(0, some.start - 1) : some.stop]) > 0)) for some in parts):
            raise ValueError("plan ids must ascend strictly")
        if not all(bool(np.all(np.isfinite(self.values[some]))) for some in parts):
            raise ValueError("plan values must be finite")
        if (
            self.kind == "mass"
            and len(self.values)
            and not (self.values.min() > 0 and abs(float(self.values.sum()) - 1.0) < 1e-9)
        ):
            raise ValueError(f"the masses of a plan must be positive and sum to 1, not {float(self.values.sum())!r}")

    @classmethod
    def ranked(cls, selector: str, rows: NDArray[np.int64], **rest: Any) -> Plan:
        """Make a plan of kind ``score`` of rows that come best first; a row's value is minus its place."""
        by_row = np.argsort(rows)
        return cls("score", selector, rows[by_row], -by_row.astype(np.float64), **rest)

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """The probability of each row in `ids` (mass plans only)."""
        if self.kind != "mass":
            raise InputError(f"a {self.kind} plan ({self.selector}) has no probabilities; read plan.values")
        return self.values

    def dense(self, n: int) -> NDArray[np.float64]:
        """Values of all `n` pool rows: unmentioned rows get 0 (mass) or -inf (anything else)."""
        out = np.full(n, 0.0 if self.kind == "mass" else -np.inf)
        out[self.ids] = self.values
        return out

    def check_draw(self, draw: str | None) -> DrawName:
        """Return the draw to use, the kind's default for None; an illegal pairing is an `InputError`."""
        legal = LEGAL_DRAWS[self.kind]
        if draw is None:
            return legal[0]
        for name in legal:
            if name == draw:
                return name
        raise InputError(
            f"--draw {draw} does not fit a {self.kind} plan, which {self.selector} makes; use {' or '.join(legal)}"
        )
