"""Feature stores: sharded vectors on disk with a manifest of what made them, resumable and checked by digest.

A store is a folder: ``shard-00000.npy``, ``shard-00001.npy``, ... each with a ``.json`` marker (rows, digests) that is
written after it, and ``manifest.json`` (identity from the first shard on; the list of shards once finished). Stores to
which rows may be appended also keep ``shard-00000.keys``, the content digests of a shard's rows. Every file is written
under a temporary name and renamed, so a file that is there was complete, and one that rotted since is told by its
digest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.vectors import Vectors

FORMAT = "tasksift features 1"
MANIFEST = "manifest.json"

SHARD_BYTES = 2**25
"""A shard of vectors from a model is at most so large in float32: what a run holds of them in memory."""


class FeatureStore:
    """The vectors of one pool in one representation, computed once, shard by shard.

    Parameters
    ----------
    folder : Path
        Where the store is or will be; made by the first `write_shard`.
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

    Notes
    -----
    Different processes may write different shards of one store at the same time. A writer that was killed starts
    again with the same identity, skips every shard that it `has`, and ends with the same bytes.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        *,
        keys: NDArray[np.uint64] | None = None,
        shard_rows: int = 0,
        force: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.keys, self.shard_rows = keys, shard_rows
        # Through JSON, so that what was read from a manifest and what is asked for compare like with like.
        self.identity: dict[str, Any] = json.loads(json.dumps(identity))
        self._checked: set[int] = set()
        manifest = read_manifest(self.folder)
        if manifest is None:
            if any(self.folder.glob("*.npy")):
                raise InputError(f"{self.folder} holds .npy files but no feature store; choose another folder")
        elif manifest["identity"] != self.identity:
            if not force:
                self._refuse_another(manifest["identity"])
            self._drop()
        self.spans: list[tuple[int, int]] = []
        """With `keys`: the rows (start, stop) of every shard."""
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
        """Whether shard `k` is complete and of these rows; its bytes are read once and compared with their digest."""
        if k not in self._checked:
            marker = _read_json(self._marker(k))
            if marker is None or not self._same_rows(k, marker) or not _intact(self._shard(k), marker):
                return False
            self._checked.add(k)
        return True

    def write_shard(self, k: int, array: NDArray[np.generic]) -> None:
        """Write shard `k`, shape (rows, d), over whatever was there."""
        if k < 0 or array.ndim != 2 or array.size == 0:
            raise ValueError(f"shard {k} has shape {array.shape}; shards count from 0 and are tables with rows")
        self.folder.mkdir(parents=True, exist_ok=True)
        # The manifest comes first, so that no shard ever lies in a folder that does not say what it is; writing
        # a shard takes back the list of shards of a store that was finished.
        manifest = read_manifest(self.folder)
        if manifest is None or "shards" in manifest:
            self._write_manifest({})
        more = {}
        if self.keys is not None:
            start, stop = self.spans[k]
            if len(array) != stop - start:
                raise ValueError(f"shard {k} has {len(array)} rows; rows {start} to {stop} belong there")
            keys = self._keys_of(k)
            part = _part(self._keys_file(k))
            part.write_bytes(keys)
            part.replace(self._keys_file(k))
            more["keys"] = _digest(keys)
        replace_array(self._shard(k), array)
        replace_json(self._marker(k), {"rows": len(array), "digest": file_digest(self._shard(k)), **more})
        self._checked.add(k)

    def rows(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        """Return some rows of complete shards, (k, d), as stored; only for stores with `keys`."""
        starts = np.array([start for start, _ in self.spans])
        shard_of = np.searchsorted(starts, rows, side="right") - 1
        taken = {int(k): np.load(self._shard(int(k)), mmap_mode="r", allow_pickle=False) for k in np.unique(shard_of)}
        return np.stack([taken[int(k)][row - starts[k]] for k, row in zip(shard_of, rows, strict=True)])

    def finish(self, n_rows: int) -> None:
        """Close the store: every shard from 0 on is there and intact, and together they have `n_rows` rows."""
        shards: list[dict[str, Any]] = []
        while sum(shard["rows"] for shard in shards) < n_rows:
            marker = _read_json(self._marker(len(shards))) if self.has(len(shards)) else None
            if marker is None:
                raise InputError(f"{self._shard(len(shards))} is missing or damaged; run again to compute it")
            shards.append(marker)
        rows = sum(shard["rows"] for shard in shards)
        if rows != n_rows or self._marker(len(shards)).exists():
            raise InputError(f"the shards in {self.folder} do not add up to {n_rows} rows; write to another folder")
        self._write_manifest({"rows": rows, "shards": shards})
        for part in self.folder.glob("*.part"):  # what killed writers left
            part.unlink(missing_ok=True)

    def open(self) -> Vectors:
        """Return the vectors of a finished store, memory-mapped, every shard checked against its digest.

        Cost: one sequential read of the shards that this object has neither written nor checked.
        """
        manifest = read_manifest(self.folder)
        if manifest is not None:
            self._refuse_another(manifest["identity"])
        return _open(self.folder, manifest, self._checked)

    def _drop(self) -> None:
        # What is left by a kill in between is still told to be of other rows, or not to be complete: markers go first,
        # keys from the last to the first, and the manifest at the end.
        for suffix in (".json", ".npy", ".keys"):
            for path in sorted(self.folder.glob(f"shard-*{suffix}"), reverse=True):
                path.unlink(missing_ok=True)
        (self.folder / MANIFEST).unlink(missing_ok=True)
        self._checked.clear()

    def _cut(self) -> tuple[list[tuple[int, int]], int | None]:
        """The rows (start, stop) of every shard, and the first row that is not the one that was embedded there."""
        assert self.keys is not None
        spans: list[tuple[int, int]] = []
        at = 0
        # The cuts that are there stay, so that a resumed writer computes in the same pieces.
        while (there := self._stored_keys(len(spans))) is not None:
            here = self.keys[at : at + len(there)]
            # A row of zeros stands for one of which only the number is known.
            same = (there[: len(here)] == here).all(axis=1) | ~there[: len(here)].any(axis=1)
            if len(here) < len(there) or not same.all():
                return [], at + (len(here) if same.all() else int(np.argmin(same)))
            spans.append((at, at + len(there)))
            at += len(there)
        spans += [(k, min(k + self.shard_rows, len(self.keys))) for k in range(at, len(self.keys), self.shard_rows)]
        return spans, None

    def _stored_keys(self, k: int) -> NDArray[np.uint64] | None:
        """The keys of the rows of shard `k`, zeros where they are lost or damaged; None if there is no such shard."""
        path, marker = self._keys_file(k), _read_json(self._marker(k))
        data = path.read_bytes() if path.is_file() else b""
        if marker is not None and "keys" in marker and marker["keys"] != _digest(data):
            return np.zeros((marker["rows"], 2), dtype=np.uint64)
        return np.frombuffer(data, dtype=np.uint64).reshape(-1, 2) if data and len(data) % 16 == 0 else None

    def _same_rows(self, k: int, marker: Mapping[str, Any]) -> bool:
        if self.keys is None:
            return True
        if k >= len(self.spans) or not self._keys_file(k).is_file():
            return False
        keys = self._keys_of(k)
        return bool(marker.get("keys") == _digest(keys)) and self._keys_file(k).read_bytes() == keys

    def _keys_of(self, k: int) -> bytes:
        assert self.keys is not None
        start, stop = self.spans[k]
        return np.ascontiguousarray(self.keys[start:stop]).tobytes()

    def _keys_file(self, k: int) -> Path:
        return self.folder / f"shard-{k:05d}.keys"

    def _shard(self, k: int) -> Path:
        return shard_path(self.folder, k)

    def _marker(self, k: int) -> Path:
        return self.folder / f"shard-{k:05d}.json"

    def _write_manifest(self, more: dict[str, Any]) -> None:
        manifest = {"format": FORMAT, "identity": self.identity, "identity_digest": identity_digest(self.identity)}
        keep_json(self.folder / MANIFEST, {**manifest, **more})

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


def open_store(folder: Path) -> Vectors:
    """Return the vectors of the finished store in `folder`, whatever its identity, checked against their digests."""
    return _open(folder, read_manifest(folder), set())


def shard_path(folder: Path, k: int) -> Path:
    """Return where shard `k` of a store lies."""
    return folder / f"shard-{k:05d}.npy"


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of the store in `folder`; None if there is none or if another program wrote it."""
    manifest = _read_json(folder / MANIFEST)
    if manifest is None or manifest.get("format") != FORMAT:
        return None
    identity = manifest.get("identity")
    if not isinstance(identity, dict) or manifest.get("identity_digest") != identity_digest(identity):
        raise InputError(f"{folder / MANIFEST} was changed after it was written; remove the folder and run again")
    return manifest


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, str]:
    """Say in words where two identities differ, by the dotted names of what differs."""
    theirs, ours = dict(_leaves(there)), dict(_leaves(here))
    return {
        key: f"{key}: {_short(theirs, key)} there, {_short(ours, key)} here"
        for key in sorted(ours.keys() | theirs.keys())
        if key not in ours or key not in theirs or ours[key] != theirs[key]
    }


def identity_digest(identity: Mapping[str, Any]) -> str:
    """Return the hex digest of an identity; the order of its keys does not matter."""
    return blake2b(json.dumps(identity, sort_keys=True).encode(), digest_size=16).hexdigest()


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """Return the hex digest of the bytes of a file."""
    digest = blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def replace_array(path: Path, array: NDArray[np.generic]) -> None:
    """Save an array as `.npy` in row order, in one step: other processes see the old file or the new one."""
    part = _part(path)
    with part.open("wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)
    part.replace(path)


def replace_json(path: Path, value: Any) -> None:
    """Save a value as JSON in one step."""
    part = _part(path)
    part.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    part.replace(path)


def keep_json(path: Path, value: Any) -> None:
    """Save a value as JSON unless it is there already: what is finished may be read-only."""
    if _read_json(path) != json.loads(json.dumps(value)):
        replace_json(path, value)


def _part(path: Path) -> Path:
    # A name of its own for every writer, so that two that write one manifest never take each other's file away.
    return path.with_name(f"{path.name}.{uuid4().hex}.part")


def _open(folder: Path, manifest: dict[str, Any] | None, checked: set[int]) -> Vectors:
    if manifest is None or "shards" not in manifest:
        raise InputError(f"{folder} holds no finished feature store; run the command that writes it again")
    paths = [shard_path(folder, k) for k in range(len(manifest["shards"]))]
    for k, (path, marker) in enumerate(zip(paths, manifest["shards"], strict=True)):
        if k not in checked and not _intact(path, marker):
            raise InputError(f"{path} is missing or damaged; run again to compute it")
    return Vectors([np.load(path, mmap_mode="r", allow_pickle=False) for path in paths], name=str(folder))


def _intact(path: Path, marker: Mapping[str, Any]) -> bool:
    return path.is_file() and file_digest(path) == marker.get("digest")


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    return value if isinstance(value, dict) else None


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for every leaf of nested mappings, and of lists of them."""
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _leaves(inner, f"{prefix}{key}.")
        elif isinstance(inner, list) and any(isinstance(each, dict) for each in inner):
            yield from _leaves({str(k): each for k, each in enumerate(inner)}, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner


def _short(values: Mapping[str, Any], key: str) -> str:
    text = repr(values[key]) if key in values else "absent"
    return text if len(text) <= 80 else text[:77] + "..."
