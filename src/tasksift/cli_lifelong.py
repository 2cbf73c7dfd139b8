"""`tasksift lifelong`: parse, call the library, print."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer

from tasksift.cli_options import INPUT, KNOBS, OUTPUT, REPRESENTATION, option, own, with_features
from tasksift.errors import InputError


def add_lifelong(
    app: typer.Typer,
    answering: Callable[[], AbstractContextManager[None]],
    voices: Callable[[bool], tuple[Any, Callable[[str], None]]],
) -> None:
    """Add the command to the program; `answering` turns errors into a line, `voices` are bars and notes."""

    @app.command()
    @with_features
    def lifelong(
        data: Annotated[
            list[str],
            typer.Argument(metavar="NEW_DATA...", help="The rows that have arrived.", show_default=False),
        ],
        state: Annotated[
            Path | None, own(INPUT, "FOLDER", "Folder that carries the pool from step to step.", "--state")
        ] = None,
        text_template: Annotated[str | None, option("text_template", INPUT, "TEXT")] = None,
        source_column: Annotated[str | None, option("source_column", INPUT, "NAME")] = None,
        score_columns: Annotated[
            str | None, own(INPUT, "NAMES", "Columns with numbers of each row, in place of a model's losses.")
        ] = None,
        budget: Annotated[str | None, own(KNOBS, "B", "Rows to select: 1000, or 1% of the pool.", "--budget", "-b")] = (
            None
        ),
        pool_cap: Annotated[
            str | None, own(KNOBS, "N", "Rows that the pool keeps at most; near-copies go for good. [all stay]")
        ] = None,
        parameters: Annotated[list[str] | None, option("parameters", KNOBS, "NAME=VALUE", "--set", "-s")] = None,
        seed: Annotated[str | None, option("seed", KNOBS, "N")] = None,
        score_model: Annotated[
            str | None,
            own(REPRESENTATION, "NAME", "Causal language model whose losses score the rows; by default --model."),
        ] = None,
        out: Annotated[
            Path | None,
            own(OUTPUT, "FILE", "Training file to write; FILE.run, with the reasons, goes beside it.", "--out", "-o"),
        ] = None,
        force: Annotated[bool, own(OUTPUT, "", "Replace what is in the way.", "--force")] = False,
        quiet: Annotated[bool, own(OUTPUT, "", "No bars, no notes.", "--quiet", "-q")] = False,
        as_json: Annotated[bool, own(OUTPUT, "", "Print what the step did as JSON.", "--json")] = False,
        *,
        features: dict[str, Any],
    ) -> None:
        """Add NEW_DATA to a pool, select from all of it what to train on now, and prune it: one step of many.

        tasksift lifelong march.jsonl --state state/ --model llama/ --budget 1000 --out picked.jsonl
        """
        with answering():
            from tasksift.lifelong import lifelong as step

            for name, value, example in (
                ("--state", state, "the folder that carries the pool, such as --state state"),
                ("--budget", budget, "1000 (rows) or 1% (of the pool)"),
                ("--out", out, "the training file to write, such as --out picked.jsonl"),
            ):
                if value is None:
                    raise InputError(f"there is no {name}: give {example}")
            if pool_cap is not None and not pool_cap.isdecimal():
                raise InputError(f"--pool-cap {pool_cap!r}: it should be a whole number from 1")
            columns = [name.strip() for name in score_columns.split(",")] if score_columns is not None else []
            if not all(columns):
                raise InputError(f"--score-columns {score_columns!r}: name columns with commas between")
            progress, say = voices(quiet)
            given = {
                "text_template": text_template, "source_column": source_column, "parameters": parameters or None,
                "seed": seed, "score_model": score_model, **features,
            }  # fmt: skip
            assert state is not None
            assert budget is not None
            assert out is not None
            done = step(
                data, state, budget, out, pool_cap=int(pool_cap) if pool_cap is not None else None,
                score_columns=columns, force=force, progress=progress, say=say,
                **{name: value for name, value in given.items() if value is not None},
            )  # fmt: skip
            if as_json:
                typer.echo(json.dumps(done.facts, ensure_ascii=False))
