"""The configuration of one run: what a user may ask for, saved resolved and replayable."""

from __future__ import annotations

from numbers import Real
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from tasksift.feature_config import FeatureConfig

AUTO = "auto"
"""The budget of a method that estimates how many rows to take."""


class RunConfig(FeatureConfig):
    """One selection, from input files to the training file."""

    pool: list[str] = Field(default_factory=list)
    """Files, folders or globs of .jsonl[.gz|.zst], .json, .parquet, .arrow, .csv, or hf:NAME[:CONFIG][:SPLIT]."""
    target: list[str] = Field(default_factory=list)
    """Files with the few examples of the task, in any of the pool's formats."""
    vectors: str | None = None
    """The pool's embeddings: a .npy file or a folder of .npy shards, one row per pool row."""
    target_vectors: str | None = None
    """The targets' embeddings: a .npy file from the same model as --vectors."""
    budget: str = ""
    """How much to select: 1000 (rows), 1% (of the rows), 250000tok (tokens), or auto where the method estimates it."""
    preset: str = "tsds"
    """The method; `tasksift presets` lists them."""
    seed: int = Field(default=0, ge=0)
    """Seed of the draw; the same inputs, options and seed give the same rows."""
    normalize: bool = True
    """Scale --vectors to unit length."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """A parameter of the method, such as folds=5; `tasksift presets NAME` lists them. May be given several times."""
    task_column: str | None = None
    """Column of the target that names each row's task; by default every target file is one task."""
    task_weights: str | None = None
    """Each task's share of the budget, such as 3,1, in the order of the targets: every task is then selected for by
    itself, and no row is taken twice. By default all target rows count alike, in one selection."""
    group_column: str | None = None
    """Column of the pool that names each row's group: the class of labelled data (bws), the groups of gradex."""
    score_column: str | None = None
    """Column of the pool with a number of each row, in place of a model's losses."""
    scores: str | None = None
    """Folder in which the numbers that a model gives each row are kept and found again, as `embed -r loss` makes it;
    by default `scores` in --features."""
    score_model: str | None = None
    """Folder or hub name of the language model whose losses are those numbers; by default --model."""
    decontaminate: int | None = Field(default=None, ge=1)
    """Leave out pool rows that share a run of so many words with a target or --test row; 13 with --test."""
    test: list[str] = Field(default_factory=list)
    """Files with rows that nothing selected may resemble, see --decontaminate."""
    dedup: float | None = Field(default=None, ge=0, lt=1)
    """Leave out pool rows whose cosine to another one that stays is above 1 minus this (SemDeDup); 0: copies only."""
    target_template: str | None = None
    """The same for target rows; by default that of the pool."""
    id_column: str | None = None
    """Column with unique row ids; by default ids come from the content."""
    tokenizer: str | None = None
    """A Hugging Face tokenizer.json for counting tokens; by default one token per four UTF-8 bytes."""
    max_per_source: str | None = None
    """At most this many rows of one source: a number, or a percentage of the budget."""
    min_per_source: str | None = None
    """At least this many rows of every source: a number, or a percentage of the budget."""
    draw: Literal["systematic", "multinomial", "top", "gumbel", "apportion"] | None = None
    """How rows are drawn from a plan of probabilities: systematic (without replacement, each with exactly its
    probability times the budget; the default), multinomial (with replacement, as in the TSDS paper) or top; from
    log-probabilities: gumbel (without replacement) or top; from expected copies: apportion (whole copies) or
    systematic."""
    alpha: float | None = Field(default=None, ge=0, le=1)
    """TSDS: trade-off between closeness (1) and spread (0), as in the paper; excludes --breadth."""
    scale: float = Field(default=5.0, ge=0, allow_inf_nan=False)
    """TSDS: the paper's C, which weighs distances when --alpha is given."""
    breadth: float | Literal["auto"] | None = None
    """TSDS: effective number of neighbours per target; auto (the default without --alpha) stays as close to the
    targets as the budget allows with no row repeated."""
    sigma: float | Literal["auto"] | None = None
    """TSDS: bandwidth within which rows count as near-duplicates; 0 = none (KNN-Uniform), auto = from the data."""
    backend: Literal["numpy", "torch", "cuda"] = "numpy"
    """What multiplies in search and densities: numpy, torch (PyTorch on the CPU, faster where it has bfloat16 units) or
    cuda (a GPU). The selection is the same."""
    features: str | None = None
    """Folder in which the pool's features are kept and found again; by default they go when the run is done."""

    @field_validator("pool", "target", "test", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [str(value)] if isinstance(value, str | Path) else value

    @field_validator("budget", "max_per_source", "min_per_source", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, Real) and not isinstance(value, bool) else value

    @field_validator("parameters", mode="before")
    @classmethod
    def _settings(cls, value: Any) -> Any:
        return dict(map(_setting, value)) if isinstance(value, list | tuple) else value

    @field_validator("vectors", "target_vectors", "tokenizer", "features", "scores", "score_model", mode="before")
    @classmethod
    def _path_as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, Path) else value

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        if self.alpha is not None and self.breadth is not None:
            raise ValueError("--alpha and --breadth are two names of one knob; give one of them")
        if isinstance(self.breadth, float) and not 0 < self.breadth < float("inf"):
            raise ValueError(f"--breadth {self.breadth} is out of range; it is a number of neighbours > 0, or auto")
        if isinstance(self.sigma, float) and not 0 <= self.sigma < float("inf"):
            raise ValueError(f"--sigma {self.sigma} is out of range; it is a distance >= 0, or auto")
        if self.target_vectors is not None and self.vectors is None:
            raise ValueError("--target-vectors needs --vectors, made by the same model")
        return self


def _setting(text: Any) -> tuple[str, str]:
    """Read NAME=VALUE."""
    name, sign, value = str(text).partition("=")
    if not (name.strip() and sign):
        raise ValueError(f"--set {text} is not of the form NAME=VALUE, such as --set folds=5")
    return name.strip(), value.strip()
