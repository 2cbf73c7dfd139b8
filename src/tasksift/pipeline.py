"""The line from rows to a selection: read, represent, plan, draw, write. Data flows along it once, in one direction."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasksift import __version__
from tasksift.config import RunConfig, option_name
from tasksift.draw import Budget, Drawn
from tasksift.draw.budget import parse_limit
from tasksift.draw.limits import check_limits
from tasksift.errors import InputError, ShortPlanError
from tasksift.features import SAMPLE_TEXTS, Features, given_vectors, lexical_features
from tasksift.manifest import build_manifest
from tasksift.memory import estimate_rows, peak_memory
from tasksift.neighbors.groups import content_keys
from tasksift.plan import LEGAL_DRAWS, Plan
from tasksift.presets import get_preset
from tasksift.progress import Progress, silent
from tasksift.record import draw_from, plan_table, record_table
from tasksift.represent.sample import BottomK
from tasksift.represent.store import replace_json
from tasksift.represent.vectors_file import unit_length
from tasksift.rows import PoolFile, TextReader, TokenCounter, check_out, expand, fingerprint, read, writing
from tasksift.rows.index import PoolIndex, build_index, index_vectors
from tasksift.run_folder import check_no_input, publish, resume_publication, run_folder, work_folder
from tasksift.selection import Selection, summarize
from tasksift.selectors import SELECTORS, Context, Planner, nearest
from tasksift.workspace import Workspace

Say = Callable[[str], None]

KNOBS = ("alpha", "scale", "breadth", "sigma")
"""Fields of a configuration that are parameters of some selectors only."""

MOST_PLANS = 40
"""How often a plan may be made anew for a budget whose number of rows depends on the plan."""

TARGET_CHARACTERS = 500
"""How much of each target's text a run keeps, for explanations."""


