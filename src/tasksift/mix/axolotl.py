"""A mixture for Axolotl: data files and a `datasets:` block.

Axolotl 0.19 has no weight or probability of a data set: it concatenates what it is given. Shares are therefore
counts of rows in the files.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from tasksift.mix.assign import Part
from tasksift.mix.row_layout import Kind
from tasksift.mix.taken import Taken

CONFIG = "axolotl.yaml"

_BLOCKS: dict[Kind, dict[str, Any]] = {
    "messages": {
        "type": "chat_template",
        "field_messages": "messages",
        "message_property_mappings": {"role": "role", "content": "content"},
    },
    "alpaca": {"type": "alpaca"},
    "text": {"type": "completion", "field": "text"},
}


def write_axolotl(folder: Path, out: Path, parts: list[Part], taken: Taken, seed: int) -> dict[str, Any]:
    """Write the folder and return what its record adds; every part has been drawn."""
    blocks = []
    for part in parts:
        kind = taken.kind(part.rows, f"the domain {part.name}")
        kind = "messages" if kind == "pair" else kind
        taken.write(part.rows, folder / f"{part.stem}.jsonl", kind)
        path = str(out.resolve() / f"{part.stem}.jsonl")
        # What is shared YAML would write as a reference.
        blocks.append({"path": path, "ds_type": "json", **deepcopy(_BLOCKS[kind])})
    config = {
        "datasets": blocks,
        "shuffle_merged_datasets": True,
        "dataset_exact_deduplication": False,
        "dataset_prepared_path": str(out.resolve() / "prepared"),
    }
    lines = [
        "# Made by tasksift mix; take these lines into the configuration of the training.",
        "# Axolotl has no weights of data sets, so the shares are in the files: rows come in as many copies as needed.",
        *(
            f"#   {part.stem}: {len(part.rows)} rows ({len(part.rows) / sum(len(p.rows) for p in parts):.2%}) "
            f"of {part.size} distinct"
            for part in parts
        ),
        "# Deduplication would take the copies away again. Axolotl tells what it has prepared by the paths of files",
        "# and not by their content: prepared data lie in this folder, so that they go with it when it is replaced.",
    ]
    dumped = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=2**20)
    (folder / CONFIG).write_text("\n".join(lines) + "\n" + dumped, encoding="utf-8")
    return {"config": CONFIG}
