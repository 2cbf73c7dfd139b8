"""The rows that a mixture takes, read once from the pool and written in any order to any number of files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasksift.mix.pool import MixPool
from tasksift.mix.row_layout import COLUMNS, Kind, Record, convert, in_turn, lay_out, unite
from tasksift.rows import PoolFile, TextReader
from tasksift.rows.encode import json_line
from tasksift.rows.pick import pick_lines, pick_records
from tasksift.rows.spool import Spool, spooling

Ints = NDArray[np.int64]

_KINDS = tuple(COLUMNS)


class Taken:
    """Rows as JSON lines in a nameless temporary file; memory holds some 17 bytes for each.

    Parameters
    ----------
    spool : Spool
    rows : int64 (m,)
        Which rows of the pool they are, ascending and distinct.
    kinds : int8 (m,) or None
        Their layouts; None for rows as they are.
    irregular : int
        How many are chats in which user and assistant do not speak in turn.
    """

    def __init__(self, spool: Spool, rows: Ints, kinds: NDArray[np.int8] | None, irregular: int = 0) -> None:
        self._spool, self._rows, self._kinds = spool, rows, kinds
        self.irregular = irregular

    def write(self, rows: Ints, path: Path, kind: Kind | None = None) -> None:
        """Write rows of the pool, repeats too, as JSON Lines; all in layout `kind`, or as they are."""
        with path.open("wb") as file:
            if kind is None:
                for k in np.searchsorted(self._rows, rows):
                    file.write(self._spool[k] + b"\n")
            else:
                for record in self.records(rows, kind):
                    file.write(json_line(record) + b"\n")

    def records(self, rows: Ints, kind: Kind) -> Iterator[Record]:
        """Yield rows of the pool in layout `kind`."""
        assert self._kinds is not None
        for k in np.searchsorted(self._rows, rows):
            yield convert(_KINDS[self._kinds[k]], json.loads(self._spool[k]), kind)

    def kind(self, rows: Ints, what: str) -> Kind:
        """Return the layout in which these rows can be written together; errors as in `unite`."""
        assert self._kinds is not None
        places = np.unique(self._kinds[np.searchsorted(self._rows, rows)])
        return unite((_KINDS[place] for place in places), what)


@contextmanager
def taking(pool: MixPool, rows: Ints, folder: Path, reader: TextReader | None) -> Iterator[Taken]:
    """Read rows of the pool, in any order and with repeats.

    Parameters
    ----------
    pool : MixPool
    rows : int64 (k,)
    folder : Path
        On whose disk they are kept meanwhile.
    reader : TextReader or None
        Lays rows out as trainers know them; None leaves them as they are, JSON Lines byte for byte.
    """
    distinct = np.unique(rows)
    ends = np.cumsum([size for _, size in pool.index.files])
    begins = ends - [size for _, size in pool.index.files]
    cuts = np.searchsorted(distinct, ends)
    chosen = [
        (file, part - begin)
        for file, part, begin in zip(pool.files, np.split(distinct, cuts[:-1]), begins, strict=True)
        if len(part)
    ]
    kinds, irregular = bytearray(), bytearray()
    with spooling(folder) as spool:
        for file, some in chosen:
            spool.fill(pick_lines(file, some) if reader is None else _laid_out(file, some, reader, kinds, irregular))
        yield Taken(spool, distinct, None if reader is None else np.frombuffer(kinds, dtype=np.int8), sum(irregular))


def _laid_out(
    file: PoolFile, rows: Ints, reader: TextReader, kinds: bytearray, irregular: bytearray
) -> Iterator[bytes]:
    places = iter(rows.tolist())
    for records in pick_records(file, rows):
        for record in records:
            kind, laid = lay_out(record, reader, f"{file.path}, row {next(places)}")
            kinds.append(_KINDS.index(kind))
            irregular.append(kind == "messages" and not in_turn(laid["messages"]))
            yield json_line(laid)
