"""The policy of online data mixing: the probability of each domain, from the losses seen so far."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tasksift.errors import InputError
from tasksift.online.checks import Flags, Floats, every, numbers, whole
from tasksift.online.rewards import ADAPTIVE, LARGEST, Estimates, reference_for, reward_for

PRIORS = ("proportional", "uniform")

MODES = (*ADAPTIVE, "uniform", "proportional", "stratified")


def exploration(domains: int, step: int) -> float:
    """Return eps_t = min(1/K, sqrt(ln K / (K t))), the probability that every domain has at least; 1/K for t = 0.

    Parameters
    ----------
    domains : int
        K. Up to the step K ln K, such as 68 for 22 domains, there is nothing but exploration.
    step : int
        t, steps of training that were done, those of a warm-up too.
    """
    return 1 / domains if step == 0 else min(1 / domains, math.sqrt(math.log(domains) / (domains * step)))


class Mixture:
    """Probabilities of K domains, updated after every step of training.

    Parameters
    ----------
    sizes : int (K,)
        Rows of each domain; one without any has probability 0 and does not count towards K.
    mode : str
        ``released``: r_i is the running mean of the rewards of domain i, and pi_i = (1 - K eps_t) r_i / sum(r) + eps_t.
        With ``exp_loss`` this is what the published code runs, mixing in proportion to perplexity.
        ``paper``: rewards are divided by the probability that they were drawn with, and their running mean R_i goes
        through a softmax, pi_i = (1 - K eps_t) softmax_i(eps_{t-1} R) + eps_t.
        ``uniform``: 1/K. ``proportional``: in proportion to the rows. ``stratified``: equal shares, or those of
        `prior`, for a sampler that keeps them exactly. These three never change.
    reward : str, optional
        One of `REWARDS`, see there; by default ``exp_loss`` for ``released`` and ``loss`` for ``paper``.
    alpha : float
        Weight of the past in running means, from 0 and below 1.
    prior : "proportional", "uniform" or float (K,), optional
        Where an adaptive mode begins, by default in proportion to the rows, and the shares of ``stratified``, by
        default equal; weights need not sum to 1.
    warmup_steps : int
        Updates 1 to `warmup_steps` collect rewards and leave the prior as it is.
    guard : bool
        Leave the prior as it is until every domain with rows has given a reward. Without, as in the published code, a
        domain that was not seen yet has r_i = 0, and the few that were share all but exploration.
    reference : float (K,), optional
        Losses of a reference; ``excess_loss`` needs them.

    Attributes
    ----------
    adapts : bool
        Whether updates can change anything.
    step : int
        Of the last update, 0 before the first.
    ignored : int
        Losses of domains that were not finite, or above 1e100, and are left out as if the domain was not seen.

    Raises
    ------
    InputError
        If an option is none of those allowed or does not fit the domains, or a prior, a reward or a reference has no
        effect in this mode.

    Notes
    -----
    ODM (Albalak et al. 2023, arXiv 2312.02406), with eps_t as in `exploration`. Paper and published code differ, hence
    two modes. No loss overflows, and the floor eps_t is at most 1/K for any K. Where no reward is above 0, ``released``
    goes back to the prior. Nothing here is random. An update costs O(K).
    """

    def __init__(
        self,
        sizes: ArrayLike,
        *,
        mode: str = "released",
        reward: str | None = None,
        alpha: float = 0.9,
        prior: str | ArrayLike | None = None,
        warmup_steps: int = 0,
        guard: bool = True,
        reference: ArrayLike | None = None,
    ) -> None:
        self.sizes = np.array(sizes)
        if self.sizes.ndim != 1 or self.sizes.dtype.kind not in "iu" or not (self.sizes >= 0).all():
            raise InputError(f"sizes {self.sizes.tolist()!r} are no numbers of rows; give a whole one for each domain")
        self._awaited = self._live = self.sizes > 0
        if not self._live.any():
            raise InputError("no domain has rows, so there is nothing to mix")
        if mode not in MODES:
            raise InputError(f"mode {mode!r} is not one of {', '.join(MODES)}")
        if not isinstance(alpha, int | float | np.floating) or not 0 <= alpha < 1:
            raise InputError(f"alpha {alpha!r} is out of range; it is at least 0 and below 1")
        whole("warmup_steps", warmup_steps, 0)
        if not isinstance(guard, bool):
            raise InputError(f"guard {guard!r} is not True or False")
        self.mode, self.reward, self.adapts = mode, reward_for(mode, reward), mode in ADAPTIVE
        self.alpha, self.warmup_steps, self.guard = float(alpha), int(warmup_steps), bool(guard)
        losses = reference_for(self.reward, reference, self._live)
        if prior is None:
            prior = {"uniform": "uniform", "stratified": "uniform"}.get(mode, "proportional")
        self._prior = self._shares(prior)
        # Tuples, so that every state can hold them and none can change them.
        self._configuration = {
            "sizes": tuple(self.sizes.tolist()), "mode": mode, "reward": self.reward, "alpha": self.alpha,
            "prior": prior if isinstance(prior, str) else tuple(self._prior.tolist()),
            "warmup_steps": self.warmup_steps, "guard": self.guard,
            "reference": None if reference is None else tuple(losses.tolist()),
        }  # fmt: skip
        self.step = self.ignored = 0
        self._estimates = Estimates(self.reward or "loss", self.alpha, losses, weighted=mode == "paper")
        self._probabilities = self._prior

    def _shares(self, prior: str | ArrayLike) -> Floats:
        """The probabilities that an adaptive mode begins with and a static one keeps."""
        if isinstance(prior, str) and prior not in PRIORS:
            raise InputError(f"prior {prior!r} is not one of {', '.join(PRIORS)}, nor one weight for each domain")
        if self.mode in PRIORS and not (isinstance(prior, str) and prior == self.mode):
            raise InputError(f"mode {self.mode!r} takes no prior; use mode 'stratified' for shares of your own")
        if isinstance(prior, str):
            weights = (self.sizes if prior == "proportional" else self._live).astype(np.float64)
        else:
            weights = numbers("prior", prior, len(self.sizes))
            every("prior", weights, (weights >= 0) & (weights <= LARGEST), "it is a finite weight of at least 0")
            weights[~self._live] = 0.0
        if not weights.any():
            raise InputError("prior is 0 for every domain that has rows; give one of them a weight")
        shares: Floats = weights / weights.sum()
        if self.adapts:
            # A domain that is never drawn would never be seen, and paper mode divides by its probability.
            drawn = ~self._live | (shares > 1 / LARGEST)
            every("prior", shares, drawn, f"mode {self.mode!r} draws from all; give it a weight or leave its rows out")
        return shares

    @property
    def probabilities(self) -> Floats:
        """The present probability of every domain, (K,), a copy."""
        return self._probabilities.copy()

    @property
    def unseen(self) -> Flags:
        """Domains, (K,), that the guard waits for: with rows, and without a reward after the warm-up."""
        waits = self.adapts and self.guard and self.step >= self.warmup_steps
        return self._awaited & ~self._estimates.rewarded & waits

    def wait_for(self, domains: Flags) -> None:
        """Have the guard wait for these domains, (K,), alone; for when others have no rows to draw any more."""
        self._awaited = self._live & domains

    def update(self, step: int, losses: ArrayLike, counts: ArrayLike, drawn: ArrayLike | None = None) -> None:
        """Learn from one step of training.

        Parameters
        ----------
        step : int
            Steps done with this one, so 1 for the first.
        losses : float (K,)
            Mean loss of what was seen of each domain.
        counts : float (K,)
            How much was seen; where 0, the loss does not matter.
        drawn : float (K,), optional
            Probabilities that these rows were drawn with, by default the present ones. Only ``paper`` asks.

        Raises
        ------
        InputError
            If the step, a shape, a count or a probability is impossible; nothing has changed then.
        """
        whole("step", step, 1)
        losses, counts = numbers("losses", losses, len(self.sizes)), numbers("counts", counts, len(self.sizes))
        drawn = self._probabilities if drawn is None else numbers("drawn", drawn, len(self.sizes))
        every("counts", counts, np.isfinite(counts) & (counts >= 0), "it is a finite number of at least 0")
        every("counts", counts, (counts == 0) | self._live, "the domain has no rows that could be seen")
        usable = (counts > 0) & (np.abs(losses) <= LARGEST)
        if self.mode == "paper":
            possible = ~usable | ((drawn > 1 / LARGEST) & np.isfinite(drawn))
            every("drawn", drawn, possible, "the domain was seen, so its probability was above 0")
        self.ignored += int(((counts > 0) & ~usable).sum())
        self.step = int(step)
        if self.adapts:
            seen = np.flatnonzero(usable)
            self._estimates.learn(seen, losses[seen], drawn[seen])
            self._probabilities = self._policy()

    def _policy(self) -> Floats:
        """The probabilities that follow from the state alone."""
        values, rewarded = self._estimates.values[self._live], self._estimates.rewarded[self._live]
        waits = self.step <= self.warmup_steps or not rewarded.any() or self.unseen.any()
        if waits or values.max() == -np.inf:
            return self._prior
        eps = exploration(len(values), self.step)
        if self.mode == "paper":
            values = values * exploration(len(values), self.step - 1)
        shares = np.exp(values - values.max())
        probabilities = np.zeros(len(self.sizes))
        probabilities[self._live] = (1 - len(values) * eps) * (shares / shares.sum()) + eps
        return probabilities

    @property
    def configuration(self) -> dict[str, Any]:
        """What it was made with, without the sizes of domains, as plain JSON."""
        return {name: value for name, value in self._configuration.items() if name != "sizes"}

    def state_dict(self) -> dict[str, Any]:
        """Return the state and the configuration as plain JSON that loses no bit."""
        return {
            "configuration": dict(self._configuration),
            "step": self.step,
            "ignored": self.ignored,
            "estimates": self._estimates.state_dict(),
            "probabilities": self._probabilities.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave, before or after any update.

        Raises
        ------
        InputError
            If it is no such state, or one of another configuration; nothing has changed then.
        """
        there = state.get("configuration") if isinstance(state, dict) else None
        if not isinstance(there, dict) or state.keys() != self.state_dict().keys():
            raise InputError("this is no state of a mixture; load what state_dict() gave, or start without one")
        for name, here in self._configuration.items():
            theirs = tuple(there[name]) if isinstance(there.get(name), list) else there.get(name)
            if theirs != here:
                was, now = _first_difference(theirs, here)
                raise InputError(
                    f"the state is of a mixture with {name} {was}, but this one has {now}; use the same options"
                )
        try:
            probabilities = numbers("probabilities", state["probabilities"], len(self.sizes))
            every("probabilities", probabilities, (probabilities >= 0) & (probabilities <= 1), "it is a share")
            step, ignored = int(state["step"]), int(state["ignored"])
            self._estimates.load_state_dict(state["estimates"])
        except (KeyError, TypeError):
            raise InputError("the state of the mixture is damaged; load another one") from None
        self.step, self.ignored, self._probabilities = step, ignored, probabilities


def _first_difference(there: Any, here: Any) -> tuple[str, str]:
    """Two values as text; of two lists, one for each domain, only where they first differ."""
    if not isinstance(there, tuple) or not isinstance(here, tuple):
        was, now = ("one for each domain" if isinstance(value, tuple) else repr(value) for value in (there, here))
        return was, now
    if len(there) != len(here):
        return f"of {len(there)} domains", str(len(here))
    at = next(k for k, (a, b) in enumerate(zip(there, here, strict=True)) if a != b)
    return f"{there[at]} of domain {at}", str(here[at])
