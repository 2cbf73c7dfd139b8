"""The command line: parse, call the library, print. Heavy imports wait until a command runs."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tasksift import __version__
from tasksift.cli_compare import add_compare
from tasksift.cli_lifelong import add_lifelong
from tasksift.cli_mix import add_mix
from tasksift.cli_options import (
    ENGINE,
    FILTERS,
    INPUT,
    KNOBS,
    OUTPUT,
    RAY_ADDRESS,
    REPRESENTATION,
    computing,
    option,
    with_features,
)
from tasksift.cli_plan import add_plan
from tasksift.cli_report import add_report
from tasksift.cli_tune import add_tune
from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.feature_config import FeatureConfig

if TYPE_CHECKING:
    from tasksift.progress import Progress
    from tasksift.selection import Selection

app = typer.Typer(
    help="Out of a large pool, the examples to train on for the task that a few examples show.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

SHOWN_SOURCES = 12
"""Sources that the summary names."""

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that turn the direction of the text around them."""


_UsageError: Any = typer.BadParameter.__base__
"""What the parser raises: from click, or from the click inside typer, by typer's version."""


def main() -> None:
    """Run the command line; bad requests and bad data end with one line and exit code 2."""
    # A reader that goes away, such as `head`, ends the program quietly.
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        sys.exit(app(sys.argv[1:] or ["--help"], standalone_mode=False))
    except _UsageError as error:
        said = _visible(" ".join(error.format_message().split())).removesuffix(".")
        stop = "" if said.endswith("?") else "."
        typer.echo(f"tasksift: {said}{stop} See {error.ctx.command_path if error.ctx else 'tasksift'} --help", err=True)
        sys.exit(2)


