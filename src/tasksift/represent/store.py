"""Feature stores: sharded vectors on disk with a manifest of what made them, resumable and checked by digest.

A store is a folder, on a disk or behind a URL: ``shard-00000.npy``, ``shard-00001.npy``, ... each with a ``.json``
marker (rows, bytes, digests) that is written after it, and ``manifest.json`` (identity from the first shard on; the
list of shards once finished). Stores to which rows may be appended also keep ``shard-00000.keys``, the content digests
of a shard's rows. A file that is there was complete, and one that rotted since is told by its digest.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping
from itertools import count, takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.engines.local import share
from tasksift.errors import InputError
from tasksift.represent.identity import differences, identity_digest
from tasksift.represent.shard_writer import (
    MANIFEST,
    Int,
    ShardWriter,
    digest_of,
    file_shards,
    keys_name,
    marker_name,
    read_manifest,
    shard_name,
)
from tasksift.represent.shelf import (
    AT_ONCE,
    Where,
    as_json,
    file_digest,
    inside,
    read_json,
    replace_array,
    replace_json,
    shelf,
)
from tasksift.vectors import Vectors

__all__ = [
    "SHARD_BYTES",
    "FeatureStore",
    "ShardWriter",
    "differences",
    "file_digest",
    "identity_digest",
    "open_store",
    "read_manifest",
    "replace_array",
    "replace_json",
    "shard_path",
]

SHARD_BYTES = 2**25
"""A shard of vectors from a model is at most so large in float32: what a run holds of them in memory."""


class FeatureStore:
    """The vectors of one pool in one representation, computed once, shard by shard.

    Parameters
    ----------
    folder : Path or str
        Where the store is or will be; made by the first `write_shard`. A URL is given as text.
    identity : mapping
        What makes the vectors what they are, as JSON: the representation and its parameters, model digest, text
        template, dtype, and rows per shard (a store resumed with other shard sizes would mix two cuts of the pool);
        without `keys` also the pool's digest and rows.
    keys : uint64 (n, 2), optional
        The content digests of the pool's rows. Shards then belong to these rows; a pool that begins with the rows of
        an earlier one takes over its shards, and its other rows begin a shard of their own.
    shard_rows : int
        With `keys`: rows of a shard at most.
    force : bool
        Drop the shards of another identity, or of other rows, instead of refusing them.

    Raises
    ------
    InputError
        If the folder holds features of another identity or of other rows, or `.npy` files that no store wrote.

    Attributes
    ----------
    spans : list of (int, int)
        With `keys`: the rows (start, stop) of every shard.
    writer : ShardWriter
        What other processes need to write shards of this store.

    Notes
    -----
    Different processes may write different shards of one store at the same time. A writer that was killed starts
    again with the same identity, skips every shard that it `has`, and ends with the same bytes.
    """

    def __init__(
        self,
        folder: Where,
        identity: Mapping[str, Any],
        *,
        keys: NDArray[np.uint64] | None = None,
        shard_rows: int = 0,
        force: bool = False,
    ) -> None:
        self.folder = folder
        self.keys, self.shard_rows = keys, shard_rows
        # Through JSON, so that what was read from a manifest and what is asked for compare like with like.
        self.identity: dict[str, Any] = json.loads(json.dumps(identity))
        self.writer = ShardWriter(folder, self.identity)
        self.place = shelf(folder)
        self._complete: dict[int, dict[str, Any]] = {}  # markers of shards that are there and whole
        self._seen: set[int] = set()
        manifest = read_manifest(folder)
        if manifest is None:
            if any(name.endswith(".npy") for name in self.place.names()):
                raise InputError(f"{self.folder} holds .npy files but no feature store; choose another folder")
        elif manifest["identity"] != self.identity:
            if not force:
                self._refuse_another(manifest["identity"])
            self._drop()
        self.spans: list[tuple[int, int]] = []
        if keys is not None:
            self.spans, other = self._cut()
            if other is not None:
                if not force:
                    raise InputError(
                        f"{self.folder} holds features of other rows, from row {other} of the pool on (rows may only "
                        "be appended); choose another folder, or replace them by tasksift embed --force"
                    )
                self._drop()
                self.spans, _ = self._cut()

    def has(self, k: int) -> bool:
        """Whether shard `k` is complete and of these rows.

        On a disk its bytes are read once and compared with their digest. Behind a URL its size is; the digest is when
        the shard is fetched.
        """
        return self._marker(k) is not None

    def left(self, count: int) -> list[int]:
        """Return which of the first `count` shards are not complete; behind a URL many are asked for at a time."""
        there = set(self.place.names())
        begun = [k for k in range(count) if marker_name(k) in there]
        has = share(self.has, begun, AT_ONCE if self.place.remote else 1)
        done = {k for k, whole in zip(begun, has, strict=True) if whole}
        return [k for k in range(count) if k not in done]

    def begun(self, k: int) -> Int | None:
        """Return the rows of shard `k` that wait for their vectors, none if it is complete.

        None if the shard is not there, is damaged or is of other rows.
        """
        marker = read_json(self.place, marker_name(k))
        return self.writer.begun(k) if marker is not None and self._same_rows(k, marker) else None

    def written(self, k: int) -> None:
        """Take the word of another process that it wrote shard `k` just now: the size is enough, without a digest."""
        self._seen.add(k)

    def write_shard(self, k: int, array: NDArray[np.generic]) -> None:
        """Write shard `k`, shape (rows, d), over whatever was there."""
        keys = None
        if self.keys is not None:
            start, stop = self.spans[k]
            if len(array) != stop - start:
                raise ValueError(f"shard {k} has {len(array)} rows; rows {start} to {stop} belong there")
            keys = self._keys_of(k)
        self._complete.pop(k, None)
        self.writer.write(k, array, keys=keys)
        self._seen.add(k)

    def rows(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        """Return some rows that have their vectors, (k, d), as stored; only for stores with `keys`."""
        starts = np.array([start for start, _ in self.spans])
        shard_of = np.searchsorted(starts, rows, side="right") - 1
        found = {int(k): self.writer.take(int(k), rows[shard_of == k] - starts[k]) for k in np.unique(shard_of)}
        first = next(iter(found.values()))
        out = np.empty((len(rows), first.shape[1]), dtype=first.dtype)
        for k, some in found.items():
            out[shard_of == k] = some
        return out

    def finish(self, n_rows: int) -> None:
        """Close the store: every shard from 0 on is there and intact, and together they have `n_rows` rows."""
        names = self.place.names()
        if self.place.remote:
            self.left(sum(name.startswith("shard-") and name.endswith(".json") for name in names))
        shards: list[dict[str, Any]] = []
        rows = 0
        while rows < n_rows:
            marker = self._marker(len(shards))
            if marker is None:
                name = self.place.at(shard_name(len(shards)))
                raise InputError(f"{name} is missing or damaged; run again to compute it")
            shards.append(marker)
            rows += marker["rows"]
        if rows != n_rows or marker_name(len(shards)) in names:
            raise InputError(f"the shards in {self.folder} do not add up to {n_rows} rows; write to another folder")
        self.writer.write_manifest({"rows": rows, "shards": shards})
        for name in names:
            if name.endswith(".part"):  # what killed writers left
                self.place.remove(name)

    def open(self) -> Vectors:
        """Return the vectors of a finished store, mapped when they are read.

        Cost: on a disk, one sequential read of the shards that this object has neither written nor checked. Behind a
        URL shards are fetched, and compared with their digests, when they are read.
        """
        manifest = read_manifest(self.folder)
        if manifest is not None:
            self._refuse_another(manifest["identity"])
        return _open(self.folder, manifest, self._complete)

    def _marker(self, k: int) -> dict[str, Any] | None:
        """The marker of shard `k` if it is complete and of these rows."""
        if k not in self._complete:
            marker = read_json(self.place, marker_name(k))
            if marker is None or marker.get("waiting") or not self._same_rows(k, marker):
                return None
            if not self.place.is_whole(shard_name(k), marker, seen=k in self._seen):
                return None
            self._complete[k] = marker
        return self._complete[k]

    def _drop(self) -> None:
        # What is left by a kill in between is still told to be of other rows, or not to be complete: markers go first,
        # keys from the last to the first, and the manifest at the end.
        names = [name for name in self.place.names() if name.startswith("shard-")]
        for suffix in (".json", ".npy", ".keys"):
            for name in sorted((name for name in names if name.endswith(suffix)), reverse=True):
                self.place.remove(name)
        self.place.remove(MANIFEST)
        self._complete.clear()
        self._seen.clear()

    def _cut(self) -> tuple[list[tuple[int, int]], int | None]:
        """The rows (start, stop) of every shard, and the first row that is not the one that was embedded there."""
        assert self.keys is not None
        spans: list[tuple[int, int]] = []
        at = 0
        # The cuts that are there stay, so that a resumed writer computes in the same pieces.
        for there in self._stored_keys():
            here = self.keys[at : at + len(there)]
            # A row of zeros stands for one of which only the number is known.
            same = (there[: len(here)] == here).all(axis=1) | ~there[: len(here)].any(axis=1)
            if len(here) < len(there) or not same.all():
                return [], at + (len(here) if same.all() else int(np.argmin(same)))
            spans.append((at, at + len(there)))
            at += len(there)
        spans += [(k, min(k + self.shard_rows, len(self.keys))) for k in range(at, len(self.keys), self.shard_rows)]
        return spans, None

    def _stored_keys(self) -> Iterator[NDArray[np.uint64]]:
        """The keys of the rows of each shard that is there, zeros where they are lost or damaged."""
        names = set(self.place.names())
        pairs = ((keys_name(k), marker_name(k)) for k in count())
        there = takewhile(lambda pair: not names.isdisjoint(pair), pairs)
        read = self.place.read_each(name for pair in there for name in pair)
        for data, told in zip(read, read, strict=True):
            marker = as_json(told)
            if marker is not None and "keys" in marker and marker["keys"] != digest_of(data or b""):
                yield np.zeros((marker["rows"], 2), dtype=np.uint64)
            elif data and len(data) % 16 == 0:
                yield np.frombuffer(data, dtype=np.uint64).reshape(-1, 2)
            else:
                return

    def _same_rows(self, k: int, marker: Mapping[str, Any]) -> bool:
        if self.keys is None:
            return True
        if k >= len(self.spans):
            return False
        keys = self._keys_of(k)
        return bool(marker.get("keys") == digest_of(keys)) and self.place.read(keys_name(k)) == keys

    def _keys_of(self, k: int) -> bytes:
        assert self.keys is not None
        start, stop = self.spans[k]
        return np.ascontiguousarray(self.keys[start:stop]).tobytes()

    def _refuse_another(self, there: dict[str, Any]) -> None:
        found = differences(there, self.identity)
        if "representation" in found:  # the others follow from it
            found = {"representation": found["representation"]}
        if found:
            named = "; ".join(found.values())
            raise InputError(
                f"{self.folder} holds other features ({named}); choose another folder, or replace them by tasksift "
                "embed --force"
            )


def open_store(folder: Where) -> Vectors:
    """Return the vectors of the finished store in `folder`, whatever its identity; see `FeatureStore.open`."""
    return _open(folder, read_manifest(folder), ())


def shard_path(folder: Where, k: int) -> Where:
    """Return where shard `k` of a store lies."""
    return inside(folder, shard_name(k))


def _open(folder: Where, manifest: dict[str, Any] | None, checked: Container[int]) -> Vectors:
    if manifest is None or "shards" not in manifest:
        raise InputError(f"{folder} holds no finished feature store; run the command that writes it again")
    place, markers = shelf(folder), manifest["shards"]
    if not place.remote:
        for k, marker in enumerate(markers):
            if k not in checked and not place.is_whole(shard_name(k), marker):
                raise InputError(f"{place.at(shard_name(k))} is missing or damaged; run again to compute it")
    return Vectors(file_shards(folder, markers), name=str(folder))
