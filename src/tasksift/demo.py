"""`tasksift demo`: a complete run on text that every Python installation has, with figures to judge it by."""

from __future__ import annotations

import json
import platform
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasksift.demo_pool import COPIED, PACKAGE, DemoRows, Row, demo_rows, docstrings, standard_library
from tasksift.errors import InputError
from tasksift.pipeline import select
from tasksift.progress import Progress
from tasksift.rows import writing
from tasksift.rows.encode import json_line
from tasksift.selection import Selection

BUDGET = "1%"
PRESETS = ("random", "nearest", "tsds")
EXAMPLES = 3
WIDTH = 78
"""Characters of a line, for terminals of 80."""

COMMAND = f"tasksift select pool.jsonl --target target.jsonl --budget {BUDGET} --out picked.jsonl"
"""What the reader may run on files of their own."""


@dataclass(frozen=True)
class Figures:
    """Counts over some rows of the pool; an edited copy counts for the package and the docstring that it copies.

    Attributes
    ----------
    rows : int
    of_package : int
        Rows from the part of the package that was held out.
    copies : int
        Edited copies.
    distinct, distinct_of_package : int
        Different docstrings behind the rows, and behind those of the package.
    """

    rows: int
    of_package: int
    copies: int
    distinct: int
    distinct_of_package: int

    @property
    def share(self) -> float:
        """How much of the rows is of the package."""
        return self.of_package / self.rows


def run_demo(out: Path | None, *, progress: Progress, say: Callable[[str], None], as_json: bool) -> None:
    """Select from the docstrings of the standard library those that resemble a few of one package's.

    Parameters
    ----------
    out : Path or None
        Folder that keeps ``pool.jsonl``, ``target.jsonl``, ``features`` and, for every preset, ``picked-PRESET.jsonl``
        with its run directory; None works in a temporary folder.
    progress, say : callable
        Where bars and lines go.
    as_json : bool
        Say one line of JSON instead of the tables.

    Raises
    ------
    InputError
        If `out` holds other files than an earlier demo's, or the standard library has too few docstrings.
    """
    rows = demo_rows(docstrings(standard_library(), progress))
    where = tempfile.TemporaryDirectory(prefix="tasksift-", ignore_cleanup_errors=True) if out is None else None
    with where or nullcontext(str(out)) as name:
        folder = Path(name)
        _place(folder, {"pool.jsonl": rows.pool, "target.jsonl": rows.target})
        selections = {
            preset: select(
                folder / "pool.jsonl",
                folder / "target.jsonl",
                BUDGET,
                preset=preset,
                features=str(folder / "features"),
                out=folder / f"picked-{preset}.jsonl",
                force=True,  # `_place` has seen that whatever is there is an earlier demo's
                progress=progress,
            )
            for preset in PRESETS
        }
    texts = {row["name"]: row["text"] for row in rows.pool if "copy_of" not in row}
    figures = {"pool": count(rows.pool, texts)}
    for preset, selection in selections.items():
        drawn = np.repeat(selection.positions, selection.copies).tolist()
        figures[preset] = count([rows.pool[k] for k in drawn], texts)
    meaning = interpret(figures)
    examples = [_example(selections["tsds"], rows, k) for k in range(EXAMPLES)]
    if as_json:
        facts = {
            "python": platform.python_version(),
            "package": PACKAGE,
            "targets": len(rows.target),
            "budget": BUDGET,
            "figures": {name: {**asdict(found), "share": found.share} for name, found in figures.items()},
            "meaning": meaning,
            "examples": examples,
            "command": COMMAND,
        }
        say(json.dumps(facts))
        return
    for line in _page(rows, figures, meaning, examples, out):
        say(line)


def count(rows: list[Row], texts: dict[str, str]) -> Figures:
    """Count rows of the pool; `texts` gives the docstring of every name that may have been copied."""
    of_package = [row for row in rows if row["source"] == PACKAGE]
    return Figures(
        rows=len(rows),
        of_package=len(of_package),
        copies=sum("copy_of" in row for row in rows),
        distinct=len({_original(row, texts) for row in rows}),
        distinct_of_package=len({_original(row, texts) for row in of_package}),
    )


def _original(row: Row, texts: dict[str, str]) -> str:
    return texts[row["copy_of"]] if "copy_of" in row else row["text"]


