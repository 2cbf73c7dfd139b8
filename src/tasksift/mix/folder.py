"""The folder of a mixture: worked on as `<out>.part` and renamed when complete."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tasksift.errors import InputError
from tasksift.rows import PoolFile, check_outside, writing

RECORD = "mixture.json"
FORMAT = "tasksift mix 1"


def check_out(out: Path, pool: Any, read: Sequence[PoolFile | str | Path | None], force: bool) -> None:
    """Refuse a folder that cannot be written, lies in the pool, or holds something that this mixture reads.

    Raises
    ------
    InputError
        If `out` is there without `force`, or is not the folder of a mixture.
    """
    if out.name in ("", ".."):
        raise InputError(f"cannot write {out}: it has no name of its own; name a folder, such as mixed")
    try:
        with writing(out):
            _check_out(out, pool, read, force)
    except RuntimeError:  # so says pathlib before Python 3.13
        raise InputError(f"cannot write {out}: a link leads to itself; name another folder") from None


def _check_out(out: Path, pool: Any, read: Sequence[PoolFile | str | Path | None], force: bool) -> None:
    check_outside(out, pool)
    for item in read:
        if item is None or (isinstance(item, PoolFile) and not item.on_disk):
            continue
        path = Path(item.path if isinstance(item, PoolFile) else item)
        if path.resolve().is_relative_to(out.resolve()):
            raise InputError(f"cannot write {out}: {path}, which is read, lies in it; name another folder")
    _check_place(out, force)


def _check_place(out: Path, force: bool) -> None:
    if out.exists() and not force:
        raise InputError(f"{out} exists; use --force to replace it, or name another folder")
    if out.is_symlink() or (out.exists() and not _is_ours(out)):
        raise InputError(f"{out} is no mixture, so not even --force replaces it; name another folder")


@contextmanager
def making(out: Path, force: bool) -> Iterator[Path]:
    """Yield the folder to write in; it becomes `out` at the end, in place of an earlier mixture, or is removed.

    Raises
    ------
    InputError
        If something else is in the way, another run writes the same folder, or the disk refuses.
    """
    part, old = (out.with_name(out.name + suffix) for suffix in (".part", ".old"))
    with writing(out):
        for folder in (part, old):
            if folder.is_symlink() or (folder.exists() and not _is_ours(folder)):
                raise InputError(f"{folder} is in the way of the mixture and holds other things; move it away")
        made = [folder for folder in part.parents if not folder.exists()]
        part.mkdir(parents=True, exist_ok=True)
        with _alone(part, out):
            try:
                for left in part.iterdir():  # by a run that was killed
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
                write_json(part / RECORD, {"made_by": FORMAT})  # what a kill leaves can be told from other folders
                yield part
                _check_place(out, force)  # another run may have been quicker
                if out.is_dir():
                    shutil.rmtree(old, ignore_errors=True)
                    out.rename(old)
                part.rename(out)
            except BaseException:
                if old.is_dir() and not out.exists():
                    old.rename(out)
                shutil.rmtree(part, ignore_errors=True)
                with suppress(OSError):
                    for folder in made:
                        folder.rmdir()
                raise
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _alone(part: Path, out: Path) -> Iterator[None]:
    """Hold a lock on the folder, which goes with the process; where there are no locks, do without."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(part, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise InputError(f"another run is writing {out}; wait for it, or name another folder") from None
    except OSError:
        pass
    try:
        yield
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON for people to read."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _is_ours(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    if not any(folder.iterdir()):
        return True
    try:
        record = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and record.get("made_by") == FORMAT
