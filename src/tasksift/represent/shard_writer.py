"""The files of a store's shards: written by whoever computes them, on any machine, and read by their names."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift import places
from tasksift.errors import InputError
from tasksift.represent.identity import identity_digest
from tasksift.represent.shelf import Shelf, Where, keep_json, read_json, shelf
from tasksift.shards import FileShard, open_shard, shard_of

FORMAT = "tasksift features 1"
MANIFEST = "manifest.json"

HEAD_BYTES = 4096
"""More than the header of a table has."""

Int = NDArray[np.int64]


def shard_name(k: int) -> str:
    """Return the name of the table of shard `k`."""
    return f"shard-{k:05d}.npy"


def marker_name(k: int) -> str:
    """Return the name of what says that shard `k` is there: rows, bytes, digests."""
    return f"shard-{k:05d}.json"


def keys_name(k: int) -> str:
    """Return the name of the content digests of the rows of shard `k`."""
    return f"shard-{k:05d}.keys"


def digest_of(data: bytes) -> str:
    """Return the hex digest of bytes."""
    return blake2b(data, digest_size=16).hexdigest()


def read_manifest(folder: Where) -> dict[str, Any] | None:
    """Return the manifest of the store in `folder`; None if there is none or if another program wrote it."""
    place = shelf(folder)
    manifest = read_json(place, MANIFEST)
    if manifest is None or manifest.get("format") != FORMAT:
        return None
    identity = manifest.get("identity")
    if not isinstance(identity, dict) or manifest.get("identity_digest") != identity_digest(identity):
        raise InputError(f"{place.at(MANIFEST)} was changed after it was written; remove the folder and run again")
    return manifest


@dataclass(frozen=True)
class ShardWriter:
    """What a process needs to write shards of a store: plain data, sent to any machine that sees the folder.

    Parameters
    ----------
    folder : Path or str
        A path, or a URL as text.
    identity : dict
        As in `tasksift.represent.store.FeatureStore`.
    """

    folder: Where
    identity: dict[str, Any]

    @property
    def place(self) -> Shelf:
        """The folder as it is read and written."""
        return shelf(self.folder)

    def write(
        self, k: int, array: NDArray[np.generic], *, keys: bytes | None = None, waiting: Sequence[int] | Int = ()
    ) -> int:
        """Write shard `k`, shape (rows, d), over whatever was there, and return its bytes.

        Parameters
        ----------
        keys : bytes, optional
            The content digests of its rows, 16 bytes each, for stores that have them.
        waiting : sequence of int
            Rows of the shard, ascending, whose vectors are to be filled in later; until then it is not complete.
        """
        if k < 0 or array.ndim != 2 or array.size == 0:
            raise ValueError(f"shard {k} has shape {array.shape}; shards count from 0 and are tables with rows")
        # The manifest comes first, so that no shard ever lies in a folder that does not say what it is; writing
        # a shard takes back the list of shards of a store that was finished.
        manifest = read_manifest(self.folder)
        if manifest is None or "shards" in manifest:
            self.write_manifest({})
        more: dict[str, Any] = {}
        if keys is not None:
            self.place.write(keys_name(k), keys)
            more["keys"] = digest_of(keys)
        return self._write(k, array, {**more, **({"waiting": [int(row) for row in waiting]} if len(waiting) else {})})

    def fill(self, k: int, rows: Sequence[int] | Int, vectors: NDArray[np.generic]) -> int:
        """Give the rows that wait in shard `k` their vectors, which completes it, and return its bytes."""
        marker = read_json(self.place, marker_name(k)) or {}
        if not len(rows) or list(rows) != marker.get("waiting"):
            raise ValueError(f"other rows of shard {k} wait for their vectors")
        data = self.place.read(shard_name(k)) or b""
        if digest_of(data) != marker.get("digest"):
            raise InputError(f"{self.place.at(shard_name(k))} is missing or damaged; run again to compute it")
        shard: NDArray[np.generic] = np.load(io.BytesIO(data), allow_pickle=False)
        shard[np.asarray(rows)] = vectors
        return self._write(k, shard, {"keys": marker["keys"]} if "keys" in marker else {})

    def begun(self, k: int) -> Int | None:
        """Return the rows of shard `k` that wait for their vectors, none if it is complete; None if it is not there."""
        marker = read_json(self.place, marker_name(k))
        if marker is None or not self.place.is_whole(shard_name(k), marker):
            return None
        return np.array(marker.get("waiting", []), dtype=np.int64)

    def take(self, k: int, rows: Int) -> NDArray[np.generic]:
        """Return some rows of a shard as stored, (k, d); rows that wait for their vectors hold anything."""
        marker = read_json(self.place, marker_name(k))
        if marker is None:
            raise InputError(f"{self.place.at(shard_name(k))} is missing or damaged; run again to compute it")
        file = self.place.file(shard_name(k), marker["digest"])
        taken: NDArray[np.generic] = open_shard(file).array()[rows]
        return taken

    def write_manifest(self, more: dict[str, Any]) -> None:
        """Write what the store is, and what else there is to say of it, unless that is there already."""
        manifest = {"format": FORMAT, "identity": self.identity, "identity_digest": identity_digest(self.identity)}
        keep_json(self.place, MANIFEST, {**manifest, **more})

    def _write(self, k: int, array: NDArray[np.generic], more: dict[str, Any]) -> int:
        digest, size = self.place.write_array(shard_name(k), array)
        self.place.write_json(marker_name(k), {"rows": len(array), "digest": digest, "bytes": size, **more})
        return size


def file_shards(folder: Where, markers: Sequence[Mapping[str, Any]]) -> list[FileShard]:
    """Return all shards of a store, which have these markers; nothing is mapped or fetched yet.

    Of a store behind a URL only the header of the first shard is read; every shard is compared when it is mapped.
    """
    place = shelf(folder)
    files = [place.file(shard_name(k), marker["digest"]) for k, marker in enumerate(markers)]
    if not place.remote:
        return [open_shard(file) for file in files]
    url = place.at(shard_name(0))
    with places.reaching(url, data=False), places.open_input(url) as source:
        head = source.read(HEAD_BYTES)
    try:
        first = shard_of(io.BytesIO(head), files[0])
    except ValueError:
        raise InputError(f"{url} is missing or damaged; run again to compute it") from None
    return [
        FileShard(file, (marker["rows"], first.shape[1]), first.dtype)
        for file, marker in zip(files, markers, strict=True)
    ]
