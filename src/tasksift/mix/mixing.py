"""Splitting rows by domain, giving each a share, and writing the folder that a trainer takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasksift.draw.budget import Budget
from tasksift.errors import InputError
from tasksift.mix.assign import Part, make_parts
from tasksift.mix.axolotl import write_axolotl
from tasksift.mix.datasets_folder import write_datasets
from tasksift.mix.folder import FORMAT, RECORD, check_out, making, write_json
from tasksift.mix.jsonl import write_jsonl
from tasksift.mix.llama_factory import write_llama_factory
from tasksift.mix.pool import MixPool, read_pool
from tasksift.mix.shares import find_shares
from tasksift.mix.taken import Taken, taking
from tasksift.online.domains import Domains
from tasksift.progress import Progress, silent
from tasksift.rows import TextReader, expand

Writer = Callable[[Path, Path, list[Part], Taken, int], dict[str, Any]]

FORMATS: dict[str, Writer] = {
    "jsonl": write_jsonl,
    "llama-factory": write_llama_factory,
    "axolotl": write_axolotl,
    "datasets": write_datasets,
}
SHOWN = 12
"""Domains that the summary names."""


@dataclass(frozen=True)
class Mix:
    """A mixture that was written.

    Attributes
    ----------
    folder : Path
    domains : Domains
        The domain of every row of the pool, in the order of the input.
    shares : float64 (K,)
        Of every domain, in the order of ``domains.names``; 0 for one that is left out.
    record : dict
        What mixture.json says: per domain its name, file, rows and share, and what belongs to the format.
    """

    folder: Path
    domains: Domains
    shares: NDArray[np.float64]
    record: dict[str, Any]


def mix(
    pool: Any,
    out: str | Path,
    *,
    format: Literal["jsonl", "llama-factory", "axolotl", "datasets"] = "jsonl",
    shares: str | Path | Mapping[str, float] = "proportional",
    budget: str | int | None = None,
    domain_column: str | None = None,
    source_column: str | None = None,
    clusters: int | Literal["auto"] | None = None,
    features: str | Path | None = None,
    text_template: str | None = None,
    seed: int = 0,
    force: bool = False,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda line: None,
) -> Mix:
    """Split a pool by domain and write it, with the share of each domain, as a folder that a trainer takes.

    Parameters
    ----------
    pool : path, glob, list of them, list of dict, pyarrow.Table, pandas.DataFrame or datasets.Dataset
        As in `tasksift.select`, such as the file that this wrote.
    out : str or Path
        The folder.
    format : str
        ``jsonl``, ``llama-factory``, ``axolotl`` or ``datasets``.
    shares : str, Path or mapping
        As in `tasksift.mix.find_shares`.
    budget : str or int, optional
        Rows to train on in all, ``1000`` or ``10%`` of the pool: exactly so many are drawn at these shares, no row
        again before every row of its domain was taken. For axolotl by default the rows of the pool.
    domain_column, source_column : str, optional
        The column that names each row's domain, or its source, which is the domain without the former.
    clusters : int or "auto", optional
        Find domains by clustering instead; see `tasksift.online.found.find_domains`.
    features : path, optional
        The folder of features to cluster; by default TF-IDF.
    text_template : str, optional
        How a row of no usual layout becomes text.
    seed : int
        Of clusters, draws and orders. The order of the pool changes nothing.
    force : bool
        Replace an earlier mixture.
    progress, say : callable
        Where bars and notes go.

    Returns
    -------
    Mix
        Cost: the pool is read twice; what is taken passes through a temporary file beside `out`.

    Raises
    ------
    InputError
        For anything in the request or the data that cannot be served, in one line. Nothing is left behind.
    """
    out = Path(out)
    if format not in FORMATS:
        raise InputError(f"--format {format} is not one of {', '.join(FORMATS)}")
    if seed < 0:
        raise InputError(f"--seed {seed}: it is a whole number from 0")
    amount = None if budget is None else Budget.parse(budget)
    if amount is not None and amount.unit == "tokens":
        raise InputError(f"--budget {budget} is in tokens; write rows (1000) or a share of the pool (10%)")
    history = shares if isinstance(shares, Path) or (isinstance(shares, str) and shares.endswith(".jsonl")) else None
    check_out(out, pool, [*expand(pool, "pool"), history, features], force)
    read = read_pool(
        pool, domain_column=domain_column, source_column=source_column, clusters=clusters, features=features,
        text_template=text_template, seed=seed, progress=progress,
    )  # fmt: skip
    found = find_shares(shares, read.domains)
    rows = len(read.index) if amount is None else int(amount.amount)
    if amount is not None and amount.unit == "percent":
        rows = amount.rows(len(read.index))
    drawn = rows if amount is not None or format == "axolotl" else None
    all_parts = make_parts(read.domains, found, drawn, order=read.index.order, seed=seed)
    parts = [part for part in all_parts if len(part.rows)]
    if format == "jsonl":
        parts = all_parts
    reader = None if format == "jsonl" else TextReader(text_template)
    wanted = np.concatenate([part.once if format == "jsonl" else part.rows for part in parts])
    with making(out) as folder, taking(read, wanted, folder.parent, reader) as taken:
        about = FORMATS[format](folder, out, parts, taken, seed)
        if format == "llama-factory" and taken.irregular:
            say(f"{taken.irregular:,} chats do not go from user to assistant in turn; LLaMA-Factory passes over them")
        record = _record(read, parts, format, seed, drawn, about)
        write_json(folder / RECORD, record)
        if clusters is not None:
            _write_domains(read, folder / "domains.parquet")
    _tell(read.domains, parts, say)
    say(f"{len(parts)} domains, {sum(len(part.rows) for part in parts):,} rows -> {out}")
    return Mix(out, read.domains, found, record)


def _record(
    pool: MixPool, parts: list[Part], format: str, seed: int, drawn: int | None, about: dict[str, Any]
) -> dict[str, Any]:
    suffix = "" if format == "datasets" else ".jsonl"
    mixed = {part.name for part in parts}
    return {
        "made_by": FORMAT,
        "format": format,
        "seed": seed,
        "budget": drawn,
        **about,
        "domains": [
            {
                "name": part.name,
                "file": part.stem + suffix,
                "rows": part.size,
                "share": part.share,
                **({} if part.drawn is None else {"drawn": len(part.drawn)}),
            }
            for part in parts
        ],
        "left_out": [name for name in pool.domains.names if name not in mixed],
    }


def _tell(domains: Domains, parts: list[Part], say: Callable[[str], None]) -> None:
    """Say what every domain gets, the largest first."""
    largest = sorted(parts, key=lambda part: (-part.share, part.name))
    for part in largest[:SHOWN]:
        drawn = "" if part.drawn is None else f", {len(part.drawn):,} drawn"
        often = f" ({len(part.drawn) / part.size:.1f} times each)" if _repeats(part) and part.drawn is not None else ""
        say(f"{part.name}: {part.size:,} rows, share {part.share:.4f}{drawn}{often}")
    if len(largest) > SHOWN:
        say(f"and {len(largest) - SHOWN} more domains")
    mixed = {part.name for part in parts}
    left = [name for name in domains.names if name not in mixed]
    if left:
        more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
        say(f"left out, as no row is asked of them: {', '.join(left[:SHOWN])}{more}")


def _repeats(part: Part) -> bool:
    return part.drawn is not None and len(part.drawn) > part.size


def _write_domains(pool: MixPool, path: Path) -> None:
    """Write the domain of every row, in the order of the input: ``id``, ``file``, ``row`` and ``domain``."""
    table = pool.index.take(np.arange(len(pool.index)))
    names = pa.array(pool.domains.names, pa.string())
    domain = pa.DictionaryArray.from_arrays(pa.array(pool.domains.codes, pa.int32()), names)
    columns = {"id": table["id"], "file": table["file"], "row": table["file_row"], "domain": domain}
    pq.write_table(pa.table(columns), path, compression="zstd")
