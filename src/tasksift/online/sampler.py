"""A sampler whose mixture of domains follows the training: one seeded stream of rows, whatever reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from typing import Any, Literal

import numpy as np

from tasksift.errors import InputError
from tasksift.online.checks import Floats, every, numbers, plain, whole
from tasksift.online.domains import Domains
from tasksift.online.layout import Layout
from tasksift.online.mixture import Mixture
from tasksift.online.rewards import LARGEST
from tasksift.online.stream import Ints, Stream, Version

FORMAT = 1


class OnlineSampler:
    """Draws rows of a training set by domain, with probabilities that are updated after every step.

    An object for the ``sampler`` argument of a `torch.utils.data.DataLoader`; `OnlineMixing` puts it into an unmodified
    `transformers.Trainer`. In a loop of your own, tell it the losses of the rows (`observe`) and end each step
    (`update`).

    Parameters
    ----------
    domains : Domains or iterable of labels
        The domain of every row, such as ``dataset["source"]``.
    batch_size, accumulation, rank, ranks : int
        Rows of a micro-batch, micro-batches of a step, this process and the number of processes. All have the same
        arguments but their rank, and each yields its own part of one stream. A Trainer's own values replace these.
    epoch_rows : int, optional
        Rows after which an epoch ends, all ranks together, rounded up to whole micro-batches; by default as many as
        there are.
    delay : int
        Steps that the probabilities lag behind: rows of step s are drawn with those after update s - delay. A loader
        with worker processes reads ahead; it needs ``ceil(num_workers * prefetch_factor / accumulation)``.
    batches : str
        ``mixed``: every row has a domain of its own. ``single``: a micro-batch has rows of one domain, as in the
        published code of ODM.
    counts : str, optional
        ``random``: every row, or micro-batch, draws its domain. ``exact``: the rows of a domain follow the sum of its
        probabilities to about one row, so the mixture is the same and its noise is gone. By default exact for the mode
        ``stratified`` alone, as published methods draw at random.
    seed : int
    mode, reward, alpha, prior, warmup_steps, guard, reference
        As in `Mixture`; `prior` and `reference` may also be mappings of domain names to numbers.

    Attributes
    ----------
    step : int
        Steps that were ended by `update`.
    ignored : int
        Losses that were not finite, or above 1e100, and are left out.

    Notes
    -----
    Every step is ended by `update`, in the static modes too. The stream depends on the arguments and on what was
    observed, and on nothing else: not on global generators, not on how far a loader reads ahead, and not on an
    interruption. A step costs O(rows + K). Within a domain no row comes again before all others came.
    """

    def __init__(
        self,
        domains: Domains | Iterable[object],
        *,
        batch_size: int = 1,
        accumulation: int = 1,
        rank: int = 0,
        ranks: int = 1,
        epoch_rows: int | None = None,
        delay: int = 0,
        batches: Literal["mixed", "single"] = "mixed",
        counts: Literal["random", "exact"] | None = None,
        seed: int = 0,
        mode: str = "released",
        reward: str | None = None,
        alpha: float = 0.9,
        prior: Any = None,
        warmup_steps: int = 0,
        guard: bool = True,
        reference: Any = None,
    ) -> None:
        self.domains = domains if isinstance(domains, Domains) else Domains.of(domains)
        if batches not in ("mixed", "single"):
            raise InputError(f"batches {batches!r} is not one of mixed, single")
        if counts not in (None, "random", "exact"):
            raise InputError(f"counts {counts!r} is not one of random, exact")
        whole("seed", seed, 0)
        whole("batch_size", batch_size, 1)
        whole("ranks", ranks, 1)
        whole("epoch_rows", 1 if epoch_rows is None else epoch_rows, 1)
        whole("rank", rank, 0)
        if rank >= ranks:
            raise InputError(f"rank {rank} is out of range; with {ranks} ranks it is 0 to {ranks - 1}")
        self.counts = counts or ("exact" if mode == "stratified" else "random")
        self.batches, self.seed, self.rank, self.delay, self.epoch_rows = batches, int(seed), rank, delay, epoch_rows
        self._options: dict[str, Any] = {
            "mode": mode, "reward": reward, "alpha": alpha, "prior": self._by_domain("prior", prior),
            "warmup_steps": warmup_steps, "guard": guard, "reference": self._by_domain("reference", reference),
        }  # fmt: skip
        rounds = -(-(epoch_rows or len(self.domains)) // (batch_size * ranks))
        self.layout = Layout(batch_size, accumulation, ranks, rounds, delay)
        self._dealt_elsewhere = False
        self._digest = self.domains.digest
        self.reset()

    def _by_domain(self, name: str, given: Any) -> Any:
        """Copy numbers of domains, in the order of the domains if they come by name."""
        if not hasattr(given, "keys"):
            return copy(given)
        names = self.domains.names
        for each in [*given, *names]:
            if each not in names:
                raise InputError(f"{name}: there is no domain {each!r}; there are {', '.join(names[:10])}")
            if each not in given:
                raise InputError(f"{name}: there is no number for the domain {each!r}; give one for each")
        return [given[each] for each in names]

    def reset(self) -> None:
        """Go back to the beginning: what follows is what followed at first."""
        self.mixture, self._stream = self._new()
        self.step = self.ignored = self._begun = 0
        self._versions = {0: self._version()}
        self._pending = np.zeros((2, len(self.domains.names)))
        self._losses = np.full(len(self.domains.names), np.nan)

    def _new(self) -> tuple[Mixture, Stream]:
        unit = self.layout.batch_size if self.batches == "single" else 1
        stream = Stream(self.domains, self.seed, exact=self.counts == "exact", unit=unit)
        return Mixture(self.domains.sizes, **self._options), stream

    def _version(self) -> Version:
        return Version(self.mixture.probabilities, self.mixture.unseen, self._stream.generation)

    def arrange(self, layout: Layout, rank: int) -> None:
        """Begin again in the layout of a loader that keeps one rank's part of the whole stream by itself.

        Such a loader also passes over what was trained on, when it begins in the middle of an epoch. `OnlineMixing`
        calls this.
        """
        self.layout, self.rank, self._dealt_elsewhere = layout, rank, True
        self.reset()

    def __len__(self) -> int:
        rows = self.layout.rounds * self.layout.batch_size
        return rows * self.layout.ranks if self._dealt_elsewhere else rows

    def set_epoch(self, epoch: int) -> None:
        """Do nothing, as an epoch begins where training stands; loaders call it."""

    def __iter__(self) -> Iterator[int]:
        """Yield the rows of an epoch from the next untrained step on; after `load_state_dict`, of the rest of one."""
        self._stream.rewind(self.step)
        begin, place, layout = self.step, self._begun, self.layout
        self._begun = 0
        if self._dealt_elsewhere:
            # Only their number counts, as the loader passes over them unread.
            yield from (0 for _ in range(sum(layout.rows_of(k) for k in range(place))))
        for k in range(place, layout.steps):
            step = begin + k - place
            self._stream.draw(step, layout.rows_of(k), self._version_for(step))
            rows = self._stream.rows(step)
            yield from (rows if self._dealt_elsewhere else layout.own(rows, self.rank).ravel()).tolist()

    def _version_for(self, step: int) -> Version:
        wanted = max(0, step - self.layout.delay)
        if wanted not in self._versions:
            layout = self.layout
            raise InputError(
                f"rows of step {step} are asked for after {self.step} updates and with delay {layout.delay}: call "
                f"update() after every step ({layout.accumulation} batches of {layout.batch_size} rows here), and give "
                "the delay that a loader needs which reads ahead"
            )
        return self._versions[wanted]

    def rows(self, step: int) -> Ints:
        """Return the rows of all ranks in a step that is drawn and not done, in the order of the stream."""
        if not self._stream.drawn(step):
            raise InputError(f"step {step} is not drawn yet, or done; {self.step} steps are done")
        return self._stream.rows(step)

    def own(self, step: int) -> Ints:
        """Return the rows of this rank in such a step, shape (micro-batches, batch_size)."""
        return self.layout.own(self.rows(step), self.rank)

    def observe(self, rows: Any, losses: Any, tokens: Any = None) -> None:
        """Tell what rows gave in the present step.

        Parameters
        ----------
        rows : int (n,)
            Rows of the training set; this and the others may be tensors on any device.
        losses : float (n,)
            The loss of each, a mean over its tokens; or what the reward is made of, such as its gradient norm.
        tokens : float (n,), optional
            What each mean is over; one by default. The loss of a domain is the mean over all its tokens.
        """
        rows = self._rows(rows)
        losses = _array(losses).astype(np.float64)
        tokens = np.ones(len(rows)) if tokens is None else _array(tokens).astype(np.float64)
        if not len(rows) == len(losses) == len(tokens):
            raise InputError(f"{len(rows)} rows, {len(losses)} losses and {len(tokens)} counts of tokens do not match")
        usable = np.abs(losses) <= LARGEST
        self.ignored += int((~usable).sum())
        good = usable & (tokens > 0) & (tokens <= LARGEST)
        codes = self.domains.codes[rows[good]]
        np.add.at(self._pending[0], codes, losses[good] * tokens[good])
        np.add.at(self._pending[1], codes, tokens[good])

    def _rows(self, given: Any) -> Ints:
        """Rows of the training set that a user names."""
        rows = np.asarray(given.cpu() if hasattr(given, "cpu") else given).reshape(-1)
        if len(rows) and rows.dtype.kind not in "iu":
            raise InputError(f"rows are of type {rows.dtype}; give their numbers, such as numpy.flatnonzero(mask)")
        wrong = rows[(rows < 0) | (rows >= len(self.domains))]
        if len(wrong):
            raise InputError(f"row {wrong[0]} is out of range; the training set has {len(self.domains)} rows")
        return rows.astype(np.int64)

    def update(self, reduce: Callable[[Floats], Floats] | None = None) -> None:
        """End a step: the probabilities follow from what was observed in it.

        Parameters
        ----------
        reduce : callable, optional
            Adds an array (2, K) up over all ranks and returns the sum to every rank; needed where there are several.
        """
        if self.layout.ranks > 1 and reduce is None and self.mixture.adapts:
            raise InputError("several ranks must add up what they observed: call update(tasksift.online.summed)")
        total, counts = self._pending if reduce is None else np.asarray(reduce(self._pending))
        self._losses = np.where(counts > 0, total / np.where(counts > 0, counts, 1), self._losses)
        drawn = self._versions[max(0, self.step - self.layout.delay)].probabilities
        self.mixture.update(self.step + 1, np.where(counts > 0, self._losses, np.nan), counts, drawn=drawn)
        self._pending = np.zeros_like(self._pending)
        self.step += 1
        self._versions[self.step] = self._version()
        for old in [k for k in self._versions if k < self.step - self.layout.delay]:
            del self._versions[old]
        self._stream.done(self.step - 1, list(self._versions.values()))

    def restrict(self, rows: Any) -> None:
        """Draw from these rows only, repeats as often as they stand there, as soon as the last update holds.

        Domains without a row among them are passed over, and their share goes to the others.
        """
        rows = self._rows(rows)
        if not len(rows):
            raise InputError("no row is left to draw from; a restriction keeps at least one")
        generation = self._stream.restrict(rows)
        self.mixture.wait_for(self._stream.some)
        self._versions[self.step] = self._versions[self.step]._replace(generation=generation)

    @property
    def about(self) -> dict[str, Any]:
        """What kind of mixture this is, as plain JSON."""
        own = {"batches": self.batches, "counts": self.counts, "seed": self.seed}
        return {**self.mixture.configuration, **own}

    def probabilities(self) -> Floats:
        """Return the present probability of every domain, (K,), in the order of ``domains.names``."""
        return self.mixture.probabilities

    @property
    def losses(self) -> Floats:
        """The last mean loss of every domain, (K,); NaN where none was observed."""
        return self._losses.copy()

    @property
    def served(self) -> Ints:
        """Rows of every domain in the steps that are done, (K,)."""
        return self._stream.at(self.step).served.copy()

    def state_dict(self) -> dict[str, Any]:
        """Return what the following steps depend on, as plain JSON; call it after `update`."""
        return {
            "format": FORMAT,
            "identity": self._identity(),
            "step": self.step,
            "versions": {
                str(k): [each.probabilities.tolist(), np.flatnonzero(each.unseen).tolist(), each.generation]
                for k, each in self._versions.items()
            },
            "stream": self._stream.state(self.step),
            "losses": plain(self._losses),
            "ignored": self.ignored,
            "mixture": self.mixture.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; the same steps follow as in the sampler that it came from.

        Raises
        ------
        InputError
            If it is no state, or one of a sampler with other arguments, which are named.
        """
        if not isinstance(state, dict) or state.get("format") != FORMAT or state.keys() != self.state_dict().keys():
            raise InputError("this is no state of an OnlineSampler of this version; begin anew")
        mixture, stream = self._new()
        try:
            for name, ours in self._identity().items():
                theirs = state["identity"].get(name)
                if theirs != ours:
                    raise InputError(f"the state is of a sampler with other {name} ({theirs}, here {ours}); begin anew")
            mixture.load_state_dict(state["mixture"])
            stream.load(state["stream"])
            versions = {int(k): self._saved_version(*values) for k, values in state["versions"].items()}
            step, ignored = int(state["step"]), int(state["ignored"])
            if step not in versions or any(not stream.has(each.generation) for each in versions.values()):
                raise ValueError
            losses = numbers("losses", state["losses"], len(self.domains.names))
        except InputError:
            raise
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            raise InputError("the state of the sampler is damaged; resume from another checkpoint") from None
        mixture.wait_for(stream.some)
        self.reset()
        self.mixture, self._stream, self._versions, self._losses = mixture, stream, versions, losses
        self.step, self.ignored = step, ignored
        self._begun = self.step % self.layout.steps

    def _saved_version(self, probabilities: list[float], unseen: list[int], generation: int) -> Version:
        mask = np.zeros(len(self.domains.names), dtype=bool)
        mask[unseen] = True
        shares = numbers("probabilities", probabilities, len(mask))
        every("probabilities", shares, (shares >= 0) & (shares <= 1), "it is a number from 0 to 1")
        return Version(shares, mask, generation)

    def _identity(self) -> dict[str, Any]:
        layout = self.layout
        return {
            "domains": self._digest,
            "seed": self.seed,
            "batches": self.batches,
            "counts": self.counts,
            "rows of a round": layout.round_rows,
            "rows of a single-domain batch": layout.batch_size if self.batches == "single" else None,
            "accumulation": layout.accumulation,
            "rounds of an epoch": layout.rounds,
            "delay": layout.delay,
        }


def _array(values: Any) -> Any:
    """Numbers as a flat array; bfloat16, which NumPy does not have, is widened."""
    if hasattr(values, "detach"):
        values = values.detach().double().cpu().numpy()
    return np.asarray(values).reshape(-1)
