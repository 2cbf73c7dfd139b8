"""The rows of each domain as a shuffled deck, dealt without replacement, pass after pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasksift.draw.sample import members
from tasksift.online.domains import Domains

_SHUFFLE = 1
"""Tells the shuffles of decks from other draws with the same seed."""


class Decks:
    """One deck of rows per domain.

    Every row of a domain is dealt once before any is dealt again; each pass has its own order. The order depends on the
    seed, the generation, the domain's place and the pass alone, so that a position is all there is to remember.

    Parameters
    ----------
    domains : Domains
    seed : int
    rows : int64 (m,), optional
        The rows to deal from, repeats as often as they stand there; all by default.
    generation : int
        Tells decks of other rows apart.

    Attributes
    ----------
    sizes : int64 (K,)
        Rows of each deck.
    """

    def __init__(self, domains: Domains, seed: int, rows: NDArray[np.int64] | None = None, generation: int = 0) -> None:
        rows = np.arange(len(domains)) if rows is None else rows
        codes = domains.codes[rows]
        self.sizes = np.bincount(codes, minlength=len(domains.names))
        self._members = [rows[places] for places in members(codes, len(domains.names))]
        self._key = (seed, _SHUFFLE, generation)
        self._shuffled: dict[int, tuple[int, NDArray[np.int64]]] = {}

    def deal(self, codes: NDArray[np.int64], taken: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the next row of each named domain, in that order, and move `taken` on.

        Parameters
        ----------
        codes : int64 (n,)
            Domains, none of them empty.
        taken : int64 (K,)
            Rows dealt from each domain so far; changed in place.
        """
        rows = np.empty(len(codes), dtype=np.int64)
        by_domain = np.argsort(codes, kind="stable")
        named, begins = np.unique(codes[by_domain], return_index=True)
        ends = np.append(begins, len(codes))[1:]
        for domain, begin, end in zip(named.tolist(), begins, ends, strict=True):
            places = by_domain[begin:end]
            size, at = int(self.sizes[domain]), int(taken[domain])
            done = 0
            while done < len(places):
                turn, place = divmod(at + done, size)
                part = self._pass(domain, turn)[place : place + len(places) - done]
                rows[places[done : done + len(part)]] = part
                done += len(part)
            taken[domain] += len(places)
        return rows

    def _pass(self, domain: int, turn: int) -> NDArray[np.int64]:
        kept = self._shuffled.get(domain)
        if kept is None or kept[0] != turn:
            order = np.random.default_rng([*self._key, domain, turn]).permutation(self.sizes[domain])
            kept = self._shuffled[domain] = (turn, self._members[domain][order])
        return kept[1]
