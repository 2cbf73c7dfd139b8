"""Pools in the layouts that people have, and a way to let a consumer's own code read a mixture."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Row = dict[str, Any]

SIZES = {"chat": 24, "code": 12, "../x": 6, "数学 a/b": 4}


def _row(domain: str, k: int) -> Row:
    """A row of the layout that stands for its domain."""
    asked, answer = f"{domain} asks {k}", f"{domain} answers {k}"
    if domain == "chat":
        turns = [("system", "be brief"), ("user", asked), ("assistant", answer)]
        # The type of `meta` changes from row to row, as in pools that were put together.
        return {
            "messages": [{"role": role, "content": text} for role, text in turns],
            "source": domain,
            "meta": k if k % 2 else "x",
        }
    if domain == "code":
        return {"instruction": asked, "input": "given" if k % 2 else "", "output": answer, "source": domain}
    if domain == "../x":
        return {"prompt": asked, "completion": answer, "source": domain}
    turns = [("human", asked), ("chatgpt", answer), ("human", "thanks")]
    return {"conversations": [{"from": who, "value": text} for who, text in turns], "source": domain}


@pytest.fixture
def rows() -> list[Row]:
    """Rows of four domains in four layouts."""
    return [_row(domain, k) for domain, size in SIZES.items() for k in range(size)]


@pytest.fixture
def pairs(rows: list[Row]) -> set[tuple[str, str]]:
    """What was asked and answered in every row."""
    said = set()
    for row in rows:
        turns = [
            str(turn.get("content", turn.get("value"))) for turn in row.get("messages", row.get("conversations", []))
        ]
        if "messages" in row:
            said.add((turns[1], turns[2]))
        elif turns:
            said.add((turns[0], turns[1]))
        elif "output" in row:
            said.add((f"{row['instruction']}\n{row['input']}".rstrip("\n"), row["output"]))
        else:
            said.add((row["prompt"], row["completion"]))
    return said


@pytest.fixture
def write() -> Callable[[Path, list[Row]], Path]:
    """Write a JSON Lines file, and return its path."""

    def run(path: Path, rows: list[Row]) -> Path:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return path

    return run


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Read every file of a folder."""
    return lambda folder: {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def lines() -> Callable[[Path], list[Row]]:
    """Read a JSON Lines file."""
    return lambda path: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def consumer(tmp_path: Path) -> Callable[..., Any]:
    """Run a script of this folder, in a process of its own, offline and without an accelerator; it prints JSON last."""

    def run(script: str, *arguments: object) -> Any:
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        environment = {
            **os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(scratch / "hf"), "CUDA_VISIBLE_DEVICES": "",
            "WANDB_DISABLED": "true", "AXOLOTL_DO_NOT_TRACK": "1", "DO_NOT_TRACK": "1", "DISABLE_VERSION_CHECK": "1",
        }  # fmt: skip
        command = [sys.executable, str(Path(__file__).parent / script), *map(str, arguments)]
        done = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run
