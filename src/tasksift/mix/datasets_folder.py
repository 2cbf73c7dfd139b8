"""A mixture for `datasets` and TRL: Arrow files that both `load_dataset` and `load_from_disk` open."""

from __future__ import annotations

from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from tasksift.mix.assign import Part
from tasksift.mix.folder import write_json
from tasksift.mix.row_layout import Kind
from tasksift.mix.taken import Taken

DATA = "data-00000-of-00001.arrow"
BATCH_ROWS = 1000

_TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_SCHEMAS = {
    "messages": pa.schema([("messages", _TURNS), ("domain", pa.string())]),
    "pair": pa.schema([("prompt", pa.string()), ("completion", pa.string()), ("domain", pa.string())]),
    "text": pa.schema([("text", pa.string()), ("domain", pa.string())]),
}

_CARD = """
A mixture made by tasksift mix. Every domain is a configuration; `mixture.json` has the shares.

```python
from datasets import {function}, load_dataset

parts = [load_dataset({path!r}, name, split="train") for name in {names!r}]
mixed = {function}{together}
```
"""


def write_datasets(folder: Path, out: Path, parts: list[Part], taken: Taken, seed: int) -> dict[str, Any]:
    """Write the folder and return what its record adds.

    All domains have the same columns: ``messages``, or ``prompt`` and ``completion``, or ``text``, as TRL names them,
    and ``domain``. Without a budget every row is there once; with one, the copies that were drawn.

    Raises
    ------
    InputError
        If plain text stands among other rows.
    """
    kind = taken.kind(np.concatenate([part.rows for part in parts]), "the pool")
    kind = "pair" if kind == "alpaca" else kind
    for part in parts:
        (folder / part.stem).mkdir()
        digest = _write_arrow(folder / part.stem / DATA, part, taken, kind)
        state: dict[str, Any] = {
            "_data_files": [{"filename": DATA}], "_fingerprint": digest, "_format_columns": None,
            "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False, "_split": "train",
        }  # fmt: skip
        write_json(folder / part.stem / "state.json", state)
        write_json(folder / part.stem / "dataset_info.json", {})
    names = [part.stem for part in parts]
    write_json(folder / "dataset_dict.json", {"splits": names})
    configs = [{"config_name": name, "data_files": [{"split": "train", "path": f"{name}/{DATA}"}]} for name in names]
    if parts[0].drawn is None:
        function, probabilities = "interleave_datasets", [part.share for part in parts]
        together = f"(parts, probabilities={probabilities!r}, seed={seed})  # ends with the first part that is used up"
    else:
        function = "concatenate_datasets"
        together = f"(parts).shuffle(seed={seed})  # the copies are in the files"
    card = _CARD.format(path=str(out.resolve()), names=names, function=function, together=together)
    header = yaml.safe_dump({"configs": configs}, sort_keys=False, allow_unicode=True, width=2**20)
    (folder / "README.md").write_text(f"---\n{header}---\n{card}", encoding="utf-8")
    return {"columns": _SCHEMAS[kind].names}


def _write_arrow(path: Path, part: Part, taken: Taken, kind: Kind) -> str:
    """Write the rows of a domain and return a digest of them, by which `datasets` tells what it has in its cache."""
    schema = _SCHEMAS[kind]
    digest = blake2b(digest_size=8)
    records = taken.records(part.rows, kind)
    with path.open("wb") as file, pa.ipc.new_stream(file, schema) as sink:
        while some := list(islice(records, BATCH_ROWS)):
            for record in some:
                if kind == "pair":
                    record["completion"] = record.pop("response")
                record["domain"] = part.name
            batch = pa.RecordBatch.from_pylist(some, schema)
            digest.update(str(some).encode("utf-8", "surrogatepass"))
            sink.write_batch(batch)
    return digest.hexdigest()
