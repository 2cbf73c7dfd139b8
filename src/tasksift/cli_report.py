"""`tasksift report`: parse, call the library, print."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer

from tasksift.cli_options import OUTPUT, own


def add_report(
    app: typer.Typer,
    answering: Callable[[], AbstractContextManager[None]],
    voices: Callable[[bool], tuple[Any, Callable[[str], None]]],
) -> None:
    """Add the command to the program; `answering` turns errors into a line, `voices` are bars and notes."""

    @app.command()
    def report(
        run: Annotated[
            str,
            typer.Argument(
                metavar="RUN",
                help="A run folder of select (picked.jsonl.run, or picked.jsonl), a folder of compare, or the output "
                "folder of an online run, with its mixture.jsonl.",
                show_default=False,
            ),
        ],
        out: Annotated[
            Path | None,
            own(OUTPUT, "FILE", "The page to write; by default report.html in the folder of RUN.", "--out", "-o"),
        ] = None,
        force: Annotated[bool, own(OUTPUT, "", "Replace what is in the way.", "--force")] = False,
        quiet: Annotated[bool, own(OUTPUT, "", "Print the path only.", "--quiet", "-q")] = False,
    ) -> None:
        """Write the report of RUN, one HTML file that any browser opens, and print where it is.

        tasksift report picked.jsonl
        """
        with answering():
            from tasksift.report.rebuild import rebuild

            _, say = voices(quiet)
            typer.echo(str(rebuild(run, out, force=force, say=say)))
