"""Lifelong selection: data sets arrive one after the other, and after each a subset of all there is is trained on.

Adapt-∞ (Maharana, Yoon, Chen, Bansal 2025, arXiv 2410.10636): D_t = pruned(D_{t-1}) ∪ new_t; clusters of the joint pool
share the step's budget (`tasksift.selectors.adapt`), and the pool is pruned for good (`tasksift.selectors.pruning`).
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasksift import __version__
from tasksift.config import RunConfig
from tasksift.draw.budget import Budget
from tasksift.errors import InputError, UnfinishedError
from tasksift.lifelong.arrivals import Arrived, join
from tasksift.lifelong.features import WORK, Features, settle
from tasksift.lifelong.record import record_of
from tasksift.lifelong.state import (
    PICKED,
    SELECTION,
    State,
    check_outputs,
    clear,
    commit,
    is_published,
    keys_of,
    last_step,
    publish,
    step_folder,
    tidy,
    write_state,
)
from tasksift.progress import Progress, silent
from tasksift.represent.store import differences, file_digest
from tasksift.rows import PoolFile, expand, file_format, write_rows, writing
from tasksift.rows.ids import rank_keys
from tasksift.rows.sources import ACCEPTED
from tasksift.selectors import adapt
from tasksift.selectors.pruning import prune

Say = Callable[[str], None]

PRESET = "adapt-infinity"


@dataclass(frozen=True)
class Step:
    """What a step did.

    Attributes
    ----------
    number : int
        From 1.
    facts : dict
        ``given``, ``new``, ``pool`` (rows before pruning), ``selected``, ``kept``, and ``clusters``: of each its rows,
        its part of the budget, its scorer and the entropies.
    record : pyarrow.Table
        The selected rows, first to last: ``id``, ``source``, ``file``, ``row``, ``step`` (at which it arrived),
        ``rank``, ``cluster``, ``scorer``, ``score``, ``reason``.
    """

    number: int
    facts: dict[str, Any]
    record: pa.Table


def lifelong(
    data: Any,
    state: str | Path,
    budget: str | int,
    out: str | Path,
    *,
    pool_cap: int | None = None,
    score_columns: Sequence[str] = (),
    force: bool = False,
    progress: Progress = silent,
    say: Say = lambda line: None,
    **options: Any,
) -> Step:
    """Take one time step: add data to a pool, select from all of it what to train on now, and prune it.

    Parameters
    ----------
    data : path, glob, list of them, list of dict, pyarrow.Table, pandas.DataFrame or datasets.Dataset
        The rows that have arrived. Those that are in the pool already are passed over.
    state : path
        Folder that carries the pool from step to step; it keeps the rows themselves.
    budget : int or str
        Rows to select: ``1000``, or ``"1%"`` of the pool.
    out : path
        The training file; ``<out>.run`` with the record is written beside it.
    pool_cap : int, optional
        Rows that the pool keeps at most; near-copies go for good. By default all stay.
    score_columns : sequence of str
        Columns with numbers of each row, in place of a model's losses.
    force : bool
        Replace files that are in the way.
    progress, say : callable
        Where bars and notes go; see `tasksift.progress.bars`.
    **options
        Fields of `tasksift.config.RunConfig` about rows and features (``model``, ``representation``, ``score_model``,
        ``metrics``, ``text_template`` ...), ``seed`` and ``parameters``.

    Returns
    -------
    Step
        The same for the same steps before it, data and options. A step that was killed is repeated by the same call and
        ends with the same bytes; one that is done already is not done again, and `out` is written if it is gone.

    Raises
    ------
    InputError
        For anything in the request or the data that cannot be served, in one line.

    Notes
    -----
    Features are computed for the new rows only, or for the whole pool if what makes them has changed since the last
    step, such as the model that is being trained.
    """
    files = expand(data, "new data")
    folder, out = Path(state), Path(out)
    config = RunConfig.create(pool=[file.path for file in files], budget=budget, preset=PRESET, **options)
    wanted = _wanted(config, pool_cap, out)
    config, scoring = settle(config, score_columns)
    before = last_step(folder)
    features = Features(config, scoring, tuple(score_columns), before, progress, say)
    with writing(folder):
        there = folder.exists()
        part = step_folder(folder, before.step + 1 if before else 1).with_suffix(".part")
        resumed = part.is_dir()
        try:
            clear(part, WORK)
            arrived = join(files, config, before, part, progress)
            request = {"data": arrived.digest, "rows": arrived.rows, **wanted.request(), **features.identities}
            if before is not None and before.facts["request"]["data"] == request["data"]:
                shutil.rmtree(part)
                return _done(before, request, folder, files, out, force, say)
            check_outputs(folder, out, files, force)
            done = _advance(arrived, before, features, part, wanted, request)
        except BaseException as error:
            # A request that cannot be served leaves nothing behind, except what an interrupted step had left before.
            if isinstance(error, InputError | OSError) and not isinstance(error, UnfinishedError) and not resumed:
                shutil.rmtree(part if there else folder, ignore_errors=True)
            raise
        publish(commit(folder, done.number), out)
    _tell(done, out, say)
    return done


@dataclass(frozen=True)
class _Wanted:
    """What a step is asked for besides its data and features."""

    budget: Budget
    pool_cap: int | None
    parameters: dict[str, Any]
    seed: int
    suffix: str

    def request(self) -> dict[str, Any]:
        """The same as JSON."""
        return {**asdict(self), "budget": str(self.budget)}


def _wanted(config: RunConfig, pool_cap: int | None, out: Path) -> _Wanted:
    budget = Budget.parse(config.budget)
    if budget.unit == "tokens":
        raise InputError(f"--budget {budget}: a step selects rows; give 1000 (rows) or 1% (of the pool)")
    if pool_cap is not None and pool_cap < 1:
        raise InputError(f"--pool-cap {pool_cap}: it should be a whole number from 1")
    found = file_format(out)
    if found is None:
        raise InputError(f"cannot write {out}: the suffix must be one of {ACCEPTED}")
    suffix = ".".join(["", *filter(None, found)])
    return _Wanted(budget, pool_cap, adapt.SELECTOR.settle(config.parameters, PRESET), config.seed, suffix)


def _advance(
    arrived: Arrived,
    before: State | None,
    features: Features,
    part: Path,
    wanted: _Wanted,
    request: dict[str, Any],
) -> Step:
    """Compute features, select, prune, and write all of it to `part`, ready to be the state."""
    n = arrived.table.num_rows
    take = wanted.budget.rows(n)
    number = before.step + 1 if before else 1
    features.say(f"step {number}: {arrived.rows:,} rows, {arrived.new:,} of them new; a pool of {n:,}")
    keys = keys_of(arrived.table)
    order, _ = rank_keys(keys)
    made = features.compute(arrived, part)
    options = dict(wanted.parameters)
    names = adapt.scorers(options.pop("scorers"), made.names)
    scores = np.concatenate([np.asarray(shard) for shard in made.scores.shards])
    scores = scores[:, [made.names.index(name) for name in names]]
    ranked = adapt.prepare(
        made.compared, scores, names, order=order, seed=wanted.seed, progress=features.progress, **options
    )
    rows, labels = ranked.rows[:take], ranked.clusters.labels
    record = record_of(arrived.table, keys, ranked, scores, rows)
    output = part / PICKED / f"output{wanted.suffix}"
    output.parent.mkdir()
    write_rows([arrived.pool], np.zeros(take, dtype=np.int64), rows, output)
    pq.write_table(record, output.parent / SELECTION, compression="zstd")
    kept = np.arange(n)
    if wanted.pool_cap is not None and n > wanted.pool_cap:
        kept = prune(made.compared, wanted.pool_cap, labels, order=order, progress=features.progress)
    facts = {
        "step": number,
        "given": arrived.rows,
        "new": arrived.new,
        "computed": made.computed,
        "pool": n,
        "selected": take,
        "kept": len(kept),
        "clusters": ranked.plan(take).info["clusters"],
    }
    state = {
        "tasksift": __version__,
        "step": number,
        "request": request,
        "identities": features.identities,
        "output": {"file": output.name, "digest": file_digest(output)},
        "steps": [*(before.facts["steps"] if before else []), facts],
    }
    table = arrived.table.drop_columns("cluster").append_column("cluster", pa.array(labels, pa.int64()))
    write_state(part, arrived.pool, table, {"vectors": made.vectors, "scores": made.scores}, kept, state)
    arrived.drop_files()
    shutil.rmtree(part / WORK, ignore_errors=True)
    return Step(number, facts, record)


def _done(
    state: State, request: dict[str, Any], folder: Path, files: list[PoolFile], out: Path, force: bool, say: Say
) -> Step:
    """Answer a request for the data of the last step: it is done, or it is another request."""
    named = "; ".join(differences(state.facts["request"], request).values())
    if named:
        raise InputError(
            f"step {state.step} in {folder} is of this data already, with other options ({named}); give new data, or "
            "those options to have its output again"
        )
    state = tidy(folder)
    if is_published(state, out):
        say(f"step {state.step} is done already -> {out}")
    else:
        check_outputs(folder, out, files, force, state)
        publish(state, out)
        say(f"step {state.step} is done already; written again -> {out}")
    return Step(state.step, state.facts["steps"][-1], pq.read_table(state.folder / PICKED / SELECTION))


def _tell(step: Step, out: Path, say: Say) -> None:
    facts = step.facts
    scorers = Counter(each["scorer"] for each in facts["clusters"] if each["budget"])
    by = ", ".join(f"{name or 'none'} {count}" for name, count in scorers.most_common())
    dropped = facts["pool"] - facts["kept"]
    pruned = f"; {dropped:,} rows most like others dropped from the pool" if dropped else ""
    say(
        f"step {step.number}: {facts['selected']:,} rows from {sum(scorers.values())} clusters ({by}){pruned}; "
        f"the pool holds {facts['kept']:,} -> {out}"
    )
