"""`tasksift report`: find out what a folder holds, and write the page of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasksift.errors import InputError
from tasksift.report.page import render
from tasksift.rows import writing
from tasksift.rows.write import replacing

PAGE = "report.html"
"""What a report is called in the folder that it is of."""

SUFFIXES = (".html", ".htm")

MARK = b'<script type="application/json" id="data">'
"""What every page of tasksift holds, by which an older one is known."""

HEAD = 2**18
"""Bytes of a page within which the mark is."""

EXPECTED = (
    "name a run folder of select (picked.jsonl.run, or picked.jsonl itself), a folder of compare, or the output folder "
    "of an online run, with its mixture.jsonl"
)


def rebuild(
    run: str | Path, out: Path | None = None, *, force: bool = False, say: Callable[[str], None] = lambda line: None
) -> Path:
    """Write the report of a run from what its folder holds.

    Parameters
    ----------
    run : str or Path
        A run folder of `tasksift select`, or the training file that lies beside it; a folder of `tasksift compare`,
        finished or not; the output folder of an online run, or its ``mixture.jsonl`` of whatever name.
    out : Path, optional
        The page to write; by default ``report.html`` in the folder, where an older report is replaced.
    force : bool
        Replace what is at `out`.
    say : callable
        Called with what the page says at a glance.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        If `run` is none of these or is damaged, or the page cannot be written.

    Notes
    -----
    The same folder and version give the same bytes.
    """
    kind, folder = find_run(Path(run))
    own = (folder if folder.is_dir() else folder.parent) / PAGE
    page = own if out is None else out
    _check_page(page, own, force)
    data = data_of(kind, folder)
    text = render(data)
    with replacing(page) as part:
        part.write_bytes(text.encode())
    say(data["glance"]["sentence"])
    return page


def data_of(kind: str, folder: Path) -> dict[str, Any]:
    """Return the data of the page of a run of this kind; see the modules of the three kinds."""
    if kind == "selection":
        from tasksift.report.selection import report_of_run

        return report_of_run(folder)
    if kind == "comparison":
        from tasksift.report.comparison import comparison_data

        return comparison_data(folder)
    from tasksift.report.online import online_data

    return online_data(folder)


def find_run(path: Path) -> tuple[str, Path]:
    """Return which kind of run `path` is of, ``selection``, ``comparison`` or ``online``, and where that lies.

    Raises
    ------
    InputError
        If there is nothing, or nothing of these kinds.
    """
    from tasksift.evaluate.folder import CELLS, REQUEST
    from tasksift.report.online import HISTORY
    from tasksift.run_folder import run_folder

    try:
        is_file, is_folder = path.is_file(), path.is_dir()
        beside = is_file and run_folder(path).is_dir()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if not is_file and not is_folder:
        raise InputError(f"there is no {path}; {EXPECTED}")
    if is_file:
        return ("selection", run_folder(path)) if beside else ("online", _history(path))
    if path.name.endswith(".run.part"):
        raise InputError(
            f"{path} is of a run that is not finished; run the same command again, then ask for the report"
        )
    about = _manifest(path)
    if about.get("kind") == "comparison":
        return "comparison", path
    if isinstance(about.get("plan"), dict) and (path / "selection.parquet").is_file():
        return "selection", path
    if (path / HISTORY).is_file():
        return "online", path
    if (path / CELLS).is_dir() and (path / REQUEST).is_file():
        raise InputError(f"{path} is of a comparison that was stopped before its first end; run the same command again")
    raise InputError(f"{path} holds no run that a report can be made of; {EXPECTED}")


def _history(path: Path) -> Path:
    """The file, if it begins as the record of a mixture does; `read_history` looks at the rest."""
    if not _begins(path, 16).startswith(b'{"format":'):
        raise InputError(f"{path} has no {path.name}.run beside it and is no record of an online run; {EXPECTED}")
    return path


def _manifest(folder: Path) -> dict[str, Any]:
    """What manifest.json says; nothing, if there is none or it is of another program."""
    path = folder / "manifest.json"
    try:
        about = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    return about if isinstance(about, dict) else {}


def _check_page(page: Path, own: Path, force: bool) -> None:
    if page.suffix.lower() not in SUFFIXES:
        raise InputError(f"cannot write {page}: a report is a web page; name a file that ends with .html")
    with writing(page):
        if page.is_dir():
            raise InputError(f"cannot write {page}: it is a folder; name a file")
        if not page.parent.is_dir():
            raise InputError(f"cannot write {page}: the folder {page.parent} does not exist; create it first")
        taken = page.exists() and not force
    if taken and page.resolve() != own.resolve():
        raise InputError(f"{page} exists; use --force to replace it, or name another file")
    if taken and MARK not in _begins(page, HEAD):
        raise InputError(f"{page} is not of tasksift; use --force to replace it, or name another file with --out")


def _begins(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
