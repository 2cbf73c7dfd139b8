"""Where rows come from: files, folders and globs, here or by URL, names on the Hugging Face hub and rows in memory.

All of these become one list of files.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from tasksift.errors import InputError
from tasksift.places import (
    Info,
    check_url,
    find,
    info,
    is_url,
    local_name,
    look,
    opened,
    reaching,
)
from tasksift.rows.encode import canonical

Format = Literal["jsonl", "json", "parquet", "arrow", "csv", "hf", "memory"]
Compression = Literal["gz", "zst"]

ACCEPTED = ".jsonl, .ndjson, .json and .csv (also with .gz or .zst), .parquet, .arrow"
"""The suffixes that are known, in words."""

_FORMATS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
_COMPRESSIONS: dict[str, Compression] = {".gz": "gz", ".zst": "zst"}
_SPLITS = ("train", "validation", "test")
_SIDE_FILES = ("dataset_info.json", "dataset_dict.json", "state.json")
"""What `datasets.Dataset.save_to_disk` puts beside the rows."""

READ_BYTES = 4 * 2**20
"""What is fetched at a time of a file that is read by URL."""

_ASKING = 16
"""Files that a storage is asked about at a time."""


@dataclass(frozen=True)
class PoolFile:
    """One input: a file on disk or by URL, a data set on the Hugging Face hub, or rows in memory.

    Attributes
    ----------
    path : str
        The path or URL as it was given; ``hf:NAME[:CONFIG][:SPLIT]``; ``<pool>`` for rows in memory.
    format : str
        One of ``jsonl``, ``json``, ``parquet``, ``arrow``, ``csv``, ``hf``, ``memory``.
    compression : str or None
        ``gz`` or ``zst``.
    records : sequence of dict, pyarrow.Table or None
        The rows themselves (``memory`` only).
    seen : Info or None
        What the storage said of the file when it was found (by URL only); reading another version of it is an error.
    """

    path: str
    format: Format
    compression: Compression | None = None
    records: Sequence[Mapping[str, Any]] | pa.Table | None = None
    seen: Info | None = None

    @property
    def remote(self) -> bool:
        """Whether the file is read by URL."""
        return self.format not in ("hf", "memory") and is_url(self.path)

    @property
    def on_disk(self) -> bool:
        """Whether this is a file of this machine."""
        return self.format not in ("hf", "memory") and not is_url(self.path)

    @property
    def size(self) -> int | None:
        """The bytes of the file as it is now; None if it is gone, and for what is no file."""
        if self.remote:
            found = look(self.path)
            return None if found is None else found.size
        return Path(self.path).stat().st_size if self.on_disk and Path(self.path).is_file() else None

    @property
    def name(self) -> str:
        """The name of the file without its known suffixes; the default source of its rows."""
        if self.format == "memory":
            return self.path.strip("<>")
        if self.format == "hf":
            return hub_name(self.path)[0]
        name = Path(self.path).name
        if self.compression:
            name = Path(name).stem
        return Path(name).stem

    @property
    def is_table(self) -> bool:
        """Whether the rows are Arrow record batches."""
        return self.format in ("parquet", "arrow") or isinstance(self.records, pa.Table)


def hub_name(path: str) -> tuple[str, str | None, str]:
    """Split ``hf:NAME[:CONFIG][:SPLIT]`` into name, configuration and split (``train`` unless given).

    With one part after the name, ``train``, ``validation`` and ``test`` are splits and anything else is a
    configuration; ``hf:NAME::SPLIT`` reaches a split of another name.
    """
    name, *rest = path.removeprefix("hf:").split(":")
    if not name or len(rest) > 2:
        raise InputError(f"{path}: not of the form hf:NAME[:CONFIG][:SPLIT], e.g. hf:openai/gsm8k:main:train")
    if len(rest) == 1 and rest[0] in _SPLITS:
        rest = ["", rest[0]]
    config, split = [*rest, "", ""][:2]
    return name, config or None, split or "train"


def file_format(path: str | Path) -> tuple[Format, Compression | None] | None:
    """Return (format, compression) that the suffixes of `path` stand for, None when they are unknown."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes[-2:]]
    compression = _COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    kind = _FORMATS.get(suffixes[-2 if compression else -1]) if len(suffixes) > bool(compression) else None
    if kind is None or (compression and kind in ("parquet", "arrow")):
        return None
    return kind, compression


