"""One pass over the pool: the text, the source, the digest and the tokens of every row."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasksift.errors import InputError
from tasksift.rows.encode import canonical
from tasksift.rows.example import Example
from tasksift.rows.ids import DIGEST_BYTES
from tasksift.rows.read import Batch, read
from tasksift.rows.sources import PoolFile
from tasksift.rows.text import TextReader, to_string
from tasksift.rows.tokens import TokenCounter


@dataclass
class Scanned:
    """What one batch of rows holds, row by row.

    Attributes
    ----------
    file, start : int
        Position of the file in the pool, and of the first row in the file.
    texts : list of str
        Prompt, newline, response.
    sources : list of str
        Where each row is from.
    digests : list of bytes
        16 bytes for the content of the record and its source.
    tokens : list of int
        Tokens of each text.
    user_ids : list of str or None
        The column of ids, where one was named.
    groups : list of str or None
        The column of groups, where one was named.
    numbers : list of float or None
        The column of numbers, where one was named.
    """

    file: int
    start: int
    texts: list[str]
    sources: list[str]
    digests: list[bytes]
    tokens: list[int]
    user_ids: list[str] | None = None
    groups: list[str] | None = None
    numbers: list[float] | None = None


def scan(
    files: Sequence[PoolFile],
    reader: TextReader,
    counter: TokenCounter,
    *,
    id_column: str | None = None,
    source_column: str | None = None,
    group_column: str | None = None,
    score_column: str | None = None,
    batch_rows: int = 2048,
) -> Iterator[Scanned]:
    """Read every row of the pool once, in order.

    Parameters
    ----------
    files : sequence of PoolFile
        The pool.
    reader, counter : TextReader, TokenCounter
        How text is found and tokens are counted.
    id_column : str or None
        The column with the user's own ids.
    source_column : str or None
        The column with the source; an empty value counts as ``none``. When not given, the column ``source`` if the
        first row of a file has one, with the file's name for rows that lack it; else the file's name.
    group_column, score_column : str or None
        The columns with each row's group, and with a number of each row.
    batch_rows : int
        Rows at a time.

    Raises
    ------
    InputError
        Whatever `read` and `TextReader.read` raise; a named column is missing from a row; an id is empty; a number is
        none; there are no files.
    """
    check_files(files)
    for k, file in enumerate(files):
        sourced = False
        for batch in read(file, batch_rows):
            if batch.start == 0:
                sourced = "source" in batch.records[0]
            yield scan_batch(
                k, batch, texts_of(batch, reader), counter, sourced, id_column=id_column, source_column=source_column,
                group_column=group_column, score_column=score_column,
            )  # fmt: skip


def check_files(files: Sequence[PoolFile]) -> None:
    """Raise an `InputError` if a pool has no files."""
    if not files:
        raise InputError("the pool has no rows; name at least one file")


def scan_batch(
    file: int,
    batch: Batch,
    texts: list[str],
    counter: TokenCounter,
    sourced: bool,
    *,
    id_column: str | None = None,
    source_column: str | None = None,
    group_column: str | None = None,
    score_column: str | None = None,
) -> Scanned:
    """Return what a batch of rows holds; parameters also as in `scan`.

    Parameters
    ----------
    file : int
        Position of the file in the pool.
    texts : list of str
        What `texts_of` gives.
    sourced : bool
        Whether the first row of the file has a column ``source``.
    """
    sources = sources_of(batch, source_column, sourced)
    ids = None if id_column is None else _column(batch, id_column, "--id-column")
    groups = None
    if group_column is not None:
        groups = [value or "none" for value in _column(batch, group_column, "--group-column")]
    numbers = None if score_column is None else _numbers(batch, score_column)
    digests, tokens = digests_of(batch, sources), counter.count(texts)
    return Scanned(file, batch.start, texts, sources, digests, tokens, ids, groups, numbers)


def iter_texts(files: Sequence[PoolFile], reader: TextReader, batch_rows: int = 2048) -> Iterator[list[str]]:
    """Yield the texts of the pool in order, a batch at a time: a second pass that costs less than `scan`."""
    for file in files:
        for batch in read(file, batch_rows):
            yield texts_of(batch, reader)


def iter_examples(files: Sequence[PoolFile], reader: TextReader, batch_rows: int = 512) -> Iterator[list[Example]]:
    """Yield the rows of the pool in order as examples, a batch at a time."""
    for file in files:
        for batch in read(file, batch_rows):
            yield examples_of(batch, reader)


def texts_of(batch: Batch, reader: TextReader) -> list[str]:
    """Return the text of every row."""
    return [reader.join(*reader.read(record, batch.where(i))) for i, record in enumerate(batch.records)]


def examples_of(batch: Batch, reader: TextReader) -> list[Example]:
    """Return every row as an example."""
    return [reader.example(record, batch.where(i)) for i, record in enumerate(batch.records)]


def sources_of(batch: Batch, source_column: str | None, sourced: bool) -> list[str]:
    """Return the source of every row; parameters as in `scan_batch`."""
    if source_column is not None:
        return [value or "none" for value in _column(batch, source_column, "--source-column")]
    if not sourced:
        return [batch.file.name] * len(batch.records)
    return [to_string(record.get("source")) or batch.file.name for record in batch.records]


def _column(batch: Batch, name: str, option: str) -> list[str]:
    for i, record in enumerate(batch.records):
        if name not in record:
            columns = ", ".join(list(record)[:20])
            raise InputError(f"{batch.where(i)}: there is no column {name!r} (columns: {columns}); correct {option}")
    return [to_string(record[name]) for record in batch.records]


def _numbers(batch: Batch, name: str) -> list[float]:
    numbers = []
    for i, text in enumerate(_column(batch, name, "--score-column")):
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise InputError(f"{batch.where(i)}: {name} is {text!r}, not a number; mend it or correct --score-column")
        numbers.append(number)
    return numbers


def digests_of(batch: Batch, sources: list[str]) -> list[bytes]:
    """Return for every row the digest of its content and its source."""
    digests = []
    for i, (record, source) in enumerate(zip(batch.records, sources, strict=True)):
        try:
            content = canonical(record)
        except (TypeError, ValueError, RecursionError) as error:  # rows in memory may hold anything
            raise InputError(f"{batch.where(i)}: a value cannot be written as JSON ({error}); change it") from None
        content += b"\0" + source.encode("utf-8", "surrogatepass")
        digests.append(hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest())
    return digests
