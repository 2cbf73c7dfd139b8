"""Rows that are left out before anything is selected.

The selector is told about the others only, and what it says of them is translated back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import tee
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.filters import LeftOut, merge
from tasksift.filters.contamination import WORDS, Reference, find_overlaps
from tasksift.filters.duplicates import near_duplicates
from tasksift.plan import Plan
from tasksift.progress import Progress
from tasksift.rows import Example, PoolFile, TextReader, iter_examples
from tasksift.rows.index import PoolIndex
from tasksift.selectors.contract import Context, Margins, Planner, Texts
from tasksift.transport.sweep import Lists
from tasksift.vectors import Vectors
from tasksift.workspace import Workspace

Int = NDArray[np.int64]


class LeaveOut:
    """What a run leaves out of its pool, and why.

    Parameters
    ----------
    config : RunConfig
    index : PoolIndex
    work : Workspace
        Where the vectors of the rows that stay are written.
    """

    def __init__(self, config: RunConfig, index: PoolIndex, work: Workspace, progress: Progress) -> None:
        self.config, self.index, self.work, self.progress = config, index, work, progress
        self._parts: list[LeftOut] = []
        self.kept: Int | None = None
        """The rows that stay, ascending; None: all of them."""

    @property
    def kept_rows(self) -> int:
        """How many rows stay."""
        return len(self.index) if self.kept is None else len(self.kept)

    def contaminated(
        self, files: list[PoolFile], reader: TextReader, targets: list[Example], tests: list[PoolFile]
    ) -> None:
        """Leave out rows that share long runs of words with targets or tests, where that was asked for."""
        config = self.config
        if config.decontaminate is None and not config.test:
            return
        like_targets = TextReader(config.target_template or config.text_template)
        held = [*targets, *(example for some in iter_examples(tests, like_targets) for example in some)]
        texts, prompts = tee(iter_examples(files, reader))
        found = find_overlaps(
            ([example.text for example in some] for some in texts),
            [Reference(example.where, example.text, example.prompt) for example in held],
            words=config.decontaminate or WORDS,
            pool_prompts=([example.prompt for example in some] for some in prompts),
            progress=self.progress,
            rows=len(self.index),
        )
        self._leave(found.left_out())

    def duplicates(self, pool: Vectors | None, keys: NDArray[np.uint64] | None) -> None:
        """Leave out near-copies of rows that stay, where that was asked for."""
        if self.config.dedup is None:
            return
        assert pool is not None
        among = None
        if self.kept is not None:
            among = np.zeros(len(self.index), dtype=bool)
            among[self.kept] = True
        found = near_duplicates(
            pool, self.config.dedup, order=self.index.order, among=among, seed=self.config.seed, keys=keys,
            progress=self.progress,
        )  # fmt: skip
        kept, place = np.unique(found.duplicate_of, return_inverse=True)
        names = self.index.take(kept)["id"].to_pylist()
        self._leave(found.left_out({row: names[k] for row, k in zip(found.duplicate_of.tolist(), place, strict=True)}))

    @property
    def found(self) -> LeftOut:
        """Everything that is left out."""
        return merge(self._parts)

    def said(self) -> list[str]:
        """What was left out, for people."""
        return [f"{count:,} rows left out: {reason}" for reason, count in self.found.counts().items()]

    def table(self) -> pa.Table | None:
        """The rows left out: ``row``, ``reason``, ``because_of``, and what the record says of rows; None without."""
        if not self._parts:
            return None
        table = self.found.table()
        places = self.index.take(self.found.rows)
        for name in ("id", "source", "file"):
            table = table.append_column(name, places[name].cast(pa.string()))
        return table.append_column("file_row", places["file_row"])

    def narrow(self, context: Context) -> Context:
        """Return what a selector is told when only the kept rows exist. Vectors are copied to disk."""
        kept = self.kept
        if kept is None:
            return context
        margins, texts = context.margins, context.texts
        if margins is not None:
            pools = [self._taken(each, f"margins-{k}") for k, each in enumerate(margins.pool)]
            margins = Margins(pools, margins.target, margins.pool_values[:, kept], margins.target_values, margins.moved)
        if texts is not None:
            passed = texts.pool

            def some() -> Iterator[list[str]]:
                at = 0
                for batch in passed():
                    low, high = np.searchsorted(kept, [at, at + len(batch)])
                    yield [batch[row - at] for row in kept[low:high]]
                    at += len(batch)

            texts = Texts(some, texts.target)
        return replace(
            context,
            order=np.argsort(np.argsort(context.order[kept], kind="stable")),
            sources=context.sources[kept],
            groups=None if context.groups is None else context.groups[kept],
            pool=None if context.pool is None else self._taken(context.pool, "pool"),
            lengths=None if context.lengths is None else self._taken(context.lengths, "lengths"),
            scores=None if context.scores is None else self._taken(context.scores, "scores"),
            keys=None if context.keys is None else context.keys[kept],
            margins=margins,
            texts=texts,
        )

    def widen(self, planner: Planner) -> Planner:
        """Return a planner whose plans name rows of the whole pool."""
        kept = self.kept
        if kept is None:
            return planner

        def plan(budget: int) -> Plan:
            found = planner(budget)
            links = None if found.links is None else replace(found.links, row=kept[found.links.row])
            searched = found.searched
            if searched is not None:
                searched = partial(_widened, searched, kept)
            return replace(found, ids=kept[found.ids], links=links, searched=searched)

        return plan

    def _leave(self, found: LeftOut) -> None:
        self._parts.append(found)
        self.kept = np.flatnonzero(self.found.keep(len(self.index)))
        if not len(self.kept):
            # Of near-copies one stays, so it is the words.
            raise InputError(
                "every row of the pool is left out; raise --decontaminate, or give targets and --test files that are "
                "not of the pool"
            )

    def _taken(self, vectors: Vectors, name: str) -> Vectors:
        """The kept rows, written to a file block by block and mapped."""
        assert self.kept is not None
        return vectors.copy(self.kept, Path(self.work.folder) / f"kept-{name}.npy")


def _widened(searched: Callable[[], tuple[Lists, float]], kept: Int) -> tuple[Lists, float]:
    lists, known = searched()
    return replace(lists, ids=[kept[ids] for ids in lists.ids]), known
