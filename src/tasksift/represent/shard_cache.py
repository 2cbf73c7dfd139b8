"""Files from a storage, kept on the local disk up to a cap and read from there; the least recently used leave first."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tasksift import places
from tasksift.errors import InputError
from tasksift.shards import forget

if TYPE_CHECKING:
    from pyarrow import NativeFile

FOLDER = "TASKSIFT_CACHE"
"""Environment variable: the folder of the cache."""

CAP = "TASKSIFT_CACHE_BYTES"
"""Environment variable: how many bytes the files in it may have together; by default half of what the disk has free."""

CHUNK = 2**23
"""Bytes that are fetched at a time."""

WAIT_SECONDS = 0.02
"""How often a process that finds the cache full of files on their way looks again."""


@dataclass(frozen=True)
class Cached:
    """A file behind a URL, read through the cache.

    Parameters
    ----------
    url : str
    digest : str
        The hex digest that its bytes must have, where it is known.
    changed : str
        Otherwise, what tells one version of the file from the next.

    Notes
    -----
    Any number of processes and threads may read the same file: one fetches it, the others wait. A file that is open
    may leave the cache; its bytes stay until it is closed.
    """

    url: str
    digest: str = ""
    changed: str = ""

    @property
    def path(self) -> Path:
        """Where the file lies while it is in the cache."""
        name = self.digest or blake2b(f"{self.url}\n{self.changed}".encode(), digest_size=16).hexdigest()
        return cache_folder() / "files" / name

    def open(self) -> IO[bytes]:
        """Open the file for reading, fetched if it is not there.

        Raises
        ------
        InputError
            If it cannot be fetched, has another digest, or is larger than the cap or than what the disk has free.
        """
        path = self.path
        with _on_disk(path.parent):
            try:
                file: IO[bytes] = path.open("rb")
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                return self._fetched(path)
            with suppress(FileNotFoundError):  # it leaves, and is open
                _use(path)
            return file

    def _fetched(self, path: Path) -> IO[bytes]:
        part = path.with_name(path.name + ".part")
        while True:
            # Neither cut short nor appended to when it is opened: another process may be writing it.
            file: IO[bytes] = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
            try:
                _lock(file)
                if _is_still(file, part):
                    if path.exists():
                        part.unlink()
                    else:
                        self._fetch(file, part)
                        with _counting(path.parent):
                            part.replace(path)
                        _unlock(file)  # a map of the file would hold the lock
                        return file
                file.close()
                return path.open("rb")
            except FileNotFoundError:  # whoever fetched it failed, or it left again at once
                file.close()
            except BaseException:
                file.close()
                raise

    def _fetch(self, file: IO[bytes], part: Path) -> None:
        try:
            found = blake2b(digest_size=16)
            with places.reaching(self.url, data=False):
                source = places.open_input(self.url)
                size = source.size()
            with source:
                _make_room(part, file, size)
                for chunk in _chunks(self.url, source):
                    found.update(chunk)
                    file.write(chunk)
                file.flush()
            if file.tell() != size or (self.digest and found.hexdigest() != self.digest):
                raise InputError(f"{self.url} is damaged: its digest is another; remove it and run again to compute it")
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        file.seek(0)
        _use(part)


def cache_folder() -> Path:
    """Return the folder of the cache: `TASKSIFT_CACHE`, or one of this user's among the temporary files."""
    asked = os.environ.get(FOLDER, "").strip()
    if asked:
        return Path(asked).absolute()
    return _own_folder(tempfile.gettempdir())


def work_folder(url: str, what: str) -> Path:
    """Return where work on a folder behind a URL is kept on this machine, so that a killed run finds it again."""
    return cache_folder() / "work" / f"{blake2b(url.encode(), digest_size=16).hexdigest()}-{what}"


def cache_bytes() -> int:
    """Return how many bytes the cached files may have: `TASKSIFT_CACHE_BYTES`, or half of what is free for them.

    What is free is looked up once by each process. Files on their way count from the beginning in full.
    """
    asked = os.environ.get(CAP, "").strip()
    if not asked:
        return _half(cache_folder() / "files")
    if not (asked.isascii() and asked.isdigit() and int(asked) >= 1):
        raise InputError(f"{CAP}={asked!r}: it should be a number of bytes, such as 50000000000")
    return int(asked)


@contextmanager
def _on_disk(folder: Path) -> Iterator[None]:
    """Say which folder a disk refuses, and how to choose another one."""
    try:
        yield
    except OSError as error:
        raise InputError(f"the cache {folder} cannot be used ({error.strerror}); set {FOLDER} to a folder") from None


@cache
def _own_folder(temporary: str) -> Path:
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(temporary) / f"tasksift-{user}"
    with _on_disk(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
        if hasattr(os, "getuid") and folder.stat().st_uid != user:
            raise InputError(f"the cache {folder} belongs to another user; set {FOLDER} to a folder of your own")
    return folder


@cache
def _half(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    return (shutil.disk_usage(folder).free + sum(size for _, size, _ in _held(folder))) // 2


def _use(path: Path) -> None:
    """Say that a file is used now; the system's own times are too coarse to tell which was used last."""
    now = time.time_ns()
    os.utime(path, ns=(now, now))


def _held(folder: Path) -> list[tuple[int, int, Path]]:
    """When each file was last used, its bytes, and its path."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # another process was faster
                found.append((entry.stat().st_mtime_ns, entry.stat().st_size, Path(entry.path)))
    return found


def _make_room(part: Path, file: IO[bytes], size: int) -> None:
    """Take `size` bytes for a file that is about to be fetched; files leave until they fit the cap."""
    cap = cache_bytes()
    if size > cap:
        raise InputError(
            f"a file of {size} bytes does not fit the cache {part.parent} of {cap} bytes; set {CAP} to more, or "
            f"{FOLDER} to a larger disk"
        )
    while True:
        with _counting(part.parent):
            held = sorted(each for each in _held(part.parent) if each[2] != part)
            total = sum(each[1] for each in held)
            for _, bytes_, path in held:
                if total + size <= cap:
                    break
                if _leave(path):
                    total -= bytes_
            if total + size <= cap:
                file.truncate(0)
                file.truncate(size)
                return
        time.sleep(WAIT_SECONDS)  # for those that are fetched now


@contextmanager
def _counting(folder: Path) -> Iterator[None]:
    """Let one process at a time count the files, take room or give a file its name, as counting may miss a new name."""
    with (folder.parent / "lock").open("a") as lock:
        _lock(lock)
        yield


def _leave(path: Path) -> bool:
    """Remove a file, unless it is on its way; what a killed process left of one goes as well."""
    if path.suffix == ".part":
        try:
            with path.open("rb") as file:
                if not _lock(file, wait=False):
                    return False
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        return True
    path.unlink(missing_ok=True)
    forget(path)
    return True


def _chunks(url: str, source: NativeFile) -> Iterator[bytes]:
    while True:
        with places.reaching(url, data=False):
            chunk = source.read(CHUNK)
        if not chunk:
            return
        yield chunk


def _lock(file: IO[bytes] | IO[str], *, wait: bool = True) -> bool:
    """Lock a file until it is closed, against other processes and against other openings of it in this one."""
    try:
        import fcntl
    except ImportError:
        raise InputError("files are read by URL on POSIX systems only; copy them to this machine") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _unlock(file: IO[bytes]) -> None:
    import fcntl

    fcntl.flock(file, fcntl.LOCK_UN)


def _is_still(file: IO[bytes], path: Path) -> bool:
    """Whether the file that is open still has this name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
