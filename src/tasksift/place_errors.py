"""What goes wrong on the way to a file that is read by URL, in words."""

from __future__ import annotations

import os
import re
import sys
from typing import Literal

Kind = Literal["gone", "bucket", "denied", "late", "unreachable", "unknown"]

_DENIED = re.compile(
    r"ACCESS_DENIED|AccessDenied|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|SignatureDoesNotMatch|EXPIRED_TOKEN"
    r"|ExpiredToken|UNRECOGNIZED_CLIENT|INVALID_CLIENT_TOKEN_ID|PERMISSION_DENIED|UNAUTHENTICATED"
    r"|HTTP response code 40[13]|\b40[13]\b.*(Forbidden|Unauthorized)|Repository Not Found"
    r"|HTTP status (301|400)\) during Head"  # a token that has expired, or another region, without a word
)
_LATE = re.compile(r"curlCode: 28|[Tt]ime(d )?out")
_UNREACHABLE = re.compile(r"NETWORK_CONNECTION|curlCode: \d|UNAVAILABLE|Connect(ion|or)?Error")
_BUCKET = re.compile(r"NO_SUCH_BUCKET|Bucket '.*' not found")
_STORAGE = re.compile(r"AWS Error|google::cloud")

_FOREIGN = {
    "aiohttp": "ClientError",
    "azure.core.exceptions": "AzureError",
    "botocore.exceptions": "BotoCoreError",
    "gcsfs.retry": "HttpError",
    "google.auth.exceptions": "GoogleAuthError",
    "httpx": "HTTPError",
    "httpx2": "HTTPError",
    "paramiko": "SSHException",
}
"""What the packages behind fsspec raise besides `OSError`."""

_HELD = re.compile(r"(KEY|KEY_ID|SECRET|TOKEN|PASSWORD|CONNECTION_STRING)$")
"""Names of environment variables whose values no message may show."""

_WORDS: dict[Kind, str] = {
    "gone": "{url} is not there; correct the name, or put the file back and run the same command again",
    "bucket": "{url}: there is no such bucket; correct the name",
    "denied": "{url}: access denied; check the credentials, what they allow, and the region",
    "late": "{url}: the storage did not answer in time; run the same command again",
    "unreachable": "{url}: the storage cannot be reached; check the network and the endpoint and run the command again",
    "unknown": "{url}: the storage failed ({detail}); run the same command again",
}


def caught() -> tuple[type[Exception], ...]:
    """What reading by URL may raise: `OSError`, and the errors of the packages behind fsspec that are loaded."""
    loaded = ((sys.modules.get(module), name) for module, name in _FOREIGN.items())
    return (OSError, *(getattr(module, name) for module, name in loaded if hasattr(module, name)))


def kind(error: Exception) -> Kind | None:
    """What an error is about; None if it need not be of the storage."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, FileNotFoundError):
        return "gone"
    if isinstance(error, PermissionError) or _DENIED.search(text):
        return "denied"
    if isinstance(error, TimeoutError) or _LATE.search(text):
        return "late"
    if isinstance(error, ConnectionError) or _UNREACHABLE.search(text):
        return "unreachable"
    if _BUCKET.search(text):
        return "bucket"
    return "unknown" if _STORAGE.search(text) or not isinstance(error, OSError) else None


def words(kind: Kind, url: str, error: Exception | None = None) -> str:
    """One line about a file."""
    return _WORDS[kind].format(url=url, detail="" if error is None else masked(error))


def masked(error: Exception) -> str:
    """What an error says in one line, without credentials that the environment holds."""
    text = " ".join(str(error).split())[:300] or type(error).__name__
    for name, value in os.environ.items():
        if len(value) > 5 and _HELD.search(name):
            text = text.replace(value, "***")
    return text
