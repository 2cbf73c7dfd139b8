"""Shards of a model's vectors, made by any machine that can load the model, read the pool and write the store."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasksift.engines.current import Done
from tasksift.errors import InputError
from tasksift.feature_config import FeatureConfig
from tasksift.represent import REPRESENTATIONS, Embedder, check_finite
from tasksift.represent.checkpoints import tuned_folders
from tasksift.represent.copies import conversation
from tasksift.represent.identity import differences
from tasksift.represent.opening import open_embedder
from tasksift.represent.shard_jobs import Unit, changed, key_digest, read_unit
from tasksift.represent.shard_writer import ShardWriter
from tasksift.rows import Batch, Example, TextReader
from tasksift.rows.scan import digests_of, examples_of, sources_of
from tasksift.rows.slices import Slice


class ModelRows(NamedTuple):
    """The rows of one shard.

    Attributes
    ----------
    examples : list of Example
    keys : bytes
        Their content digests, one after the other.
    copied : bytes
        See `tasksift.represent.shard_jobs.ShardRows`.
    """

    examples: list[Example]
    keys: bytes
    copied: bytes


@dataclass(frozen=True)
class ModelJob:
    """A `tasksift.engines.current.ShardJob`, for the units of `Layout.units`.

    It computes the rows that are new to their shard. Those that are copies of rows of earlier shards wait for
    `tasksift.represent.copy_job.CopyJob`; a shard in which all rows do is not for this job.

    Attributes
    ----------
    writer : ShardWriter
        Of the store.
    options : dict
        What `every_option` gives.
    shard_rows, piece_rows : int
        Rows of a shard at most, and rows that the embedder is given at a time.
    """

    writer: ShardWriter
    options: dict[str, Any]
    shard_rows: int
    piece_rows: int

    heavy = True

    @property
    def config(self) -> FeatureConfig:
        """How rows become vectors."""
        return FeatureConfig.create(**self.options)

    @property
    def gpu(self) -> bool:
        """Whether the model was asked to be on one."""
        return self.config.device.startswith("cuda")

    def read(self, unit: Unit) -> Iterator[tuple[int, ModelRows]]:
        """Yield each shard of a unit with its rows; rows that are not those of the first pass are refused."""
        config, reader = self.config, TextReader(self.options.get("text_template"))

        def take(batch: Batch, part: Slice) -> list[tuple[Example, bytes]]:
            sources = sources_of(batch, config.source_column, bool(part.sourced))
            return list(zip(examples_of(batch, reader), digests_of(batch, sources), strict=True))

        for shard, rows in read_unit(unit, take):
            keys = b"".join(digest for _, digest in rows)
            if key_digest(keys) != shard.keys:
                raise changed(rows[0][0].where.rsplit(", ", 1)[0])
            yield shard.shard, ModelRows([example for example, _ in rows], keys, shard.copied)

    def load(self) -> Embedder:
        """Return the model.

        Raises
        ------
        InputError
            If it cannot be loaded, or is not the one that the store is of; the message names the machine.
        """
        # Of the GPUs a worker sees its own alone.
        config = self.config.model_copy(update={"device": "cuda"}) if self.gpu else self.config
        try:
            embedder = open_embedder(config)
        except InputError as error:
            raise InputError(f"{error} (on {socket.gethostname()})") from None
        here = json.loads(json.dumps(store_identity(config, embedder, self.shard_rows)))
        found = differences(self.writer.identity, here)
        if found:
            raise InputError(
                f"{socket.gethostname()} has another model ({'; '.join(found.values())}); put the same one on all "
                "machines, or name it as the hub does"
            )
        return embedder

    def write(self, state: Embedder, shard: int, rows: ModelRows) -> Done:
        """Embed what is new in a shard and write it."""
        begun = perf_counter()
        count = len(rows.examples)
        bits = np.frombuffer(rows.copied, dtype=np.uint8)
        copied = np.unpackbits(bits, count=count).astype(bool) if len(bits) else np.zeros(count, dtype=bool)
        seen: dict[bytes, int] = {}
        firsts = np.arange(count)
        for k in np.flatnonzero(~copied).tolist():
            firsts[k] = seen.setdefault(conversation(rows.examples[k]), k)
        new = ~copied & (firsts == np.arange(count))
        vectors: NDArray[np.generic] | None = None
        config = self.config
        for at in range(0, count, self.piece_rows):
            here = np.flatnonzero(new[at : at + self.piece_rows]) + at
            if len(here):
                computed = embed_examples(state, [rows.examples[k] for k in here.tolist()], config)
                if vectors is None:
                    vectors = np.zeros((count, computed.shape[1]), dtype=computed.dtype)
                vectors[here] = computed
        assert vectors is not None
        vectors[~copied] = vectors[firsts[~copied]]
        size = self.writer.write(shard, vectors, keys=rows.keys, waiting=np.flatnonzero(copied))
        drops = dropped(self.writer.identity, vectors[~copied])
        return Done(shard, count - int(copied.sum()), size, perf_counter() - begun, drops)


def every_option(config: FeatureConfig) -> dict[str, Any]:
    """Return all that says how rows become vectors; folders as they are found from anywhere."""
    return config.model_dump(include=set(FeatureConfig.model_fields), mode="json") | _in_full(config)


def feature_options(config: FeatureConfig) -> dict[str, Any]:
    """Return the fields that make a pool's vectors; folders as they are found from anywhere."""
    return config.feature_options() | _in_full(config)


