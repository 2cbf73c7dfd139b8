"""How the files of a tune are called, and what their digests are of."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from tasksift.represent.store import file_digest

FORMAT = "tasksift tune 1"
RECORD = "tune.json"
MOMENTS = "moments.safetensors"
FIRST, SECOND = "exp_avg.", "exp_avg_sq."
"""What the names of first and second moments begin with; the rest is the parameter's name."""


def saved_name(parameter: str) -> str:
    """Return the name that `save_pretrained` gives to a parameter: peft leaves its adapter's name out."""
    return parameter.replace(".default", "") if ".lora_" in parameter else parameter


def weight_files(folder: Path) -> Sequence[Path]:
    """Return the files that hold the weights of a checkpoint, in sorted order."""
    return sorted(path for path in folder.glob("*.safetensors") if path.name != MOMENTS)


def weight_digest(folder: Path) -> str:
    """Return the hex digest of the weights of a checkpoint: names and bytes of their files."""
    digest = blake2b(digest_size=16)
    for path in weight_files(folder):
        digest.update(f"{path.name}\0{file_digest(path)}\n".encode())
    return digest.hexdigest()
