"""The index of a pool: for every row its id, source, place and tokens, in a few bytes, without its text."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

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

    @property
    def sources(self) -> Int:
        """The source code of every row, into `source_names`."""
        if self._source_codes is None:
            return np.zeros(len(self), dtype=np.int64)  # the system gives no memory to zeros that are only read
        return self._source_codes.astype(np.int64)

    @cached_property
    def source_counts(self) -> Int:
        """How many rows each source has."""
        if self._source_codes is None:
            return np.array([len(self)])
        counts = np.zeros(len(self.source_names), dtype=np.int64)
        for start in range(0, len(self), CHUNK_ROWS):
            counts += np.bincount(self._source_codes[start : start + CHUNK_ROWS], minlength=len(counts))
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
        if len(ends) == 1:
            file_codes, file_rows = np.zeros(len(rows), dtype=np.int32), rows
        else:
            file_codes = np.searchsorted(ends, rows, side="right").astype(np.int32)
            file_rows = rows - np.append(0, ends)[file_codes]
        codes = self._source_codes
        source_codes = np.zeros(len(rows), dtype=np.int32) if codes is None else codes[rows]
        tokens = nulls(len(rows), pa.int64()) if self.tokens is None else pa.array(self.tokens[rows], pa.int64())
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
            numbers = {name: np.empty(n, dtype=kind) for name, kind in _COLUMNS.items() if name in names}
            made = pa.types.is_fixed_size_binary(file.schema_arrow.field("key").type)
            keys = np.empty((n if made else 0, 2), dtype=np.uint64)
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
        nth = self._ranks[1]
        return make_ids(self.keys[rows], None if nth is None else nth[rows])


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
    sources: dict[str, int] = {}
    # Arrays of the standard library grow in place.
    source_codes, tokens, digests = array("i"), array("i"), bytearray()
    user_ids: list[pa.Array] = []
    groups: dict[str, int] = {}
    group_codes, numbers = array("i"), array("d")
    sizes = [0] * len(files)
    content = ContentDigest()
    for part in scan(
        list(files), reader, counter, id_column=id_column, source_column=source_column, group_column=group_column,
        score_column=score_column,
    ):  # fmt: skip
        sizes[part.file] += len(part.texts)
        source_codes.extend(sources.setdefault(name, len(sources)) for name in part.sources)
        tokens.extend(part.tokens)
        group_codes.extend(groups.setdefault(name, len(groups)) for name in part.groups or ())
        numbers.extend(part.numbers or ())
        some = b"".join(part.digests)
        content.add(some)
        if part.user_ids is None:
            digests += some
        else:
            user_ids.append(pa.array(part.user_ids, pa.string()))
        see(part)
    names = pa.chunked_array(user_ids, pa.string())
    if id_column is not None:
        check_user_ids(names)
    return PoolIndex(
        names if id_column is not None else np.frombuffer(digests, dtype=np.uint64).reshape(-1, 2),
        content.hex(),
        [(file.path, size) for file, size in zip(files, sizes, strict=True)],
        list(sources),
        np.frombuffer(source_codes, dtype=np.int32) if len(sources) > 1 else None,
        np.frombuffer(tokens, dtype=np.int32),
        list(groups),
        np.frombuffer(group_codes, dtype=np.int32) if group_column is not None else None,
        np.frombuffer(numbers, dtype=np.float64) if score_column is not None else None,
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
