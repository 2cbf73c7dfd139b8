"""The folder of a mixture: worked on as `<out>.part` and renamed when complete."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasksift.errors import InputError
from tasksift.rows import PoolFile, writing

RECORD = "mixture.json"
FORMAT = "tasksift mix 1"


def check_out(out: Path, pool: Any, read: Sequence[PoolFile | str | Path | None], force: bool) -> None:
    """Refuse a folder that cannot be written, lies in the pool, or holds something that this mixture reads.

    Raises
    ------
    InputError
        If `out` is there without `force`, or is not the folder of a mixture.
    """
    for item in pool if isinstance(pool, list | tuple) else [pool]:
        inside = isinstance(item, str | Path) and Path(item).is_dir()
        if inside and out.resolve().is_relative_to(Path(item).resolve()):
            raise InputError(f"cannot write {out}: it lies in the pool's folder {item}; name a folder elsewhere")
    for item in read:
        if item is None or (isinstance(item, PoolFile) and item.format in ("hf", "memory")):
            continue
        path = Path(item.path if isinstance(item, PoolFile) else item)
        if path.resolve().is_relative_to(out.resolve()):
            raise InputError(f"cannot write {out}: {path}, which is read, lies in it; name another folder")
    if out.exists() and not force:
        raise InputError(f"{out} exists; use --force to replace it, or name another folder")
    if out.is_symlink() or (out.exists() and not _is_ours(out)):
        raise InputError(f"{out} is no mixture, so not even --force replaces it; name another folder")


@contextmanager
def making(out: Path) -> Iterator[Path]:
    """Yield the folder to write in; it becomes `out` at the end, in place of an earlier mixture, or is removed."""
    part, old = (out.with_name(out.name + suffix) for suffix in (".part", ".old"))
    with writing(out):
        for folder in (part, old):
            if folder.exists() and not _is_ours(folder):
                raise InputError(f"{folder} is in the way of the mixture and holds other things; move it away")
            shutil.rmtree(folder, ignore_errors=True)
        part.mkdir(parents=True)
        write_json(part / RECORD, {"made_by": FORMAT})  # what a kill leaves can be told from other folders
        try:
            yield part
            if out.is_dir():
                out.rename(old)
            part.rename(out)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        shutil.rmtree(old, ignore_errors=True)


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
