"""A mixture as plain JSON Lines: a file for each domain and, with a budget, one file to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasksift.mix.assign import Part, shuffled
from tasksift.mix.taken import Taken

TRAIN = "train.jsonl"


def write_jsonl(folder: Path, out: Path, parts: list[Part], taken: Taken, seed: int) -> dict[str, Any]:
    """Write the folder and return what its record adds.

    Every domain's file holds its rows as they are, each once. With a budget `TRAIN` holds what is drawn, shuffled.
    """
    for part in parts:
        taken.write(part.once, folder / f"{part.stem}.jsonl")
    if parts[0].drawn is None:
        return {}
    taken.write(shuffled(parts, seed), folder / TRAIN)
    return {"train": TRAIN}
