"""The folder that a store lies in, on a disk or behind a URL: files written whole, read whole, named by what they are.

A file that is there was complete: on a disk it is written under another name and renamed, behind a URL it appears when
all of it has arrived. The bytes are the same in both places.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from tasksift import places
from tasksift.engines.local import share
from tasksift.errors import InputError
from tasksift.represent.shard_cache import Cached

Where: TypeAlias = Path | str
"""A folder: a path, or a URL as text."""

AT_ONCE = 16
"""Requests to a storage that are under way at a time."""


def where(name: str | Path, what: str) -> Where:
    """Return the folder or file that a user names; `what` is the option in which a URL with credentials is refused."""
    if not places.is_url(name):
        return Path(name)
    url = places.local_name(str(name))
    if not places.is_url(url):
        return Path(url)
    places.check_url(url, what)
    return url.rstrip("/")


def inside(folder: Where, name: str) -> Where:
    """Return the file or folder of that name in a folder."""
    return folder / name if isinstance(folder, Path) else places.join(folder, name)


def shelf(folder: Where) -> Shelf:
    """Return what reads and writes the files of a folder."""
    return RemoteFolder(folder) if isinstance(folder, str) and places.is_url(folder) else LocalFolder(Path(folder))


@dataclass(frozen=True)
class LocalFolder:
    """A folder on a disk, made when something is written to it."""

    folder: Path

    remote = False

    def at(self, name: str) -> str:
        """Return what messages call a file."""
        return str(self.folder / name)

    def names(self) -> list[str]:
        """Return the names of the files directly in the folder, sorted; none if there is no such folder."""
        return sorted(path.name for path in self.folder.glob("*") if path.is_file())

    def read(self, name: str) -> bytes | None:
        """Return what is in a file; None if it is not there."""
        try:
            return (self.folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InputError(f"cannot read {self.at(name)}: {error.strerror}") from None

    def read_each(self, names: Iterable[str]) -> Iterator[bytes | None]:
        """Yield what is in the files, in their order."""
        return map(self.read, names)

    def write(self, name: str, data: bytes) -> None:
        """Write a file in one step."""
        self._make()
        part = _part(self.folder / name)
        part.write_bytes(data)
        part.replace(self.folder / name)

    def write_array(self, name: str, array: NDArray[np.generic]) -> tuple[str, int]:
        """Write a ``.npy`` file, and return its digest and its bytes."""
        self._make()
        path = self.folder / name
        replace_array(path, array)
        return file_digest(path), path.stat().st_size

    def write_json(self, name: str, value: Any) -> None:
        """Write a value as JSON."""
        self._make()
        replace_json(self.folder / name, value)

    def remove(self, name: str) -> None:
        """Remove a file; that it is not there is no error."""
        (self.folder / name).unlink(missing_ok=True)

    def is_whole(self, name: str, marker: Mapping[str, Any], *, seen: bool = False) -> bool:
        """Whether a file has the digest of its marker; with `seen` its size is enough."""
        path = self.folder / name
        if not path.is_file():
            return False
        if seen and path.stat().st_size == marker.get("bytes"):
            return True
        return file_digest(path) == marker.get("digest")

    def file(self, name: str, digest: str = "") -> str:
        """Return what a `FileShard` reads."""
        return str((self.folder / name).absolute())

    def _make(self) -> None:
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True, exist_ok=True)


@dataclass(frozen=True)
class RemoteFolder:
    """A folder behind a URL; what the methods of `LocalFolder` do, by requests."""

    url: str

    remote = True

    def at(self, name: str) -> str:
        """Return what messages call a file."""
        return places.join(self.url, name)

    def names(self) -> list[str]:
        """Return the names of the files directly in the folder, sorted: one request for a thousand of them."""
        return places.names(self.url)

    def read(self, name: str) -> bytes | None:
        """Return what is in a file; None if it is not there."""
        return places.read_bytes(self.at(name))

    def read_each(self, names: Iterable[str]) -> Iterator[bytes | None]:
        """Yield what is in the files, in their order, `AT_ONCE` at a time."""
        return share(self.read, list(names), AT_ONCE)

    def write(self, name: str, data: bytes) -> None:
        """Write a file in one step."""
        places.write_bytes(self.at(name), data)

    def write_array(self, name: str, array: NDArray[np.generic]) -> tuple[str, int]:
        """Write a ``.npy`` file, and return its digest and its bytes; memory holds it once more meanwhile."""
        file = io.BytesIO()
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)
        data = file.getbuffer()
        places.write_bytes(self.at(name), data)
        return blake2b(data, digest_size=16).hexdigest(), len(data)

    def write_json(self, name: str, value: Any) -> None:
        """Write a value as JSON."""
        self.write(name, _json(value))

    def remove(self, name: str) -> None:
        """Remove a file; that it is not there is no error."""
        places.delete(self.at(name))

    def is_whole(self, name: str, marker: Mapping[str, Any], *, seen: bool = False) -> bool:
        """Whether a file has the size that its marker tells; its digest is looked at when it is fetched."""
        there = places.look(self.at(name))
        return there is not None and marker.get("bytes", there.size) == there.size

    def file(self, name: str, digest: str = "") -> Cached:
        """Return what a `FileShard` reads: fetched when it does, and compared with the digest."""
        if digest:
            return Cached(self.at(name), digest)
        return Cached(self.at(name), changed=str(places.info(self.at(name))))


Shelf: TypeAlias = LocalFolder | RemoteFolder


def read_json(place: Shelf, name: str) -> dict[str, Any] | None:
    """Return the JSON object in a file; None if it is not there or is something else."""
    return as_json(place.read(name))


def as_json(data: bytes | None) -> dict[str, Any] | None:
    """Return the JSON object that these bytes are; None if they are something else."""
    try:
        value = json.loads(data) if data is not None else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def keep_json(place: Shelf, name: str, value: Any) -> None:
    """Save a value as JSON unless it is there already: what is finished may be read-only."""
    if read_json(place, name) != json.loads(json.dumps(value)):
        place.write_json(name, value)


def file_digest(path: Path) -> str:
    """Return the hex digest of the bytes of a file."""
    digest = blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def replace_array(path: Path, array: NDArray[np.generic]) -> None:
    """Save an array as `.npy` in row order, in one step: other processes see the old file or the new one."""
    part = _part(path)
    with part.open("wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)
    part.replace(path)


def replace_json(path: Path, value: Any) -> None:
    """Save a value as JSON in one step."""
    part = _part(path)
    part.write_bytes(_json(value))
    part.replace(path)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _part(path: Path) -> Path:
    # A name of its own for every writer, so that two that write one manifest never take each other's file away.
    return path.with_name(f"{path.name}.{uuid4().hex}.part")
