"""Selecting again during training: any preset that looks at a model, on features of the model as it is by now."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasksift import __version__
from tasksift.config import RunConfig
from tasksift.draw import Budget
from tasksift.errors import InputError
from tasksift.line import Say
from tasksift.online.checks import whole
from tasksift.online.ranks import Rows
from tasksift.online.snapshot import (
    BASE,
    Snapshot,
    check_adam,
    check_model,
    check_moments,
    is_adapter,
    write_base,
    write_snapshot,
)
from tasksift.pipeline import run
from tasksift.presets import get_preset
from tasksift.progress import Progress, silent
from tasksift.represent.models import need_models
from tasksift.represent.store import replace_json
from tasksift.request import check_inputs, selector_parameters, settle
from tasksift.rows import expand, fingerprint, writing
from tasksift.scores import scored
from tasksift.selection import Selection
from tasksift.targets import read_targets
from tasksift.tune.randomness import own_randomness

FRESH = ("hidden", "loss", "gradient", "sketch")
"""Representations that change as the model is trained."""

OWN = ("checkpoints", "features", "revision", "score_model", "scores")
"""Options of a selection that say which model is looked at, or where its features are."""

NOW = "the model in training"
"""What stands for the model's folder in the configuration that is checked before there is one."""

REQUEST, RECORD, MANIFEST = "request.json", "selection.parquet", "manifest.json"


