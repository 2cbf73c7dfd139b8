"""The record of a mixture: a file of lines with each domain's probability, loss and rows as training went on."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasksift.errors import InputError
from tasksift.online.checks import every, numbers
from tasksift.online.domains import Domains
from tasksift.rows import writing

FORMAT = 1
DIGITS = 6
"""Significant digits that are kept."""


@dataclass(frozen=True)
class HistoryTable:
    """What a file says, for K domains at t logged steps.

    Attributes
    ----------
    names : tuple of K str
    sizes : int64 (K,)
        Rows of each domain in the training set.
    about : dict
        What the run was asked for.
    steps : int64 (t,)
        Ascending.
    probabilities : float64 (t, K)
    losses : float64 (t, K)
        Mean loss of what was seen of each domain; NaN where nothing was.
    rows : int64 (t, K)
        Rows drawn so far.
    """

    names: tuple[str, ...]
    sizes: NDArray[np.int64]
    about: dict[str, Any]
    steps: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    losses: NDArray[np.float64]
    rows: NDArray[np.int64]


class History:
    """The writer of such a file; in a training of several ranks only one has it.

    Parameters
    ----------
    path : str or Path
        By custom called ``mixture.jsonl``.
    domains : Domains
    about : mapping
        What the run was asked for, as JSON.

    Notes
    -----
    A line costs O(K) time and about 25 K bytes.
    """

    def __init__(self, path: str | Path, domains: Domains, about: Mapping[str, Any]) -> None:
        self.path = Path(path)
        sizes = domains.sizes.tolist()
        self._head = {"format": FORMAT, "domains": list(domains.names), "sizes": sizes, "about": dict(about)}

    def begin(self, step: int) -> None:
        """Make the file ready for a training that begins (0) or goes on after `step`.

        A training that begins replaces the file of an earlier one. One that goes on keeps the lines up to `step`: those
        beyond were written by a run that was killed after its last checkpoint, and will be written again.

        Raises
        ------
        InputError
            If what is there is no such file, or one of other domains, or the file cannot be written.
        """
        kept: list[bytes] = []
        if self.path.is_dir():
            raise InputError(f"cannot write {self.path}: it is a folder; name a file, such as mixture.jsonl")
        if self.path.is_file() and self.path.stat().st_size:
            number = -1
            for number, (raw, line) in enumerate(_lines(self.path)):
                if number == 0:
                    names, sizes, _ = _read_head(self.path, line)
                    if step > 0 and (names, sizes) != (self._head["domains"], self._head["sizes"]):
                        raise InputError(f"{self.path} is of other domains; go on with the same, or name another file")
                elif step == 0 or _read_step(self.path, number, line) > step:
                    break
                else:
                    kept.append(raw)
            if number < 0:
                raise _damaged(self.path, 0, "it has no whole line")
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part = self.path.with_name(self.path.name + ".part")
            part.write_bytes(_dump(self._head) + b"".join(kept))
            part.replace(self.path)

    def append(self, step: int, probabilities: ArrayLike, losses: ArrayLike, rows: ArrayLike) -> None:
        """Write the line of a step, higher than those before.

        Parameters
        ----------
        step : int
        probabilities, losses : float (K,)
            A loss that is no number says that nothing was seen.
        rows : int (K,)
            Rows drawn so far.

        Raises
        ------
        InputError
            If these are not K numbers each, which nobody could read again, or the file cannot be written.
        """
        count = len(self._head["domains"])
        shares = numbers("probabilities", probabilities, count)
        every("probabilities", shares, np.isfinite(shares), "it is a finite number")
        losses, rows = numbers("losses", losses, count), numbers("rows", rows, count)
        line = {
            "step": int(step),
            "probabilities": _rounded(probabilities),
            "losses": _rounded(losses),
            "rows": np.asarray(rows, dtype=np.int64).tolist(),
        }
        with writing(self.path), self.path.open("ab") as file:
            file.write(_dump(line))


def read_history(path: str | Path) -> HistoryTable:
    """Read a file that `History` wrote; a last line that a kill cut off is left out.

    Raises
    ------
    InputError
        If it cannot be read or is nothing of the kind.
    """
    path = Path(path)
    lines = _lines(path)
    names, sizes, about = _read_head(path, next(lines, (b"", None))[1])
    steps: list[int] = []
    columns: dict[str, list[list[float]]] = {"probabilities": [], "losses": [], "rows": []}
    for number, (_, line) in enumerate(lines, 1):
        steps.append(_read_step(path, number, line))
        if len(steps) > 1 and steps[-1] <= steps[-2]:
            raise _damaged(path, number, "its step is not beyond the one before")
        for name, column in columns.items():
            values = line.get(name)
            if name == "losses" and isinstance(values, list):
                values = [0.0 if value is None else value for value in values]
            if not _is_numbers(values, len(names), whole=name == "rows"):
                raise _damaged(path, number, f"its {name} are not {len(names)} numbers")
            column.append([math.nan if value is None else value for value in line[name]])
    shape = (len(steps), len(names))
    return HistoryTable(
        tuple(names),
        np.array(sizes, dtype=np.int64),
        about,
        np.array(steps, dtype=np.int64),
        np.array(columns["probabilities"], dtype=np.float64).reshape(shape),
        np.array(columns["losses"], dtype=np.float64).reshape(shape),
        np.array(columns["rows"], dtype=np.int64).reshape(shape),
    )


def _lines(path: Path) -> Iterator[tuple[bytes, Any]]:
    """Yield every whole line, as it stands and as JSON."""
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file):
                if not raw.endswith(b"\n"):
                    return
                try:
                    yield raw, json.loads(raw)
                except (ValueError, RecursionError):
                    raise _damaged(path, number, "it is not JSON") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def _read_head(path: Path, line: Any) -> tuple[list[str], list[int], dict[str, Any]]:
    if not isinstance(line, dict) or line.get("format") != FORMAT:
        raise _damaged(path, 0, f"it does not say format {FORMAT}")
    names, sizes, about = (line.get(name) for name in ("domains", "sizes", "about"))
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise _damaged(path, 0, "it names no domains")
    if len(set(names)) < len(names):
        raise _damaged(path, 0, "it names a domain twice")
    if not _is_numbers(sizes, len(names), whole=True) or not isinstance(about, dict):
        raise _damaged(path, 0, "it does not say how large the domains are, or what was asked for")
    assert isinstance(sizes, list)
    return names, sizes, about


def _read_step(path: Path, number: int, line: Any) -> int:
    step = line.get("step") if isinstance(line, dict) else None
    if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step < 2**63:
        raise _damaged(path, number, "it has no step")
    return step


def _is_numbers(values: Any, count: int, *, whole: bool) -> bool:
    """Whether these are `count` numbers, finite and perhaps whole; booleans, which Python counts as such, are none."""
    if not isinstance(values, list) or len(values) != count:
        return False
    if whole:
        return all(type(value) is int and abs(value) < 2**63 for value in values)
    return all(type(value) in (int, float) and abs(value) <= sys.float_info.max for value in values)


def _damaged(path: Path, number: int, what: str) -> InputError:
    return InputError(
        f"{path}, line {number + 1}: {what}, so this is no record of a mixture; name the mixture.jsonl of an online run"
    )


def _rounded(values: ArrayLike) -> Sequence[float | None]:
    numbers = np.asarray(values, dtype=np.float64).tolist()
    return [float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None for value in numbers]


def _dump(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n"
