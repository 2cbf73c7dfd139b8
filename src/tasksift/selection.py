"""What `select` returns: the drawn rows, and answers to the next questions about them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasksift.config import AUTO, RunConfig
from tasksift.draw import Budget
from tasksift.errors import InputError
from tasksift.plan import Links, Plan
from tasksift.presets import get_preset
from tasksift.record import draw_from, how_far, record_table
from tasksift.rows import PoolFile, file_format
from tasksift.selectors import SELECTORS

if TYPE_CHECKING:
    import pandas as pd

REPORT = "report_data.json"
"""What a run folder keeps for its report."""


@dataclass(frozen=True)
class Pull:
    """One target's part in a row: the mass it ships, its share of the row's mass, and the distance."""

    target: int
    mass: float
    share: float
    distance: float
    text: str


@dataclass(frozen=True)
class Explanation:
    """Why a row is in the selection: `print` it, or read the fields."""

    id: str
    source: str
    file: str
    row: int
    rank: int
    reason: str
    probability: float | None
    density: float | None
    pulls: tuple[Pull, ...]

    def __str__(self) -> str:
        lines = [f"{self.file} row {self.row} ({self.source}), rank {self.rank}: {self.reason}"]
        for pull in self.pulls:
            share = f"{pull.share:6.1%} of its mass, " if pull.mass else ""
            lines.append(f"  target {pull.target}: {share}{how_far(pull.distance)}: {_head(pull.text)}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Selection:
    """The rows drawn from a plan, best first.

    Attributes
    ----------
    config : RunConfig
        The run's configuration.
    plan : Plan
        What the selector decided; `ids` are positions in the input.
    plan_table, record : pyarrow.Table
        ``plan.parquet`` and ``selection.parquet``.
    targets : list of str
        The beginning of each target's text.
    tasks : list of str or None
        The task of each target, where there are several.
    manifest : dict
        What was done, with which inputs, and what came out.
    files : list of PoolFile
        Where the rows are; empty for vectors without rows.
    left_out : pyarrow.Table or None
        The pool rows that were left out before anything was selected, with the reason; None where none were to be.
    report : dict or None
        The data of the run's report, where one was made; see `tasksift.report.selection`.
    """

    config: RunConfig
    plan: Plan
    plan_table: pa.Table
    record: pa.Table
    targets: list[str]
    manifest: dict[str, Any]
    files: list[PoolFile]
    left_out: pa.Table | None = None
    tasks: list[str] | None = None
    report: dict[str, Any] | None = None

    def __len__(self) -> int:
        return int(self.copies.sum())

    def __repr__(self) -> str:
        return (
            f"Selection({len(self)} rows, {self.record.num_rows} distinct, preset={self.config.preset!r}, "
            f"status={self.plan.status!r})"
        )

    @property
    def ids(self) -> list[str]:
        """The ids of the distinct rows."""
        ids: list[str] = self.record["id"].to_pylist()
        return ids

    @property
    def positions(self) -> NDArray[np.int64]:
        """The positions of the distinct rows in the input."""
        return np.asarray(self.record["position"].to_numpy(), dtype=np.int64)

    @property
    def weights(self) -> NDArray[np.float64]:
        """Training weight of one copy of each row; their mean over all copies is 1."""
        return np.asarray(self.record["weight"].to_numpy(), dtype=np.float64)

    @property
    def copies(self) -> NDArray[np.int64]:
        """How often each row occurs in the output."""
        return np.asarray(self.record["copies"].to_numpy(), dtype=np.int64)

    @property
    def path(self) -> Mapping[str, NDArray[np.float64]] | None:
        """The regularisation path of a TSDS plan: breadth and critical alpha, breakpoint by breakpoint."""
        return self.plan.path

    def to_pandas(self) -> pd.DataFrame:
        """The record as a data frame (needs pandas)."""
        frame: pd.DataFrame = self.record.to_pandas()
        return frame

    def explain(self, k: int | str, most: int = 5) -> Explanation:
        """Say why a row was taken.

        Parameters
        ----------
        k : int or str
            Place in the selection (0 = first), or row id.
        most : int
            How many targets to name, the strongest first.
        """
        if isinstance(k, str):
            places = {name: place for place, name in enumerate(self.ids)}
            if k not in places:
                raise InputError(f"row {k!r} is not in the selection")
            k = places[k]
        if not -self.record.num_rows <= k < self.record.num_rows:
            raise InputError(f"there is no row {k} in a selection of {self.record.num_rows} rows")
        line = self.record.slice(k % self.record.num_rows, 1).to_pylist()[0]
        pulls: list[Pull] = []
        links = self.plan.links
        here = np.flatnonzero(links.row == line["position"]) if links is not None else np.array([], dtype=np.int64)
        if links is not None and len(here):
            total = float(links.mass[here].sum())
            strongest = here[np.lexsort((links.distance[here], -links.mass[here]))][:most]
            for e in strongest:
                mass, target = float(links.mass[e]), int(links.target[e])
                share = mass / total if total else 0.0
                pulls.append(Pull(target, mass, share, float(links.distance[e]), self.targets[target]))
        elif line["nearest_target"] is not None:
            target = line["nearest_target"]
            pulls.append(Pull(target, 0.0, 0.0, line["distance"], self.targets[target]))
        names = ("id", "source", "file", "row", "rank", "reason", "probability", "density")
        return Explanation(**{name: line[name] for name in names}, pulls=tuple(pulls))

    def redraw(self, budget: str | int | None = None, *, seed: int | None = None, draw: str | None = None) -> Selection:
        """Draw again from the same plan: another budget, seed or draw, without looking at the pool again.

        Raises
        ------
        InputError
            If this plan cannot serve the budget; a new run with that budget may.
        """
        changes = {"budget": budget, "seed": seed, "draw": draw}
        config = RunConfig.create(
            **{**self.config.model_dump(), **{name: value for name, value in changes.items() if value is not None}}
        )
        drawn = draw_from(
            self.plan,
            self.plan_table,
            Budget(len(self.plan.ids), "rows") if config.budget == AUTO else Budget.parse(config.budget),
            pool_rows=self.manifest["pool"]["rows"],
            source_names=list(self.manifest["pool"]["sources"]),
            seed=config.seed,
            method=config.draw,
            max_per_source=config.max_per_source,
            min_per_source=config.min_per_source,
        )
        record = record_table(self.plan, self.plan_table, drawn, meaning_of(self.config), self.tasks)
        manifest = {**self.manifest, "selection": summarize(record, drawn.method, config)}
        return replace(self, config=config, record=record, manifest=manifest, report=None)

    def write(self, out: str | Path, *, force: bool = False) -> None:
        """Write the training file, and ``<out>.run`` with the record beside it.

        Raises
        ------
        InputError
            If a file is in the way (unless `force`), or cannot be written.
        """
        from tasksift.run_folder import publish

        publish(self, Path(out), force=force)


def open_run(folder: str | Path) -> Selection:
    """Open a finished run directory again.

    Raises
    ------
    InputError
        If it is not one.
    """
    try:
        return _opened(Path(folder))
    except InputError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, pa.ArrowException) as error:
        raise InputError(f"{folder} is not a finished run directory ({' '.join(str(error).split())})") from None


def _opened(folder: Path) -> Selection:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    config = RunConfig.load(folder / "config.yaml")
    plan_rows = pq.read_table(folder / "plan.parquet")
    record = pq.read_table(folder / "selection.parquet")
    shown = pq.read_table(folder / "targets.parquet")
    left_out = pq.read_table(folder / "left_out.parquet") if (folder / "left_out.parquet").exists() else None
    data = folder / REPORT
    report = json.loads(data.read_text(encoding="utf-8")) if data.exists() else None
    facts = manifest["plan"]
    plan = Plan(
        kind=facts["kind"],
        selector=facts["selector"],
        ids=plan_rows["row"].to_numpy(),
        values=plan_rows["probability" if facts["kind"] == "mass" else "score"].to_numpy(),
        status=facts["status"],
        complete=facts["complete"],
        breadth=facts["breadth"],
        alpha=facts["alpha"],
        density=None if plan_rows["density"].null_count else plan_rows["density"].to_numpy(),
        links=_read_links(folder / "transport.parquet"),
        task=plan_rows["task"].to_numpy() if "task" in plan_rows.column_names else None,
        info=facts["info"],
        path=_read_path(folder / "path.parquet"),
    )
    targets = shown["text"].to_pylist()
    tasks = shown["task"].to_pylist() if "task" in shown.column_names else None
    # As they were then: explaining and drawing need none of them, and writing checks that they are still the same.
    paths = [file["path"] for file in manifest["pool"]["files"]] if manifest["pool"]["on_disk"] else []
    files = [PoolFile(path, *(file_format(path) or ("hf", None))) for path in paths]
    return Selection(config, plan, plan_rows, record, targets, manifest, files, left_out, tasks, report)


def meaning_of(config: RunConfig) -> str:
    """What the values of a run's plan are, see `tasksift.selectors.contract.Selector`."""
    if config.task_weights is not None:
        return ""
    return SELECTORS[get_preset(config.preset).selector].meaning


def summarize(record: pa.Table, method: str, config: RunConfig) -> dict[str, Any]:
    """What the manifest says about a draw."""
    copies = record["copies"].to_numpy()
    tokens = None if record["tokens"].null_count else int(record["tokens"].to_numpy() @ copies)
    by_source = record.group_by("source").aggregate([("copies", "sum")])
    return {
        "budget": config.budget,
        "draw": method,
        "seed": config.seed,
        "rows": int(copies.sum()),
        "distinct": record.num_rows,
        "tokens": tokens,
        "sources": dict(sorted(zip(by_source["source"].to_pylist(), by_source["copies_sum"].to_pylist(), strict=True))),
    }


def _read_links(path: Path) -> Links | None:
    if not path.exists():
        return None
    table = pq.read_table(path)
    return Links(*(table[name].to_numpy() for name in ("row", "target", "mass", "distance")))


def _read_path(path: Path) -> dict[str, NDArray[np.float64]] | None:
    if not path.exists():
        return None
    table = pq.read_table(path)
    return {name: table[name].to_numpy() for name in table.column_names}


def _head(text: str, width: int = 100) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