class Reselect:
    """A selection that is made again every so many steps of a training.

    Parameters
    ----------
    pool, target
        As `tasksift.select` takes them; row i of the pool is what row i of the training set was made from.
    every : int or None
        Steps of the optimizer between selections; None with `at_start`: only before the first.
    budget : int or str
        As in `tasksift.select`.
    preset : str
        Any whose representation, or whose numbers of each row, are of a causal model; and ``random``.
    folder : str or Path
        ``step-N/`` keeps what was selected at step N; snapshots and features lie here while they are needed.
    at_start : bool
        Whether to select before the first step, too.
    seed : int
        The selection at step N has the seed ``seed + N``.
    progress, say : callable
        As in `tasksift.select`.
    **options
        The other options of `tasksift.select`, such as ``dim``, ``max_length``, ``device`` (by default the model's) or
        ``parameters``. ``model`` is only for ROSE where every parameter is trained: what the training began with.

    Raises
    ------
    InputError
        If the request does not fit, or the preset looks at nothing that training changes.

    Notes
    -----
    A selection reads the pool as `tasksift.select` does, by a second model loaded from a snapshot; the model in
    training is only read. The features belong to one process: in a training of several ranks see `agreed`.
    """

    def __init__(
        self,
        pool: Any,
        target: Any,
        *,
        every: int | None,
        budget: int | str,
        preset: str = "less",
        folder: str | Path,
        at_start: bool = False,
        seed: int = 0,
        progress: Progress = silent,
        say: Say = lambda line: None,
        **options: Any,
    ) -> None:
        if every is None and not at_start:
            raise InputError("every=None without at_start selects never; give a number of steps")
        if every is not None:
            whole("every", every, 1)
        for name in OWN:
            if options.get(name) is not None:
                raise InputError(f"{name} does not apply to re-selection, which looks at the model in training")
        self.every, self.at_start, self.folder = every, at_start, Path(folder)
        self._progress, self._say = progress, say
        self._base_written = False
        self._began: str | None = options.pop("model", None)
        self._pool = expand(pool, "pool")
        self._target = expand(target, "target") if target is not None else []
        paths = {"pool": [file.path for file in self._pool], "target": [file.path for file in self._target]}
        self._values = {**paths, "budget": budget, "preset": preset, "seed": seed, **options}
        self._tests = options.get("test")
        representation = options.get("representation") or get_preset(preset).representation
        self._tuned = representation == "gradient" and options.get("vectors") is None
        self._model = representation in FRESH and not self._tuned and options.get("vectors") is None
        self._scored = scored(RunConfig.create(**self._values)) and not self._model
        if not (self._tuned or self._model or self._scored or get_preset(preset).selector == "random"):
            raise InputError(
                f"preset={preset!r} looks at nothing that training changes, so every selection would be the first; "
                "select once with tasksift.select, or give representation='gradient' or 'hidden'"
            )
        self.config = self._configured(NOW, NOW)
        """The settled configuration; folders of the model are left open."""
        if self._began is not None and self.config.target_objective != "dpo":
            raise InputError("model does not apply to re-selection, which looks at the model in training; leave it out")
        selector_parameters(self.config)
        check_inputs(self.config, self._pool, self._target)
        read_targets(self.config, self._target)

    def due(self, step: int) -> bool:
        """Whether to select after `step` steps; 0 is before the first."""
        return self.at_start if step == 0 else self.every is not None and step % self.every == 0

    def check(self, model: Any, optimizer: Any = None, rows: int | None = None) -> None:
        """Refuse, before training, what would be refused at the first selection.

        Parameters
        ----------
        model, optimizer
            As in `rows`; an optimizer that is not made yet may be left out.
        rows : int, optional
            Rows of the training set.

        Raises
        ------
        InputError
        """
        if rows is not None and self.config.budget != "auto":
            budget = Budget.parse(self.config.budget)
            if budget.unit != "tokens":
                budget.rows(rows)
        if not (self._tuned or self._model or self._scored):
            return
        check_model(model)
        if optimizer is not None and self.config.optimizer == "adam":
            check_adam(optimizer)
        if is_adapter(model) and self._began is not None:
            raise InputError("model does not apply where adapters are trained, whose base is known; leave it out")
        if not is_adapter(model) and self._began is None and self.config.target_objective == "dpo":
            raise InputError("preferences need model=FOLDER, what the training of every parameter began with")

    def rows(
        self, step: int, model: Any = None, tokenizer: Any = None, optimizer: Any = None, *, of: int | None = None
    ) -> Rows:
        """Select with the model as it is, or find what was selected with it.

        Parameters
        ----------
        step : int
            Steps of training so far.
        model : transformers.PreTrainedModel or peft.PeftModel
            Left as it is: mode, gradients, hooks, configuration.
        tokenizer : transformers tokenizer
        optimizer : torch.optim.AdamW, optional
            Needed where features are steps of Adam (preset ``less``).
        of : int, optional
            Rows of the training set; a pool of another number is refused.

        Returns
        -------
        int64 (rows,)
            Positions in the pool, best first, each as often as it was drawn.

        Raises
        ------
        InputError

        Notes
        -----
        The global generators of Python, NumPy and PyTorch are put back. A selection counts as done for the whole
        configuration, the inputs, the step and every byte of the snapshot; a killed one goes on with the features that
        it has. When it is done, the snapshot and the features go, those of earlier steps too.
        """
        folder, work = self.folder / f"step-{step}", self.folder / f"step-{step}.part"
        if folder.exists() and not (folder / REQUEST).is_file():
            raise InputError(f"{folder} holds other things than a selection; name another folder")
        if not (self._tuned or self._model or self._scored):
            with writing(work):
                return self._selected(step, folder, work, None, "cpu", of)
        torch, _ = need_models("re-selection")
        model = getattr(model, "_orig_mod", model)  # what torch.compile put around it
        self.check(model)
        if tokenizer is None:
            raise InputError("re-selection needs the tokenizer; give it, or the Trainer processing_class=tokenizer")
        if self.config.optimizer == "adam":
            check_adam(optimizer)
            check_moments(model, optimizer, step)
        place = next(model.parameters()).device
        with own_randomness(torch, place), torch.enable_grad(), writing(work):
            snapshot = write_snapshot(
                work / "model", model, tokenizer, optimizer, tuned=self._tuned, plain=self._model or self._scored,
                base=lambda: self._base(model, tokenizer), began=self._began, dtype=self.config.dtype,
            )  # fmt: skip
            device = str(place) if place.type in ("cpu", "cuda") else "cpu"
            return self._selected(step, folder, work, snapshot, device, of)

    def _base(self, model: Any, tokenizer: Any) -> Path:
        """The base of adapters, which stays as it is: written once by every process."""
        place = self.folder / BASE
        if not self._base_written:
            write_base(place, model, tokenizer)
            self._base_written = True
        return place

    def _configured(self, tune: str | Path | None, plain: str | Path | None, **more: Any) -> RunConfig:
        """The configuration with the folders of a snapshot in the places where this preset looks for a model."""
        places = {}
        if self._tuned:
            places = {"checkpoints": tune, "model": self._began}
        elif self._model:
            places = {"model": plain}
        if self._scored:
            places["score_model"] = plain
        return settle(RunConfig.create(**{**self._values, **places, **more}))

    def _selected(
        self, step: int, folder: Path, work: Path, snapshot: Snapshot | None, device: str, of: int | None
    ) -> Rows:
        seed = self.config.seed + step
        key = {
            "version": __version__,
            "step": step,
            "config": self.config.model_dump(mode="json"),
            "inputs": [fingerprint(files) for files in (self._pool, self._target, self._test_files())],
            "snapshot": None if snapshot is None else snapshot.digest,
        }
        key = json.loads(json.dumps(key))
        if _read(folder / REQUEST) != key:
            work.mkdir(parents=True, exist_ok=True)
            if _read(work / REQUEST) != key:
                shutil.rmtree(work / "features", ignore_errors=True)
                replace_json(work / REQUEST, key)
            self._say(f"selecting at step {step}")
            more: dict[str, Any] = {"seed": seed}
            if snapshot is not None:
                more |= {"features": work / "features", "device": self._values.get("device", device)}
            tune, plain = (None, None) if snapshot is None else (snapshot.tune, snapshot.plain)
            config = self._configured(tune, plain, **more)
            selection = run(config, self._pool, self._target, progress=self._progress, say=self._say)
            _check_size(selection.manifest["pool"]["rows"], of)
            _keep(folder, key, selection)
        for path in self.folder.glob("step-*.part"):
            found = re.fullmatch(r"step-(\d+)\.part", path.name)
            if found and int(found[1]) <= step:
                shutil.rmtree(path)
        try:
            _check_size(_read(folder / MANIFEST)["pool"]["rows"], of)
            record = pq.read_table(folder / RECORD, columns=["position", "copies"])
        except (KeyError, TypeError, pa.ArrowException):
            raise InputError(f"{folder} is damaged; remove it to select again") from None
        rows: Rows = np.repeat(record["position"].to_numpy(), record["copies"].to_numpy()).astype(np.int64)
        return rows

    def _test_files(self) -> list[Any]:
        return expand(self._tests, "test") if self._tests else []


def _keep(folder: Path, key: dict[str, Any], selection: Selection) -> None:
    part = folder.with_name(folder.name + ".new")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    pq.write_table(selection.record, part / RECORD, compression="zstd")
    replace_json(part / MANIFEST, selection.manifest)
    replace_json(part / REQUEST, key)
    if folder.exists():
        shutil.rmtree(folder)
    part.rename(folder)


def _check_size(rows: int, of: int | None) -> None:
    if of is not None and rows != of:
        raise InputError(f"the pool has {rows} rows and the training set {of}; they belong together row by row")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
