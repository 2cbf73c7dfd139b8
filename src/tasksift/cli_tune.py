"""`tasksift tune`: parse, call the library, print."""

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

TRAINING, ADAPTERS = "Training", "Adapters"


def add_tune(
    app: typer.Typer,
    answering: Callable[[], AbstractContextManager[None]],
    voices: Callable[[bool], tuple[Any, Callable[[str], None]]],
) -> None:
    """Add the command to the program; `answering` turns errors into a line, `voices` are bars and notes."""

    @app.command()
    def tune(
        pool: Annotated[
            list[str], typer.Argument(metavar="POOL...", help=RunConfig.help_of("pool"), show_default=False)
        ],
        model: Annotated[
            str | None, own(INPUT, "NAME", "Folder or hub name of the causal language model to train.")
        ] = None,
        sample: Annotated[str | None, own(INPUT, "N", "Rows to train on, drawn at random: 1000 or 5%. [all]")] = None,
        text_template: Annotated[str | None, option("text_template", INPUT, "TEXT")] = None,
        revision: Annotated[str | None, option("revision", INPUT, "REV")] = None,
        trust_remote_code: Annotated[bool, option("trust_remote_code", INPUT, "", "--trust-remote-code")] = False,
        method: Annotated[str, own(TRAINING, "lora|full", "Train adapters, or every parameter. [lora]")] = "lora",
        epochs: Annotated[
            str | None, own(TRAINING, "N", "Passes over the rows; a checkpoint is kept after each. [4]")
        ] = None,
        learning_rate: Annotated[str | None, own(TRAINING, "R", "The highest learning rate. [2e-5]")] = None,
        schedule: Annotated[
            str, own(TRAINING, "linear|cosine|constant", "What the learning rate does after the warm-up. [linear]")
        ] = "linear",
        warmup_ratio: Annotated[str | None, own(TRAINING, "S", "Share of the steps in which it rises. [0.03]")] = None,
        batch_size: Annotated[str | None, own(TRAINING, "N", "Rows of a step. [128]")] = None,
        micro_batch: Annotated[str | None, own(TRAINING, "N", "Rows in memory at a time. [all of a step]")] = None,
        weight_decay: Annotated[str | None, own(TRAINING, "W", "As in AdamW. [0]")] = None,
        max_steps: Annotated[str | None, own(TRAINING, "N", "Stop after so many steps.")] = None,
        max_length: Annotated[str | None, option("max_length", TRAINING, "N")] = None,
        score: Annotated[str, option("score", TRAINING, "response|text")] = "response",
        seed: Annotated[str | None, own(TRAINING, "N", "Of the draw, the order and the adapters. [0]")] = None,
        device: Annotated[str, option("device", TRAINING, "DEVICE")] = "cpu",
        dtype: Annotated[str, option("dtype", TRAINING, "float32|bfloat16")] = "float32",
        rank: Annotated[str | None, own(ADAPTERS, "N", "Rank of the adapters. [128]")] = None,
        alpha: Annotated[str | None, own(ADAPTERS, "A", "What they add is scaled by alpha / rank. [512]")] = None,
        dropout: Annotated[str | None, own(ADAPTERS, "P", "Dropout of the adapters. [0.1]")] = None,
        modules: Annotated[
            str, own(ADAPTERS, "NAMES", "Which layers: all-linear, or ends of names with commas. [all-linear]")
        ] = "all-linear",
        out: Annotated[Path | None, own(OUTPUT, "FOLDER", "Folder for checkpoints and moments.", "--out", "-o")] = None,
        force: Annotated[bool, own(OUTPUT, "", "Replace what is in the way.", "--force")] = False,
        quiet: Annotated[bool, own(OUTPUT, "", "No bars, no notes.", "--quiet", "-q")] = False,
        as_json: Annotated[bool, own(OUTPUT, "", "Print the record as JSON.", "--json")] = False,
    ) -> None:
        """Train a model on POOL for a while, as gradients want it: with Adam's moments kept after each epoch.

        tasksift tune pool.parquet --model llama/ --sample 5% --out warm/
        """
        with answering():
            from tasksift.represent.models import model_length
            from tasksift.tune import Settings, tune_rows

            if model is None:
                raise InputError("there is no --model: name the causal language model to train")
            if out is None:
                raise InputError("there is no --out: name the folder to write, such as --out warm")
            if dtype not in ("float32", "bfloat16"):
                raise InputError(f"--dtype {dtype} is not one of float32, bfloat16")
            progress, say = voices(quiet)
            whole = {
                "epochs": epochs, "batch_size": batch_size, "micro_batch": micro_batch, "max_steps": max_steps,
                "max_length": max_length, "seed": seed, "rank": rank,
            }  # fmt: skip
            real = {
                "learning_rate": learning_rate, "warmup_ratio": warmup_ratio, "weight_decay": weight_decay,
                "alpha": alpha, "dropout": dropout,
            }  # fmt: skip
            settings: dict[str, Any] = {
                **{name: number(name, int, text) for name, text in whole.items() if text is not None},
                **{name: number(name, float, text) for name, text in real.items() if text is not None},
                "method": method, "schedule": schedule, "score": score,
                "modules": modules if modules == "all-linear" else _names(modules),
            }  # fmt: skip
            if not 0 <= settings.get("seed", 0) < 2**32:
                raise InputError(f"--seed {seed} is out of range; it is at least 0 and below 2^32")
            if "max_length" not in settings:
                settings["max_length"] = model_length(model, revision, trust_remote_code=trust_remote_code)
            done = tune_rows(
                pool, out, model=model, sample=sample, text_template=text_template, settings=Settings(**settings),
                revision=revision, device=device, dtype=dtype, trust_remote_code=trust_remote_code,
                progress=progress, say=say, force=force,
            )  # fmt: skip
            if as_json:
                typer.echo(json.dumps(done.record, ensure_ascii=False))
            else:
                for each in done.checkpoints:
                    say(f"epoch {each.epoch}: step {each.step}, loss {each.loss:.4f} -> {each.folder}")


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise InputError(f"--modules {text!r}: name ends of layers with commas between, such as q_proj,v_proj")
    return names
