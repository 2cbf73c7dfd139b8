"""The run directory: everything is written in `<out>.run.part`, then the training file and the folder are renamed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.places import check_same, is_url
from tasksift.report.page import render
from tasksift.report.selection import page_data, selection_report
from tasksift.represent.store import file_digest
from tasksift.rows import PoolFile, check_local, check_out, write_rows, writing
from tasksift.selection import REPORT, Selection, open_run
from tasksift.workspace import Workspace

KEPT = frozenset(
    {
        "config.yaml",
        "left_out.parquet",
        "manifest.json",
        "path.parquet",
        "plan.parquet",
        "report.html",
        REPORT,
        "selection.parquet",
        "targets.parquet",
        "transport.parquet",
    }
)
"""What a finished run directory holds."""

_READY = "ready"


def run_folder(out: Path) -> Path:
    """The directory of the run that writes `out`."""
    return out.with_name(out.name + ".run")


def work_folder(out: Path) -> Path:
    """Where that run works until it is complete."""
    return out.with_name(out.name + ".run.part")


def check_no_input(out: Path, config: RunConfig, files: Sequence[PoolFile]) -> None:
    """Raise an `InputError` if `out` is a file that the run reads, which not even `force` may destroy."""
    check_local(out)
    read = [file.path for file in files if file.on_disk]
    for path in [*read, *config.target, *config.test, config.vectors, config.target_vectors, config.tokenizer]:
        if path is not None and not is_url(path) and Path(path).resolve() == out.resolve():
            raise InputError(f"cannot write {out}: it is an input of this run; name another file")


def resume_publication(out: Path, key: dict[str, Any], force: bool = False) -> Selection | None:
    """Finish a run with this key that was killed between its last computation and its last step.

    Raises
    ------
    InputError
        If another file has come to stand at `out` since (unless `force`).
    """
    if work_folder(out).is_dir():
        work = Workspace(work_folder(out))
        if not work.is_done(_READY, key):
            return None
        if _staged(out, work).exists():
            check_out(out, force)
        _rename(out, work)
    elif not ((run_folder(out) / f"{_READY}.done").is_file() and Workspace(run_folder(out)).is_done(_READY, key)):
        return None
    _unmark(out)
    return open_run(run_folder(out))


def publish(
    selection: Selection,
    out: Path,
    *,
    force: bool = False,
    work: Workspace | None = None,
    key: dict[str, Any] | None = None,
) -> None:
    """Write the training file and its run directory.

    Parameters
    ----------
    out : Path
        The training file; `<out>.run` stands beside it.
    force : bool
        Replace what is there.
    work : Workspace, optional
        Where the run has worked so far; by default a new folder, removed again if writing fails.
    key : dict, optional
        What identifies the run for `resume_publication`.
    """
    check_out(out, force)
    check_no_input(out, selection.config, selection.files)
    if run_folder(out).exists() and not force:
        raise InputError(f"{run_folder(out)} exists; use --force to replace it, or name another file")
    with writing(out):
        own = work is None
        work = work or Workspace(work_folder(out))
        try:
            _write_all(selection, out, work.folder)
            work.mark_done(_READY, key or {})
        except BaseException:
            if own:
                work.drop()
            raise
        _rename(out, work)
        _unmark(out)


def _staged(out: Path, work: Workspace) -> Path:
    return work.folder / ("output." + out.name)


def _write_all(selection: Selection, out: Path, folder: Path) -> None:
    for name in KEPT:  # of a run with other options that was killed here, perhaps of another set of files
        (folder / name).unlink(missing_ok=True)
    staged = folder / ("output." + out.name)
    _write_output(selection, staged)
    _write_table(selection.record, folder / "selection.parquet")
    _write_table(selection.plan_table, folder / "plan.parquet")
    targets = {"target": np.arange(len(selection.targets)), "text": selection.targets}
    if selection.tasks is not None:
        targets["task"] = selection.tasks
    _write_table(pa.table(targets), folder / "targets.parquet")
    links, path = selection.plan.links, selection.plan.path
    if links is not None and selection.plan.kind == "mass":
        columns = {"row": links.row, "target": links.target, "mass": links.mass, "distance": links.distance}
        _write_table(pa.table(columns), folder / "transport.parquet")
    if selection.left_out is not None:
        _write_table(selection.left_out, folder / "left_out.parquet")
    if path is not None:
        _write_table(pa.table(dict(path)), folder / "path.parquet")
    manifest = {**selection.manifest, "output": {"file": out.name, "digest": file_digest(staged)}}
    _write_text(folder / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    config = selection.config.dump()
    _write_text(folder / "config.yaml", config)
    report = selection.report or selection_report(selection)
    _write_text(folder / REPORT, json.dumps(report, ensure_ascii=False, separators=(",", ":")) + "\n")
    _write_text(folder / "report.html", render(page_data(report, manifest, config)))


def _write_output(selection: Selection, staged: Path) -> None:
    """The drawn rows in rank order; rows drawn several times come again in further rounds, never side by side."""
    if selection.config.pool and not selection.files:
        raise InputError("the pool of this run was in memory and is gone; select again from the rows")
    sizes = {file["path"]: file["bytes"] for file in selection.manifest["pool"]["files"]} if selection.files else {}
    for file in selection.files:
        if (file.on_disk or file.remote) and file.size != sizes[file.path]:
            raise InputError(f"{file.path} is gone or was changed after the run; select again")
    copies = selection.copies
    rounds = [np.flatnonzero(copies > r) for r in range(int(copies.max()))]
    lines = np.concatenate(rounds)
    record = selection.record
    if selection.files:
        names = {file.path: k for k, file in enumerate(selection.files)}
        files = np.array([names[name] for name in record["file"].to_pylist()])
        write_rows(selection.files, files[lines], record["row"].to_numpy()[lines], staged)
        for file in selection.files:
            if file.seen is not None:
                check_same(file.path, file.seen)
    else:
        plain = record.select(["position", "id", "weight"]).rename_columns(["row", "id", "weight"])
        memory = PoolFile("<selection>", "memory", None, plain)
        write_rows([memory], np.zeros(len(lines), dtype=np.int64), lines, staged)


def _rename(out: Path, work: Workspace) -> None:
    """Put the finished files in their places; every step can be repeated."""
    for item in work.folder.iterdir():
        if item.name not in KEPT and item.name != f"{_READY}.done" and item.name != "output." + out.name:
            shutil.rmtree(item) if item.is_dir() else item.unlink()
    staged = _staged(out, work)
    if staged.exists():
        staged.replace(out)
    folder = run_folder(out)
    if folder.exists():
        shutil.rmtree(folder)
    # The marker goes with the folder's new name: until then a rerun knows that only renames are left.
    work.folder.rename(folder)


def _unmark(out: Path) -> None:
    (run_folder(out) / f"{_READY}.done").unlink(missing_ok=True)


def _write_table(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd")


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
