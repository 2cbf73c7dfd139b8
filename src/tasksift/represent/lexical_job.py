"""Shards of the default representation, made by any machine that can read the pool and write the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

from tasksift.engines.current import Done
from tasksift.represent.shard_jobs import Unit, read_unit
from tasksift.represent.shard_writer import ShardWriter
from tasksift.represent.shelf import Where
from tasksift.represent.tfidf_model import Tfidf
from tasksift.rows import TextReader
from tasksift.rows.scan import texts_of


@dataclass(frozen=True)
class LexicalJob:
    """A `tasksift.engines.current.ShardJob`, for the units of `Layout.units`.

    Attributes
    ----------
    writer : ShardWriter
        Of the store.
    model : path or URL
        Where the fitted model lies.
    template : str or None
        How text is found.
    """

    writer: ShardWriter
    model: Where
    template: str | None

    gpu = False
    heavy = False  # a vocabulary is read in no time

    def read(self, unit: Unit) -> Iterator[tuple[int, list[str]]]:
        """Yield each shard of a unit with the texts of its rows."""
        reader = TextReader(self.template)
        for shard, texts in read_unit(unit, lambda batch, _: texts_of(batch, reader)):
            yield shard.shard, texts

    def load(self) -> Tfidf:
        """Return the fitted model."""
        return Tfidf.load(self.model)

    def write(self, state: Tfidf, shard: int, rows: list[str]) -> Done:
        """Embed the texts of a shard and write it."""
        begun = perf_counter()
        vectors = state.transform(rows)
        size = self.writer.write(shard, vectors)
        unknown = int((vectors[:, -1] != 0).sum())
        return Done(shard, len(rows), size, perf_counter() - begun, {"no known word": unknown} if unknown else {})