def select(
    pool: Any = None,
    target: Any = None,
    budget: str | int | None = None,
    *,
    out: str | Path | None = None,
    force: bool = False,
    progress: Progress = silent,
    say: Say = lambda line: None,
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
    """Run a configuration; parameters, result and errors as in `select`."""
    _parameters(config)
    files = expand(config.pool, "pool") if pool_files is None and config.pool else pool_files or []
    targets = expand(config.target, "target") if target_files is None and config.target else target_files or []
    _check_inputs(config, files, targets)
    if out is None:
        with tempfile.TemporaryDirectory(prefix="tasksift-") as folder:
            return _Line(config, files, targets, Workspace(Path(folder)), progress, say).run(force)
    out = Path(out)
    key = {
        "config": config.model_dump(),
        "version": __version__,
        "pool": fingerprint(files),
        "target": fingerprint(targets),
        "vectors": [_stamp(config.vectors), _stamp(config.target_vectors)],
    }
    with writing(out):
        check_no_input(out, config, [*files, *targets])
        done = resume_publication(out, key, force)
        if done is not None:
            return done
        check_out(out, force)
        if run_folder(out).exists() and not force:
            raise InputError(f"{run_folder(out)} exists; use --force to replace it, or name another file")
        resumed = work_folder(out).is_dir()
        work = Workspace(work_folder(out))
        try:
            selection = _Line(config, files, targets, work, progress, say).run(force)
            with progress("writing", 0):
                publish(selection, out, force=force, work=work, key=key)
            written = json.loads((run_folder(out) / "manifest.json").read_text(encoding="utf-8"))
            selection = replace(selection, manifest=written)
        except BaseException as error:
            # A request that cannot be served leaves nothing behind, except what an interrupted run had left before.
            refused = isinstance(error, InputError | OSError) and not resumed
            if refused or not work.has_work():
                work.drop()
            raise
    return selection


class _Line:
    """One run along the line, from checked inputs to a selection."""

    def __init__(
        self,
        config: RunConfig,
        files: list[PoolFile],
        target_files: list[PoolFile],
        work: Workspace,
        progress: Progress,
        say: Say,
    ) -> None:
        self.config, self.files, self.target_files, self.work = config, files, target_files, work
        self.preset, self.budget = get_preset(config.preset), Budget.parse(config.budget)
        self.selector = SELECTORS[self.preset.selector]
        self.progress, self.say = progress, say
        self.reader = TextReader(config.text_template)
        self.notes: list[str] = []

    def run(self, force: bool) -> Selection:
        """Go along the line; `force` replaces features of another pool in the folder given for them."""
        config = self.config
        counter = TokenCounter(config.tokenizer)
        targets = self._target_texts()
        given = given_vectors(config) if config.vectors is not None else None
        if given is not None:
            targets = self._match_targets(given, targets)
        self._announce(given, len(targets))
        index = self._index(given, counter)
        self._check_budget(index)
        features = given
        if given is None and self.selector.needs_features:
            folder = Path(config.features) if config.features else self.work.folder / "features"
            with writing(folder):
                features = lexical_features(
                    config,
                    folder,
                    self.files,
                    self.reader,
                    index,
                    self.work.folder / "sample.json",
                    targets,
                    self.progress,
                    force=force or config.features is None,
                )
        if features is None:
            context = Context(index.order, index.sources, progress=self.progress)
        else:
            context = Context(index.order, index.sources, features.pool, features.target, self.progress)
        plan, table, drawn = self._plan_and_draw(self.selector.prepare(context, _parameters(config)), index, features)
        if plan.status == "exhausted":
            self._note("the neighbour lists ended before the answer was reached: the plan is only the best so far")
        record = record_table(plan, table, drawn)
        manifest = build_manifest(
            config, self.preset, plan, index, self.files, self.target_files, len(targets),
            about=features.about if features else None, tokens=counter.rule, notes=self.notes,
        )  # fmt: skip
        manifest["selection"] = summarize(record, drawn.method, config)
        kept = [text[:TARGET_CHARACTERS] for text in targets]
        return Selection(config, plan, table, record, kept, manifest, self.files)

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.say(text)

    def _target_texts(self) -> list[str]:
        """The text of every target row; an empty one could stand for anything and is an error."""
        reader = TextReader(self.config.text_template)
        if self.config.target_template is not None:
            reader = TextReader(self.config.target_template, option="--target-template")
        texts: list[str] = []
        for file in self.target_files:
            for batch in read(file):
                for k, record in enumerate(batch.records):
                    text = reader.join(*reader.read(record, batch.where(k)))
                    if not text.strip():
                        raise InputError(f"{batch.where(k)}: the target has no text; remove it or check the template")
                    texts.append(text)
        return texts

    def _match_targets(self, given: Features, texts: list[str]) -> list[str]:
        if texts and len(texts) != len(given.target):
            raise InputError(
                f"--target has {len(texts)} rows and --target-vectors {self.config.target_vectors} has "
                f"{len(given.target)}; they belong together row by row"
            )
        if not self.config.normalize and not (unit_length(given.pool) and unit_length(given.target)):
            self._note("the vectors are not of unit length: --sigma, --scale and distances are in their own units")
        return texts or [f"target vector {k}" for k in range(len(given.target))]

    def _announce(self, given: Features | None, targets: int) -> None:
        """Say how large the run is and what memory it will need, before it starts."""
        rows = len(given.pool) if given is not None else estimate_rows(self.files)
        if rows is None:
            return
        planned = rows if self.selector.plans_all_rows else min(rows, 50_000)
        peak = peak_memory(
            rows,
            given.pool.dim if given is not None else self.config.dim,
            targets,
            lexical=given is None and self.selector.needs_features,
            planned=planned,
        )
        self.say(f"about {rows:,} rows, {targets:,} targets; peak memory about {peak / 1e9:.1f} GB")

    def _index(self, given: Features | None, counter: TokenCounter) -> PoolIndex:
        """Index the pool, or load the index that a killed run left; both leave the texts to fit on in a file."""
        config = self.config
        if not self.files:
            assert given is not None
            return index_vectors(content_keys(given.pool), Path(str(config.vectors)).stem)
        path, sample_path = self.work.folder / "rows.parquet", self.work.folder / "sample.json"
        key = {
            "pool": fingerprint(self.files),
            "options": [config.text_template, config.id_column, config.source_column, config.tokenizer],
            "sample": SAMPLE_TEXTS,
        }
        if not self.work.is_done("rows", key):
            sample = BottomK(SAMPLE_TEXTS, seed=0)
            empty = 0
            with self.progress("reading the pool", estimate_rows(self.files) or 0) as tick:

                def see(texts: list[str]) -> None:
                    nonlocal empty
                    empty += sum(not text.strip() for text in texts)
                    sample.add(texts)
                    tick(len(texts))

                index = build_index(
                    self.files,
                    self.reader,
                    counter,
                    id_column=config.id_column,
                    source_column=config.source_column,
                    see=see,
                )
            index.save(path)
            replace_json(sample_path, {"texts": sample.texts(), "empty": empty})
            self.work.mark_done("rows", key)
        # Loaded in either case, so that a resumed run computes on the same bytes.
        index = PoolIndex.load(path)
        empty = json.loads(sample_path.read_text(encoding="utf-8"))["empty"]
        if empty:
            self._note(f"{empty:,} rows of the pool have no text")
        if given is not None and len(index) != len(given.pool):
            raise InputError(
                f"the pool has {len(index)} rows and --vectors {config.vectors} has {len(given.pool)}; "
                f"they belong together row by row"
            )
        return index

    def _check_budget(self, index: PoolIndex) -> None:
        """Refuse, before the costly steps, what no plan of this pool could serve."""
        if self.budget.unit == "tokens":
            there = 0 if index.tokens is None else int(index.tokens.sum())
            if index.tokens is not None and self.budget.amount > there:
                raise InputError(
                    f"the budget is {self.budget} and the pool has {there} tokens; lower the budget or add to the pool"
                )
            return
        rows = self.budget.rows(len(index))
        low = parse_limit(self.config.min_per_source, rows, "--min-per-source")
        high = parse_limit(self.config.max_per_source, rows, "--max-per-source")
        if low is not None or high is not None:
            counts = np.bincount(index.sources, minlength=len(index.source_names))
            if self.config.draw == "multinomial":  # one row is enough for any count
                counts = np.where(counts > 0, rows, 0)
            check_limits(counts, rows, low, high, index.source_names)

    def _plan_and_draw(
        self, planner: Planner, index: PoolIndex, features: Features | None
    ) -> tuple[Plan, pa.Table, Drawn]:
        """Plan for the budget and draw; ask for a longer plan when limits or tokens need more rows than it names."""
        n = len(index)
        tokens = index.tokens
        if self.budget.unit == "tokens":
            if tokens is None:
                raise InputError(f"--budget {self.budget} counts tokens, but vectors alone have none; give rows")
            rows = min(n, max(1, int(self.budget.amount / max(1.0, float(tokens.mean())))))
        else:
            rows = self.budget.rows(n)
        for attempt in range(MOST_PLANS):
            plan = planner(rows)
            if self.budget.unit == "tokens" and plan.kind == "mass":
                assert tokens is not None
                # Rows of this plan may be longer or shorter than the pool's; plan for what the budget buys, and a
                # little more, as the rows drawn may be shorter than expected.
                bought = max(1.0, self.budget.amount / max(1.0, float(plan.values @ tokens[plan.ids])))
                wanted = min(n, math.ceil(1.05 * bought) + 1)
                if rows < min(bought, n) or (attempt < MOST_PLANS // 2 and rows > 1.1 * wanted):
                    rows = wanted
                    continue
            table = self._table(plan, index, features)
            try:
                return plan, table, self._draw(plan, table, index)
            except ShortPlanError:
                if rows == n:
                    raise
                rows = min(n, 2 * rows)
        raise InputError(f"--budget {self.budget} cannot be met: the rows that each plan favours keep changing length")

    def _table(self, plan: Plan, index: PoolIndex, features: Features | None) -> pa.Table:
        if features is None:
            return plan_table(plan, index, None, None)
        links = plan.links
        if links is None or len(links.row) != len(plan.ids) or not np.array_equal(links.row, plan.ids):
            links = nearest.fit(features.pool.take(plan.ids), features.target, progress=self.progress).links
            assert links is not None
        return plan_table(plan, index, links.target, links.distance)

    def _draw(self, plan: Plan, table: pa.Table, index: PoolIndex) -> Drawn:
        config = self.config
        return draw_from(
            plan,
            table,
            self.budget,
            pool_rows=len(index),
            source_names=index.source_names,
            seed=config.seed,
            method=config.draw,
            max_per_source=config.max_per_source,
            min_per_source=config.min_per_source,
        )


def _parameters(config: RunConfig) -> dict[str, Any]:
    """The selector's parameters: its defaults, the preset's, the user's; whatever does not fit is an error."""
    preset = get_preset(config.preset)
    selector = SELECTORS[preset.selector]
    Budget.parse(config.budget)
    if config.draw is not None and config.draw not in LEGAL_DRAWS[selector.kind]:
        raise InputError(
            f"--draw {config.draw} does not fit --preset {config.preset}, which makes a {selector.kind} plan; "
            f"use {' or '.join(LEGAL_DRAWS[selector.kind])}"
        )
    parameters = {**selector.parameters, **preset.parameters}
    for name in KNOBS:
        value = getattr(config, name)
        if value is None or value == RunConfig.model_fields[name].default:
            continue
        if name not in parameters:
            raise InputError(f"{option_name(name)} does not apply to --preset {config.preset}; leave it out")
        parameters[name] = value
    if parameters.get("alpha") is not None:
        parameters["breadth"] = None
    return parameters


def _check_inputs(config: RunConfig, files: list[PoolFile], targets: list[PoolFile]) -> None:
    """Say what is missing before anything is read."""
    if not files and config.vectors is None:
        raise InputError("there is no pool: name files, folders or hf:NAME, or give --vectors")
    for name in ("id_column", "source_column", "text_template"):
        if not files and getattr(config, name) is not None:
            raise InputError(f"{option_name(name)} needs rows, and there are only vectors; name the pool's files")
    if SELECTORS[get_preset(config.preset).selector].needs_features and not targets and config.target_vectors is None:
        raise InputError("there is no target: give --target FILE with a few examples of the task")


def _stamp(path: str | None) -> list[Any] | None:
    """What tells whether vectors on disk have changed."""
    if path is None:
        return None
    files = sorted(Path(path).glob("*.npy")) if Path(path).is_dir() else [Path(path)]
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.exists()]
