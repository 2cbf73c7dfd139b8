"""`tasksift mix`: parse, call the library, print."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer

from tasksift.cli_options import INPUT, OUTPUT, number, option, own
from tasksift.config import RunConfig
from tasksift.errors import InputError

MIXTURE = "Mixture"


def add_mix(
    app: typer.Typer,
    answering: Callable[[], AbstractContextManager[None]],
    voices: Callable[[bool], tuple[Any, Callable[[str], None]]],
) -> None:
    """Add the command to the program; `answering` turns errors into a line, `voices` are bars and notes."""

    @app.command()
    def mix(
        pool: Annotated[
            list[str], typer.Argument(metavar="POOL...", help=RunConfig.help_of("pool"), show_default=False)
        ],
        domain_column: Annotated[
            str | None, own(INPUT, "NAME", "Column that names each row's domain; by default its source.")
        ] = None,
        clusters: Annotated[
            str | None,
            own(INPUT, "K", "Find so many domains by clustering; auto: the square root of the rows, 2 to 15."),
        ] = None,
        features: Annotated[
            str | None,
            own(INPUT, "FOLDER", "Needs --clusters: the vectors, as tasksift embed made them; by default TF-IDF."),
        ] = None,
        text_template: Annotated[str | None, option("text_template", INPUT, "TEXT")] = None,
        source_column: Annotated[str | None, option("source_column", INPUT, "NAME")] = None,
        shares: Annotated[
            str,
            own(
                MIXTURE, "SHARES",
                "proportional (to the rows), uniform, NAME=0.3,NAME=0.7 (domains that are not named are left out), or "
                "the mixture.jsonl of an online run: its mean over the second half. [proportional]",
            ),
        ] = "proportional",
        budget: Annotated[
            str | None,
            own(
                MIXTURE, "B",
                "Draw exactly so many rows at these shares, in copies if need be: 1000, or 10% of the pool. For "
                "axolotl, which knows no shares, rows are always drawn, by default as many as the pool has.",
                "--budget", "-b",
            ),
        ] = None,
        seed: Annotated[str | None, own(MIXTURE, "N", "Of clusters, draws and orders. [0]")] = None,
        format: Annotated[
            str, own(OUTPUT, "NAME", "jsonl, llama-factory, axolotl or datasets. [jsonl]", "--format", "-f")
        ] = "jsonl",
        out: Annotated[
            Path | None,
            own(OUTPUT, "FOLDER", "Required: the folder to write; data, mixture.json, configuration.", "--out", "-o"),
        ] = None,
        force: Annotated[bool, own(OUTPUT, "", "Replace an earlier mixture.", "--force")] = False,
        quiet: Annotated[bool, own(OUTPUT, "", "No bars, no notes.", "--quiet", "-q")] = False,
        as_json: Annotated[bool, own(OUTPUT, "", "Print mixture.json.", "--json")] = False,
    ) -> None:  # fmt: skip
        """Split POOL by domain and write it, with each domain's share, as a folder that a trainer takes.

        A domain is a part of the pool that gets a share of the training: the rows of one source, with one value in a
        column, or of one cluster.

        tasksift mix picked.jsonl --shares code=0.3,chat=0.7 --format llama-factory --out mixed/
        """
        with answering():
            from tasksift.mix import mix as write

            if out is None:
                raise InputError("there is no --out: name the folder to write, such as --out mixed")
            progress, say = voices(quiet)
            count: Any = clusters if clusters in (None, "auto") else number("clusters", int, clusters)
            done = write(
                pool, out, format=format, shares=shares, budget=budget, domain_column=domain_column,  # type: ignore[arg-type]
                source_column=source_column, clusters=count, features=features, text_template=text_template,
                seed=number("seed", int, seed or "0"), force=force, progress=progress, say=say,
            )  # fmt: skip
            if as_json:
                typer.echo(json.dumps(done.record, ensure_ascii=False))
