"""File names for domains, whatever these are called."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

LONGEST = 48
"""Characters of a name; in UTF-8 with suffix and number they stay below the 255 bytes that file systems take."""

# Devices of Windows, and what mix itself writes or a consumer treats in a way of its own.
_TAKEN = (
    {"con", "prn", "aux", "nul"}
    | {f"{device}{n}" for device in ("com", "lpt") for n in range(10)}
    | {"train", "mixture", "mix", "axolotl", "dataset_info", "dataset_dict", "domains", "readme", "default", "prepared"}
)


def file_stems(names: Sequence[str]) -> list[str]:
    """Return a file name without suffix for each domain: safe on every system, unique whatever the case.

    Letters and digits of any script, ``_``, ``.`` and ``-`` stay; runs of anything else become ``-``. The same names
    in the same order give the same answer.
    """
    stems: list[str] = []
    used: set[str] = set()
    for name in names:
        stem = first = _stem(name)
        n = 1
        while stem.casefold() in used:
            n += 1
            stem = f"{first}-{n}"
        used.add(stem.casefold())
        stems.append(stem)
    return stems


def _stem(name: str) -> str:
    kept = "".join(c if c.isalnum() or c in "_.-" else " " for c in unicodedata.normalize("NFKC", name))
    stem = "-".join(kept.split()).strip(".-_")[:LONGEST].strip(".-_")
    if not stem:
        return "domain"
    return f"domain-{stem}" if stem.split(".")[0].casefold() in _TAKEN else stem