@contextmanager
def _answering() -> Iterator[None]:
    """Turn what the user can mend into one line on standard error and exit code 2."""
    try:
        yield
    except InputError as error:
        typer.echo(f"tasksift: {_visible(' '.join(str(error).split()))}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo("tasksift: interrupted; the same command goes on where it was", err=True)
        raise typer.Exit(130) from None
    except MemoryError:
        typer.echo("tasksift: out of memory; lower --dim or --budget, or split the pool", err=True)
        raise typer.Exit(1) from None


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tasksift {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def _flag(name: str, text: str, *more: str) -> Any:
    return typer.Option(name, *more, metavar="", help=text, rich_help_panel=OUTPUT)


@app.command()
@with_features
def select(
    pool: Annotated[
        list[str] | None, typer.Argument(metavar="[POOL]...", help=RunConfig.help_of("pool"), show_default=False)
    ] = None,
    target: Annotated[list[str] | None, option("target", INPUT, "FILE", "--target", "-t")] = None,
    vectors: Annotated[str | None, option("vectors", INPUT, "PATH")] = None,
    target_vectors: Annotated[str | None, option("target_vectors", INPUT, "PATH")] = None,
    normalize: Annotated[bool | None, option("normalize", INPUT, "", "--normalize/--no-normalize")] = None,
    text_template: Annotated[str | None, option("text_template", INPUT, "TEXT")] = None,
    target_template: Annotated[str | None, option("target_template", INPUT, "TEXT")] = None,
    task_column: Annotated[str | None, option("task_column", INPUT, "NAME")] = None,
    task_weights: Annotated[str | None, option("task_weights", INPUT, "W,W")] = None,
    group_column: Annotated[str | None, option("group_column", INPUT, "NAME")] = None,
    score_column: Annotated[str | None, option("score_column", INPUT, "NAME")] = None,
    id_column: Annotated[str | None, option("id_column", INPUT, "NAME")] = None,
    source_column: Annotated[str | None, option("source_column", INPUT, "NAME")] = None,
    tokenizer: Annotated[str | None, option("tokenizer", INPUT, "FILE")] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", rich_help_panel=INPUT, help="Replay a config.yaml; other options given here win."),
    ] = None,
    budget: Annotated[str | None, option("budget", KNOBS, "B", "--budget", "-b")] = None,
    preset: Annotated[str | None, option("preset", KNOBS, "NAME", "--preset", "-p")] = None,
    parameters: Annotated[list[str] | None, option("parameters", KNOBS, "NAME=VALUE", "--set", "-s")] = None,
    seed: Annotated[str | None, option("seed", KNOBS, "N")] = None,
    draw: Annotated[str | None, option("draw", KNOBS, "NAME")] = None,
    max_per_source: Annotated[str | None, option("max_per_source", KNOBS, "N")] = None,
    min_per_source: Annotated[str | None, option("min_per_source", KNOBS, "N")] = None,
    breadth: Annotated[str | None, option("breadth", KNOBS, "S")] = None,
    alpha: Annotated[str | None, option("alpha", KNOBS, "A")] = None,
    scale: Annotated[str | None, option("scale", KNOBS, "C")] = None,
    sigma: Annotated[str | None, option("sigma", KNOBS, "D")] = None,
    backend: Annotated[str | None, option("backend", KNOBS, "NAME")] = None,
    decontaminate: Annotated[str | None, option("decontaminate", FILTERS, "WORDS")] = None,
    test: Annotated[list[str] | None, option("test", FILTERS, "FILE", "--test")] = None,
    dedup: Annotated[str | None, option("dedup", FILTERS, "EPS")] = None,
    score_model: Annotated[str | None, option("score_model", REPRESENTATION, "NAME")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", rich_help_panel=OUTPUT,
            help="Training file to write, in the format of its suffix; FILE.run, with the reasons, goes beside it.",
        ),
    ] = None,
    features_folder: Annotated[str | None, option("features", OUTPUT, "FOLDER", "--features")] = None,
    scores: Annotated[str | None, option("scores", OUTPUT, "FOLDER")] = None,
    engine: Annotated[str, ENGINE] = "local",
    ray_address: Annotated[str | None, RAY_ADDRESS] = None,
    force: Annotated[bool, _flag("--force", "Replace what is in the way.")] = False,
    quiet: Annotated[bool, _flag("--quiet", "No bars, no notes, no summary.", "-q")] = False,
    as_json: Annotated[bool, _flag("--json", "Print the manifest as JSON.")] = False,
    *,
    features: dict[str, Any],
) -> None:  # fmt: skip
    """Select from POOL the rows to train on for the task that the target shows.

    tasksift select pool.parquet --target dev.jsonl --budget 1% --out picked.jsonl
    """
    given = {
        "pool": pool or None, "target": target, "budget": budget, "vectors": vectors, "target_vectors": target_vectors,
        "normalize": normalize, "text_template": text_template, "target_template": target_template,
        "id_column": id_column, "source_column": source_column, "tokenizer": tokenizer, "preset": preset,
        "alpha": alpha, "scale": scale, "breadth": breadth, "sigma": sigma, "draw": draw,
        "max_per_source": max_per_source, "min_per_source": min_per_source, "seed": seed,
        "backend": backend, "features": features_folder, "parameters": parameters, "task_column": task_column,
        "task_weights": task_weights, "group_column": group_column, "score_column": score_column, "scores": scores,
        "score_model": score_model, "decontaminate": decontaminate, "test": test, "dedup": dedup, **features,
    }  # fmt: skip
    with _answering():
        from tasksift.presets import get_preset
        from tasksift.represent.opening import READING

        if out is None:
            raise InputError("there is no --out: name the training file to write, such as --out picked.jsonl")
        base = RunConfig.load(config).model_dump() if config is not None else {}
        if config is not None and config.resolve() == out.resolve():
            raise InputError(f"cannot write {out}: it is the --config of this run; name another file")
        chosen = {name: value for name, value in given.items() if value is not None}
        # One knob on the command line takes the place of the other in the file.
        if "alpha" in chosen:
            base.pop("breadth", None)
        if "breadth" in chosen:
            base.pop("alpha", None)
        if "vectors" in chosen or ("preset" in chosen and get_preset(chosen["preset"]).representation is None):
            features_only = FeatureConfig.model_fields.keys() - READING
            base = {name: value for name, value in base.items() if name not in features_only}
        if not {**base, **chosen}.get("budget"):
            raise InputError("there is no --budget: give 1000 (rows), 1% (of the rows) or 250000tok (tokens)")
        progress, say = _voices(quiet)
        asked = RunConfig.create(**{**base, **chosen})
        with computing(engine, ray_address):
            from tasksift.pipeline import run  # while a cluster gets ready

            selection = run(asked, out=out, force=force, progress=progress, say=say)
        if as_json:
            typer.echo(json.dumps(selection.manifest, ensure_ascii=False))
        elif not quiet:
            _print_selection(selection, out)


@app.command()
@with_features
def embed(
    pool: Annotated[list[str], typer.Argument(metavar="POOL...", help=RunConfig.help_of("pool"), show_default=False)],
    text_template: Annotated[str | None, option("text_template", INPUT, "TEXT")] = None,
    source_column: Annotated[str | None, option("source_column", INPUT, "NAME")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FOLDER", rich_help_panel=OUTPUT,
            help="Folder for the vectors; select finds them, and how they were made, with --features FOLDER.",
        ),
    ] = None,
    engine: Annotated[str, ENGINE] = "local",
    ray_address: Annotated[str | None, RAY_ADDRESS] = None,
    force: Annotated[bool, _flag("--force", "Replace what is in the way.")] = False,
    quiet: Annotated[bool, _flag("--quiet", "No bars, no notes, no summary.", "-q")] = False,
    as_json: Annotated[bool, _flag("--json", "Print the manifest as JSON.")] = False,
    *,
    features: dict[str, Any],
) -> None:  # fmt: skip
    """Compute the vectors of POOL once, for any number of selections from it.

    tasksift embed pool.parquet --representation encoder --model all-MiniLM-L6-v2 --out features/
    """
    with _answering():
        if out is None:
            raise InputError("there is no --out: name the folder to write, such as --out features")
        progress, say = _voices(quiet)
        options = {
            "representation": "tfidf",
            "text_template": text_template,
            "source_column": source_column,
            **features,
        }
        with computing(engine, ray_address):
            from tasksift.embedding import embed  # while a cluster gets ready

            done = embed(pool, out, force=force, progress=progress, say=say, **options)
        if as_json:
            typer.echo(json.dumps(done.manifest, ensure_ascii=False))
        elif not quiet:
            size = done.vectors.nbytes
            say(f"{len(done.vectors):,} rows, {done.vectors.dim} dimensions, {size / 1e6:,.1f} MB -> {out}")


