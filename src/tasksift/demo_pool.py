"""The demonstration's rows: docstrings of the standard library, a few as the task, and a pool in which some recur."""

from __future__ import annotations

import ast
import os
import random
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasksift.errors import InputError
from tasksift.progress import Progress

Row = dict[str, str]

PACKAGE = "asyncio"
"""The package whose docstrings play the task: every Python has it, and its subject shows in its words."""

TARGETS = 36
"""Docstrings of the package that become the target and leave the pool."""

SHORTEST = 10
"""Words that a docstring must have to be a row."""

COPIED = 12
"""Rows that are copied: so many of the package, near the target, and so many of other modules."""

COPIES = 30
"""Edited copies of each of them."""

LONG = 25
"""Words of at least four letters that a copied row must have, so that one slip is a small change."""

_SKIPPED = {"__pycache__", "idle_test", "test", "tests"}
_WORD = re.compile(r"[^\W\d_]{4,}")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class DemoRows:
    """Pool and target: rows with ``text``, ``source`` and ``name``; ``copy_of`` marks the pool's edited copies.

    A copy carries in ``copy_of`` the name of its original, which stays in the pool.
    """

    pool: list[Row]
    target: list[Row]


def standard_library() -> Path:
    """The folder of the running interpreter's standard library."""
    return Path(sysconfig.get_paths()["stdlib"])


def docstrings(root: Path, progress: Progress) -> list[Row]:
    """Read the docstrings of all modules, classes, functions and methods under a folder, importing nothing.

    Test packages, installed packages and files that are not valid Python are passed over; equal docstrings stay.

    Parameters
    ----------
    root : Path
        A folder on the module path.
    progress : Progress
        Gets one tick per file.

    Returns
    -------
    list of rows with at least `SHORTEST` words, by module name: ``text``, ``source`` (the top-level module) and
    ``name`` (module and qualified name).
    """
    modules = _modules(root)
    rows: list[Row] = []
    with progress("reading the standard library", len(modules)) as tick, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the parser remarks on odd escapes in old modules
        for module, path in modules:
            tick(1)
            try:
                tree = ast.parse(path.read_bytes())
            except (OSError, SyntaxError, ValueError):
                continue
            source = module.partition(".")[0]
            rows += [
                {"text": text, "source": source, "name": name}
                for name, text in _described(tree, module)
                if len(text.split()) >= SHORTEST
            ]
    return rows


def demo_rows(rows: list[Row], seed: int = 0) -> DemoRows:
    """Take targets from the package, and add edited copies of some rows to what remains.

    Whatever equals a target leaves the pool with it, so that nothing in the pool is the answer itself.

    Raises
    ------
    InputError
        If there are too few docstrings, as in a Python whose library has no source files.
    """
    rng = random.Random(seed)
    of_package = list({row["text"]: row for row in rows if row["source"] == PACKAGE}.values())
    if len(of_package) < 3 * TARGETS:
        raise InputError(
            f"the standard library in {standard_library()} shows only {len(of_package)} docstrings of {PACKAGE}, too "
            f"few for the demo; run it with a Python that has its library as .py files"
        )
    target = rng.sample(of_package, TARGETS)
    taken = {row["text"] for row in target}
    pool = [row for row in rows if row["text"] not in taken]
    # A name may be defined twice, once per platform; a copy must say whose it is.
    named = Counter(row["name"] for row in pool)
    long = [row for row in pool if named[row["name"]] == 1 and len(_WORD.findall(row["text"])) >= LONG]
    # Copies far from the target harm no method, so half of the copied rows are of the half of the package near it.
    of_package = sorted(
        (row for row in long if row["source"] == PACKAGE), key=lambda row: (-_overlap(row, target), row["name"])
    )
    near, far = of_package[: len(of_package) // 2], [row for row in long if row["source"] != PACKAGE]
    copied = rng.sample(near, COPIED) + rng.sample(far, COPIED)
    copies = [
        {**row, "text": edited(row["text"], rng), "copy_of": row["name"]} for row in copied for _ in range(COPIES)
    ]
    return DemoRows(pool + copies, target)


def edited(text: str, rng: random.Random) -> str:
    """Return `text`, of at least two words, with one slip: a word lost, two words or two letters swapped."""
    words = list(_WORD.finditer(text))
    while True:
        k = rng.randrange(len(words) - 1)
        (start, end), (after, last) = words[k].span(), words[k + 1].span()
        slip = rng.choice(("lost", "words", "letters"))
        if slip == "lost":
            changed = text[:start] + text[end:].removeprefix(" ")
        elif slip == "words":
            changed = text[:start] + text[after:last] + text[end:after] + text[start:end] + text[last:]
        else:
            at = rng.randrange(start, end - 1)
            changed = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        if changed != text:  # swapping equals changes nothing
            return changed


def _overlap(row: Row, target: list[Row]) -> float:
    """The largest share of words that a row has in common with a target (Jaccard)."""
    words = set(_WORD.findall(row["text"].lower()))
    others = [set(_WORD.findall(other["text"].lower())) for other in target]
    return max(len(words & other) / len(words | other) for other in others)


def _modules(root: Path) -> list[tuple[str, Path]]:
    """Dotted names and files under `root`, by name; folders that no import statement can name are not entered."""
    found = []
    for folder, below, files in os.walk(root):
        below[:] = [name for name in below if name.isidentifier() and name not in _SKIPPED]
        for file in files:
            path = Path(folder, file)
            if path.suffix == ".py" and path.stem.isidentifier():
                parts = path.relative_to(root).with_suffix("").parts
                found.append((".".join(parts).removesuffix(".__init__"), path))
    return sorted(found)


def _described(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    """Qualified name and docstring of a node and of what it holds, in the order of the source."""
    if isinstance(node, _DOCUMENTED):
        text = ast.get_docstring(node)
        if text:
            yield name, text
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.expr):  # deep, and without docstrings
            inner = f"{name}.{child.name}" if isinstance(child, _DOCUMENTED[1:]) else name
            yield from _described(child, inner)
