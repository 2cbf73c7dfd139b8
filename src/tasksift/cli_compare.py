"""`tasksift compare`: parse, call the library, print."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer

from tasksift.cli_options import ENGINE, INPUT, OUTPUT, RAY_ADDRESS, computing, option, own
from tasksift.errors import InputError
from tasksift.evaluate.config import CompareConfig

GRID, TRAINING, RUNNING = "What is compared", "Training and judging", "Running"


def add_compare(
    app: typer.Typer,
    answering: Callable[[], AbstractContextManager[None]],
    voices: Callable[[bool], tuple[Any, Callable[[str], None]]],
) -> None:
    """Add the command to the program; `answering` turns errors into a line, `voices` are bars and notes."""

    @app.command()
    def compare(
        pool: Annotated[
            list[str] | None,
            typer.Argument(metavar="[POOL]...", help=CompareConfig.help_of("pool"), show_default=False),
        ] = None,
        target: Annotated[list[str] | None, _option("target", INPUT, "FILE", "--target", "-t")] = None,
        held_out: Annotated[list[str] | None, _option("held_out", INPUT, "FILE")] = None,
        hold_out: Annotated[str | None, _option("hold_out", INPUT, "SHARE")] = None,
        max_held_out: Annotated[str | None, _option("max_held_out", INPUT, "N")] = None,
        task_names: Annotated[str | None, _option("task_names", INPUT, "NAME,NAME")] = None,
        text_template: Annotated[str | None, _option("text_template", INPUT, "TEXT")] = None,
        source_column: Annotated[str | None, _option("source_column", INPUT, "NAME")] = None,
        config: Annotated[
            Path | None, own(INPUT, "FILE", "Replay a config.yaml of a comparison; other options given here win.")
        ] = None,
        presets: Annotated[str | None, _option("presets", GRID, "NAMES", "--presets", "-p")] = None,
        arm: Annotated[list[str] | None, _option("arm", GRID, "TEXT")] = None,
        budgets: Annotated[str | None, _option("budgets", GRID, "B,B", "--budgets", "-b")] = None,
        seeds: Annotated[str | None, _option("seeds", GRID, "N,N")] = None,
        without: Annotated[str | None, _option("without", GRID, "NAMES")] = None,
        decontaminate: Annotated[str | None, _option("decontaminate", GRID, "WORDS")] = None,
        selection_model: Annotated[str | None, _option("selection_model", GRID, "NAME")] = None,
        encoder: Annotated[str | None, _option("encoder", GRID, "NAME")] = None,
        model: Annotated[str | None, _option("model", TRAINING, "NAME", "--model", "-m")] = None,
        head: Annotated[str | None, _option("head", TRAINING, "none|classes")] = None,
        method: Annotated[str | None, _option("method", TRAINING, "lora|full")] = None,
        rank: Annotated[str | None, _option("rank", TRAINING, "N")] = None,
        epochs: Annotated[str | None, _option("epochs", TRAINING, "N")] = None,
        learning_rate: Annotated[str | None, _option("learning_rate", TRAINING, "R")] = None,
        schedule: Annotated[str | None, _option("schedule", TRAINING, "linear|cosine|constant")] = None,
        batch_size: Annotated[str | None, _option("batch_size", TRAINING, "N")] = None,
        micro_batch: Annotated[str | None, _option("micro_batch", TRAINING, "N")] = None,
        max_length: Annotated[str | None, _option("max_length", TRAINING, "N")] = None,
        choices: Annotated[bool | None, _option("choices", TRAINING, "", "--choices/--no-choices")] = None,
        exact_match: Annotated[bool, _option("exact_match", TRAINING, "", "--exact-match")] = False,
        new_tokens: Annotated[str | None, _option("new_tokens", TRAINING, "N")] = None,
        revision: Annotated[str | None, _option("revision", TRAINING, "REV")] = None,
        trust_remote_code: Annotated[bool, _option("trust_remote_code", TRAINING, "", "--trust-remote-code")] = False,
        device: Annotated[str | None, _option("device", RUNNING, "DEVICE")] = None,
        dtype: Annotated[str | None, _option("dtype", RUNNING, "float32|bfloat16")] = None,
        backend: Annotated[str | None, _option("backend", RUNNING, "NAME")] = None,
        workers: Annotated[str | None, _option("workers", RUNNING, "N")] = None,
        hours: Annotated[str | None, _option("hours", RUNNING, "H")] = None,
        engine: Annotated[str, ENGINE] = "local",
        ray_address: Annotated[str | None, RAY_ADDRESS] = None,
        out: Annotated[
            Path | None,
            own(OUTPUT, "FOLDER", "Folder for cells, tables and report; its cells are kept.", "--out", "-o"),
        ] = None,
        force: Annotated[
            bool, own(OUTPUT, "", "Drop cells of another pool, task or training that are in the way.", "--force")
        ] = False,
        quiet: Annotated[bool, own(OUTPUT, "", "No bars, no notes, no table.", "--quiet", "-q")] = False,
        as_json: Annotated[bool, own(OUTPUT, "", "Print the summary as JSON.", "--json")] = False,
    ) -> None:
        """Find out which selection helps: train on each, judge on held-out rows, with random and the whole pool beside.

        tasksift compare pool.parquet -t dev.jsonl --held-out test.jsonl --presets tsds,bm25 --model llama/ --out out/
        """
        given = {
            "target": target, "held_out": held_out, "hold_out": hold_out, "max_held_out": max_held_out,
            "text_template": text_template, "source_column": source_column, "arm": arm,
            "seeds": None if seeds is None else seeds.split(","), "decontaminate": decontaminate,
            "selection_model": selection_model, "encoder": encoder, "model": model, "head": head, "method": method,
            "rank": rank, "epochs": epochs, "learning_rate": learning_rate, "schedule": schedule,
            "batch_size": batch_size, "micro_batch": micro_batch, "max_length": max_length, "new_tokens": new_tokens,
            "choices": choices, "exact_match": exact_match or None, "revision": revision,
            "trust_remote_code": trust_remote_code or None,
            "device": device, "dtype": dtype, "backend": backend, "workers": workers, "hours": hours,
            "presets": presets, "budgets": budgets, "without": without, "pool": pool or None,
            "task_names": None if task_names is None else [name.strip() for name in task_names.split(",")],
        }  # fmt: skip
        with answering():
            if out is None:
                raise InputError("there is no --out: name the folder to write, such as --out comparison")
            base = CompareConfig.load(config).model_dump() if config is not None else {}
            chosen = {name: value for name, value in given.items() if value is not None}
            asked = CompareConfig.create(**{**base, **chosen})
            progress, say = voices(quiet)
            with computing(engine, ray_address):
                from tasksift.evaluate.compare import run  # while a cluster gets ready
                from tasksift.evaluate.summary_text import text_table

                done = run(asked, out=out, force=force, progress=progress, say=say)
            if as_json:
                typer.echo(json.dumps(done.summary, ensure_ascii=False))
            elif not quiet:
                for line in text_table(done.summary).split("\n"):
                    say(line)
                say("")
                say(f"{len(done.cells):,} cells -> {out / 'report.html'}")
            if done.left:
                say(f"{done.left:,} trainings are left; the same command goes on")
            if done.failed:
                for name, fault in done.failed.items() if quiet else ():
                    voices(False)[1](f"{name}: {fault}")
                say(f"{len(done.failed):,} could not be served: {'; '.join(done.failed)}; the same command tries again")
                raise typer.Exit(1)


def _option(field: str, panel: str, metavar: str, *names: str) -> Any:
    return option(field, panel, metavar, *names, config=CompareConfig)