def _in_full(config: FeatureConfig) -> dict[str, str]:
    options = {}
    if config.representation != "endpoint" and config.model is not None and Path(config.model).is_dir():
        options["model"] = str(Path(config.model).resolve())
    if config.checkpoints is not None:
        options["checkpoints"] = ",".join(str(Path(each).resolve()) for each in tuned_folders(config.checkpoints))
    return options


def store_identity(config: FeatureConfig, embedder: Embedder, shard_rows: int) -> dict[str, Any]:
    """Return what makes the vectors of a store what they are."""
    made: dict[str, Any] = json.loads(json.dumps(embedder.identity))
    if isinstance(made.get("model"), dict) and made["model"].get("digest"):
        # A model is its content; where it lies is written beside the store.
        made["model"] = {"digest": made["model"]["digest"]}
    return {
        "representation": config.representation,
        "text_template": config.text_template,
        "source_column": config.source_column,
        "store_dtype": config.store_dtype,
        "shard_rows": shard_rows,
        "made": made,
    }


def dropped(identity: dict[str, Any], vectors: NDArray[np.generic]) -> dict[str, int]:
    """Return how many rows of a store have no direction, under the reason; nothing where there is none."""
    rows = 0
    if REPRESENTATIONS[str(identity["representation"])].kind == "direction":
        rows = int(np.count_nonzero(vectors[:, -1]))
    return {"a vector of zeros": rows} if rows else {}


def embed_examples(embedder: Embedder, examples: list[Example], config: FeatureConfig) -> NDArray[np.generic]:
    """Return the vectors of some examples in the form in which they are kept.

    A row of zeros, such as the gradient of a row without an answer, has no direction. It gets the unit vector of one
    more axis, on which every other row has 0: it is unrelated to all of them and equal to its like.

    Raises
    ------
    InputError
        If a vector is not finite; the message names the row.
    """
    rows = embedder.transform(examples)
    check_finite(rows, examples, f"its {config.representation} vector is")
    assert config.representation is not None
    if REPRESENTATIONS[config.representation].kind == "scalars":
        return np.asarray(rows, dtype=np.float32)
    none = ~rows.any(axis=1)
    rows = np.column_stack([rows, none.astype(np.float32)])
    if config.store_dtype == "float16":
        # Unit rows first: gradients may lie below what float16 can tell from 0.
        rows = rows / np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))[:, None]
    return rows.astype(config.store_dtype, copy=False)
