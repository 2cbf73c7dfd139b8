"""Rewards: what the loss of a domain says about training on more of it, and their running means."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasksift.errors import InputError
from tasksift.online.checks import Flags, Floats, every, numbers, plain

REWARDS = ("loss", "exp_loss", "loss_drop", "excess_loss", "grad_norm")
"""
loss
    The loss itself.
exp_loss
    Its exponential, the perplexity where it is a loss per token. A domain that cannot be learned, such as hashes or
    base64, takes most of the mixture and keeps it.
loss_drop
    The running mean of the domain's losses less the present one: progress. A first loss has nothing to drop from and
    gives no reward.
excess_loss
    The loss less that of a reference on the same domain: what is left to learn.
grad_norm
    What is observed, which is then the norm of a gradient instead of a loss.
"""

ADAPTIVE = {"released": "exp_loss", "paper": "loss"}
"""Modes of a mixture that follow the losses, and the reward of each unless another is asked for."""

LARGEST = 1e100
"""Losses above this in size count as not finite, so that nothing computed from them overflows."""


def reward_for(mode: str, reward: str | None) -> str | None:
    """Return the reward that a mode goes by, None for a mode that never changes.

    Raises
    ------
    InputError
        If there is no such reward, or it does not go with the mode.
    """
    if mode not in ADAPTIVE:
        if reward is not None:
            raise InputError(f"reward {reward!r} has no effect: mode {mode!r} never changes; leave it out")
        return None
    reward = ADAPTIVE[mode] if reward is None else reward
    if reward not in REWARDS:
        raise InputError(f"reward {reward!r} is not one of {', '.join(REWARDS)}")
    if (mode, reward) == ("paper", "exp_loss"):
        raise InputError("reward 'exp_loss' does not go with mode 'paper', which exponentiates itself; use 'loss'")
    return reward


def reference_for(reward: str | None, reference: ArrayLike | None, live: Flags) -> Floats:
    """Return the reference losses of K domains; zeros for a reward that takes none, and where `live` is False.

    Raises
    ------
    InputError
        If the reward needs them and they are missing, or the other way round, or one is not finite.
    """
    if (reward == "excess_loss") != (reference is not None):
        fault = "needs the reference loss of every domain" if reference is None else "takes no reference; leave it out"
        raise InputError(f"reward {reward!r} {fault}")
    if reference is None:
        return np.zeros(len(live))
    losses = np.where(live, numbers("reference", reference, len(live)), 0.0)
    every("reference", losses, np.abs(losses) <= LARGEST, "it is a finite loss")
    return losses


class Estimates:
    """Running means of the rewards of K domains.

    Parameters
    ----------
    reward : str
        One of `REWARDS`.
    alpha : float
        Weight of the past.
    reference : float64 (K,)
        Losses of the reference, for ``excess_loss``.
    weighted : bool
        Divide each reward by the probability that it was drawn with, and start from 0; otherwise `values` are
        logarithms, and start from -inf.

    Attributes
    ----------
    values : float64 (K,)
        The running means, or their logarithms.
    losses : float64 (K,)
        Running means of the losses, NaN before the first.
    rewarded : bool (K,)
        Who gave a reward.

    Notes
    -----
    A reward below 0 counts as 0, because there is no mixing by a negative one. ``exp_loss`` alone takes negative losses
    as they are.
    """

    def __init__(self, reward: str, alpha: float, reference: Floats, *, weighted: bool) -> None:
        self.reward, self.alpha, self.reference, self.weighted = reward, alpha, reference, weighted
        self.values = np.full(len(reference), 0.0 if weighted else -np.inf)
        self.losses = np.full(len(reference), np.nan)
        self.rewarded: Flags = np.zeros(len(reference), dtype=np.bool_)

    def learn(self, seen: NDArray[np.int64], losses: Floats, drawn: Floats) -> None:
        """Take in the losses (m,), at most `LARGEST` in size, of m domains, drawn with these probabilities (m,)."""
        keep, take = self.alpha, 1 - self.alpha
        before = self.losses[seen]
        first = np.isnan(before)
        self.losses[seen] = np.where(first, losses, keep * before + take * losses)
        if self.reward == "loss_drop":
            seen, before, losses, drawn = seen[~first], before[~first], losses[~first], drawn[~first]
        value = losses
        if self.reward == "loss_drop":
            value = before - losses
        elif self.reward == "excess_loss":
            value = losses - self.reference[seen]
        past = self.values[seen]
        if self.weighted:
            self.values[seen] = keep * past + take * np.maximum(value, 0) / drawn
        else:
            new = value if self.reward == "exp_loss" else _log(np.maximum(value, 0))
            self.values[seen] = np.logaddexp(_log(np.array(keep)) + past, np.log(take) + new)
        self.rewarded[seen] = True

    def state_dict(self) -> dict[str, Any]:
        """Return the running means as plain JSON, with null for -inf and NaN."""
        return {
            "values": plain(self.values),
            "losses": plain(self.losses),
            "rewarded": self.rewarded.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        count = len(self.values)
        values, losses = (numbers(name, state[name], count) for name in ("values", "losses"))
        rewarded = numbers("rewarded", state["rewarded"], count) > 0
        self.values, self.losses, self.rewarded = np.where(np.isnan(values), -np.inf, values), losses, rewarded


def _log(values: Floats) -> Floats:
    """Logarithms, -inf for 0."""
    return np.log(values, out=np.full(values.shape, -np.inf), where=values > 0)
