"""What a language model makes of an example, in a few numbers: loss, perplexity, entropy, EL2N, IFD, forgetting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.represent import check_finite
from tasksift.represent.chat import ChatTokens, Score, Tokens
from tasksift.represent.forward import BATCH_TOKENS
from tasksift.represent.models import CausalModel
from tasksift.represent.token_scores import CORRECT, EL2N, ENTROPY, NLL, token_scores
from tasksift.rows.example import Example

METRICS = {
    "loss": "mean negative log-likelihood of the scored tokens, in nats",
    "perplexity": "exp(loss)",
    "entropy": "mean entropy of what the model predicts at the scored tokens, in nats",
    "el2n": "mean length of prediction minus one-hot label at the scored tokens",
    "tokens": "number of scored tokens",
    "ifd": "loss of the answer given the prompt / loss of the answer alone",
    "forgetting": "times that a scored token was right at a checkpoint and wrong at the next, mean over tokens",
}
"""The numbers that exist, and what each is."""

_UNCUT = 2**31
_LARGEST_LOSS = 88.0  # its exponential is the largest that float32 holds


class Losses:
    """Describes an example by a few numbers of a language model, one column each.

    loss = -(1/n) sum_t ln p(y_t | y_<t) over the n scored tokens, perplexity = exp(loss),
    entropy = (1/n) sum_t H(p_t), el2n = (1/n) sum_t ||p_t - onehot(y_t)||_2, and
    ifd = loss(A | Q) / loss(A) for the last answer A and all that comes before it, Q.

    Parameters
    ----------
    causal : CausalModel
        Made by `tasksift.represent.models.load_causal`.
    metrics : sequence of str
        Names in `METRICS`; the columns come in this order.
    max_length : int
        Tokens that the model sees at once. Longer examples are cut to it, as `ChatTokens` says, unless `stride` is set.
    stride : int, optional
        Nothing is cut: a longer example is seen in windows of `max_length` tokens that begin `stride` tokens apart. A
        token is scored once, in the first window that holds it; all but the example's first can be.
    score : str
        ``response``: answers, and documents whole; ``text``: everything, without ifd.
    batch_tokens : int
        Tokens of a batch, padding included. It changes the speed, and numbers in their last bits only.
    checkpoints : sequence of callable
        Each call puts the weights of one checkpoint into the model, in the order of training. Every number then is
        the mean over the checkpoints, as for EL2N in the paper. The weights of the last stay in the model.
    checkpoints_identity : anything that JSON holds
        What the checkpoints are, for `identity`; needed with them.

    Attributes
    ----------
    names : tuple of str
        The columns.
    dim : int
        How many.
    identity : dict
        Digests of model, tokens and checkpoints, metrics, window and precision.

    Raises
    ------
    InputError
        If there is no such metric, or it lacks what it needs, or the stride is not below `max_length`.

    Notes
    -----
    An example without a scored token has loss, entropy, el2n, tokens and forgetting 0, perplexity and ifd 1.

    IFD is that of Li et al., "From Quantity to Quality", arXiv 2308.12032, 2023: a ratio of mean cross-entropies over
    the same tokens (the later Superfiltering divides perplexities). "A alone" is A after what opens every answer: the
    template's header of an answer, or, where there is none, the begin- or end-of-text token. It is 1 where there is no
    prompt or no answer, and for documents. EL2N is that of Paul, Ganguli and Dziugaite, NeurIPS 2021, per token;
    forgetting that of Toneva et al., ICLR 2019, per token, where a token is learned while it is the model's first
    choice; a token that is never learned counts 0.

    Cost: one forward pass for each checkpoint, two with ifd; the output layer sees the scored tokens only.
    """

    def __init__(
        self,
        causal: CausalModel,
        *,
        max_length: int,
        metrics: Sequence[str] = ("loss", "perplexity", "entropy", "el2n"),
        stride: int | None = None,
        score: Score = "response",
        batch_tokens: int = BATCH_TOKENS,
        checkpoints: Sequence[Callable[[], None]] = (),
        checkpoints_identity: Any = None,
    ) -> None:
        self.names = tuple(metrics)
        self.dim = len(self.names)
        check_metrics(self.names, score=score, checkpoints=len(checkpoints))
        if stride is not None and not 0 < stride < max_length:
            raise InputError(f"--stride {stride} must lie between 1 and {max_length - 1}, below --max-length")
        if checkpoints and checkpoints_identity is None:
            raise ValueError("checkpoints need checkpoints_identity")
        self.causal = causal
        self._batch_tokens = batch_tokens
        self._max_length, self._stride = max_length, stride
        self._tokens = ChatTokens(causal.tokenizer, max_length if stride is None else _UNCUT, score=score)
        self._checkpoints = tuple(checkpoints) or (lambda: None,)
        self._opening = _opening(causal.tokenizer) if "ifd" in self.names else []
        if len(self._opening) >= max_length:
            raise InputError(f"--max-length {max_length} leaves no answer for ifd; give more than {len(self._opening)}")
        self.identity: Mapping[str, Any] = {
            "model": causal.identity,
            "tokens": self._tokens.identity,
            "metrics": list(self.names),
            "window": None if stride is None else {"max_length": max_length, "stride": stride},
            "checkpoints": checkpoints_identity,
            "dtype": causal.precision,
        }

    def transform(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """Return float32 (len(examples), dim), columns in the order of `names`.

        Raises
        ------
        InputError
            If the chat template refuses an example, or the model gives numbers that are not finite.
        """
        tokens = [self._tokens.encode(example) for example in examples]
        total = np.zeros((len(examples), self.dim))
        right: list[list[NDArray[np.bool_]]] = [[] for _ in examples]
        for scores in self._scores_by_checkpoint(tokens):
            columns = self._summarise(examples, tokens, scores)
            total += np.column_stack([columns[name] for name in self.names])
            for seen, each in zip(right, scores, strict=True):
                seen.append(each[:, CORRECT] > 0)
        total /= len(self._checkpoints)
        if "forgetting" in self.names:
            total[:, self.names.index("forgetting")] = [forgetting(np.stack(seen)) for seen in right]
        check_finite(total, examples, "the model's losses are")
        return total.astype(np.float32)

    def per_token(self, examples: Sequence[Example]) -> list[NDArray[np.float32]]:
        """Return for each example the negative log-likelihoods of its scored tokens, float32 (n,), in nats."""
        tokens = [self._tokens.encode(example) for example in examples]
        visits = [[each[:, NLL] for each in scores] for scores in self._scores_by_checkpoint(tokens)]
        return [np.mean(each, axis=0, dtype=np.float32) for each in zip(*visits, strict=True)]

    def _scores_by_checkpoint(self, tokens: Sequence[Tokens]) -> Iterator[list[NDArray[np.float32]]]:
        for put_in_place in self._checkpoints:
            put_in_place()
            yield self._scores(tokens)

    def _scores(self, tokens: Sequence[Tokens]) -> list[NDArray[np.float32]]:
        return token_scores(
            self.causal.model, tokens, width=self._max_length, stride=self._stride, batch_tokens=self._batch_tokens
        )

    def _summarise(
        self, examples: Sequence[Example], tokens: Sequence[Tokens], scores: Sequence[NDArray[np.float32]]
    ) -> dict[str, NDArray[np.float64]]:
        lines = [each.mean(axis=0, dtype=np.float64) if len(each) else np.zeros(4) for each in scores]
        means = np.array(lines).reshape(-1, 4)
        columns = {
            "loss": means[:, NLL],
            "perplexity": np.exp(np.minimum(means[:, NLL], _LARGEST_LOSS)),
            "entropy": means[:, ENTROPY],
            "el2n": means[:, EL2N],
            "tokens": np.array([len(each) for each in scores], dtype=np.float64),
            "forgetting": np.zeros(len(scores)),
        }
        if "ifd" in self.names:
            columns["ifd"] = self._ifd(examples, tokens, [each[:, NLL] for each in scores])
        return columns

    def _ifd(
        self, examples: Sequence[Example], tokens: Sequence[Tokens], nll: Sequence[NDArray[np.float32]]
    ) -> NDArray[np.float64]:
        asked = [
            k
            for k, each in enumerate(examples)
            if tokens[k].scored.any() and each.prompt.strip() and each.response.strip()
            if each.turns[-1].role == "assistant"
        ]
        answers = [_last_answer(tokens[k]) for k in asked]
        # What opens the answer must fit in too; both losses are over the tokens that are left.
        fits = _UNCUT if self._stride else self._max_length - len(self._opening)
        alone = self._scores([_after(self._opening, answer[:fits]) for answer in answers])
        ratio = np.ones(len(examples))
        for k, answer, direct in zip(asked, answers, alone, strict=True):
            conditioned = nll[k][len(nll[k]) - len(answer) :][:fits].mean(dtype=np.float64)
            unconditioned = direct[:, NLL].mean(dtype=np.float64)
            ratio[k] = conditioned / unconditioned if unconditioned > 0 else 1
        return ratio


def check_metrics(names: Sequence[str], *, score: str, checkpoints: int | None = None) -> None:
    """Raise an `InputError` if there is no such metric, or it lacks what it needs; checkpoints None: unknown."""
    for name in names:
        if name not in METRICS:
            raise InputError(f"--metrics {name} does not exist; use some of {', '.join(METRICS)}")
    if not names or len(set(names)) < len(names):
        raise InputError(f"--metrics {','.join(names)!r}: name at least one metric, and each once")
    if "ifd" in names and score != "response":
        raise InputError(f"--metrics ifd is about answers; leave out --score {score}")
    if "forgetting" in names and checkpoints is not None and checkpoints < 2:
        raise InputError("--metrics forgetting compares checkpoints; give --checkpoints with two or more")


def forgetting(correct: NDArray[np.bool_]) -> float:
    """Return how often a token was learned at a checkpoint and not at the next, mean over tokens; 0 without tokens.

    Parameters
    ----------
    correct : bool (checkpoints, tokens)
        Whether the model's first choice is the token that stands there, checkpoints in the order of training.
    """
    return float((correct[:-1] & ~correct[1:]).sum() / max(1, correct.shape[1]))


def _opening(tokenizer: Any) -> list[int]:
    """Return the tokens that come before an answer without a prompt."""
    from jinja2.exceptions import TemplateError

    header = ""
    if tokenizer.chat_template:
        question = [{"role": "user", "content": "?"}]
        try:
            told = tokenizer.apply_chat_template(question, tokenize=False)
            header = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
            header = header.removeprefix(told) if header.startswith(told) else ""
        except TemplateError:  # a question alone is refused
            header = ""
    start = tokenizer("")["input_ids"][:1]
    opening = start if start == [tokenizer.bos_token_id] else []
    opening = [*opening, *tokenizer(header, add_special_tokens=False)["input_ids"]]
    fallback = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if not opening and fallback is None:
        raise InputError("--metrics ifd needs a tokenizer with a begin- or end-of-text token, for answers alone")
    return opening or [fallback]


def _last_answer(tokens: Tokens) -> NDArray[np.int64]:
    """Return the last run of scored tokens."""
    places = np.flatnonzero(tokens.scored)
    breaks = np.flatnonzero(np.diff(places) > 1)
    return tokens.ids[places[breaks[-1] + 1 if len(breaks) else 0 :]]


def _after(opening: Sequence[int], answer: NDArray[np.int64]) -> Tokens:
    ids = np.concatenate([np.array(opening, dtype=np.int64), answer])
    return Tokens(ids, np.arange(len(ids)) >= len(opening))
