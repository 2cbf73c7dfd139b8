"""Files by URL: ``s3://``, ``gs://``, ``hf://``, ``file://`` and whatever else fsspec opens.

S3 and Google Cloud Storage are reached by pyarrow, everything else by fsspec, through one interface. Credentials come
from the environment variables and files of each service; a URL that holds some is refused. Whatever goes wrong becomes
one line that names the URL; it is an `UnfinishedError`, because the same command goes on once the storage answers.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tasksift import place_errors
from tasksift.errors import InputError, UnfinishedError
from tasksift.place_systems import check_url, filesystem, is_url, local_name

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.fs

_STAMPS = ("etag", "generation", "blob_id", "md5hash", "content_md5", "last_modified", "mtime", "created")
"""What tells that an object has changed, the surest first."""


@dataclass(frozen=True)
class Info:
    """What tells one version of a file from the next.

    Attributes
    ----------
    size : int
        Bytes.
    changed : str
        The storage's own mark of the content (an ETag, a generation, a hash); its time of change where it has none.
    """

    size: int
    changed: str


def open_input(url: str) -> pa.NativeFile:
    """Open a file for reading at any place; put `reaching` around what reads from it."""
    with reaching(url, data=False):
        system, path = filesystem(url)
        return system.open_input_file(path)


def read_bytes(url: str) -> bytes | None:
    """Return the content of a file, None if it is not there."""
    with reaching(url, data=False):
        system, path = filesystem(url)
        try:
            with system.open_input_file(path) as file:
                content: bytes = file.read()
                return content
        except FileNotFoundError:
            if not _has_bucket(url):
                raise
            return None


def write_bytes(url: str, data: bytes | memoryview) -> None:
    """Write a file whole, in place of what is there; nobody sees a part of it."""
    with reaching(url, data=False):
        system, path = filesystem(url)
        if system.type_name == "local":
            final, part = Path(path), Path(path + ".part")
            final.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
            part.replace(final)
            return
        with system.open_output_stream(path, compression=None) as file:  # a suffix .gz would compress it once more
            file.write(data)


def delete(url: str) -> None:
    """Remove a file; that it is not there is no error."""
    with reaching(url, data=False):
        system, path = filesystem(url)
        try:
            system.delete_file(path)
        except FileNotFoundError:
            return


def join(url: str, name: str) -> str:
    """Return the URL of a file in a folder."""
    return f"{url.rstrip('/')}/{quote(name) if url.lower().startswith('file:') else name}"


def look(url: str) -> Info | None:
    """Return what is known of a file, at the cost of one request; None if it is not there."""
    with reaching(url, data=False):
        system, path = filesystem(url)
        try:
            known = _facts(system, path)
        except (FileNotFoundError, IsADirectoryError):
            return None
        if known.get("type") == "directory" or known.get("size") is None:
            return None
        return _info(system, path, known)


def info(url: str) -> Info:
    """Return what is known of a file that should be there."""
    found = look(url)
    if found is None:
        raise _gone(url)
    return found


def names(url: str) -> list[str]:
    """Return the names of the files directly in a folder, sorted; none if there is no such folder."""
    return sorted(_below(url, deep=False))


def find(url: str) -> list[str]:
    """Return the URLs of the files that a URL stands for, sorted: itself, those below a folder, or those of a glob.

    In a glob ``*`` and ``?`` stay within a name, and ``**`` is any number of folders. Nothing found is an empty list.
    """
    with reaching(url, data=False):
        filesystem(url)
    if not url.endswith("/") and look(url) is not None:
        return [url]
    parts = url.rstrip("/").split("/")
    wild = next((k for k, part in enumerate(parts) if k > 2 and re.search(r"[*?\[]", part)), len(parts))
    base, pattern = "/".join(parts[:wild]), parts[wild:]
    below = _below(base, deep=len(pattern) != 1 or pattern == ["**"])
    found = sorted(below, key=lambda name: name.split("/"))  # in the order of paths on disk
    return [join(base, name) for name in found if not pattern or _matches(name.split("/"), pattern)]


@contextmanager
def opened(url: str, seen: Info | None = None) -> Iterator[pa.NativeFile]:
    """Open a file for reading, and refuse it if it is not the one that was seen, or changes meanwhile.

    A reader that stops early is not told. Cost: two requests besides those that read.

    Raises
    ------
    InputError
        If it has changed.
    """
    with reaching(url, data=False):
        system, path = filesystem(url)
        source = system.open_input_file(path)
    with source:
        before = _info(system, path, _told(source)) if system.type_name in ("s3", "gcs") else info(url)
        if seen is not None and before != seen:
            raise _changed(url)
        try:
            yield source
        except (OSError, EOFError, ValueError, zlib.error):  # a change may have led to an error in the data
            if look(url) not in (before, None):
                raise _changed(url) from None
            raise
    check_same(url, before)


@contextmanager
def suspecting(url: str, seen: Info | None) -> Iterator[None]:
    """Say of what is wrong in the rows of a file that was seen that it has changed, if it has."""
    try:
        yield
    except InputError:
        if seen is not None and look(url) not in (seen, None):
            raise _changed(url) from None
        raise


def check_same(url: str, seen: Info) -> None:
    """Raise an `InputError` if a file is not the one that was seen any more."""
    if info(url) != seen:
        raise _changed(url)


@contextmanager
def reaching(url: str, *, data: bool = True) -> Iterator[None]:
    """Turn what goes wrong on the way to a file into one line.

    With `data`, where the content is read as well, errors that may be of the content pass.
    """
    try:
        yield
    except place_errors.caught() as error:
        words = _words(url, error)
        if words is None and data:
            raise
        raise UnfinishedError(words or f"{url}: {place_errors.masked(error)}") from None


def _facts(system: pyarrow.fs.FileSystem, path: str) -> dict[str, Any]:
    """What the storage says about a file, by names in lower case."""
    if system.type_name == "local":
        found = system.get_file_info(path)
        if not found.is_file:
            raise FileNotFoundError(path)
        return {"size": found.size}
    if system.type_name.startswith("py::"):
        there = system.handler.fs
        there.invalidate_cache()
        return {name.lower(): value for name, value in there.info(path).items()}
    with system.open_input_file(path) as file:
        return _told(file)


def _told(file: pa.NativeFile) -> dict[str, Any]:
    told = file.metadata() or {}
    return {"size": file.size(), **{_text(name).lower(): _text(value) for name, value in told.items()}}


def _info(system: pyarrow.fs.FileSystem, path: str, known: dict[str, Any]) -> Info:
    stamp = next((known[name] for name in _STAMPS if known.get(name)), None) or system.get_file_info(path).mtime_ns
    return Info(int(known["size"]), str(stamp).strip('"'))


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _below(url: str, deep: bool) -> Iterator[str]:
    """Yield the paths, relative to a folder, of the files in it."""
    from pyarrow.fs import FileSelector, FileType

    with reaching(url, data=False):
        system, path = filesystem(url.rstrip("/"))
        if system.type_name.startswith("py::"):
            system.handler.fs.invalidate_cache()
        path = path.rstrip("/")
        found = system.get_file_info(FileSelector(path, recursive=deep, allow_not_found=True))
        if not found and not _has_bucket(url):
            raise _gone(url)
    for item in found:
        if item.type == FileType.File:
            yield item.path[len(path) :].lstrip("/")


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or (bool(parts) and _matches(parts[1:], pattern))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _words(url: str, error: Exception) -> str | None:
    """What is said of an error; None if it need not be of the storage."""
    kind = place_errors.kind(error)
    if kind == "unknown" and _is_gone(url):
        kind = "gone"
    if kind == "gone" and not _has_bucket(url):
        kind = "bucket"
    return None if kind is None else place_errors.words(kind, url, error)


def _changed(url: str) -> InputError:
    return InputError(f"{url} was changed after it was found; let it rest and run the command again")


def _gone(url: str) -> UnfinishedError:
    return UnfinishedError(place_errors.words("gone" if _has_bucket(url) else "bucket", url))


def _is_gone(url: str) -> bool:
    """Whether a file that failed in the middle of reading, for whatever cause the storage gave, is there no more."""
    try:
        _facts(*filesystem(url))
    except FileNotFoundError:
        return True
    except place_errors.caught():
        return False
    return False


def _has_bucket(url: str) -> bool:
    """Whether the bucket of a URL is there, as far as can be known: one may be readable that cannot be looked at."""
    from pyarrow.fs import FileType

    system, path = filesystem(url)
    if system.type_name not in ("s3", "gcs"):
        return True
    try:
        return bool(system.get_file_info(path.split("/")[0]).type != FileType.NotFound)
    except OSError:
        return True


__all__ = [
    "Info",
    "check_same",
    "check_url",
    "delete",
    "filesystem",
    "find",
    "info",
    "is_url",
    "join",
    "local_name",
    "look",
    "names",
    "open_input",
    "opened",
    "reaching",
    "read_bytes",
    "suspecting",
    "write_bytes",
]
