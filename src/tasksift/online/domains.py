"""Domains: which part of a training set each of its rows belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError


@dataclass(frozen=True)
class Domains:
    """The domain of every row of a training set.

    Attributes
    ----------
    names : tuple of str
        Each at least once among the rows.
    codes : int64 (n,)
        Position in `names` of every row's domain.
    """

    names: tuple[str, ...]
    codes: NDArray[np.int64]

    def __post_init__(self) -> None:
        codes = np.asarray(self.codes)
        if codes.ndim != 1 or codes.dtype.kind not in "iu" or len(set(self.names)) != len(self.names):
            raise InputError("domains are names, each once, and one whole number per row; Domains.of makes them")
        if len(codes) and not 0 <= codes.min() <= codes.max() < len(self.names):
            raise InputError(f"codes of domains are 0 to {len(self.names) - 1}, not {codes.min()} to {codes.max()}")

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Rows of each domain."""
        return np.bincount(self.codes, minlength=len(self.names))

    @property
    def digest(self) -> str:
        """Hex digest of the names and of every row's domain."""
        digest = blake2b("\0".join(self.names).encode("utf-8", "surrogatepass"), digest_size=16)
        digest.update(self.codes.astype("<i8").tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def of(cls, labels: Iterable[object]) -> Domains:
        """Make domains of one label per row, such as a column of a data set; names are sorted.

        Raises
        ------
        InputError
            If there is no row, or a row has no label.
        """
        if isinstance(labels, str):
            raise InputError(f"{labels!r} is no domain for each row; give a column, such as dataset[{labels!r}]")
        if isinstance(labels, bytes | Mapping) or not isinstance(labels, Iterable):
            raise InputError(f"domains of type {type(labels).__name__} name none for each row; give a column")
        texts = []
        for row, label in enumerate(labels.tolist() if hasattr(labels, "tolist") else labels):
            if not isinstance(label, str) and _is_missing(label):
                raise InputError(f"row {row} has no domain; give every row one")
            texts.append(str(label))
        if not texts:
            raise InputError("there is no row, so there are no domains to mix")
        names, codes = np.unique(np.array(texts, dtype=object), return_inverse=True)
        return cls(tuple(names.tolist()), codes.astype(np.int64))

    @classmethod
    def coded(cls, names: Sequence[str], codes: NDArray[np.integer[Any]]) -> Domains:
        """Make domains of one position in `names` per row; names are sorted, and those of no row are left out."""
        used = np.unique(codes)
        ranked = used[np.argsort(np.array([names[code] for code in used], dtype=object), kind="stable")]
        place = np.zeros(len(names), dtype=np.int64)
        place[ranked] = np.arange(len(ranked))
        return cls(tuple(names[code] for code in ranked), place[codes])


def _is_missing(label: object) -> bool:
    """Whether this is None, or NaN, NaT or NA, which are not equal to themselves."""
    same = label == label
    return label is None or not (isinstance(same, bool | np.bool_) and bool(same))
