"""`tasksift plan`: parse, call the library, print."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer

from tasksift.cli_options import INPUT, OUTPUT, own
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
    def plan(
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
        out: Annotated[Path | None, own(OUTPUT, "FILE", "Write the plan as JSON.", "--out", "-o")] = None,
        force: Annotated[bool, own(OUTPUT, "", "Replace what is in the way.", "--force")] = False,
        as_json: Annotated[bool, own(OUTPUT, "", "Print the plan as JSON.", "--json")] = False,
    ) -> None:  # fmt: skip
        """Plan compute: which method, and how much of the pool, a budget is best spent on.

        tasksift plan --model-params 7e9 --pool-rows 270000 --pool-tokens 1.1e8 --flops 1e18
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
            request = Request(
                **{name: _size(name, text) for name, text in given.items() if text is not None},
                **{name: _real(name, text) for name, text in scores.items() if text is not None},
                less_cost=less_cost, reusable=dict(_parts(reusable or [])), cells=cells, panel=panel, metric=metric,
            )  # fmt: skip
            if out is not None:
                _check_file(out, force)
            record = advise(request)
            if out is not None:
                with writing(out):
                    replace_json(out, record)
            if as_json:
                typer.echo(json.dumps(record, ensure_ascii=False))
            else:
                for line in lines(record):
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
