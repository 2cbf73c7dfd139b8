"""How much of a mixture each domain gets."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.online.domains import Domains
from tasksift.online.history import read_history

Floats = NDArray[np.float64]

SHOWN = 8
"""Names that a message lists."""

# A name may hold commas and equals signs; only "=number," ends it.
_PAIR = re.compile(r"\s*(?P<name>.*?)\s*=\s*(?P<weight>[^=,]*?)\s*(?:,|$)", re.DOTALL)


def find_shares(asked: str | Path | Mapping[str, float], domains: Domains) -> Floats:
    """Return the share of every domain.

    Parameters
    ----------
    asked : str, Path or mapping
        ``proportional`` (to the rows), ``uniform``, ``NAME=0.3,NAME=0.7`` (or a mapping: weights of any sum; domains
        that are not named get none), or the mixture.jsonl of an online run.
    domains : Domains

    Returns
    -------
    float64 (K,)
        Numbers >= 0 that sum to 1.

    Raises
    ------
    InputError
        If `asked` is none of these, names a domain without rows, or holds a weight that is no number >= 0; or if all
        are 0.
    """
    if isinstance(asked, Mapping):
        return _weighted(asked, domains)
    text = str(asked)
    if text == "proportional":
        return domains.sizes / len(domains)
    if text == "uniform":
        return np.full(len(domains.names), 1 / len(domains.names))
    history = history_of(asked)
    if history is not None:
        return late_shares(history, domains.names)
    return _weighted(_parse(text), domains)


def history_of(asked: object) -> Path | None:
    """Return the file, if shares are asked for as those of an online run: a `Path`, or text that ends with .jsonl."""
    return Path(asked) if isinstance(asked, Path) or (isinstance(asked, str) and asked.endswith(".jsonl")) else None


def late_shares(path: str | Path, names: Sequence[str]) -> Floats:
    """Return the mean probabilities over the second half of an online run.

    Parameters
    ----------
    path : str or Path
        The mixture.jsonl that the run wrote.
    names : sequence of K str
        The domains to mix, which must be those of the run.

    Returns
    -------
    float64 (K,)
        The mean over the logged steps beyond half of the last one; sums to 1.
    """
    history = read_history(path)
    for name in names:
        if name not in history.names:
            raise InputError(f"--shares {path}: the run had no domain {name!r} (it had {_listed(history.names)})")
    for name in history.names:
        if name not in names:
            raise InputError(f"--shares {path}: the pool has no domain {name!r} (it has {_listed(names)})")
    if not len(history.steps):
        raise InputError(f"--shares {path}: no step is logged; let the run go on, or name other shares")
    late = history.steps > history.steps[-1] // 2 if history.steps[-1] else np.ones(len(history.steps), dtype=bool)
    mean = history.probabilities[late].mean(axis=0)
    place = {name: k for k, name in enumerate(history.names)}
    return _normalised(mean[[place[name] for name in names]], f"--shares {path}")


def _parse(text: str) -> dict[str, str]:
    weights: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _PAIR.match(text, at)
        if match is None or not match["weight"]:
            raise InputError(
                f"--shares {text!r}: write proportional, uniform, NAME=0.3,NAME=0.7 or the mixture.jsonl of a run"
            )
        if match["name"] in weights:
            raise InputError(f"--shares: {match['name']} is given twice; name each domain once")
        weights[match["name"]] = match["weight"]
        at = match.end()
    return weights


def _weighted(weights: Mapping[str, float] | Mapping[str, str], domains: Domains) -> Floats:
    place = {name: k for k, name in enumerate(domains.names)}
    shares = np.zeros(len(place))
    for name, weight in weights.items():
        if name not in place:
            raise InputError(f"--shares: no row is of the domain {name!r}; there are {_listed(domains.names)}")
        try:
            share = float(weight)
        except (TypeError, ValueError, OverflowError):
            share = math.nan
        if not (math.isfinite(share) and share >= 0):
            raise InputError(f"--shares: {name} has {weight}; a share is a number from 0")
        shares[place[name]] = share
    return _normalised(shares, "--shares")


def _normalised(shares: Floats, what: str) -> Floats:
    largest = float(shares.max(initial=0.0))
    if float(shares.min()) < 0:
        raise InputError(f"{what}: one of the shares is {shares.min():g}; a share is a number from 0")
    if not largest > 0:
        raise InputError(f"{what}: the shares add to nothing; give at least one domain a share above 0")
    scaled: Floats = shares / largest  # so that no sum overflows
    return scaled / float(scaled.sum())


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