@app.command()
def presets(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One method, with its parameters.", show_default=False)
    ] = None,
    model_params: Annotated[float, typer.Option(metavar="N", min=1, help="Parameters of the model.")] = 1e9,
    tokens: Annotated[int, typer.Option(metavar="N", min=1, help="Tokens of a row.")] = 300,
    targets: Annotated[int, typer.Option(metavar="N", min=1, help="Target rows.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print as JSON.")] = False,
) -> None:
    """List the methods: what each needs, what a million examples cost, and its paper."""
    with _answering():
        from tasksift.methods import about, lines
        from tasksift.presets import PRESETS, get_preset

        if name is not None:
            get_preset(name)
        size = {"parameters": model_params, "trained": model_params / 100, "tokens": tokens, "targets": targets}
        chosen = [name] if name is not None else list(PRESETS)
        if as_json:
            typer.echo(json.dumps({each: about(each, **size) for each in chosen}, indent=1, ensure_ascii=False))
            return
        for each in chosen:
            typer.echo("\n".join(lines(each, parameters_too=name is not None, **size)) + "\n")


@app.command()
def demo(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="Keep the pool, the target and the picks here.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", metavar="", help="No bars.")] = False,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print the figures as JSON.")] = False,
) -> None:
    """Run a complete selection on the docstrings of Python's own standard library."""
    with _answering():
        from tasksift.demo import run_demo

        progress, _ = _voices(quiet)
        run_demo(out, progress=progress, say=typer.echo, as_json=as_json)


add_compare(app, _answering, lambda quiet: _voices(quiet))
add_tune(app, _answering, lambda quiet: _voices(quiet))
add_lifelong(app, _answering, lambda quiet: _voices(quiet))
add_mix(app, _answering, lambda quiet: _voices(quiet))
add_plan(app, _answering, lambda quiet: _voices(quiet))
add_report(app, _answering, lambda quiet: _voices(quiet))


def _voices(quiet: bool) -> tuple[Progress, Callable[[str], None]]:
    """Where bars and notes go: standard error, or nowhere."""
    from tasksift.progress import bars, silent

    if quiet:
        return silent, lambda line: None
    return bars, lambda line: typer.echo(_visible(line), err=True)


def _visible(line: str) -> str:
    """Write control characters, which names out of the data may hold, as escapes: a terminal would obey them."""
    return "".join(ascii(c)[1:-1] if c in BIDI or (ord(c) < 32 or 127 <= ord(c) < 160) else c for c in line)


def _print_selection(selection: Selection, out: Path) -> None:
    """Say on standard error what came out; standard output stays free for --json."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    facts: dict[str, Any] = selection.manifest
    drawn, plan = facts["selection"], facts["plan"]
    console = Console(stderr=True, highlight=False)
    table = Table(title=None, box=None, pad_edge=False)
    for heading in ("source", "selected", "of the selection", "of the pool"):
        table.add_column(heading, justify="left" if heading == "source" else "right")
    pool_rows = facts["pool"]["rows"]
    by_share = sorted(drawn["sources"].items(), key=lambda item: (-item[1], item[0]))
    for source, count in by_share[:SHOWN_SOURCES]:
        table.add_row(
            escape(source),
            str(count),
            f"{count / drawn['rows']:.1%}",
            f"{facts['pool']['sources'][source] / pool_rows:.1%}",
        )
    console.print(table)
    if len(by_share) > SHOWN_SOURCES:
        rest = sum(count for _, count in by_share[SHOWN_SOURCES:])
        console.print(f"and {rest} rows from {len(by_share) - SHOWN_SOURCES} more sources")
    tokens = f", {drawn['tokens']:,} tokens" if drawn["tokens"] is not None else ""
    console.print(
        f"{drawn['rows']:,} rows ({drawn['distinct']:,} distinct{tokens}) of {pool_rows:,} -> {escape(str(out))}"
    )
    if plan["breadth"] is not None:
        status = {"converged": "optimal", "pool_exhausted": "optimal, whole pool"}.get(plan["status"], plan["status"])
        console.print(
            f"{status}; breadth {plan['breadth']:.1f}, alpha {plan['alpha']:.3g}, sigma {plan['info']['sigma']:.3g}, "
            f"gap {plan['info']['gap']:.1e}"
        )
    console.print(f"why each row was taken: {escape(str(out))}.run/selection.parquet")
