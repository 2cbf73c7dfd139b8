"""The line from rows to a selection: read, represent, plan, draw, write. Data flows along it once, in one direction."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tasksift.config import RunConfig
from tasksift.engines import worker_count
from tasksift.engines.current import current, engine_report
from tasksift.errors import InputError
from tasksift.features import (
    SAMPLE_TEXTS,
    Features,
    given_vectors,
    lexical_features,
    plain_features,
    pool_workers,
)
from tasksift.leave_out import LeaveOut
from tasksift.manifest import build_manifest
from tasksift.memory import estimate_rows, in_words, model_memory, peak_memory, worker_words
from tasksift.model_features import KEYS, KeyFile, check_store, model_features
from tasksift.neighbors.groups import content_keys
from tasksift.planning import plan_and_draw
from tasksift.presets import get_preset
from tasksift.progress import Progress
from tasksift.record import record_table
from tasksift.report.basis import Basis
from tasksift.report.selection import selection_report
from tasksift.represent import Embedder
from tasksift.represent.opening import TFIDF_DIM, open_embedder, say_usage
from tasksift.represent.shard_cache import work_folder
from tasksift.represent.shelf import where
from tasksift.represent.vectors_file import unit_length
from tasksift.request import check_budget, selector_parameters
from tasksift.rows import PoolFile, TextReader, TokenCounter, fingerprint, iter_texts, writing
from tasksift.rows.index import IndexBuilder, PoolIndex, index_vectors
from tasksift.scores import COLUMN, model_scores, score_config, score_folder, scored
from tasksift.scratch import scratch
from tasksift.selection import Selection, meaning_of, summarize
from tasksift.selectors import SELECTORS, Context
from tasksift.selectors.contract import Size, Texts
from tasksift.several import prepare_each
from tasksift.survey import COLUMNS, remote_shards, survey, survey_key
from tasksift.targets import Targets, read_targets, unnamed
from tasksift.vectors import Vectors
from tasksift.warm_up import FOLDER, warm_up, warms_up
from tasksift.workspace import Workspace

Say = Callable[[str], None]

USUAL_PLAN = 20_000
"""Rows that a transport plan is taken to mention, for the estimate of memory."""

TARGET_CHARACTERS = 500
"""How much of each target's text a run keeps, for explanations."""


