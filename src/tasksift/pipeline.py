"""Selecting: what `tasksift.select` and the command line call, from a request to a written run."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasksift import __version__
from tasksift.config import RunConfig
from tasksift.engines.current import require, using
from tasksift.errors import InputError, UnfinishedError
from tasksift.line import Line, Say
from tasksift.progress import Progress, silent
from tasksift.request import check_inputs, selector_parameters, settle, stamp
from tasksift.rows import PoolFile, check_out, expand, fingerprint, writing
from tasksift.run_folder import check_no_input, publish, resume_publication, run_folder, work_folder
from tasksift.selection import Selection
from tasksift.workspace import Workspace


def select(
    pool: Any = None,
    target: Any = None,
    budget: str | int | None = None,
    *,
    out: str | Path | None = None,
    force: bool = False,
    progress: Progress = silent,
    say: Say = lambda line: None,
    engine: str | None = None,
    ray_address: str | None = None,
    **options: Any,
) -> Selection:
    """Select from a pool the rows to train on for the task that the targets show.

    Parameters
    ----------
    pool, target : path, glob, list of them, list of dict, pyarrow.Table, pandas.DataFrame or datasets.Dataset
        Rows in any layout that the documentation lists. With ``vectors`` the pool may be left out.
    budget : int or str
        ``1000`` rows, ``"1%"`` of the rows or ``"250000tok"`` tokens.
    out : path, optional
        Where to write the training file; ``<out>.run`` is written beside it. By default nothing is written.
    force : bool
        Replace files that are in the way.
    progress, say : callable
        Where bars and notes go; see `tasksift.progress.bars`.
    engine, ray_address : str
        What computes, see `tasksift.engines.current.using`: ``"local"`` or ``"ray"``. The selection is the same.
    **options
        The other fields of `tasksift.config.RunConfig`: ``preset``, ``seed``, ``vectors``, ``target_vectors``,
        ``alpha``, ``breadth``, ``sigma``, ``draw``, ``max_per_source`` and so on.

    Returns
    -------
    Selection

    Raises
    ------
    InputError
        For anything in the request or the data that cannot be served, in one line.
    """
    pool_files = expand(pool, "pool") if pool is not None else []
    target_files = expand(target, "target") if target is not None else []
    config = RunConfig.create(
        pool=[file.path for file in pool_files], target=[file.path for file in target_files], budget=budget, **options
    )
    with using(engine, ray_address):
        return run(config, pool_files, target_files, out=out, force=force, progress=progress, say=say)


def run(
    config: RunConfig,
    pool_files: list[PoolFile] | None = None,
    target_files: list[PoolFile] | None = None,
    *,
    out: str | Path | None = None,
    force: bool = False,
    progress: Progress = silent,
    say: Say = lambda line: None,
) -> Selection:
    """Run a configuration on the current engine; parameters, result and errors as in `select`."""
    config = settle(config)
    selector_parameters(config)
    files = expand(config.pool, "pool") if pool_files is None and config.pool else pool_files or []
    targets = expand(config.target, "target") if target_files is None and config.target else target_files or []
    tests = expand(config.test, "--test") if config.test else []
    check_inputs(config, files, targets)
    seen = [file.path for file in files if file.on_disk]
    if out is None:
        with tempfile.TemporaryDirectory(prefix="tasksift-") as folder:
            require(folder, *seen)
            return Line(config, files, targets, tests, Workspace(Path(folder)), progress, say).run()
    out = Path(out)
    key = {
        "config": config.model_dump(),
        "version": __version__,
        "pool": fingerprint(files),
        "target": fingerprint(targets),
        "test": fingerprint(tests),
        "vectors": [stamp(config.vectors), stamp(config.target_vectors)],
    }
    with writing(out):
        check_no_input(out, config, [*files, *targets, *tests])
        done = resume_publication(out, key, force)
        if done is not None:
            return done
        check_out(out, force)
        if run_folder(out).exists() and not force:
            raise InputError(f"{run_folder(out)} exists; use --force to replace it, or name another file")
        resumed = work_folder(out).is_dir()
        work = Workspace(work_folder(out))
        try:
            require(work.folder, *seen)
            selection = Line(config, files, targets, tests, work, progress, say, report=True).run()
            with progress("writing", 0):
                publish(selection, out, force=force, work=work, key=key)
            written = json.loads((run_folder(out) / "manifest.json").read_text(encoding="utf-8"))
            selection = replace(selection, manifest=written)
        except BaseException as error:
            # A request that cannot be served leaves nothing behind, except what an interrupted run had left before.
            refused = isinstance(error, InputError | OSError) and not isinstance(error, UnfinishedError)
            if (refused and not resumed) or not work.has_work():
                work.drop()
            raise
    return selection
