"""tasksift: out of a large pool, the examples to train on for the task that a few examples show.

>>> import tasksift as ts
>>> selection = ts.select(pool="pool.parquet", target="dev.jsonl", budget="1%")
>>> selection.write("picked.jsonl")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasksift.embedding import Embedding, embed
    from tasksift.errors import InputError
    from tasksift.evaluate.compare import Comparison, compare
    from tasksift.pipeline import select
    from tasksift.plan import Plan
    from tasksift.presets import PRESETS
    from tasksift.selection import Selection, open_run

__version__ = "0.1.0"

__all__ = [
    "PRESETS",
    "Comparison",
    "Embedding",
    "InputError",
    "Plan",
    "Selection",
    "__version__",
    "compare",
    "embed",
    "open_run",
    "select",
]

# The public names are loaded when first used, so that `import tasksift` stays fast.
_HOME = {
    "Comparison": "tasksift.evaluate.compare",
    "Embedding": "tasksift.embedding",
    "InputError": "tasksift.errors",
    "PRESETS": "tasksift.presets",
    "Plan": "tasksift.plan",
    "Selection": "tasksift.selection",
    "compare": "tasksift.evaluate.compare",
    "embed": "tasksift.embedding",
    "open_run": "tasksift.selection",
    "select": "tasksift.pipeline",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'tasksift' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
