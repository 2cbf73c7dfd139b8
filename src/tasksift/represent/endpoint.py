"""Vectors from a server that speaks the `/v1/embeddings` protocol of OpenAI: vLLM, TEI, llama.cpp, OpenAI itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError, MissingExtraError, UnfinishedError
from tasksift.represent.endpoint_address import checked_url, find_key
from tasksift.represent.endpoint_answers import Answer, BadAnswerError, RefusedError, one_line, words
from tasksift.represent.endpoint_pace import Pace, Usage, retry_after
from tasksift.rows.example import Example

MOST_WAIT = 600.0
"""Seconds that a server may ask to wait before the run ends instead."""

SAY_EVERY = 30.0
"""Seconds between two lines about tokens and cost."""

_AGAIN = (408, 409, 429)
_SPLIT = (400, 413, 422)  # what servers answer to a text or a batch that is too long


class Endpoint:
    """Embeds examples through an OpenAI-compatible server.

    Parameters
    ----------
    url : str
        Like ``http://localhost:8000/v1``; without a path, ``/v1`` is added.
    model : str
        The name under which the server offers the model.
    api_key_env : str, optional
        Name of the environment variable that holds the key. The key is in no message, identity or file.
    dim : int, optional
        Asks the server for vectors of so many numbers, where the model allows it.
    max_characters : int, optional
        Longer texts are cut to their beginning before they are sent.
    concurrency, batch : int
        Requests under way at a time; texts of a request. A server that refuses a batch as too large gets half.
    requests_per_minute, tokens_per_minute : float, optional
        Limits that are kept by waiting. Tokens of a text are guessed from its characters at the rate that the server
        reported so far, and put right after every answer.
    price_per_million : float, optional
        Price of a million tokens, to show the cost.
    timeout : float
        Seconds without a byte from the server after which a request is given up.
    attempts : int
        How often a request is sent at most, the first time included.
    say : callable
        Takes a line about tokens and cost, every `SAY_EVERY` seconds; what came of it all is in `usage`.
    wait : callable, optional
        Waits so many seconds; for tests.

    Attributes
    ----------
    dim, identity
        As of an `Embedder`. The address is no part of the identity, because a server may move.
    usage : Usage

    Raises
    ------
    InputError
        If the server cannot be reached, refuses, or its answers stay wrong, or gives vectors of another `dim`.

    Notes
    -----
    Connection errors, timeouts, HTTP 408, 409, 429 and 5xx, and answers that are cut off, incomplete or not finite are
    tried again after 1, 2, 4, ... seconds, less up to half at random, and not before the time in ``Retry-After``, for
    which all requests wait. A text without a visible character is sent as a single space, as some servers refuse
    empty ones. Memory: at most ``2 * concurrency`` batches besides the result.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key_env: str | None = None,
        dim: int | None = None,
        max_characters: int | None = None,
        concurrency: int = 8,
        batch: int = 32,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        price_per_million: float | None = None,
        timeout: float = 60.0,
        attempts: int = 6,
        say: Callable[[str], None] = lambda line: None,
        wait: Callable[[float], Any] | None = None,
    ) -> None:
        try:
            import openai
        except ImportError:
            raise MissingExtraError("openai", "openai", "an embedding server") from None
        numbers = {
            "--dim": dim, "--max-characters": max_characters, "--concurrency": concurrency, "batch": batch,
            "--requests-per-minute": requests_per_minute, "--tokens-per-minute": tokens_per_minute,
            "--timeout": timeout, "attempts": attempts,
        }  # fmt: skip
        for name, value in numbers.items():
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"{name} {value} for an embedding server: it should be more than 0, and finite")
        self._openai, self._url, self._key = openai, checked_url(url), find_key(api_key_env)
        self._client = openai.OpenAI(base_url=self._url, api_key=self._key or "none", timeout=timeout, max_retries=0)
        self._ask_for: dict[str, Any] = {"model": model, "encoding_format": "float"}
        if dim is not None:
            self._ask_for["dimensions"] = dim
        self._most, self._concurrency, self._batch = max_characters, concurrency, batch
        self._timeout, self._attempts, self._say = timeout, attempts, say
        self._stop, self._lock, self._random = threading.Event(), threading.Lock(), Random()
        self._wait: Callable[[float], Any] = wait or self._stop.wait
        self._requests, self._tokens = Pace(requests_per_minute), Pace(tokens_per_minute)
        self._characters, self._said = 0, time.monotonic()
        self.usage = Usage(model, price_per_million=price_per_million)
        self._reported: str | None = None
        self.dim = 0
        try:
            self.dim = self._send(["a text"], ["the first request"]).shape[1]
        except RefusedError as refused:
            raise InputError(f"{self._url} refuses ({refused}); see to --model and --dim") from None
        if dim is not None and dim != self.dim:
            raise InputError(f"--dim {dim}: {self._url} gives {self.dim} numbers of {model} all the same; leave it out")
        self.identity: dict[str, Any] = {
            "endpoint_model": model,
            "reported_model": self._reported,
            "dim": self.dim,
            "max_characters": max_characters,
        }

    def transform(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """Return float32 (len(examples), dim), in the order of the examples.

        Raises
        ------
        InputError
            If the server refuses, or fails `attempts` times; requests that are under way are waited for.
        """
        out = np.empty((len(examples), self.dim), dtype=np.float32)
        pending: dict[Future[NDArray[np.float32]], int] = {}
        self._stop.clear()
        at = 0
        with ThreadPoolExecutor(self._concurrency) as pool:
            try:
                while at < len(examples) or pending:
                    while at < len(examples) and len(pending) < 2 * self._concurrency:
                        part = examples[at : at + self._batch]
                        texts, where = [self._text(each) for each in part], [each.where for each in part]
                        pending[pool.submit(self._embed, texts, where)] = at
                        at += len(part)
                    for future in wait(pending, return_when=FIRST_COMPLETED).done:
                        start, rows = pending.pop(future), future.result()
                        out[start : start + len(rows)] = rows
            except BaseException:
                self._stop.set()
                for future in pending:
                    future.cancel()
                raise
        if time.monotonic() - self._said >= SAY_EVERY:
            self._said = time.monotonic()
            self._say(str(self.usage))
        return out

    def _text(self, example: Example) -> str:
        text = example.text[: self._most]
        return text if text.strip() else " "

    def _embed(self, texts: list[str], where: list[str]) -> NDArray[np.float32]:
        """Embed a batch; one that the server refuses is halved until it is taken or the row at fault is alone."""
        try:
            return self._send(texts, where)
        except RefusedError as refused:
            if len(texts) == 1:
                raise InputError(
                    f"{self._url}: {where[0]}, {len(texts[0]):,} characters, is refused ({refused}); if it is too "
                    "long, set --max-characters, let the server cut texts, or leave the row out"
                ) from None
        half = (len(texts) + 1) // 2
        parts = [self._embed(texts[:half], where[:half]), self._embed(texts[half:], where[half:])]
        self._batch = min(self._batch, half)
        return np.concatenate(parts)

    def _send(self, texts: list[str], where: list[str]) -> NDArray[np.float32]:
        openai, trouble, hold = self._openai, "", 0.0
        for attempt in range(self._attempts):
            if attempt:
                self._hold(hold, trouble)
                self._pause(min(60.0, 2.0 ** (attempt - 1)) * self._random.uniform(0.5, 1.0))
            guess = self._take_turn(texts, retry=attempt > 0)
            try:
                reply = self._client.embeddings.with_raw_response.create(input=texts, **self._ask_for)
                return self._read(reply.content, texts, where, guess)
            except openai.APIStatusError as error:
                code = error.status_code
                trouble = f"HTTP {code}: {one_line(words(error.response.text), self._key)}"
                if code in _SPLIT:
                    raise RefusedError(trouble) from None
                if code < 500 and code not in _AGAIN:
                    hint = "; name the variable with the key in --api-key-env" if code == 401 and not self._key else ""
                    raise InputError(f"{self._url} refuses ({trouble}){hint}") from None
                hold = retry_after(error.response.headers.get("retry-after"))
            except openai.APITimeoutError:
                trouble, hold = f"no answer within {self._timeout:g} seconds", 0.0
            except openai.APIConnectionError as error:
                trouble, hold = f"the connection failed ({one_line(str(error.__cause__ or error), self._key)})", 0.0
            except BadAnswerError as error:
                trouble, hold = one_line(str(error), self._key), 0.0
        raise UnfinishedError(
            f"{self._url}: no vectors for {where[0]} and {len(texts) - 1} more after {self._attempts} attempts "
            f"({trouble}); see to the server, or ask less of it at a time, and run again"
        )

    def _take_turn(self, texts: list[str], *, retry: bool) -> float:
        """Wait until the limits allow a request; return the tokens that it is taken to have."""
        with self._lock:
            self.usage.requests += 1
            self.usage.retries += retry
            rate = self.usage.tokens / self._characters if self.usage.tokens else 0.5
        guess = sum(map(len, texts)) * rate
        self._pause(max(self._requests.take(1), self._tokens.take(guess)))
        return guess

    def _hold(self, seconds: float, trouble: str) -> None:
        if seconds > MOST_WAIT:
            raise UnfinishedError(f"{self._url} asks to wait {seconds:,.0f} seconds ({trouble}); run again then")
        self._requests.hold(seconds)

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            self._wait(seconds)
        if self._stop.is_set():  # another request has failed for good
            raise CancelledError

    def _read(self, body: bytes, texts: list[str], where: list[str], guess: float) -> NDArray[np.float32]:
        answer = Answer.read(body)
        with self._lock:
            if answer.tokens:  # paid for, whatever came
                self.usage.tokens += answer.tokens
                self._characters += sum(map(len, texts))
                self._tokens.add(answer.tokens - guess)
            if self._reported is None and not self.dim:
                self._reported = answer.model
        return answer.rows(where, dim=self.dim, model=self._reported)
