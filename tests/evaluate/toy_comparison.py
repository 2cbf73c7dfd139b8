"""A small pool, two tasks and a model that only remembers what it was trained on, for comparisons in no time."""

from __future__ import annotations

import json
import random
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from tasksift.evaluate.trainee import Fitted

TOPICS = {
    "maths": "sum of two numbers equals half the product so divide by three and add the remainder once more",
    "kitchen": "stir butter into warm flour then fold in eggs and bake until golden with a pinch of salt on top",
    "code": "def loop over list items return none if the key is missing else append value to dict and raise",
}
ROWS = 60


def make_rows(n: int, seed: int, topics: tuple[str, ...] = tuple(TOPICS)) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    rows = []
    for k in range(n):
        topic = topics[k % len(topics)]
        words = TOPICS[topic].split()
        prompt, response = (" ".join(rng.choices(words, k=rng.randint(3, 9))) for _ in range(2))
        rows.append({"id": f"{seed}-{k}", "prompt": f"{seed} {k} {prompt}", "response": response, "source": topic})
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_toys(folder: Path) -> dict[str, Any]:
    """Write `pool.jsonl`, and for the tasks maths and code a target and held-out rows; return the options of a run."""
    write(folder / "pool.jsonl", make_rows(ROWS, 0))
    for k, name in enumerate(("maths", "code")):
        write(folder / f"{name}.dev.jsonl", make_rows(4, 10 + k, (name,)))
        write(folder / f"{name}.test.jsonl", make_rows(12, 20 + k, (name,)))
    return {
        "pool": str(folder / "pool.jsonl"),
        "target": [str(folder / f"{name}.dev.jsonl") for name in ("maths", "code")],
        "held_out": [str(folder / f"{name}.test.jsonl") for name in ("maths", "code")],
        "presets": "bm25",
        "budgets": "10%",
        "seeds": [0],
        "model": "toy",
    }


class ToyTrainee:
    """Its model is the rows it was trained on, with the seed; its losses are made of these and of the held-out row."""

    parameters = 7

    def __init__(self, training: Any, classes: Any = ()) -> None:
        self.untrained: tuple[Any, ...] = ()
        self.identity = {**training.as_json, "model": f"digest of {training.model}"}
        self.fitted: list[tuple[Any, ...]] = []
        self.judged: list[tuple[Any, ...]] = []

    def fit(self, examples: Any, seed: int) -> Fitted:
        texts = [example.text for example in examples]
        self.fitted.append((seed, *texts))
        return Fitted((seed, *texts), sum(len(text.split()) for text in texts))

    def scores(self, model: Any, held_out: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        self.judged.append(model)
        losses = [_number(f"{model} {example.text}") for example in held_out.examples]
        return {"loss": np.array(losses)}, {"loss": np.arange(1.0, len(losses) + 1)}


def _number(text: str) -> float:
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest()) / 2**32


def without_seconds(folder: Path) -> dict[str, Any]:
    """Every file of a comparison, as text where it tells no seconds, else what it holds besides them."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or path.suffix in (".html", ".parquet"):
            found[name] = None
        elif path.name.endswith(".seconds.json"):
            found[name] = list(json.loads(path.read_text()))
        elif path.suffix == ".json":
            found[name] = _timeless(json.loads(path.read_text()))
        else:
            found[name] = path.read_bytes()
    return found


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        # The share of time is made of seconds, too.
        return {key: _timeless(each) for key, each in value.items() if not key.endswith("seconds") and key != "str"}
    return [_timeless(each) for each in value] if isinstance(value, list) else value