def expand(items: Any, what: str = "pool") -> list[PoolFile]:
    """Expand what a user may name as a pool (or a target) to a list of files.

    Parameters
    ----------
    items : str, Path, rows in memory, or a sequence of these
        A file; a folder (searched with its subfolders, in sorted order, without hidden files, files of unknown suffix
        and the side files of `datasets`); a glob; the same by URL, see `tasksift.places`;
        ``hf:NAME[:CONFIG][:SPLIT]``; a list of dicts, a `pyarrow.Table`, a pandas `DataFrame` or a `datasets.Dataset`.
    what : str
        What messages call it.

    Raises
    ------
    InputError
        Nothing was given or found, a suffix is unknown, a file is named twice, or a URL holds credentials.
    """
    rows = _in_memory(items, what)
    if rows is not None:
        files = [PoolFile(f"<{what}>", "memory", records=rows)]
    else:
        files = []
        for item in [items] if isinstance(items, str | Path) else items:
            if isinstance(item, str | Path):
                name = local_name(str(item))
                files.extend(_by_url(name, what) if is_url(name) else _on_disk(name, what))
                continue
            rows = _in_memory(item, what)
            if rows is None:
                raise InputError(f"{what}: a {type(item).__name__} is neither a path nor rows in memory")
            files.append(PoolFile(f"<{what}-{len(files)}>", "memory", records=rows))
    if not files:
        raise InputError(f"{what}: nothing was given; name files ({ACCEPTED}), folders, globs or hf:NAME")
    _refuse_repeats(files, what)
    return files


def fingerprint(files: Sequence[PoolFile], *, contents: bool = False) -> str:
    """Return a hex digest of what identifies the input.

    Files count with their absolute path, size and time of change, which costs nothing, and by URL with that, their size
    and the mark that the storage gives their content. With `contents` files count with their name and bytes, which
    reads them whole and holds for copies elsewhere. Rows in memory count with their content, data sets on the hub with
    their name only.

    Raises
    ------
    InputError
        If a file cannot be read, or a row in memory holds what JSON cannot.
    """
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        called = Path(file.path).name if contents and file.format != "hf" else file.path
        digest.update(f"{file.format}\0{called}\0".encode("utf-8", "surrogateescape"))
        if isinstance(file.records, pa.Table):
            for batch in file.records.to_batches(max_chunksize=2048):
                digest.update(b"\n".join(map(canonical, batch.to_pylist())) + b"\n")
        elif file.records is not None:
            for row, record in enumerate(file.records):
                try:
                    digest.update(canonical(record) + b"\n")
                except (TypeError, ValueError, RecursionError) as error:
                    raise InputError(
                        f"{file.path}, row {row}: a value cannot be written as JSON ({_one_line(error)}); change it"
                    ) from None
        elif file.format != "hf":
            digest.update(_identity(file, contents))
    return digest.hexdigest()


@contextmanager
def stored(file: PoolFile, buffer: int = READ_BYTES) -> Iterator[io.BufferedReader]:
    """Open a file as it is stored, on disk or by URL; then at least `buffer` bytes are fetched at a time.

    Raises
    ------
    InputError
        By URL: the file cannot be reached, or is not the one that was found, or changes while it is read.
    OSError
        On disk.
    """
    if not file.remote:
        with Path(file.path).open("rb") as stream:
            yield stream
        return
    with reaching(file.path), opened(file.path, file.seen) as source, io.BufferedReader(source, buffer) as stream:
        yield stream


def _identity(file: PoolFile, contents: bool) -> bytes:
    """What a file counts by."""
    try:
        if contents:
            with stored(file) as stream:
                return hashlib.file_digest(stream, hashlib.blake2b).digest()
        if file.remote:
            now = file.seen or info(file.path)
            return f"{file.path}\0{now.size}\0{now.changed}\0".encode("utf-8", "surrogateescape")
        path = Path(file.path).resolve()
        stat = path.stat()
    except OSError as error:
        raise InputError(f"cannot read {file.path}: {error.strerror}") from None
    return f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode("utf-8", "surrogateescape")


