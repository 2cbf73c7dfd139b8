"""The line from rows to a selection: read, represent, plan, draw, write. Data flows along it once, in one direction."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasksift import __version__
from tasksift.config import RunConfig
from tasksift.engines import worker_count
from tasksift.errors import InputError, UnfinishedError
from tasksift.features import SAMPLE_TEXTS, Features, FitSample, given_vectors, lexical_features, pool_workers
from tasksift.manifest import build_manifest
from tasksift.memory import estimate_rows, in_words, model_memory, peak_memory, worker_words
from tasksift.model_features import KEYS, KeyFile, check_store, model_features
from tasksift.neighbors.groups import content_keys
from tasksift.planning import plan_and_draw
from tasksift.presets import get_preset
from tasksift.progress import Progress, silent
from tasksift.record import record_table
from tasksift.represent import Embedder
from tasksift.represent.opening import TFIDF_DIM, open_embedder, say_usage
from tasksift.represent.vectors_file import unit_length
from tasksift.request import check_budget, check_inputs, selector_parameters, settle, stamp
from tasksift.rows import (
    Example,
    PoolFile,
    Scanned,
    TextReader,
    TokenCounter,
    check_out,
    expand,
    fingerprint,
    iter_examples,
    writing,
)
from tasksift.rows.index import PoolIndex, build_index, index_vectors
from tasksift.run_folder import check_no_input, publish, resume_publication, run_folder, work_folder
from tasksift.selection import Selection, summarize
from tasksift.selectors import SELECTORS, Context
from tasksift.workspace import Workspace

Say = Callable[[str], None]

USUAL_PLAN = 20_000
"""Rows that a transport plan is taken to mention, for the estimate of memory."""

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
    config = settle(config)
    selector_parameters(config)
    files = expand(config.pool, "pool") if pool_files is None and config.pool else pool_files or []
    targets = expand(config.target, "target") if target_files is None and config.target else target_files or []
    check_inputs(config, files, targets)
    if out is None:
        with tempfile.TemporaryDirectory(prefix="tasksift-") as folder:
            return _Line(config, files, targets, Workspace(Path(folder)), progress, say).run(force)
    out = Path(out)
    key = {
        "config": config.model_dump(),
        "version": __version__,
        "pool": fingerprint(files),
        "target": fingerprint(targets),
        "vectors": [stamp(config.vectors), stamp(config.target_vectors)],
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
            refused = isinstance(error, InputError | OSError) and not isinstance(error, UnfinishedError)
            if (refused and not resumed) or not work.has_work():
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
        self.preset = get_preset(config.preset)
        self.selector = SELECTORS[self.preset.selector]
        self.progress, self.say = progress, say
        self.reader = TextReader(config.text_template)
        self.from_model = config.representation not in (None, "tfidf")
        self.notes: list[str] = []

    def run(self, force: bool) -> Selection:
        """Go along the line; `force` replaces features of another pool in the folder given for them."""
        config = self.config
        counter = TokenCounter(config.tokenizer)
        examples = self._targets()
        targets = [example.text for example in examples]
        given = given_vectors(config, self.progress) if config.vectors is not None else None
        if given is not None:
            targets = self._match_targets(given, targets)
        embedder = open_embedder(config, self.say) if self.from_model else None
        if embedder is not None and config.features is not None and not force:
            check_store(config, Path(config.features), embedder)
        self._announce(given, embedder, len(targets))
        index = self._index(given, counter)
        check_budget(config, index)
        features = given
        if given is None and self.selector.needs_features:
            folder = Path(config.features) if config.features else self.work.folder / "features"
            force = force or config.features is None
            with writing(folder):
                if embedder is None:
                    sample = self.work.folder / "sample.json"
                    features = lexical_features(
                        config, folder, self.files, self.reader, index, sample, targets, self.progress, force=force
                    )
                else:
                    features = model_features(
                        config, folder, self.files, self.reader, embedder, examples, self.work.folder, self.progress,
                        force=force,
                    )  # fmt: skip
                    say_usage(embedder, self.say)
        context = Context(index.order, index.sources, backend=config.backend, progress=self.progress)
        if features is not None:
            # The keys of a pool of vectors are of their content; those of rows tell nothing of their vectors.
            keys = None if self.files else index.keys
            context = replace(context, pool=features.pool, target=features.target, keys=keys)
        planner = self.selector.prepare(context, selector_parameters(config))
        plan, table, drawn = plan_and_draw(config, planner, index, features, self.progress)
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

    def _targets(self) -> list[Example]:
        """Every target row; one without text could stand for anything and is an error."""
        reader = TextReader(self.config.text_template)
        if self.config.target_template is not None:
            reader = TextReader(self.config.target_template, option="--target-template")
        examples = [example for some in iter_examples(self.target_files, reader) for example in some]
        for example in examples:
            if not example.text.strip():
                raise InputError(f"{example.where}: the target has no text; remove it or check the template")
        return examples

    def _match_targets(self, given: Features, texts: list[str]) -> list[str]:
        if texts and len(texts) != len(given.target):
            raise InputError(
                f"--target has {len(texts)} rows and --target-vectors {self.config.target_vectors} has "
                f"{len(given.target)}; they belong together row by row"
            )
        if not self.config.normalize and not (unit_length(given.pool) and unit_length(given.target)):
            self._note("the vectors are not of unit length: --sigma, --scale and distances are in their own units")
        return texts or [f"target vector {k}" for k in range(len(given.target))]

    def _announce(self, given: Features | None, embedder: Embedder | None, targets: int) -> None:
        """Say how large the run is and what memory it will need, before it starts."""
        rows = len(given.pool) if given is not None else estimate_rows(self.files)
        if rows is None:
            return
        lexical = given is None and self.selector.needs_features and embedder is None
        dim = 0
        if given is not None:
            dim = given.pool.dim
        elif embedder is not None:
            dim = embedder.dim + 1
        elif lexical:
            dim = self.config.dim or TFIDF_DIM
        mapped = 4.0 * rows * dim
        if given is not None:
            mapped = float(sum(shard.nbytes for shard in given.pool.shards))
        search = self.selector.needs_features and not self.selector.plans_all_rows
        processes = pool_workers(rows) if lexical else 1
        memory = peak_memory(
            rows,
            targets,
            dim=dim,
            text=bool(self.files),
            lexical=lexical,
            search=search,
            densities=search and self.selector.kind == "mass",
            planned=min(rows, USUAL_PLAN) if search else rows,
            threads=worker_count(),
            processes=processes,
            model=model_memory(embedder) if embedder is not None else 0.0,
        )
        part = worker_words(processes)
        if mapped > 5e7:
            part += f", besides {in_words(mapped)} of vectors mapped from disk"
        self.say(f"about {rows:,} rows, {targets:,} targets; memory about {in_words(memory)}{part}")

    def _index(self, given: Features | None, counter: TokenCounter) -> PoolIndex:
        """Index the pool, or load the index that a killed run left; both leave the texts to fit on in a file."""
        config = self.config
        if not self.files:
            assert given is not None
            with self.progress("reading the vectors", len(given.pool)) as tick:
                return index_vectors(content_keys(given.pool, tick), Path(str(config.vectors)).stem)
        path, sample_path = self.work.folder / "rows.parquet", self.work.folder / "sample.json"
        key = {
            "pool": fingerprint(self.files),
            "options": [config.text_template, config.id_column, config.source_column, config.tokenizer],
            "sample": SAMPLE_TEXTS,
        }
        if not self.work.is_done("rows", key):
            sample, digests = FitSample(), KeyFile(self.work.folder / KEYS)
            with self.progress("reading the pool", estimate_rows(self.files) or 0) as tick:

                def see(part: Scanned) -> None:
                    sample.add(part.texts)
                    digests.add(part.digests)
                    tick(len(part.texts))

                build_index(
                    self.files,
                    self.reader,
                    counter,
                    id_column=config.id_column,
                    source_column=config.source_column,
                    see=see,
                ).save(path)
            sample.save(sample_path)
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
