"""The first pass over a pool in parts: every slice is read by itself, and together they say what one reading says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError, UnfinishedError
from tasksift.features import SAMPLE_TEXTS, FitSample
from tasksift.represent.copies import conversation
from tasksift.represent.sample import BottomK
from tasksift.rows import Batch, PoolFile, Scanned, TextReader, TokenCounter, read, scan
from tasksift.rows.ids import DIGEST_BYTES
from tasksift.rows.raw import no_rows
from tasksift.rows.scan import check_files, examples_of, scan_batch, texts_of
from tasksift.rows.slices import Slice, count_lines, lines_of, numbered, read_slice
from tasksift.scratch import Column

Spread = Callable[[Callable[..., Any], tuple[Any, ...], Iterable[Slice]], Iterator[Any]]
"""As `tasksift.engines.current.spread`."""

BATCH_ROWS = 8192
"""Rows of a slice that are spelled out at a time."""

MARGIN = 1.5
"""How many times as many texts as the sample needs the slices are expected to send."""


@dataclass(frozen=True)
class Scan:
    """What is asked of every slice, as plain data.

    Attributes
    ----------
    template, tokenizer : str or None
        How text is found and tokens are counted.
    id_column, source_column, group_column, score_column : str or None
        As in `tasksift.rows.scan`.
    share : float
        The part of all texts, by their hash, of which the sample is drawn, see `sample_share`.
    conversations : bool
        Whether copies will be looked for, see `tasksift.represent.copies.first_rows`.
    """

    template: str | None = None
    tokenizer: str | None = None
    id_column: str | None = None
    source_column: str | None = None
    group_column: str | None = None
    score_column: str | None = None
    share: float = 1.0
    conversations: bool = False

    @property
    def columns(self) -> dict[str, Any]:
        """The columns, by the names that `tasksift.rows.scan` gives them."""
        names = ("id_column", "source_column", "group_column", "score_column")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class ScannedSlice:
    """What a slice holds, in few bytes; columns as in `tasksift.rows.Scanned`.

    Attributes
    ----------
    number, first_row : int
        Position of the file in the pool, and the row of the file that comes first, as far as the slice knows it.
    rows, lines : int
        How many; lines of a range of bytes only.
    empty : int
        Rows without text.
    texts : list of str
        Candidates for the sample.
    digests : bytes
        16 for each row.
    conversations : bytes
        16 for each row, where they are asked for.
    sources, source_codes, groups, group_codes
        Names, and int32 (rows,) into them.
    sourced : bool or None
        Whether the first row of the file has a column ``source``, as far as that is known.
    error : str or None
        Why the slice cannot be read.
    """

    number: int
    first_row: int = 0
    rows: int = 0
    lines: int = 0
    empty: int = 0
    texts: tuple[str, ...] = ()
    digests: bytes = b""
    conversations: bytes = b""
    sources: tuple[str, ...] = ()
    source_codes: NDArray[np.int32] | None = None
    tokens: NDArray[np.int32] | None = None
    user_ids: tuple[str, ...] | None = None
    groups: tuple[str, ...] = ()
    group_codes: NDArray[np.int32] | None = None
    numbers: NDArray[np.float64] | None = None
    sourced: bool | None = None
    error: str | None = None

    def batches(self) -> Iterator[Scanned]:
        """Yield the rows as batches without texts, `BATCH_ROWS` at a time."""
        digests = memoryview(self.digests)
        for at in range(0, self.rows, BATCH_ROWS):
            here = slice(at, min(at + BATCH_ROWS, self.rows))
            yield Scanned(
                self.number,
                self.first_row + at,
                [],
                _spelled(self.sources, self.source_codes, here) or [],
                [bytes(digests[k * DIGEST_BYTES : (k + 1) * DIGEST_BYTES]) for k in range(here.start, here.stop)],
                [] if self.tokens is None else self.tokens[here].tolist(),
                None if self.user_ids is None else list(self.user_ids[here]),
                _spelled(self.groups, self.group_codes, here),
                None if self.numbers is None else self.numbers[here].tolist(),
            )


def sample_share(rows: int | None) -> float:
    """Return the share of all texts of which a pool of about so many rows should draw its sample."""
    return 1.0 if rows is None else min(1.0, MARGIN * SAMPLE_TEXTS / max(1, rows))


def scan_slice(asked: Scan, part: Slice) -> ScannedSlice:
    """Read one slice; what cannot be read becomes its `error`, since only a reading from the start knows the line."""
    try:
        return _scan(asked, part)
    except UnfinishedError:  # may pass when it is tried again
        raise
    except InputError as error:
        return ScannedSlice(part.number, error=str(error))


def sample_slice(asked: Scan, part: Slice) -> list[str]:
    """Return the candidates of one slice for the sample."""
    sample, reader = BottomK(SAMPLE_TEXTS, seed=0, share=asked.share), TextReader(asked.template)
    for batch in read_slice(part):
        sample.add(texts_of(batch, reader))
    return sample.texts()


def scan_in_parts(
    files: Sequence[PoolFile],
    slices: Sequence[Slice],
    asked: Scan,
    spread: Spread,
    see: Callable[[ScannedSlice], None],
) -> tuple[list[Slice], FitSample]:
    """Read every slice of a pool once, wherever `spread` does so.

    Parameters
    ----------
    files : sequence of PoolFile
    slices : sequence of Slice
        All slices of these files, see `tasksift.rows.slices.cut`.
    asked : Scan
    spread : callable
        ``spread(work, common, parts)`` yields ``work(*common, part)`` in the order of the parts.
    see : callable
        Is shown every slice, in the order of the rows.

    Returns
    -------
    list of Slice, FitSample
        The slices with what is known of them now; the sample that a reading of the whole pool gives.

    Raises
    ------
    InputError
        What `tasksift.rows.scan` raises, in the same words. For that, a file that holds something wrong is read again
        from its start.

    Notes
    -----
    Where the pool has so many copies that the slices send too few texts for the sample, they are read once more.
    """
    check_files(files)
    sample = FitSample()
    counts: list[tuple[int, int, bool | None]] = []
    rows = [0] * len(files)
    for k, (part, found) in enumerate(zip(slices, spread(scan_slice, (asked,), slices), strict=True)):
        if found.error is not None:
            found = _again(files, part, asked)
        rows[part.number] += found.rows
        ends = k + 1 == len(slices) or slices[k + 1].number != part.number
        if ends and not rows[part.number]:
            raise no_rows(files[part.number])
        counts.append((found.rows, found.lines, found.sourced))
        sample.add(list(found.texts), found.empty)
        see(found)
    known = numbered(slices, counts)
    while asked.share < 1 and len(sample) < SAMPLE_TEXTS:
        expected = asked.share * MARGIN * SAMPLE_TEXTS / max(1, len(sample))
        asked = replace(asked, share=min(1.0, max(2 * asked.share, expected)))
        for texts in spread(sample_slice, (asked,), [each for each in known if each.rows]):
            sample.add(texts, 0)
    return known, sample


def _scan(asked: Scan, part: Slice) -> ScannedSlice:
    reader, counter = TextReader(asked.template), _counter(asked.tokenizer, _changed(asked.tokenizer))
    text = lines_of(part) if part.is_text else None
    sample = BottomK(SAMPLE_TEXTS, seed=0, share=asked.share)
    digests, conversations, user_ids = bytearray(), bytearray(), list[str]()
    sources, groups = _Names(), _Names()
    tokens, numbers = Column(np.int32), Column(np.float64)
    empty, sourced = 0, part.sourced
    for batch in read_slice(part, text=text):
        if sourced is None and asked.source_column is None:
            sourced = _sourced(part, batch)
        if asked.conversations:
            examples = examples_of(batch, reader)
            conversations += b"".join(map(conversation, examples))
            texts = [example.text for example in examples]
        else:
            texts = texts_of(batch, reader)
        found = scan_batch(part.number, batch, texts, counter, bool(sourced), **asked.columns)
        sample.add(texts)
        empty += sum(not each.strip() for each in texts)
        digests += b"".join(found.digests)
        sources.add(found.sources)
        groups.add(found.groups or ())
        tokens.extend(found.tokens)
        numbers.extend(found.numbers or ())
        user_ids += found.user_ids or ()
    return ScannedSlice(
        number=part.number,
        first_row=part.first_row,
        rows=len(digests) // DIGEST_BYTES,
        lines=0 if text is None else count_lines(text),
        empty=empty,
        texts=tuple(sample.texts()),
        digests=bytes(digests),
        conversations=bytes(conversations),
        sources=tuple(sources.codes),
        source_codes=sources.of_rows.done(),
        tokens=tokens.done(),
        user_ids=None if asked.id_column is None else tuple(user_ids),
        groups=tuple(groups.codes),
        group_codes=None if asked.group_column is None else groups.of_rows.done(),
        numbers=None if asked.score_column is None else numbers.done(),
        sourced=sourced,
    )


class _Names:
    """Names of rows as codes, in the order in which they come."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        self.of_rows = Column(np.int32)

    def add(self, names: Iterable[str]) -> None:
        codes = self.codes
        self.of_rows.extend([codes.setdefault(name, len(codes)) for name in names])


def _sourced(part: Slice, batch: Batch) -> bool | None:
    """Whether the file's first row has a column ``source``; None as long as it makes no difference."""
    if part.begins:
        return "source" in batch.records[0]
    if any("source" in record for record in batch.records):
        return "source" in next(read(part.file, 1)).records[0]
    return None


def _again(files: Sequence[PoolFile], part: Slice, asked: Scan) -> ScannedSlice:
    """Raise what is wrong in the file of a slice, from its start on; or return the slice, if all is well now."""
    reader, counter = TextReader(asked.template), TokenCounter(asked.tokenizer)
    for _ in scan([files[part.number]], reader, counter, **asked.columns):
        pass
    return _scan(asked, part)


def _changed(path: str | None) -> int:
    try:
        return 0 if path is None else Path(path).stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=1)
def _counter(path: str | None, changed: int) -> TokenCounter:
    """Load a tokenizer once, not for every slice; `changed` tells one version of the file from the next."""
    return TokenCounter(path)


def _spelled(names: Sequence[str], codes: NDArray[np.int32] | None, here: slice) -> list[str] | None:
    return None if codes is None else [names[code] for code in codes[here].tolist()]