class Line:
    """One run along the line, from checked inputs to a selection.

    Parameters
    ----------
    config : RunConfig
        Settled.
    files, target_files, test_files : list of PoolFile
    work : Workspace
        Where whatever is computed is kept until the run is done.
    report : bool
        Whether the data of a report are made.
    """

    def __init__(
        self,
        config: RunConfig,
        files: list[PoolFile],
        target_files: list[PoolFile],
        test_files: list[PoolFile],
        work: Workspace,
        progress: Progress,
        say: Say,
        *,
        report: bool = False,
    ) -> None:
        self.report = report
        self.config, self.files, self.target_files, self.work = config, files, target_files, work
        self.test_files = test_files
        self.preset = get_preset(config.preset)
        self.selector = SELECTORS[self.preset.selector]
        self.parameters = selector_parameters(config)
        self.progress, self.say = progress, say
        self.reader = TextReader(config.text_template)
        self.from_model = config.representation not in (None, "tfidf")
        self.notes: list[str] = []

    def run(self) -> Selection:
        """Go along the line. Features of something else in the folders given for them are refused, never replaced."""
        with scratch(self.work.folder):
            return self._run()

    def _run(self) -> Selection:
        asked, counter = self.config, TokenCounter(self.config.tokenizer)
        targets = read_targets(asked, self.target_files)
        if warms_up(asked):
            # Marked before it begins: what an interruption leaves of it is worth keeping.
            self.work.mark_done(FOLDER, {})
            beside = where(asked.features, "--features") if asked.features is not None else self.work.folder
            # A training needs a disk.
            place = beside / FOLDER if isinstance(beside, Path) else work_folder(beside, FOLDER)
            self.config = warm_up(asked, self.files, place, self.progress, self.say)
        config = self.config
        given = given_vectors(config, self.progress) if config.vectors is not None else None
        if given is not None:
            targets = self._match_targets(*given, targets)
        embedder = open_embedder(config, self.say) if self.from_model else None
        if embedder is not None and config.features is not None:
            check_store(config, where(config.features, "--features"), embedder)
        losses = score_config(config, self.parameters.get("metric")) if scored(config) else None
        scorer = open_embedder(losses, self.say) if losses is not None else None
        kept_scores = score_folder(config)
        if losses is not None and scorer is not None and kept_scores is not None:
            check_store(losses, kept_scores, scorer)
        self._announce(given[0] if given else None, embedder, scorer, len(targets.tasks))
        index = self._index(given[0] if given else None, counter)
        check_budget(config, index)
        features = self._features(given, index, embedder, targets)
        context = self._context(index, features, targets)
        if losses is not None and scorer is not None:
            folder = kept_scores or self.work.folder / "scores"
            keys = KeyFile.load(self.work.folder / KEYS)
            with writing(folder):
                numbers, names = model_scores(
                    losses, folder, self.files, self.reader, keys, scorer, self.progress, force=kept_scores is None,
                    remote=remote_shards(config, self.files, self.work.folder),
                )  # fmt: skip
            context = replace(context, scores=numbers, score_names=names)
        texts = [example.text for example in targets.examples]
        left_out = LeaveOut(config, index, self.work, self.progress)
        left_out.contaminated(self.files, self.reader, targets.examples, self.test_files)
        left_out.duplicates(context.pool, context.keys)
        for line in left_out.said():
            self._note(line)
        told = left_out.narrow(context)
        if config.task_weights is None:
            planner = self.selector.prepare(told, self.parameters)
        else:
            assert targets.shares is not None
            planner = prepare_each(self.selector, told, self.parameters, targets.shares)
        plan, table, drawn = plan_and_draw(
            config, left_out.widen(planner), index, features, left_out.kept_rows, self.progress
        )
        if plan.status == "exhausted":
            self._note("the neighbour lists ended before the answer was reached: the plan is only the best so far")
        tasks = [targets.names[task] for task in targets.tasks] if len(targets.names) > 1 else None
        record = record_table(plan, table, drawn, meaning_of(config), tasks)
        manifest = build_manifest(
            config, self.preset, plan, index, self.files, self.target_files, targets,
            about=features.about if features else None, tokens=counter.rule, notes=self.notes,
            left_out=left_out.found.counts(),
        )  # fmt: skip
        manifest["selection"] = summarize(record, drawn.method, config)
        kept = [text[:TARGET_CHARACTERS] for text in texts] or [f"target vector {k}" for k in range(len(targets.tasks))]
        selection = Selection(asked, plan, table, record, kept, manifest, self.files, left_out.table(), tasks)
        if self.report:
            pool, target = (told.pool, told.target) if self.selector.needs_features else (None, None)
            known = (told.order, pool, target, told.keys, texts)
            basis = Basis(index, left_out.kept, *known, self.parameters, config.seed)
            with self.progress("making the report", 0):
                selection = replace(selection, report=selection_report(selection, basis))
        manifest = {**manifest, **engine_report(self.say)}
        # Otherwise everything that was searched would live as long as the selection.
        return replace(selection, plan=replace(plan, searched=None), manifest=manifest)

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.say(text)

    def _match_targets(self, pool: Vectors, target: Vectors, targets: Targets) -> Targets:
        if targets.examples and self.config.target_vectors and len(targets.examples) != len(target):
            raise InputError(
                f"--target has {len(targets.examples)} rows and --target-vectors {self.config.target_vectors} has "
                f"{len(target)}; they belong together row by row"
            )
        if not self.config.normalize and not (unit_length(pool) and (not len(target) or unit_length(target))):
            self._note("the vectors are not of unit length: --sigma, --scale and distances are in their own units")
        return targets if targets.examples else unnamed(len(target))

    def _features(
        self,
        given: tuple[Vectors, Vectors] | None,
        index: PoolIndex,
        embedder: Embedder | None,
        targets: Targets,
    ) -> Features | None:
        """The vectors of pool and targets, where there are any."""
        config = self.config
        if given is not None:
            about = {"name": "vectors", "dim": given[0].dim, "normalized": config.normalize}
            tasks = targets.tasks if len(given[1]) else targets.tasks[:0]
            return plain_features(*given, tasks, about, unit=config.normalize)
        if not self.selector.needs_features:
            return None
        folder = where(config.features, "--features") if config.features else self.work.folder / "features"
        force = config.features is None
        remote = remote_shards(config, self.files, self.work.folder)
        with writing(folder):
            if embedder is None:
                sample = self.work.folder / "sample.json"
                texts = [example.text for example in targets.examples]
                return lexical_features(
                    config, folder, self.files, self.reader, index, sample, texts, targets.tasks, self.progress,
                    force=force, remote=remote,
                )  # fmt: skip
            features = model_features(
                config, folder, self.files, self.reader, embedder, targets.examples, targets.tasks, self.work.folder,
                self.progress, force=force, remote=remote,
            )  # fmt: skip
            say_usage(embedder, self.say)
        return features

    def _context(self, index: PoolIndex, features: Features | None, targets: Targets) -> Context:
        config = self.config
        context = Context(
            order=index.order,
            sources=index.sources,
            groups=None if index.groups is None else index.groups.astype(np.int64),
            group_names=tuple(index.group_names),
            tasks=targets.tasks,
            task_names=targets.names,
            seed=config.seed,
            backend=config.backend,
            progress=self.progress,
        )
        if index.numbers is not None:
            context = replace(context, scores=Vectors(index.numbers[:, None]), score_names=(COLUMN,))
        if self.files and "texts" in self.selector.needs:
            texts = [example.text for example in targets.examples]
            context = replace(context, texts=Texts(lambda: iter_texts(self.files, self.reader), texts))
        if features is None:
            return context
        compared = features.compared
        return replace(
            context,
            pool=compared.pool,
            target=features.target,
            lengths=compared.lengths,
            target_lengths=compared.target_lengths,
            task_target=compared.task_target,
            margins=features.margins,
            # The keys of a pool of vectors are of their content; those of rows tell nothing of their vectors.
            keys=None if self.files or not isinstance(index.keys, np.ndarray) else index.keys,
        )

    def _announce(
        self, given: Vectors | None, embedder: Embedder | None, scorer: Embedder | None, targets: int
    ) -> None:
        """Say how large the run is and what memory it will need, before it starts."""
        rows = len(given) if given is not None else estimate_rows(self.files)
        if rows is None:
            return
        lexical = given is None and self.selector.needs_features and embedder is None
        dim = 0
        if given is not None:
            dim = given.dim
        elif embedder is not None:
            dim = embedder.dim + 1
        elif lexical:
            dim = self.config.dim or TFIDF_DIM
        mapped = 4.0 * rows * dim
        if given is not None:
            mapped = float(given.nbytes)
        search = self.selector.needs_features and not self.selector.plans_all_rows
        processes = pool_workers(rows) if lexical and current() is None else 1
        memory = peak_memory(
            rows,
            targets,
            dim=dim,
            text=bool(self.files),
            lexical=lexical,
            search=search,
            densities=search and self.selector.kind == "mass",
            planned=min(rows, USUAL_PLAN) if search else rows,
            threads=worker_count() if current() is None else 1,
            processes=processes,
            model=max((model_memory(each) for each in (embedder, scorer) if each is not None), default=0.0),
        ) + self.selector.memory(Size(rows=rows, targets=targets, dim=dim))
        part = worker_words(processes)
        if mapped > 5e7:
            part += f", besides {in_words(mapped)} of vectors mapped from disk"
        self.say(f"about {rows:,} rows, {targets:,} targets; memory about {in_words(memory)}{part}")

    def _index(self, given: Vectors | None, counter: TokenCounter) -> PoolIndex:
        """Index the pool, or load the index that a killed run left; both leave the texts to fit on in a file."""
        config = self.config
        if not self.files:
            assert given is not None
            with self.progress("reading the vectors", len(given)) as tick:
                return index_vectors(content_keys(given, tick), Path(str(config.vectors)).stem)
        path, sample_path = self.work.folder / "rows.parquet", self.work.folder / "sample.json"
        columns = {name: getattr(config, name) for name in COLUMNS}
        key: dict[str, Any] = {
            "pool": fingerprint(self.files),
            "options": [config.text_template, config.tokenizer, columns],
            "sample": SAMPLE_TEXTS,
            **survey_key(config),
        }
        if not self.work.is_done("rows", key):
            builder = IndexBuilder(
                self.files,
                with_ids=config.id_column is not None,
                with_groups=config.group_column is not None,
                with_numbers=config.score_column is not None,
            )
            sample = survey(config, self.files, counter, self.work.folder, builder.add, self.progress)
            builder.done().save(path)
            sample.save(sample_path)
            self.work.mark_done("rows", key)
        # Loaded in either case, so that a resumed run computes on the same bytes.
        index = PoolIndex.load(path)
        empty = json.loads(sample_path.read_text(encoding="utf-8"))["empty"]
        if empty:
            self._note(f"{empty:,} rows of the pool have no text")
        if given is not None and len(index) != len(given):
            raise InputError(
                f"the pool has {len(index)} rows and --vectors {config.vectors} has {len(given)}; "
                f"they belong together row by row"
            )
        return index