def _in_memory(item: Any, what: str) -> Sequence[Mapping[str, Any]] | pa.Table | None:
    """Return the rows that `item` holds, None when it is no table of rows."""
    if isinstance(item, pa.Table):
        return item
    if isinstance(item, Mapping):
        hint = "choose one split, e.g. data['train']" if hasattr(item, "num_rows") else "put it into a list"
        raise InputError(f"{what}: one {type(item).__name__} is not a list of rows; {hint}")
    if hasattr(item, "with_format") and hasattr(item, "features"):
        if not hasattr(item, "num_rows"):
            raise InputError(f"{what}: a streaming data set cannot be read twice; name it as hf:NAME instead")
        return item.with_format("arrow")[:]
    if hasattr(item, "to_pandas") and not hasattr(item, "iloc"):
        item = item.to_pandas()
    if hasattr(item, "iloc") and hasattr(item, "columns"):
        try:
            return pa.Table.from_pandas(item, preserve_index=False)
        except (pa.ArrowException, ValueError) as error:
            raise InputError(f"{what}: the DataFrame has a column of mixed types ({_one_line(error)})") from None
    if isinstance(item, Sequence) and not isinstance(item, str) and item and isinstance(item[0], Mapping):
        return item
    if not isinstance(item, str | Path | Sequence):
        raise InputError(
            f"{what}: a {type(item).__name__} cannot be read; give paths, a list of dicts, a pyarrow.Table, "
            "a pandas DataFrame or a datasets.Dataset"
        )
    return None


def _on_disk(item: str, what: str) -> Iterator[PoolFile]:
    if item.startswith("hf:"):
        hub_name(item)
        yield PoolFile(item, "hf")
        return
    path = Path(item).expanduser()
    try:
        if path.is_dir():
            found = [p for p in path.rglob("*") if not _hidden(p.relative_to(path).parts) and p.name not in _SIDE_FILES]
        elif path.exists():
            if file_format(path) is None:
                raise InputError(f"{what}: {item} has a suffix that is not known; known are {ACCEPTED}")
            found = [path]
        elif re.search(r"[*?\[]", item):
            pattern = path.relative_to(path.anchor)
            found = [p for p in Path(path.anchor).glob(str(pattern)) if not _hidden(p.parts, pattern.parts)]
        else:
            raise InputError(f"{what}: {item} does not exist; files ({ACCEPTED}), folders, globs or hf:NAME are read")
        found = sorted(p for p in found if file_format(p) and p.is_file())
    except OSError as error:
        raise InputError(f"{what}: cannot read {item}: {error.strerror}") from None
    except ValueError as error:  # a NUL in the name, or a pattern such as "**x"
        if isinstance(error, InputError):
            raise
        raise InputError(f"{what}: {item!r} is not a path or a glob: {error}") from None
    if not found:
        raise InputError(f"{what}: {item} holds no file to read; known suffixes are {ACCEPTED}")
    for p in found:
        kind = file_format(p)
        assert kind is not None
        yield PoolFile(str(p), *kind)


def _by_url(item: str, what: str) -> list[PoolFile]:
    check_url(item, what)
    urls = find(item)
    if urls == [item]:
        if file_format(item) is None:
            raise InputError(f"{what}: {item} has a suffix that is not known; known are {ACCEPTED}")
    else:
        asked, folder = tuple(item.split("/")), item.rstrip("/") + "/"
        urls = [url for url in urls if file_format(url) and not _hidden(tuple(url.split("/")), asked)]
        urls = [url for url in urls if Path(url).name not in _SIDE_FILES or not url.startswith(folder)]
    if not urls:
        raise InputError(f"{what}: {item} does not exist or holds no file to read; known suffixes are {ACCEPTED}")
    with ThreadPoolExecutor(_ASKING) as threads:
        seen = list(threads.map(info, urls))
    kinds = [file_format(url) for url in urls]
    return [PoolFile(url, *kind, seen=now) for url, kind, now in zip(urls, kinds, seen, strict=True) if kind]


def _hidden(parts: tuple[str, ...], asked: tuple[str, ...] = ()) -> bool:
    """Whether a part of a path begins with a dot and no part of a pattern asks for it, as in a shell."""
    dotted = [pattern for pattern in asked if pattern.startswith(".")]
    return any(p.startswith(".") and p != ".." and not any(fnmatchcase(p, d) for d in dotted) for p in parts)


def _refuse_repeats(files: list[PoolFile], what: str) -> None:
    seen: dict[str, str] = {}
    for file in files:
        if file.format == "memory":
            continue
        key = str(Path(file.path).resolve()) if file.on_disk else file.path
        if key in seen:
            both = file.path if seen[key] == file.path else f"{seen[key]} and {file.path}, one file,"
            raise InputError(f"{what}: {both} given twice; name each file once")
        seen[key] = file.path


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
