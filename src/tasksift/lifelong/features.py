"""Vectors and scores of a lifelong pool: of new rows only, as long as what makes them stays the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.features import SAMPLE_TEXTS
from tasksift.lifelong.arrivals import Arrived
from tasksift.lifelong.state import State, keys_of
from tasksift.model_features import model_store
from tasksift.progress import Progress
from tasksift.represent import tfidf
from tasksift.represent.model_job import store_identity
from tasksift.represent.opening import TFIDF_DIM, open_embedder, resolve, say_usage
from tasksift.represent.sample import BottomK
from tasksift.rows import PoolFile, TextReader, iter_texts, read
from tasksift.scores import OPTIONS, score_config
from tasksift.vectors import Vectors

TFIDF, WORK = "tfidf", "work"


def settle(config: RunConfig, score_columns: Sequence[str]) -> tuple[RunConfig, RunConfig | None]:
    """Return the configurations of vectors and of scores, which is None where scores are columns.

    Raises
    ------
    InputError
        If options do not fit together, or there is nothing to score rows by.
    """
    if config.representation == "loss" or config.momentum == "centred":
        odd = "--representation loss" if config.representation == "loss" else "--momentum centred"
        raise InputError(f"{odd}: clusters are of directions that a row has by itself; use hidden, gradient or tfidf")
    default = "tfidf" if config.model is None else "hidden"
    name = config.representation or default
    own = config.model is not None and name not in ("encoder", "endpoint")
    if not score_columns and not (own or config.score_model or config.checkpoints):
        raise InputError(
            "there is nothing to score rows by: give --model or --score-model, a causal language model, or "
            "--score-columns, columns with numbers of each row"
        )
    if score_columns and config.score_model is not None:
        raise InputError("--score-columns and --score-model are two ways to one thing; give one of them")
    more = frozenset[str]() if score_columns else OPTIONS
    scoring = None if score_columns else score_config(config, None)
    return RunConfig.create(**{**config.model_dump(), **resolve(config, default, more)}), scoring


@dataclass(frozen=True)
class Made:
    """What is known of all rows of the pool.

    Attributes
    ----------
    vectors, compared : Vectors (n, d)
        As they are kept, and at unit length.
    scores : Vectors (n, s)
    names : tuple of s str
    computed : dict
        How many rows' vectors and scores were computed.
    """

    vectors: Vectors
    compared: Vectors
    scores: Vectors
    names: tuple[str, ...]
    computed: dict[str, int]


class Features:
    """What makes vectors and scores; models are loaded at once, so that what is wrong with them is said first.

    Parameters
    ----------
    config, scoring : RunConfig, RunConfig or None
        From `settle`.
    columns : tuple of str
        The columns of scores, where no model makes them.
    before : State or None
        The last step.

    Attributes
    ----------
    identities : dict
        What decides about vectors and scores.
    """

    def __init__(
        self,
        config: RunConfig,
        scoring: RunConfig | None,
        columns: tuple[str, ...],
        before: State | None,
        progress: Progress,
        say: Callable[[str], None],
    ) -> None:
        self.config, self.scoring, self.columns, self.before = config, scoring, columns, before
        self.progress, self.say = progress, say
        self.reader = TextReader(config.text_template)
        self.embedder = None if config.representation == TFIDF else open_embedder(config, say)
        self.scorer = None if scoring is None else open_embedder(scoring, say)
        self.names: tuple[str, ...] = columns if self.scorer is None else self.scorer.names  # type: ignore[attr-defined]
        dim = config.dim or TFIDF_DIM
        vectors: dict[str, Any] = {"representation": TFIDF, "dim": dim, "text_template": config.text_template}
        if self.embedder is not None:
            vectors = store_identity(config, self.embedder, 0)
        scores: dict[str, Any] = {"columns": list(columns)}
        if scoring is not None and self.scorer is not None:
            scores = store_identity(scoring, self.scorer, 0)
        self.identities = json.loads(json.dumps({"vectors": vectors, "scores": scores}))

    def compute(self, arrived: Arrived, part: Path) -> Made:
        """Return vectors and scores of the pool; in `part` a killed step finds what it had computed."""
        if self.embedder is None:
            self._fit(arrived.pool, part)
        made: dict[str, Vectors] = {}
        computed: dict[str, int] = {}
        for name in ("vectors", "scores"):
            known = self.before.rows.num_rows if self.before is not None and self._same(name) else 0
            shards = [self.before.array(name)] if self.before is not None and known else []
            rows = arrived.table.slice(known)
            if rows.num_rows:
                shards += self._computed(name, arrived.fresh if known else arrived.pool, rows, part)
            made[name] = Vectors(shards, name=name)
            computed[name] = rows.num_rows
        compared = Vectors(made["vectors"], normalize=True, name="features")
        return Made(made["vectors"], compared, made["scores"], self.names, computed)

    def _same(self, name: str) -> bool:
        return self.before is not None and self.before.facts["identities"][name] == self.identities[name]

    def _computed(self, name: str, file: PoolFile, rows: pa.Table, part: Path) -> list[NDArray[Any]]:
        """Compute one of the two for these rows, which `file` holds."""
        config, embedder = (self.config, self.embedder) if name == "vectors" else (self.scoring, self.scorer)
        if config is not None and embedder is not None:
            keys = keys_of(rows)
            store = model_store(
                config, part / WORK / name, [file], self.reader, keys, embedder, self.progress, force=True
            )
            say_usage(embedder, self.say)
            return list(store.open().shards)
        return [self._lexical(file, part) if name == "vectors" else self._from_columns(file, rows)]

    def _lexical(self, file: PoolFile, part: Path) -> NDArray[Any]:
        model = tfidf.Tfidf.load(part / TFIDF)
        return np.concatenate([model.transform(texts) for texts in iter_texts([file], self.reader)])

    def _fit(self, pool: PoolFile, part: Path) -> None:
        """Fit a TF-IDF to the pool of the first step that uses it; it is kept from then on."""
        if self.before is not None and self._same("vectors"):
            shutil.copytree(self.before.folder / TFIDF, part / TFIDF, dirs_exist_ok=True)
            return
        sample = BottomK(SAMPLE_TEXTS, seed=0)
        for texts in iter_texts([pool], self.reader):
            sample.add(texts)
        tfidf.fit(sample.texts(), dim=self.config.dim or TFIDF_DIM).save(part / TFIDF)

    def _from_columns(self, file: PoolFile, rows: pa.Table) -> NDArray[Any]:
        origins = zip(rows["file"].to_pylist(), rows["row"].to_pylist(), strict=True)
        records = (record for batch in read(file) for record in batch.records)
        return np.array(
            [
                [_number(record, name, f"{path}, row {row}") for name in self.columns]
                for record, (path, row) in zip(records, origins, strict=True)
            ]
        )


def _number(record: dict[str, Any], name: str, where: str) -> float:
    if name not in record:
        raise InputError(f"{where}: there is no column {name!r}; correct --score-columns, or fill the row")
    try:
        number = float(record[name])
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise InputError(f"{where}: {name} is {record[name]!r}, not a number; mend the row, or --score-columns")
    return number
