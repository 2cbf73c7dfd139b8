"""The folder that a run works in: finished stages are marked, so that a killed run goes on where it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasksift.errors import InputError


class Workspace:
    """A folder with a marker for every finished stage.

    A stage counts as finished only for the key it was finished with: whatever its result depends on, as JSON. The
    marker is written last and in one step, so a stage that is marked is whole.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise InputError(f"{folder} is a file where the run keeps its work; move it away") from None

    def is_done(self, stage: str, key: Mapping[str, Any]) -> bool:
        """Whether the stage was finished with this key, or with one that says more; otherwise its marker goes."""
        marker = self._marker(stage)
        try:
            there = json.loads(marker.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            there = None
        asked = json.loads(json.dumps(key))
        if isinstance(there, dict) and asked.items() <= there.items():
            return True
        marker.unlink(missing_ok=True)
        return False

    def mark_done(self, stage: str, key: Mapping[str, Any]) -> None:
        """Mark the stage as finished."""
        part = self._marker(stage).with_suffix(".part")
        part.write_text(json.dumps(key), encoding="utf-8")
        part.replace(self._marker(stage))

    def has_work(self) -> bool:
        """Whether any stage is finished, so that the folder is worth keeping after a failure."""
        return any(self.folder.glob("*.done"))

    def drop(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _marker(self, stage: str) -> Path:
        return self.folder / f"{stage}.done"