def interpret(figures: dict[str, Figures]) -> list[str]:
    """Say in words how tsds stands to random and to nearest, whichever way the figures fall."""
    tsds, random, nearest = figures["tsds"], figures["random"], figures["nearest"]
    return [
        f"tsds found {tsds.of_package} of its {tsds.rows} rows ({tsds.share:.0%}) in the held-out rest of {PACKAGE}; "
        f"random found {random.of_package} ({random.share:.0%}).",
        f"Beside nearest, tsds took {_beside(tsds.of_package, nearest.of_package, f'rows from {PACKAGE}')}, "
        f"{_beside(tsds.copies, nearest.copies, 'edited copies')} and "
        f"{_beside(tsds.distinct_of_package, nearest.distinct_of_package, f'different docstrings of {PACKAGE}')}.",
    ]


def _beside(ours: int, theirs: int, things: str) -> str:
    word = "as many" if ours == theirs else "more" if ours > theirs else "fewer"
    return f"{word} {things} ({ours} against {theirs})"


def _place(folder: Path, files: dict[str, list[Row]]) -> None:
    """Write files into a new or empty folder, or find them as an earlier demo left them."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        empty = not any(folder.iterdir())
        for name, rows in files.items():
            path, content = folder / name, b"".join(json_line(row) + b"\n" for row in rows)
            if empty:
                path.write_bytes(content)
            elif not path.is_file() or path.read_bytes() != content:
                raise InputError(f"--out {folder} holds files that are not this demo's; name a new or an empty folder")


def _example(selection: Selection, rows: DemoRows, k: int) -> dict[str, Any]:
    """A selected row, the reason why it was taken, and the target nearest to it."""
    target = selection.record["nearest_target"][k].as_py()
    return {
        "row": rows.pool[int(selection.positions[k])],
        "reason": selection.explain(k).reason,
        "target": target,
        "target_row": rows.target[target],
    }


def _page(
    rows: DemoRows,
    figures: dict[str, Figures],
    meaning: list[str],
    examples: list[dict[str, Any]],
    out: Path | None,
) -> Iterator[str]:
    """The lines of the report, `WIDTH` characters at the most."""
    pool = figures["pool"]
    yield from _wrapped(
        f"The pool: {pool.rows:,} docstrings of the standard library of Python {platform.python_version()}, "
        f"{pool.copies} of them copies made here, with one slip each, of {COPIED} docstrings of {PACKAGE} and {COPIED} "
        f"of other modules. The target: {len(rows.target)} docstrings of {PACKAGE}, taken out of the pool; the rest of "
        f"{PACKAGE} stays in it. Each method picks {BUDGET} of the pool."
    )
    yield ""
    yield f"{'':<12}{'':>8}{'from':>18}{'edited':>10}{'different':>14}{'of them':>12}"
    yield f"{'':<12}{'rows':>8}{PACKAGE:>18}{'copies':>10}{'docstrings':>14}{PACKAGE:>12}"
    for name, found in figures.items():
        yield (
            f"{name:<12}{found.rows:>8,}{f'{found.of_package:,} ({found.share:.0%})':>18}{found.copies:>10,}"
            f"{found.distinct:>14,}{found.distinct_of_package:>12,}"
        )
    yield ""
    for line in meaning:
        yield from _wrapped(line)
    yield ""
    yield f"The first {len(examples)} rows of tsds, and why they are in:"
    for k, example in enumerate(examples):
        yield ""
        yield f"{k + 1}. {example['row']['name']}"
        yield _excerpt(example["row"]["text"])
        yield from _wrapped(f"why: {example['reason']}", "   ")
        yield _excerpt(f"target {example['target']}: {example['target_row']['text']}")
    yield ""
    if out is not None:
        yield from _wrapped(f"Kept in {out}: pool.jsonl, target.jsonl, and every pick with its .run folder beside it.")
    yield "The same for your own files:"
    yield COMMAND


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _excerpt(text: str) -> str:
    """The beginning of a text, indented, as one line that any terminal can show."""
    line = " ".join("".join(c if c.isascii() and c.isprintable() else "?" for c in word) for word in text.split())
    return "   " + textwrap.shorten(line, WIDTH - 3, placeholder=" ...")
