"""Which rows of a domain are written, how often, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from tasksift.draw.sample import apportion, members
from tasksift.mix.names import file_stems
from tasksift.online.domains import Domains

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """One domain of a mixture.

    Attributes
    ----------
    name, stem : str
        The domain, and the name of its file without suffix.
    size : int
        Rows of the domain in the pool.
    share : float
    once : int64 (size,)
        Its rows, each once, shuffled.
    drawn : int64 (count,) or None
        With a budget, the rows to train on: copies as whole as they can be, one pass after the other.
    """

    name: str
    stem: str
    size: int
    share: float
    once: Ints
    drawn: Ints | None

    @property
    def rows(self) -> Ints:
        """What a file that is trained on as it stands holds."""
        return self.once if self.drawn is None else self.drawn


def make_parts(domains: Domains, shares: Floats, budget: int | None, *, order: Ints, seed: int) -> list[Part]:
    """Lay the domains of a mixture out, those with a share of 0 left out.

    Parameters
    ----------
    domains : Domains
        Names ascending.
    shares : float64 (K,)
        They sum to 1.
    budget : int or None
        Rows to draw in all: `shares` times `budget`, rounded by largest remainder.
    order : int64 (n,)
        Rank of every row, so that the order of the pool changes nothing.
    seed : int

    Returns
    -------
    list of Part, in the order of the names. Cost: O(n log n + budget).
    """
    counts = None if budget is None else apportion(shares * budget, budget)
    stems = file_stems(domains.names)
    ranked = np.argsort(order, kind="stable")
    rows_of = [ranked[places] for places in members(domains.codes[ranked], len(domains.names))]
    parts = []
    for k, (name, rows) in enumerate(zip(domains.names, rows_of, strict=True)):
        if shares[k] > 0:
            drawn = None if counts is None else passes(rows, int(counts[k]), generator(seed, name))
            once = passes(rows, len(rows), generator(seed, name))
            parts.append(Part(name, stems[k], len(rows), float(shares[k]), once, drawn))
    return parts


def passes(rows: Ints, count: int, rng: np.random.Generator) -> Ints:
    """Return `count` of some rows: none again before all were taken, each pass in an order of its own.

    Parameters
    ----------
    rows : int64 (n,)
    count : int
        May be more than n.
    rng : numpy.random.Generator
    """
    taken = [rows[rng.permutation(len(rows))] for _ in range(-(-count // len(rows)))]
    return np.concatenate(taken)[:count] if taken else np.empty(0, dtype=np.int64)


def shuffled(parts: list[Part], seed: int) -> Ints:
    """Return what is drawn of all parts, shuffled."""
    rows = np.concatenate([part.rows for part in parts])
    return rows[generator(seed, "").permutation(len(rows))]


def generator(seed: int, name: str) -> np.random.Generator:
    """Random numbers of one domain, which other domains do not change."""
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return np.random.default_rng([seed, int.from_bytes(digest, "little")])
