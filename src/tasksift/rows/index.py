"""The index of a pool: for every row its id, source, place and tokens, in a few bytes, without its text."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasksift.numbering import gather, numbers
from tasksift.rows.encode import well_formed
from tasksift.rows.ids import (
    CHUNK_ROWS,
    DIGEST_BYTES,
    ContentDigest,
    Int,
    Keys,
    check_user_ids,
    make_ids,
    rank_keys,
    rank_names,
)
from tasksift.rows.scan import Scanned, scan
from tasksift.rows.sources import PoolFile
from tasksift.rows.text import TextReader
from tasksift.rows.tokens import TokenCounter
from tasksift.scratch import Column, chunks, large

_COLUMNS = {"source": np.int32, "tokens": np.int32, "group": np.int32, "number": np.float64}
"""What an index keeps of every row besides its key."""


class PoolIndex:
    """The rows of a pool, numbered in the order of the input.

    Parameters
    ----------
    keys : uint64 (n, 2) or pyarrow.ChunkedArray (n,)
        Content digests, of which ids are made when they are asked for; or the users' own ids.
    digest : str
        Digest of the content of all rows in order.
    files : list of (str, int)
        The files in the order of the input, and how many rows each has.
    source_names : list of str
        The names of the sources.
    source_codes : int32 (n,) or None
        The source of every row; None when there is only one.
    tokens : int32 (n,) or None
        Tokens of every row, None when the rows have no text.
    group_names : sequence of str
    groups : int32 (n,) or None
        The group of every row, into `group_names`, where a column of groups was named.
    numbers : float64 (n,) or None
        A number of every row, where a column of numbers was named.

    Notes
    -----
    A row takes 24 bytes with its rank (28 in a pool with copies), 8 more when it has text, 4 for a group, 8 for a
    number, and those of its id if that is the user's.
    """

    def __init__(
        self,
        keys: Keys | pa.ChunkedArray,
        digest: str,
        files: list[tuple[str, int]],
        source_names: list[str],
        source_codes: NDArray[np.int32] | None = None,
        tokens: NDArray[np.int32] | None = None,
        group_names: Sequence[str] = (),
        groups: NDArray[np.int32] | None = None,
        numbers: NDArray[np.float64] | None = None,
    ) -> None:
        self.keys = keys
        self.digest = digest
        self.files = files
        self.source_names = source_names
        self.tokens = tokens
        self.group_names, self.groups, self.numbers = list(group_names), groups, numbers
        self._source_codes = source_codes

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def order(self) -> Int:
        """The rank of every row in the order of ids, by which all ties break."""
        return self._ranks[0]

    @cached_property
    def sources(self) -> Int:
        """The source code of every row, into `source_names`."""
        if self._source_codes is None:
            return np.broadcast_to(np.int64(0), len(self))
        return gather(self._source_codes, numbers(len(self)), np.int64)

    @cached_property
    def source_counts(self) -> Int:
        """How many rows each source has."""
        if self._source_codes is None:
            return np.array([len(self)])
        counts = np.zeros(len(self.source_names), dtype=np.int64)
        for some in chunks(len(self)):
            counts += np.bincount(self._source_codes[some], minlength=len(counts))
        return counts

    def take(self, rows: Int) -> pa.Table:
        """Return what is known of some rows.

        Parameters
        ----------
        rows : int64 (k,)
            Positions in the input, in any order.

        Returns
        -------
        pyarrow.Table with ``id`` (unique text), ``source`` and ``file`` (dictionaries), ``file_row`` (position in the
        file) and ``tokens`` (null when the rows have no text). Cost: O(k) after the first time.
        """
        paths = pa.array([well_formed(path) for path, _ in self.files], pa.string())
        names = pa.array([well_formed(name) for name in self.source_names], pa.string())
        ends = np.cumsum([size for _, size in self.files])
        # Zeros take no memory as long as they are only read.
        if len(ends) == 1:
            file_codes, file_rows = np.zeros(len(rows), dtype=np.int32), rows
        else:
            file_codes, file_rows = large(len(rows), np.int32), large(len(rows), np.int64)
            for some in chunks(len(rows)):
                file_codes[some] = np.searchsorted(ends, rows[some], side="right")
                file_rows[some] = rows[some] - np.append(0, ends)[file_codes[some]]
        codes = self._source_codes
        source_codes = np.zeros(len(rows), dtype=np.int32) if codes is None else gather(codes, rows)
        tokens = nulls(len(rows), pa.int64())
        if self.tokens is not None:
            tokens = pa.array(gather(self.tokens, rows, np.int64))
        return pa.table(
            {
                "id": self._ids(rows),
                "source": pa.DictionaryArray.from_arrays(source_codes, names),
                "file": pa.DictionaryArray.from_arrays(file_codes, paths),
                "file_row": pa.array(file_rows, pa.int64()),
                "tokens": tokens,
            }
        )

    def save(self, path: Path) -> None:
        """Write the index as one Parquet file, in one step."""
        n = len(self)
        columns = {"key": self.keys}
        if isinstance(self.keys, np.ndarray):
            columns["key"] = pa.Array.from_buffers(pa.binary(DIGEST_BYTES), n, [None, pa.py_buffer(self.keys)])
        more = (self._source_codes, self.tokens, self.groups, self.numbers)
        for name, column in zip(_COLUMNS, more, strict=True):
            if column is not None:
                columns[name] = pa.array(column)
        names = {"sources": self.source_names, "groups": self.group_names}
        facts = {"digest": self.digest, "files": self.files, **names}
        part = path.with_suffix(".part")
        table = pa.table(columns).replace_schema_metadata({"index": json.dumps(facts)})
        pq.write_table(table, part, compression="zstd", use_dictionary=False)
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> PoolIndex:
        """Read what `save` wrote."""
        with pq.ParquetFile(path) as file:
            n, names = file.metadata.num_rows, file.schema_arrow.names
            facts = json.loads(file.schema_arrow.metadata[b"index"])
            numbers = {name: large(n, kind) for name, kind in _COLUMNS.items() if name in names}
            made = pa.types.is_fixed_size_binary(file.schema_arrow.field("key").type)
            keys = large((n if made else 0, 2), np.uint64)
            given: list[pa.Array] = []
            at = 0
            for batch in file.iter_batches(CHUNK_ROWS // 16):
                here = slice(at, at + batch.num_rows)
                for name, column in numbers.items():
                    column[here] = batch[name].to_numpy()
                if made:
                    key = batch["key"]
                    words = np.frombuffer(key.buffers()[1], dtype=np.uint64)
                    keys[here] = words.reshape(-1, 2)[key.offset : key.offset + len(key)]
                else:
                    given.append(batch["key"])
                at = here.stop
        return cls(
            keys if made else pa.chunked_array(given, pa.string()),
            facts["digest"],
            [(path, size) for path, size in facts["files"]],
            facts["sources"],
            numbers.get("source"),
            numbers.get("tokens"),
            facts["groups"],
            numbers.get("group"),
            numbers.get("number"),
        )

    @cached_property
    def _ranks(self) -> tuple[Int, NDArray[np.int32] | None]:
        return rank_keys(self.keys) if isinstance(self.keys, np.ndarray) else (rank_names(self.keys), None)

    def _ids(self, rows: Int) -> pa.ChunkedArray:
        if not isinstance(self.keys, np.ndarray):
            return self.keys.take(pa.array(rows))
        return make_ids(self.keys, self._ranks[1], rows)


def build_index(
    files: Sequence[PoolFile],
    reader: TextReader,
    counter: TokenCounter,
    *,
    id_column: str | None = None,
    source_column: str | None = None,
    group_column: str | None = None,
    score_column: str | None = None,
    see: Callable[[Scanned], None] = lambda part: None,
) -> PoolIndex:
    """Read the pool once and index it; `see` is shown every batch in passing.

    Raises
    ------
    InputError
        For whatever the reader cannot read, and for ids of `id_column` that repeat.
    """
    builder = IndexBuilder(
        files,
        with_ids=id_column is not None,
        with_groups=group_column is not None,
        with_numbers=score_column is not None,
    )
    for part in scan(
        list(files), reader, counter, id_column=id_column, source_column=source_column, group_column=group_column,
        score_column=score_column,
    ):  # fmt: skip
        builder.add(part)
        see(part)
    return builder.done()


class IndexBuilder:
    """Makes the index of a pool from its batches of rows, which are added in the order of the input.

    Parameters
    ----------
    files : sequence of PoolFile
    with_ids, with_groups, with_numbers : bool
        Whether the batches have the users' own ids, groups and numbers.
    """

    def __init__(self, files: Sequence[PoolFile], *, with_ids: bool, with_groups: bool, with_numbers: bool) -> None:
        self._files = [file.path for file in files]
        self._sizes = [0] * len(files)
        self._content = ContentDigest()
        self._sources: dict[str, int] = {}
        self._groups: dict[str, int] = {}
        self._source_codes, self._tokens = Column(np.int32), Column(np.int32)
        self._keys = Column(np.uint64)
        self._user_ids: list[pa.Array] | None = [] if with_ids else None
        self._group_codes = Column(np.int32) if with_groups else None
        self._numbers = Column(np.float64) if with_numbers else None

    def add(self, part: Scanned) -> None:
        """Take in the next rows of the pool; their texts are not looked at."""
        sources, groups = self._sources, self._groups
        self._sizes[part.file] += len(part.digests)
        self._source_codes.extend([sources.setdefault(name, len(sources)) for name in part.sources])
        self._tokens.extend(part.tokens)
        if self._group_codes is not None:
            self._group_codes.extend([groups.setdefault(name, len(groups)) for name in part.groups or ()])
        if self._numbers is not None:
            self._numbers.extend(part.numbers or ())
        some = b"".join(part.digests)
        self._content.add(some)
        if self._user_ids is None:
            self._keys.extend(some)
        else:
            self._user_ids.append(pa.array(part.user_ids, pa.string()))

    def done(self) -> PoolIndex:
        """Return the index of the rows that were added.

        Raises
        ------
        InputError
            For users' ids that are empty or repeat.
        """
        keys: Keys | pa.ChunkedArray = self._keys.done().reshape(-1, 2)
        if self._user_ids is not None:
            keys = pa.chunked_array(self._user_ids, pa.string())
            check_user_ids(keys)
        return PoolIndex(
            keys,
            self._content.hex(),
            list(zip(self._files, self._sizes, strict=True)),
            list(self._sources),
            self._source_codes.done() if len(self._sources) > 1 else None,
            self._tokens.done(),
            list(self._groups),
            None if self._group_codes is None else self._group_codes.done(),
            None if self._numbers is None else self._numbers.done(),
        )


def index_vectors(keys: Keys, name: str) -> PoolIndex:
    """Index a pool that consists of vectors only: ids from their content keys, shape (n, 2), one source, no tokens."""
    keys = np.ascontiguousarray(keys)
    content = ContentDigest()
    content.add(keys.reshape(-1).data)
    return PoolIndex(keys, content.hex(), [(name, len(keys))], [name])


def nulls(n: int, kind: pa.DataType) -> pa.Array:
    """A column of n missing numbers of 8 bytes, which takes no memory as long as it is only read."""
    bits, values = np.zeros(n // 8 + 1, dtype=np.uint8), np.zeros(n)
    return pa.Array.from_buffers(kind, n, [pa.py_buffer(bits), pa.py_buffer(values)], n)
