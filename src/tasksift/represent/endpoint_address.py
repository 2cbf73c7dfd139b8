"""The address of an embedding server and the key to it; neither reaches a message with a secret in it."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from tasksift.errors import InputError


def checked_url(url: str) -> str:
    """Return the address that requests go below: scheme, host, port and path, ``/v1`` where there is no path.

    Raises
    ------
    InputError
        If it is no address of the web, or carries a name, a password or a query.
    """
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise InputError(f"--url {url.split('@')[-1]!r} is no address of an embedding server; use http://HOST:PORT/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError(
            f"--url, the address at {parts.hostname}, carries more than a path; name the environment variable that "
            "holds the key in --api-key-env"
        )
    path = parts.path.rstrip("/").removesuffix("/embeddings") or "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"


def find_key(variable: str | None) -> str:
    """Return the key in an environment variable; empty without a variable.

    Raises
    ------
    InputError
        If the variable is unset, or holds what no key is.
    """
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise InputError(
            f"--api-key-env {variable}: that environment variable holds no key; export it, or leave it out"
        )
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"--api-key-env {variable}: its value has characters that no key has; set it again")
    return key
