"""When the next request to a server may go, and what was asked of it so far."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


@dataclass
class Usage:
    """What was asked of a server so far.

    Attributes
    ----------
    model : str
        The name under which the server offers the model.
    requests, retries : int
        Requests sent, retries included; and how many of them were retries.
    tokens : int
        As the server reports them; 0 if it does not.
    price_per_million : float or None
        Price of a million tokens, in any currency.
    """

    model: str
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
        return f"{self.model}: {self.requests:,} requests (retries: {self.retries:,}), {self.tokens:,} tokens{cost}"


class Pace:
    """Keeps the limit of a minute by even spacing, for several threads.

    Parameters
    ----------
    per_minute : float or None
        The limit; None for none, so that only `hold` delays.
    """

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


def retry_after(value: str | None) -> float:
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
