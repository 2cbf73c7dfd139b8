"""The configuration of a comparison: what a user may ask for, saved resolved and replayable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from tasksift.checked import Checked
from tasksift.errors import InputError
from tasksift.evaluate.names import BALANCED, FULL
from tasksift.feature_config import Text

if TYPE_CHECKING:
    from tasksift.evaluate.trainee import Training


class CompareConfig(Checked):
    """One comparison: selections by several methods, a training on each, and scores on held-out rows."""

    pool: list[Text] = Field(default_factory=list)
    """Files, folders or globs of .jsonl[.gz|.zst], .json, .parquet, .arrow, .csv, or hf:NAME[:CONFIG][:SPLIT]."""
    target: list[Text] = Field(default_factory=list)
    """File with the few examples of a task; given several times, every file is a task of its own."""
    held_out: list[Text] = Field(default_factory=list)
    """File with rows of the task that nothing is selected by, to be judged on: one for each --target, in one order."""
    hold_out: float = 0.5
    """Without --held-out: the share of the target rows that is held out, drawn at random."""
    task_names: list[str] = Field(default_factory=list)
    """Names of the tasks, in the order of the targets; by default those of the files."""
    max_held_out: int | None = Field(default=None, ge=10)
    """Held-out rows of a task at most, drawn at random."""
    presets: list[str] = Field(default_factory=lambda: ["tsds"])
    """The methods, with commas between: PRESET, PRESET:REPRESENTATION, or PRESET@FOLDER of `tasksift embed`."""
    arm: list[str] = Field(default_factory=list)
    """A method with options of its own: 'LABEL: preset=tsds representation=encoder model=NAME set.folds=5'."""
    without: list[str] = Field(default_factory=list)
    """Baselines to leave out, with commas between: full where the whole pool cannot be trained on; random-balanced."""
    budgets: list[str] = Field(default_factory=lambda: ["1%"])
    """How much to select, with commas between: 1000 (rows), 1% (of the rows), 250000tok (tokens)."""
    seeds: list[int] = Field(default_factory=lambda: [0, 1, 2])
    """Seeds of draw and training, with commas between; at least three for a verdict."""
    model: Text = ""
    """Folder or hub name of what is trained: a causal language model, or with --head classes an encoder."""
    head: Literal["none", "classes"] = "none"
    """classes: a classification head on an encoder, whose classes are the answers in the pool."""
    selection_model: Text | None = None
    """Causal language model for representations that need one; by default --model, with --head classes none."""
    encoder: Text | None = None
    """Sentence encoder for the representation encoder; by default --model with --head classes."""
    method: Literal["lora", "full"] = "lora"
    """Train adapters, or every parameter."""
    rank: int = Field(default=16, ge=1)
    """Rank of the adapters, which are scaled by 2."""
    epochs: int = Field(default=1, ge=1)
    """Passes over the selected rows."""
    learning_rate: float = Field(default=2e-4, gt=0, allow_inf_nan=False)
    """The highest learning rate."""
    batch_size: int = Field(default=16, ge=1)
    """Rows of a step."""
    micro_batch: int | None = Field(default=None, ge=1)
    """Rows in memory at a time."""
    max_length: int = Field(default=512, ge=2)
    """Tokens of a row at most, for training, judging and representations of language models."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """What the learning rate does after the warm-up."""
    choices: bool = True
    """Where all held-out rows of a task have options, judge by the likelihoods of these as well."""
    exact_match: bool = False
    """Generate answers to the held-out rows as well, and count those that are the row's, to the character."""
    new_tokens: int = Field(default=64, ge=1)
    """Tokens of a generated answer at most."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    trust_remote_code: bool = False
    """Let code that comes with the model run."""
    device: str = "cpu"
    """Where models run: cpu, cuda, cuda:1."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: training and judging multiply in it."""
    text_template: str | None = None
    r"""How a row becomes text, such as '{question}\n{answer}', where the layout is not found by itself."""
    source_column: str | None = None
    """Column that names each row's source; by default `source` where it exists, else the file's name."""
    backend: Literal["numpy", "torch", "cuda"] = "numpy"
    """What multiplies in search and densities."""
    decontaminate: int | None = Field(default=None, ge=1)
    """Leave out pool rows that share a run of so many words with a target or held-out row."""
    workers: int = Field(default=1, ge=1)
    """Cells that are worked on at a time, each by a process with one thread; 1: one at a time, with all threads."""
    hours: float | None = Field(default=None, gt=0)
    """Begin no cell after so many hours; the same command goes on later."""

    @field_validator("presets", "without", "budgets", "seeds", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        values = value.split(",") if isinstance(value, str) else [value] if isinstance(value, int) else value
        return [each.strip() if isinstance(each, str) else each for each in values]

    @field_validator("budgets", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return [str(each) for each in value] if isinstance(value, list | tuple) else value

    @field_validator("without")
    @classmethod
    def _leaves_what_can_be_left(cls, value: list[str]) -> list[str]:
        for name in value:
            if name not in (FULL, BALANCED):
                raise ValueError(f"--without {name}: only {FULL} and {BALANCED} can be left out")
        return value

    @field_validator("budgets", "seeds", "presets")
    @classmethod
    def _some_of_each(cls, value: list[Any], info: Any) -> list[Any]:
        from tasksift.draw.budget import Budget  # brings NumPy, which `tasksift --help` does not wait for

        if not value or len(set(value)) < len(value):
            raise ValueError(f"--{info.field_name} {','.join(map(str, value))}: give at least one, and none twice")
        if info.field_name == "seeds" and not all(0 <= seed < 2**32 for seed in value):
            raise ValueError(f"--seeds {','.join(map(str, value))}: seeds are at least 0 and below 2^32")
        for budget in value if info.field_name == "budgets" else ():
            Budget.parse(budget)
        return value

    def training(self) -> Training:
        """How every cell is trained.

        Raises
        ------
        InputError
            If there is no model, or settings do not go together.
        """
        from tasksift.evaluate.trainee import Training
        from tasksift.tune.settings import Settings

        if not self.model:
            raise InputError("there is no --model: name the model to train, a folder or a name on the hub")
        settings = Settings(
            method=self.method if self.head == "none" else "full", rank=self.rank, alpha=2 * self.rank, dropout=0.0,
            epochs=self.epochs, learning_rate=self.learning_rate, batch_size=self.batch_size,
            micro_batch=self.micro_batch, max_length=self.max_length, schedule=self.schedule,
        )  # fmt: skip
        return Training(
            self.model, self.head, settings, choices=self.choices, exact_match=self.exact_match,
            new_tokens=self.new_tokens, revision=self.revision, device=self.device, dtype=self.dtype,
            trust_remote_code=self.trust_remote_code,
        )  # fmt: skip

    def selection_base(self) -> dict[str, Any]:
        """Fields of `RunConfig` that are the same for every arm."""
        names = ("text_template", "source_column", "backend", "decontaminate")
        return {name: value for name in names if (value := getattr(self, name)) is not None}
