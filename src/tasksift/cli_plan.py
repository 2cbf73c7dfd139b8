"""`tasksift plan`: parse, call the library, print."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer

from tasksift.cli_options import INPUT, OUTPUT, option, own, with_features
from tasksift.cli_plan_scale import SCALE, refuse_with_scale, refuse_without_scale, scale_lines, scale_record
from tasksift.config import RunConfig
from tasksift.errors import InputError

COMPUTE, CURVES = "Compute", "Curves"

LARGEST = 1e36
"""Of any number that is given, and its inverse the smallest size, so that products of some are numbers still."""


def add_plan(
    app: typer.Typer,
    answering: Callable[[], AbstractContextManager[None]],
    voices: Callable[[bool], tuple[Any, Callable[[str], None]]],
) -> None:
    """Add the command to the program; `answering` turns errors into a line, `voices` are bars and notes."""

    @app.command()
    @with_features
    def plan(
        pool: Annotated[
            list[str] | None,
            typer.Argument(metavar="[POOL]...", help="With --scale: " + RunConfig.help_of("pool"), show_default=False),
        ] = None,
        model_params: Annotated[str | None, own(INPUT, "N", "Parameters of the model to train, such as 7e9.")] = None,
        pool_rows: Annotated[str | None, own(INPUT, "N", "Rows of the pool.")] = None,
        pool_tokens: Annotated[str | None, own(INPUT, "N", "Tokens of the pool.")] = None,
        target_tokens: Annotated[
            str | None, own(INPUT, "N", "Tokens of the target rows. [those of 100 rows of the pool]")
        ] = None,
        flops: Annotated[str | None, own(COMPUTE, "K", "Operations to spend on selection and training.")] = None,
        gpu_hours: Annotated[
            str | None, own(COMPUTE, "H", "The same as hours of a device, with --flops-per-second.")
        ] = None,
        flops_per_second: Annotated[
            str | None, own(COMPUTE, "F", "What the device achieves in training, not its peak.")
        ] = None,
        targets: Annotated[
            str | None, own(COMPUTE, "T", "Targets to select for from this pool; the budget is for each. [1]")
        ] = None,
        epochs: Annotated[str | None, own(COMPUTE, "E", "Passes of the training. [1]")] = None,
        selector_params: Annotated[
            str | None, own(COMPUTE, "N", "Parameters of the model that selects. [those of the trained one]")
        ] = None,
        encoder_params: Annotated[
            str | None, own(COMPUTE, "N", "Parameters of the sentence encoder. [2.27e7]")
        ] = None,
        less_cost: Annotated[
            str,
            own(
                COMPUTE, "NAME",
                "counted: what --preset less does; study: as measured there; paper: three gradients at 2048 tokens a "
                "row. [counted]",
            ),
        ] = "counted",
        reusable: Annotated[
            list[str] | None,
            own(
                COMPUTE, "NAME=S",
                "Which part of a method's selection another target need not pay, 0 to 1, such as ppl=1 for the "
                "perplexity of a model that is not tuned on the target. [ppl=0, all others 1]",
            ),
        ] = None,
        cells: Annotated[
            Path | None, own(CURVES, "PATH", "Your own curves: the folder of a comparison, or its cells.parquet.")
        ] = None,
        panel: Annotated[
            str | None, own(CURVES, "NAME", "Without --cells: a published panel such as MMLU-7B, or all. [all]")
        ] = None,
        metric: Annotated[
            str | None,
            own(CURVES, "NAME", "With --cells: loss, accuracy or exact-match. [the first that all cells have]"),
        ] = None,
        zero_score: Annotated[
            str | None, own(CURVES, "S", "Your model's score before training; rescales published curves.")
        ] = None,
        full_score: Annotated[
            str | None, own(CURVES, "S", "Its score after training on everything, measured or expected.")
        ] = None,
        scale: Annotated[
            str | None, own(SCALE, "ROWS", "Plan a selection from so many rows like those of POOL.")
        ] = None,
        target: Annotated[list[str] | None, option("target", SCALE, "FILE", "--target", "-t")] = None,
        vectors: Annotated[str | None, option("vectors", SCALE, "PATH")] = None,
        target_vectors: Annotated[str | None, option("target_vectors", SCALE, "PATH")] = None,
        features_folder: Annotated[
            str | None, own(SCALE, "FOLDER", "Features of the pool that are there already.", "--features")
        ] = None,
        budget: Annotated[str | None, option("budget", SCALE, "B", "--budget", "-b")] = None,
        preset: Annotated[str | None, option("preset", SCALE, "NAME", "--preset", "-p")] = None,
        sigma: Annotated[str | None, option("sigma", SCALE, "D")] = None,
        parameters: Annotated[list[str] | None, option("parameters", SCALE, "NAME=VALUE", "--set", "-s")] = None,
        backend: Annotated[str | None, option("backend", SCALE, "NAME")] = None,
        workers: Annotated[
            str | None, own(SCALE, "N", "Workers of all machines, each like a core of this one. [as many on each]")
        ] = None,
        machines: Annotated[str | None, own(SCALE, "N", "Machines. [1]")] = None,
        machine_memory: Annotated[str | None, own(SCALE, "BYTES", "Memory of each machine, such as 64e9.")] = None,
        network: Annotated[
            str | None, own(SCALE, "BYTES/S", "What each machine sends and receives in a second, such as 1.25e9.")
        ] = None,
        gpus: Annotated[str | None, own(SCALE, "N", "GPUs of all machines, for a model that embeds.")] = None,
        gpu_speed_up: Annotated[
            str | None, own(SCALE, "S", "How many times as fast as this machine a GPU embeds, where none was measured.")
        ] = None,
        measure_seconds: Annotated[str | None, own(SCALE, "S", "How long to measure, about. [60]")] = None,
        out: Annotated[Path | None, own(OUTPUT, "FILE", "Write the plan as JSON.", "--out", "-o")] = None,
        force: Annotated[bool, own(OUTPUT, "", "Replace what is in the way.", "--force")] = False,
        quiet: Annotated[bool, own(OUTPUT, "", "No notes.", "--quiet", "-q")] = False,
        as_json: Annotated[bool, own(OUTPUT, "", "Print the plan as JSON.", "--json")] = False,
        *,
        features: dict[str, Any],
    ) -> None:  # fmt: skip
        """Plan compute: which method, and how much of the pool, a budget is best spent on.

        tasksift plan --model-params 7e9 --pool-rows 270000 --pool-tokens 1.1e8 --flops 1e18

        With --scale: what a selection from a larger pool takes, stage by stage, from what is measured here.

        tasksift plan sample.jsonl --target dev.jsonl --budget 1% --scale 1e8 --machines 10
        """
        with answering():
            from tasksift.evaluate.advise import Request, advise
            from tasksift.evaluate.plan_lines import lines
            from tasksift.represent.store import replace_json
            from tasksift.rows import writing

            given = {
                "model_params": model_params, "pool_rows": pool_rows, "pool_tokens": pool_tokens,
                "target_tokens": target_tokens, "flops": flops, "gpu_hours": gpu_hours,
                "flops_per_second": flops_per_second, "targets": targets, "epochs": epochs,
                "selector_params": selector_params, "encoder_params": encoder_params,
            }  # fmt: skip
            scores = {"zero_score": zero_score, "full_score": full_score}
            selection = {
                "pool": pool or None, "target": target, "vectors": vectors, "target_vectors": target_vectors,
                "features": features_folder, "budget": budget, "preset": preset, "sigma": sigma,
                "parameters": parameters, "backend": backend, **features,
            }  # fmt: skip
            cluster = {
                "workers": workers, "machines": machines, "machine_memory": machine_memory, "network": network,
                "gpus": gpus, "gpu_speed_up": gpu_speed_up,
            }  # fmt: skip
            if scale is not None:
                others = {"cells": cells, "panel": panel, "metric": metric, "reusable": reusable}
                refuse_with_scale({**given, **scores, **others})
                if out is not None:
                    _check_file(out, force)
                sizes = {name: _size(name, text) for name, text in cluster.items() if text is not None}
                seconds = None if measure_seconds is None else _size("measure_seconds", measure_seconds)
                say = voices(quiet)[1]
                record = scale_record(_size("scale", scale), selection, sizes, seconds, say)
                shown = scale_lines
            else:
                refuse_without_scale({**selection, **cluster, "measure_seconds": measure_seconds})
                request = Request(
                    **{name: _size(name, text) for name, text in given.items() if text is not None},
                    **{name: _real(name, text) for name, text in scores.items() if text is not None},
                    less_cost=less_cost, reusable=dict(_parts(reusable or [])), cells=cells, panel=panel, metric=metric,
                )  # fmt: skip
                if out is not None:
                    _check_file(out, force)
                record, shown = advise(request), lines
            if out is not None:
                with writing(out):
                    replace_json(out, record)
            if as_json:
                typer.echo(json.dumps(record, ensure_ascii=False))
            else:
                for line in shown(record):
                    typer.echo(line)


def _check_file(out: Path, force: bool) -> None:
    if not out.parent.is_dir() or out.is_dir():
        raise InputError(f"cannot write {out}: name a file in a folder that exists")
    if out.exists() and not force:
        raise InputError(f"{out} exists; use --force to replace it, or name another file")


def _real(field: str, text: str) -> float:
    name = f"--{field.replace('_', '-')}"
    try:
        value = float(text.replace("_", ""))
    except ValueError:
        raise InputError(f"{name} {text!r}: it should be a number, such as 7e9") from None
    if not abs(value) < float("inf"):
        raise InputError(f"{name} {text!r}: it should be finite")
    if not abs(value) <= LARGEST:
        raise InputError(f"{name} {text!r}: it should be at most {LARGEST:g}")
    return value


def _size(field: str, text: str) -> float:
    value = _real(field, text)
    if value <= 0:
        raise InputError(f"--{field.replace('_', '-')} {text!r}: it should be above 0")
    if value < 1 / LARGEST:
        raise InputError(f"--{field.replace('_', '-')} {text!r}: it should be at least {1 / LARGEST:g}")
    return value


def _parts(given: list[str]) -> Iterator[tuple[str, float]]:
    for each in given:
        name, separator, text = each.partition("=")
        if not separator:
            raise InputError(f"--reusable {each!r}: give a method and a number, such as ppl=1")
        try:
            yield name.strip(), float(text)
        except ValueError:
            raise InputError(f"--reusable {each!r}: give a method and a number, such as ppl=1") from None
