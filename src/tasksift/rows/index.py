"""The index of a pool: for every row its id, source, place and tokens, in columns, without its text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasksift.rows.scan import check_user_ids, make_ids, scan
from tasksift.rows.sources import PoolFile
from tasksift.rows.text import TextReader
from tasksift.rows.tokens import TokenCounter

Int = NDArray[np.int64]


class PoolIndex:
    """The rows of a pool, numbered in the order of the input.

    Parameters
    ----------
    table : pyarrow.Table
        Columns ``id`` (unique text), ``source`` and ``file`` (dictionaries), ``file_row`` (position in the file) and
        ``tokens`` (null when the rows have no text).
    digest : str
        Digest of the content of all rows in order.
    """

    def __init__(self, table: pa.Table, digest: str) -> None:
        self.table = table
        self.digest = digest

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def order(self) -> Int:
        """The rank of every row in the order of ids, by which all ties break."""
        rank = np.empty(len(self), dtype=np.int64)
        rank[pc.sort_indices(self.table["id"]).to_numpy()] = np.arange(len(self))
        return rank

    @cached_property
    def sources(self) -> Int:
        """The source code of every row, into `source_names`."""
        return self._codes("source")

    @property
    def source_names(self) -> list[str]:
        """The names of the sources."""
        return [str(name) for name in self._dictionary("source")]

    @cached_property
    def files(self) -> Int:
        """The file number of every row, in the order of the input's files."""
        return self._codes("file")

    @cached_property
    def tokens(self) -> Int | None:
        """Tokens of every row, None when the rows have no text."""
        column = self.table["tokens"]
        return None if column.null_count else column.to_numpy().astype(np.int64)

    def save(self, path: Path) -> None:
        """Write the index as one Parquet file, in one step."""
        part = path.with_suffix(".part")
        table = self.table.replace_schema_metadata({"digest": self.digest})
        pq.write_table(table, part, compression="zstd")
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> PoolIndex:
        """Read what `save` wrote."""
        table = pq.read_table(path, read_dictionary=["source", "file"])
        return cls(table, (table.schema.metadata or {})[b"digest"].decode())

    def _codes(self, name: str) -> Int:
        codes: Int = self.table[name].combine_chunks().indices.to_numpy().astype(np.int64)
        return codes

    def _dictionary(self, name: str) -> list[str]:
        names: list[str] = self.table[name].combine_chunks().dictionary.to_pylist()
        return names


def build_index(
    files: Sequence[PoolFile],
    reader: TextReader,
    counter: TokenCounter,
    *,
    id_column: str | None = None,
    source_column: str | None = None,
    see: Callable[[list[str]], None] = lambda texts: None,
) -> PoolIndex:
    """Read the pool once and index it; `see` is shown the texts of every batch in passing.

    Raises
    ------
    InputError
        For whatever the reader cannot read, and for ids of `id_column` that repeat.
    """
    sources: dict[str, int] = {}
    source_codes: list[int] = []
    file_codes: list[int] = []
    file_rows: list[NDArray[np.int64]] = []
    tokens: list[int] = []
    digests: list[bytes] = []
    user_ids: list[str] = []
    for part in scan(list(files), reader, counter, id_column=id_column, source_column=source_column):
        source_codes.extend(sources.setdefault(name, len(sources)) for name in part.sources)
        file_codes.extend([part.file] * len(part.texts))
        file_rows.append(np.arange(part.start, part.start + len(part.texts)))
        tokens.extend(part.tokens)
        digests.extend(part.digests)
        if part.user_ids is not None:
            user_ids.extend(part.user_ids)
        see(part.texts)
    content = blake2b(digest_size=16)
    for digest in digests:
        content.update(digest)
    if id_column is not None:
        check_user_ids(user_ids)
    ids = pa.array(user_ids if id_column is not None else make_ids(digests))
    return PoolIndex(
        _table(
            ids, source_codes, list(sources), file_codes, [f.path for f in files], np.concatenate(file_rows), tokens
        ),
        content.hexdigest(),
    )


def index_vectors(keys: NDArray[np.uint64], name: str) -> PoolIndex:
    """Index a pool that consists of vectors only: ids from their content keys, shape (n, 2), one source, no tokens."""
    digests = np.ascontiguousarray(keys).view(np.uint8).reshape(len(keys), 16)
    ids = pa.array(make_ids(digests))
    zeros = [0] * len(keys)
    content = blake2b(digests.tobytes(), digest_size=16).hexdigest()
    return PoolIndex(_table(ids, zeros, [name], zeros, [name], np.arange(len(keys)), None), content)


def _table(
    ids: pa.Array,
    source_codes: Sequence[int],
    sources: list[str],
    file_codes: Sequence[int],
    files: list[str],
    file_rows: Int,
    tokens: list[int] | None,
) -> pa.Table:
    n = len(ids)
    return pa.table(
        {
            "id": ids,
            "source": pa.DictionaryArray.from_arrays(
                pa.array(source_codes, pa.int32()), pa.array(sources, pa.string())
            ),
            "file": pa.DictionaryArray.from_arrays(pa.array(file_codes, pa.int32()), pa.array(files, pa.string())),
            "file_row": pa.array(file_rows, pa.int64()),
            "tokens": pa.array(tokens, pa.int64()) if tokens is not None else pa.nulls(n, pa.int64()),
        }
    )
