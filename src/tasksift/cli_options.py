"""The options of the command line that are fields of a configuration: the docstring of a field is its help."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Annotated, Any, Optional

import typer

from tasksift.checked import Checked, option_name
from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.feature_config import FeatureConfig

INPUT, KNOBS, FILTERS, REPRESENTATION, OUTPUT = "Input", "Selection", "Filters", "Representation", "Output"

PANELS = {
    "Representation": ("representation", "dim", "store_dtype"),
    "Models (encoder, hidden, loss, gradient, sketch)": (
        "model", "revision", "trust_remote_code", "device", "dtype", "max_length", "prompt", "target_prompt", "score",
        "weighting", "metrics", "stride", "sketch", "checkpoints",
    ),
    "Servers (endpoint)": (
        "url", "api_key_env", "concurrency", "requests_per_minute", "tokens_per_minute", "max_characters", "timeout",
        "price",
    ),
    "Gradients (gradient)": (
        "params", "objective", "target_objective", "beta", "optimizer", "momentum", "less_compat", "projection",
        "combine",
    ),
}  # fmt: skip
"""Under which heading the help lists the fields of a representation."""

METAVARS = {
    "revision": "REV", "device": "DEVICE", "dim": "N", "max_length": "N", "prompt": "TEXT", "target_prompt": "TEXT",
    "metrics": "LIST", "stride": "N", "checkpoints": "FOLDER", "url": "URL", "api_key_env": "VAR", "concurrency": "N",
    "requests_per_minute": "N", "tokens_per_minute": "N", "max_characters": "N", "timeout": "S", "price": "P",
    "params": "WHICH", "beta": "B",
}  # fmt: skip
"""What stands for the value of an option that is neither a name nor one of a few words."""

SHORT = {"representation": "-r"}


def option(field: str, panel: str, metavar: str, *names: str, config: type[Checked] = RunConfig) -> Any:
    """An option for a field of a configuration; the help ends with its default, if that is a name or a number."""
    default = config.model_fields[field].get_default(call_default_factory=True)
    if isinstance(default, list):
        default = ",".join(map(str, default))
    value = f"{default:g}" if isinstance(default, float) else str(default)
    shown = f" [{value}]" if type(default) in (str, int, float) and value else ""
    return typer.Option(
        *(names or (option_name(field),)), metavar=metavar, help=config.help_of(field) + shown, rich_help_panel=panel,
        show_default=False,
    )  # fmt: skip


def own(panel: str, metavar: str, text: str, *names: str) -> Any:
    """An option of one command, which is no field of the configuration."""
    return typer.Option(*names, metavar=metavar, help=text, rich_help_panel=panel, show_default=False)


ENGINE = own(
    OUTPUT,
    "NAME",
    "What computes: local (the cores of this machine) or ray (a cluster); the result is the same. [local]",
    "--engine",
)
RAY_ADDRESS = own(
    OUTPUT,
    "ADDRESS",
    "Of a Ray cluster that this machine is part of: HOST:PORT or auto; by default RAY_ADDRESS, else one is started "
    "on this machine, for this run.",
    "--ray-address",
)


@contextmanager
def computing(engine: str, address: str | None) -> Iterator[None]:
    """Use an engine; what it prints of itself goes to standard error, so that standard output is the answer alone."""
    from tasksift.engines.current import using

    with redirect_stdout(sys.stderr), using(engine, address):
        yield


def number(field: str, kind: type[int] | type[float], text: str) -> Any:
    """Read a number that was given for a field, or raise an `InputError` that names its option."""
    try:
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise InputError(f"{option_name(field)} {text!r}: it should be {what}") from None


def with_features(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for every field of `FeatureConfig` that it lacks; it gets them as ``features``, a dict.

    Only what the user gave is in it.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [parameter for name, parameter in signature.parameters.items() if name != "features"]
    added = [field for field in FeatureConfig.model_fields if field not in signature.parameters]
    more = [
        inspect.Parameter(field, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(field))
        for field in added
    ]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        found = {field: value for field in added if (value := values.pop(field)) is not None}
        command(**values, features=found)

    run.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *more)}
    return run


def _annotation(field: str) -> Any:
    panel = next((panel for panel, fields in PANELS.items() if field in fields), REPRESENTATION)
    if RunConfig.model_fields[field].annotation is bool:
        return Annotated[Optional[bool], option(field, panel, "", option_name(field))]  # noqa: UP045
    names = (option_name(field), *([SHORT[field]] if field in SHORT else []))
    return Annotated[Optional[str], option(field, panel, METAVARS.get(field, "NAME"), *names)]  # noqa: UP045
