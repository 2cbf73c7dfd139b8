"""Items of bytes in a nameless temporary file, read back in any order."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class Spool:
    """A list of byte strings that lies on disk; memory holds 8 bytes for each.

    Parameters
    ----------
    file : binary file
        Where the items are kept, empty at first.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._at = array("q", [0])

    @property
    def nbytes(self) -> int:
        """The length of all items together."""
        return self._at[-1]

    def fill(self, items: Iterable[bytes]) -> None:
        """Append items; only before the first one is read back."""
        for item in items:
            self._file.write(item)
            self._at.append(self._at[-1] + len(item))

    def __getitem__(self, k: int) -> bytes:
        self._file.seek(self._at[k])
        return self._file.read(self._at[k + 1] - self._at[k])


@contextmanager
def spooling(folder: Path) -> Iterator[Spool]:
    """Yield an empty `Spool` on the disk of `folder`, which is gone afterwards, whatever happens."""
    with tempfile.TemporaryFile(dir=folder) as file:
        yield Spool(file)
