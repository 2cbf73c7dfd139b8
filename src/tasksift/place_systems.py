"""The file system behind a URL: pyarrow's for S3 and Google Cloud Storage, fsspec's for everything else."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tasksift import place_errors
from tasksift.errors import InputError

if TYPE_CHECKING:
    import pyarrow.fs

CONNECT_SECONDS, REQUEST_SECONDS = 5.0, 60.0
"""How long a connection may take to open, and how long it may be silent, before a request is given up."""

ATTEMPTS = 3
"""How often a request to S3 is made before it has failed."""

GCS_SECONDS = 30
"""How long failing requests to Google Cloud Storage are repeated."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_SECRET = re.compile(
    r"[?&#;][^=&#;]*(key|secret|token|sig|password|passwd|credential|auth|sas)[^=&#;]*=", re.IGNORECASE
)


def is_url(name: object) -> bool:
    """Whether `name` is a URL, ``scheme://...``; ``hf:NAME`` is none."""
    return isinstance(name, str) and _URL.match(name) is not None


def local_name(name: str) -> str:
    """Return the path that a ``file://`` URL stands for; any other name as it is."""
    if not name.lower().startswith("file://"):
        return name
    from urllib.request import url2pathname

    parts = urlsplit(name)
    if parts.netloc not in ("", "localhost"):
        raise InputError(f"{name}: a file of another machine; write file:///PATH, with three slashes")
    return url2pathname(parts.path)


def check_url(url: str, what: str) -> None:
    """Raise an `InputError`, which does not show the URL, if it holds credentials."""
    before, at, host = url.split("://", 1)[-1].split("/", 1)[0].rpartition("@")
    # A secret may hold a slash, and then what looks like a port is its beginning.
    _, colon, port = host.partition(":")
    if (at and ":" in before) or (colon and not port.isdigit()) or _SECRET.search(url):
        raise InputError(
            f"{what}: a {url.split('://', 1)[0]}:// URL with credentials in it; leave them out and give them by "
            "environment variables, e.g. AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )


def filesystem(url: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """Return the file system of a URL, and the path of the file in it.

    Raises
    ------
    InputError
        The URL holds credentials or names no bucket, or nothing opens such URLs; a package that is missing is named.
    OSError and others
        See `tasksift.place_errors.caught`: the region of a bucket on S3 may be asked for, unless it is set.
    """
    from pyarrow import fs

    check_url(url, "a file")
    scheme, path = url.split("://", 1)
    scheme = {"s3a": "s3", "gcs": "gs"}.get(scheme.lower(), scheme.lower())
    if scheme == "file":
        return fs.LocalFileSystem(), local_name(url)
    if scheme in ("s3", "gs") and not path.strip("/").split("/")[0]:
        raise InputError(f"{url} names no bucket; write {scheme}://BUCKET/NAME")
    if scheme == "s3" and hasattr(fs, "S3FileSystem"):
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None
        return _s3(endpoint, _region(path.split("/")[0], endpoint)), path
    if scheme == "gs" and hasattr(fs, "GcsFileSystem"):
        return _gcs(), path
    return _by_fsspec(url, scheme)


@cache
def _s3(endpoint: str | None, region: str | None) -> pyarrow.fs.S3FileSystem:
    from pyarrow import fs

    # Writes in the background and uploads that are begun when a file is opened: the other ways, closing a file of which
    # a part failed makes an object of the rest.
    return fs.S3FileSystem(
        endpoint_override=endpoint,
        region=region,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        background_writes=True,
    )


def _region(bucket: str, endpoint: str | None) -> str | None:
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return named or ("us-east-1" if endpoint else _region_of(bucket))


@cache
def _region_of(bucket: str) -> str:
    from pyarrow.fs import resolve_s3_region

    return str(resolve_s3_region(bucket))


@cache
def _gcs() -> pyarrow.fs.GcsFileSystem:
    from pyarrow.fs import GcsFileSystem

    return GcsFileSystem(retry_time_limit=timedelta(seconds=GCS_SECONDS))


def _by_fsspec(url: str, scheme: str) -> tuple[pyarrow.fs.FileSystem, str]:
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    try:
        from fsspec.core import url_to_fs
        from fsspec.registry import known_implementations
    except ImportError:
        raise InputError(f"{url}: {scheme}:// needs the package 'fsspec': pip install fsspec") from None
    try:
        system, path = url_to_fs(url)
    except ImportError:
        hint = known_implementations.get(scheme, {}).get("err", f"install what opens {scheme}://")
        raise InputError(f"{url}: a package is missing: {hint.rstrip('.')}") from None
    except ValueError as error:  # a scheme that nothing opens, or settings that are not there
        raise InputError(
            f"{url}: {place_errors.masked(error)}; read are s3, gs, hf, file and what fsspec opens"
        ) from None
    return PyFileSystem(FSSpecHandler(system)), path
