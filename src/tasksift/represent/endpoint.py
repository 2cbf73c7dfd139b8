"""Vectors from a server that speaks the `/v1/embeddings` protocol of OpenAI: vLLM, TEI, llama.cpp, OpenAI itself."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError, MissingExtraError
from tasksift.rows.example import Example

MOST_WAIT = 600.0
"""Seconds that a server may ask to wait before the run ends instead."""

SAY_EVERY = 30.0
"""Seconds between two lines about tokens and cost."""

_AGAIN = (408, 409, 429)
_SPLIT = (400, 413, 422)  # what servers answer to a text or a batch that is too long


@dataclass
class Usage:
    """What was asked of a server so far.

    Attributes
    ----------
    requests, retries : int
        Requests sent, retries included; and how many of them were retries.
    tokens : int
        As the server reports them; 0 if it does not.
    price_per_million : float or None
        Price of a million tokens, in any currency.
    """

    requests: int = 0
    retries: int = 0
    tokens: int = 0
    price_per_million: float | None = None

    @property
    def cost(self) -> float | None:
        """Price of the tokens, or None without a price."""
        return None if self.price_per_million is None else self.tokens * self.price_per_million / 1e6

    def __str__(self) -> str:
        cost = "" if self.cost is None else f", cost {self.cost:,.4f}"
        return f"{self.requests:,} requests ({self.retries:,} retries), {self.tokens:,} tokens{cost}"


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
    dimensions : int, optional
        Asks the server for shorter vectors, where the model allows it.
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
        Takes a line about tokens and cost, at the end of a `transform` and at most every 30 seconds.
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
        If the server cannot be reached, refuses, or its answers stay wrong.

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
        dimensions: int | None = None,
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
            "dimensions": dimensions, "max_characters": max_characters, "concurrency": concurrency, "batch": batch,
            "requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute, "timeout": timeout,
            "attempts": attempts,
        }  # fmt: skip
        for name, value in numbers.items():
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"{name} is {value} for an embedding server; it should be more than 0")
        self._openai, self._url, self._key = openai, _checked_url(url), _key(api_key_env)
        self._client = openai.OpenAI(base_url=self._url, api_key=self._key or "none", timeout=timeout, max_retries=0)
        self._ask_for: dict[str, Any] = {"model": model, "encoding_format": "float"}
        if dimensions is not None:
            self._ask_for["dimensions"] = dimensions
        self._most, self._concurrency, self._batch = max_characters, concurrency, batch
        self._timeout, self._attempts, self._say = timeout, attempts, say
        self._stop, self._lock, self._random = threading.Event(), threading.Lock(), Random()
        self._wait: Callable[[float], Any] = wait or self._stop.wait
        self._requests, self._tokens = _Pace(requests_per_minute), _Pace(tokens_per_minute)
        self._characters, self._said = 0, -SAY_EVERY
        self.usage = Usage(price_per_million=price_per_million)
        self._reported: str | None = None
        self.dim = 0
        self.dim = self._embed(["a text"], ["the first request"]).shape[1]
        self.identity: dict[str, Any] = {
            "endpoint_model": model,
            "reported_model": self._reported,
            "dim": self.dim,
            "dimensions": dimensions,
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
            self._say(f"{self._ask_for['model']}: {self.usage}")
        return out

    def _text(self, example: Example) -> str:
        text = example.text[: self._most]
        return text if text.strip() else " "

    def _embed(self, texts: list[str], where: list[str]) -> NDArray[np.float32]:
        """Embed a batch; one that the server refuses is halved until it is taken or the row at fault is alone."""
        try:
            return self._send(texts, where)
        except _RefusedError as refused:
            if len(texts) == 1:
                raise InputError(
                    f"{self._url}: {where[0]}, {len(texts[0]):,} characters, is refused ({refused}); if it is too "
                    "long, set max_characters, let the server cut texts, or leave the row out"
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
                trouble = f"HTTP {code}: {self._one_line(_words(error.response.text))}"
                if code in _SPLIT:
                    raise _RefusedError(trouble) from None
                if code < 500 and code not in _AGAIN:
                    hint = "; name the variable with the key in api_key_env" if code == 401 and not self._key else ""
                    raise InputError(f"{self._url} refuses ({trouble}){hint}") from None
                hold = _retry_after(error.response.headers.get("retry-after"))
            except openai.APITimeoutError:
                trouble, hold = f"no answer within {self._timeout:g} seconds", 0.0
            except openai.APIConnectionError as error:
                trouble, hold = f"the connection failed ({self._one_line(str(error.__cause__ or error))})", 0.0
            except _BadAnswerError as error:
                trouble, hold = self._one_line(str(error)), 0.0
        raise InputError(
            f"{self._url}: no vectors for {where[0]} and {len(texts) - 1} more after {self._attempts} attempts "
            f"({trouble}); see to the server, or ask less of it at a time, and run again"
        )

    def _take_turn(self, texts: list[str], *, retry: bool) -> float:
        """Wait until the limits allow a request; return the tokens that it is taken to have."""
        characters = sum(map(len, texts))
        with self._lock:
            self.usage.requests += 1
            self.usage.retries += retry
            rate = self.usage.tokens / self._characters if self.usage.tokens else 0.5
        guess = characters * rate
        self._pause(max(self._requests.take(1), self._tokens.take(guess)))
        return guess

    def _hold(self, seconds: float, trouble: str) -> None:
        if seconds > MOST_WAIT:
            raise InputError(f"{self._url} asks to wait {seconds:,.0f} seconds ({trouble}); run again then")
        self._requests.hold(seconds)

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            self._wait(seconds)
        if self._stop.is_set():  # another request has failed for good
            raise CancelledError

    def _read(self, body: bytes, texts: list[str], where: list[str], guess: float) -> NDArray[np.float32]:
        try:
            answer = json.loads(body)
            items, usage, reported = answer["data"], answer.get("usage") or {}, answer.get("model")
            tokens = int(usage.get("total_tokens") or usage.get("prompt_tokens") or 0)
            places = [item.get("index", k) for k, item in enumerate(items)]
            with np.errstate(over="ignore"):
                table = np.array([item["embedding"] for item in items], dtype=np.float64).astype(np.float32)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            raise _BadAnswerError("the answer is cut off, or holds no table of embeddings") from None
        with self._lock:
            if tokens:
                self.usage.tokens += tokens
                self._characters += sum(map(len, texts))
                self._tokens.add(tokens - guess)
            if self._reported is None and not self.dim:
                self._reported = reported
        if table.ndim != 2 or len(table) != len(texts) or table.shape[1] != (self.dim or max(table.shape[1], 1)):
            raise _BadAnswerError(f"the answer has shape {table.shape} for {len(texts)} texts of {self.dim} numbers")
        if sorted(map(str, places)) != sorted(map(str, range(len(texts)))):
            raise _BadAnswerError("the answer does not give every text one embedding")
        if reported != self._reported:
            raise _BadAnswerError(f"the answer is of model {reported!r}, earlier ones are of {self._reported!r}")
        rows = np.empty_like(table)
        rows[np.array(places, dtype=np.int64)] = table
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            raise _BadAnswerError(f"the embedding of {where[int(np.argmin(finite))]} is not finite")
        return rows

    def _one_line(self, text: str) -> str:
        """Return at most 300 characters on one line, without the key."""
        line = " ".join(text.split())
        return (line.replace(self._key, "***") if self._key else line)[:300]


class _BadAnswerError(Exception):
    """An answer that is worth another attempt."""


class _RefusedError(Exception):
    """The server refuses these texts."""


class _Pace:
    """When the next request may go, so that the limit of a minute is kept at any moment."""

    def __init__(self, per_minute: float | None) -> None:
        self._seconds = 60.0 / per_minute if per_minute else 0.0
        self._free, self._lock = time.monotonic(), threading.Lock()

    def take(self, amount: float) -> float:
        """Book an amount and return the seconds to wait for it."""
        with self._lock:
            now = time.monotonic()
            start = max(now, self._free)
            self._free = start + amount * self._seconds
            return start - now

    def add(self, amount: float) -> None:
        """Put a booking right."""
        with self._lock:
            self._free += amount * self._seconds

    def hold(self, seconds: float) -> None:
        """Let nothing go for so many seconds."""
        with self._lock:
            self._free = max(self._free, time.monotonic() + seconds)


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise InputError(f"{url.split('@')[-1]!r} is no address of an embedding server; use http://HOST:PORT/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError(
            f"the address of the embedding server at {parts.hostname} carries more than a path; name the environment "
            "variable that holds the key in api_key_env"
        )
    path = parts.path.rstrip("/").removesuffix("/embeddings") or "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"


def _key(variable: str | None) -> str:
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise InputError(f"the environment variable {variable} holds no key; set it, or leave api_key_env out")
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"the key in the environment variable {variable} has characters that no key has; set it again")
    return key


def _words(body: str) -> str:
    """Return what a server says about an error: OpenAI's layout, vLLM's, TEI's, FastAPI's, or the body as it is."""
    try:
        value = json.loads(body)
    except ValueError:
        return body
    while isinstance(value, dict):
        value = next((value[name] for name in ("error", "message", "detail") if name in value), json.dumps(value))
    return value if isinstance(value, str) else json.dumps(value)


def _retry_after(value: str | None) -> float:
    """Return the seconds of a ``Retry-After`` header, which holds seconds or a date; 0 if it holds neither."""
    if value is None:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            then = parsedate_to_datetime(value)
        except ValueError:
            return 0.0
        seconds = (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if seconds < float("inf") else 0.0
