"""A mixture for LLaMA-Factory: data files, their entries in dataset_info.json, and lines for the training's YAML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from tasksift.draw.sample import apportion
from tasksift.mix.assign import Part
from tasksift.mix.row_layout import Kind
from tasksift.mix.taken import Taken

CONFIG = "mix.yaml"
INFO = "dataset_info.json"

UNITS = 10**9
"""Probabilities are written in whole parts of this, so that the printed digits add to 1."""

_ENTRIES: dict[Kind, dict[str, Any]] = {
    # LLaMA-Factory forgets the default of every tag once one is given, so that all must be.
    "messages": {
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {
            "role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
            "system_tag": "system", "observation_tag": "observation", "function_tag": "function_call",
        },
    },
    "alpaca": {"formatting": "alpaca", "columns": {"prompt": "instruction", "query": "input", "response": "output"}},
    "pair": {"formatting": "alpaca", "columns": {"prompt": "prompt", "response": "response"}},
    "text": {"formatting": "alpaca", "columns": {"prompt": "text"}},
}  # fmt: skip


def write_llama_factory(folder: Path, out: Path, parts: list[Part], taken: Taken, seed: int) -> dict[str, Any]:
    """Write the folder and return what its record adds.

    Without a budget every row is written once and LLaMA-Factory interleaves the data sets with the shares as
    probabilities. With one, the files hold the copies that were drawn and are concatenated, which makes the counts
    exact.

    Raises
    ------
    InputError
        If plain text, which only ``stage: pt`` takes, stands among other rows.
    """
    whole = taken.kind(np.concatenate([part.rows for part in parts]), "the pool")
    entries: dict[str, dict[str, Any]] = {}
    for part in parts:
        kind = taken.kind(part.rows, f"the domain {part.name}")
        taken.write(part.rows, folder / f"{part.stem}.jsonl", kind)
        entries[part.stem] = {"file_name": f"{part.stem}.jsonl", **_ENTRIES[kind]}
    # LLaMA-Factory opens the file in the encoding of the machine; ASCII is the same in all of them.
    (folder / INFO).write_text(json.dumps(entries, indent=2) + "\n", encoding="ascii")
    config: dict[str, Any] = {
        "stage": "pt" if whole == "text" else "sft",
        "dataset": ",".join(entries),
        "dataset_dir": str(out.resolve()),
    }
    if parts[0].drawn is not None:
        note = "The files hold the copies that were drawn: concatenated, they are the mixture."
        config["mix_strategy"] = "concat"
    else:
        lasts = min(part.size / part.share for part in parts)
        note = f"interleave_under ends with the first data set that is used up, after about {lasts:,.0f} rows."
        config["mix_strategy"] = "interleave_under"
        config["interleave_probs"] = ",".join(printed(np.array([part.share for part in parts])))
    text = f"# Made by tasksift mix; take these lines into the YAML of the training.\n# {note}\n"
    text += yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=2**20)
    (folder / CONFIG).write_text(text, encoding="utf-8")
    return {"config": CONFIG, **{key: config[key] for key in ("mix_strategy", "interleave_probs") if key in config}}


def printed(shares: NDArray[np.float64]) -> list[str]:
    """Return shares, which sum to 1, as decimal numbers whose digits add to exactly 1."""
    units = apportion(shares / shares.sum() * UNITS, UNITS).tolist()
    texts = (f"{unit // UNITS}.{unit % UNITS:09d}".rstrip("0") for unit in units)
    return [text + "0" if text.endswith(".") else text for text in texts]
