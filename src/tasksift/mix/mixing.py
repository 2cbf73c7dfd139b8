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
from tasksift.mix.shares import find_shares, history_of
from tasksift.mix.taken import Taken, taking
from tasksift.online.checks import whole
from tasksift.online.domains import Domains
from tasksift.progress import Progress, silent
from tasksift.rows import TextReader, expand


@dataclass(frozen=True)
class Writer:
    """How a mixture is written for one trainer.

    Attributes
    ----------
    write : callable
        Takes the folder to write in, the name it will have, parts, rows and seed; returns what the record adds.
    suffix : str
        Of a domain's file.
    keeps_rows : bool
        Rows stay as they are, and the file of a domain has all of them whatever is drawn.
    needs_budget : bool
        The trainer knows no shares, so that copies are drawn in any case.
    """

    write: Callable[[Path, Path, list[Part], Taken, int], dict[str, Any]]
    suffix: str = ".jsonl"
    keeps_rows: bool = False
    needs_budget: bool = False


FORMATS: dict[str, Writer] = {
    "jsonl": Writer(write_jsonl, keeps_rows=True),
    "llama-factory": Writer(write_llama_factory),
    "axolotl": Writer(write_axolotl, needs_budget=True),
    "datasets": Writer(write_datasets, suffix=""),
}
SHOWN = 12
"""Domains that the summary names."""
MOST_COPIES = 1000
"""Of a row, on average: a slip in the budget shall not fill the disk."""


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
        Find domains by clustering instead; see `tasksift.online.find_domains`.
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
    writer = FORMATS[format]
    whole("--seed", seed, 0)
    seed = int(seed)  # of numpy too, which JSON does not know
    amount = None if budget is None else _parse_budget(budget)
    check_out(out, pool, [*expand(pool, "pool"), history_of(shares), features], force)
    read = read_pool(
        pool, domain_column=domain_column, source_column=source_column, clusters=clusters, features=features,
        text_template=text_template, seed=seed, progress=progress,
    )  # fmt: skip
    found = find_shares(shares, read.domains)
    drawn = len(read.index) if writer.needs_budget else None
    if amount is not None:
        drawn = amount.rows(len(read.index)) if amount.unit == "percent" else int(amount.amount)
    if drawn is not None and drawn > MOST_COPIES * len(read.index):
        raise InputError(
            f"--budget {budget} is more than {MOST_COPIES:,} copies of each of the {len(read.index):,} rows of the "
            "pool; lower it"
        )
    parts = make_parts(read.domains, found, drawn, order=read.index.order, seed=seed)
    if writer.keeps_rows:
        reader, wanted = None, [part.once for part in parts]
    else:
        parts = [part for part in parts if len(part.rows)]
        reader, wanted = TextReader(text_template), [part.rows for part in parts]
    with making(out, force) as folder, taking(read, np.concatenate(wanted), folder.parent, reader) as taken:
        about = writer.write(folder, out, parts, taken, seed)
        if format == "llama-factory" and taken.irregular:
            say(f"{taken.irregular:,} chats do not go from user to assistant in turn; LLaMA-Factory passes over them")
        record = _record(read, parts, format, seed, drawn, about)
        write_json(folder / RECORD, record)
        if clusters is not None:
            _write_domains(read, folder / "domains.parquet")
    _tell(parts, record["left_out"], say)
    say(f"{_counted(len(parts), 'domain')}, {_counted(sum(len(part.rows) for part in parts), 'row')} -> {out}")
    return Mix(out, read.domains, found, record)


def _parse_budget(budget: str | int) -> Budget:
    """Read a number of rows or a percentage of the pool."""
    try:
        amount = Budget.parse(budget)
    except InputError:
        raise InputError(
            f"--budget {str(budget)!r}: write a number of rows (1000) or a share of the pool up to 100% (10%)"
        ) from None
    if amount.unit == "tokens":
        raise InputError(f"--budget {budget} is in tokens; write rows (1000) or a share of the pool (10%)")
    return amount


def _record(
    pool: MixPool, parts: list[Part], format: str, seed: int, drawn: int | None, about: dict[str, Any]
) -> dict[str, Any]:
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
                "file": part.stem + FORMATS[format].suffix,
                "rows": part.size,
                "share": part.share,
                **({} if part.drawn is None else {"drawn": len(part.drawn)}),
            }
            for part in parts
        ],
        "left_out": [name for name in pool.domains.names if name not in mixed],
    }


def _tell(parts: list[Part], left_out: list[str], say: Callable[[str], None]) -> None:
    """Say what every domain gets, the largest first."""
    largest = sorted(parts, key=lambda part: (-part.share, part.name))
    for part in largest[:SHOWN]:
        drawn = ""
        if part.drawn is not None:
            often = len(part.drawn) / part.size
            drawn = f", {len(part.drawn):,} drawn" + (f" ({often:.1f} times each)" if often > 1 else "")
        say(f"{part.name}: {_counted(part.size, 'row')}, share {part.share:.4f}{drawn}")
    if len(largest) > SHOWN:
        say(f"and {_counted(len(largest) - SHOWN, 'more domain')}")
    if left_out:
        more = f" and {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
        say(f"left out, as no row is asked of them: {', '.join(left_out[:SHOWN])}{more}")


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def _write_domains(pool: MixPool, path: Path) -> None:
    """Write the domain of every row, in the order of the input: ``id``, ``file``, ``row`` and ``domain``."""
    table = pool.index.take(np.arange(len(pool.index)))
    names = pa.array(pool.domains.names, pa.string())
    domain = pa.DictionaryArray.from_arrays(pa.array(pool.domains.codes, pa.int32()), names)
    columns = {"id": table["id"], "file": table["file"], "row": table["file_row"], "domain": domain}
    pq.write_table(pa.table(columns), path, compression="zstd")
