"""The manifest of a run: what was asked, of which inputs, by which method, and what came out.

It holds no times, so that the same run gives the same bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tasksift import __version__
from tasksift.config import RunConfig
from tasksift.plan import Plan
from tasksift.presets import Preset
from tasksift.rows import PoolFile
from tasksift.rows.index import PoolIndex
from tasksift.targets import Targets


def build_manifest(
    config: RunConfig,
    preset: Preset,
    plan: Plan,
    index: PoolIndex,
    files: list[PoolFile],
    target_files: list[PoolFile],
    targets: Targets,
    *,
    about: dict[str, Any] | None,
    tokens: str,
    notes: list[str],
    left_out: dict[str, int],
) -> dict[str, Any]:
    """Gather the facts of a run, as JSON.

    Parameters
    ----------
    targets : Targets
    about : dict or None
        What the representation says about itself.
    tokens : str
        The rule by which tokens were counted.
    notes : list of str
        What the user was told on the way.
    left_out : dict of str to int
        How many rows each filter left out.
    """
    tasks = np.bincount(targets.tasks, minlength=len(targets.names)).tolist()
    shares = None if targets.shares is None else dict(zip(targets.names, targets.shares.tolist(), strict=True))
    return {
        "tasksift": __version__,
        "preset": {"name": config.preset, "summary": preset.summary, "paper": preset.paper},
        "pool": {
            "files": [_file(file) for file in files] or [config.vectors],
            "on_disk": bool(files) and all(file.format != "memory" for file in files),
            "rows": len(index),
            "tokens": None if index.tokens is None else int(index.tokens.sum()),
            "token_rule": tokens,
            "digest": index.digest,
            "sources": dict(sorted(zip(index.source_names, index.source_counts.tolist(), strict=True))),
        },
        "left_out": left_out,
        "target": {
            "files": [_file(file) for file in target_files] or [config.target_vectors],
            "rows": len(targets.tasks),
            "tasks": dict(zip(targets.names, tasks, strict=True)),
            "shares": shares,
        },
        "representation": about,
        "plan": {
            "kind": plan.kind,
            "selector": plan.selector,
            "status": plan.status,
            "complete": plan.complete,
            "support": len(plan.ids),
            "breadth": plan.breadth,
            "alpha": plan.alpha,
            "lambda": config.scale * (1 - plan.alpha) / plan.alpha if plan.alpha else None,
            "info": plan.info,
        },
        "notes": notes,
    }


def _file(file: PoolFile) -> dict[str, Any]:
    return {"path": file.path, "format": file.format, "bytes": file.size}
