"""Mixtures for LLaMA-Factory: what the files say, and what its own loader makes of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tasksift.errors import InputError
from tasksift.mix import mix
from tasksift.mix.llama_factory import printed

installed = pytest.mark.skipif(find_spec("llamafactory") is None, reason="LLaMA-Factory is not installed")


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=40))
def test_printed_shares_add_to_one(weights: list[float]):
    shares = np.array(weights) / np.sum(weights)
    texts = printed(shares)
    assert sum(map(Fraction, texts)) == 1
    assert np.abs(np.array(texts, dtype=float) - shares).max() < 2e-9
    assert abs(sum(map(float, texts)) - 1) < 1e-8  # what numpy's choice asks for


def test_one_domain_has_a_probability_that_yaml_keeps_as_text(tmp_path: Path):
    mix([{"text": "a", "source": "1"}, {"text": "b", "source": "1"}], tmp_path / "out", format="llama-factory")
    config = yaml.safe_load((tmp_path / "out" / "mix.yaml").read_text())
    assert (config["dataset"], config["interleave_probs"]) == ("1", "1.0")


def test_entries(tmp_path: Path, rows: list[dict[str, Any]]):
    done = mix(rows, tmp_path / "out", format="llama-factory", shares="uniform")
    raw = (tmp_path / "out" / "dataset_info.json").read_bytes()
    entries = json.loads(raw)
    assert raw.isascii()
    assert list(entries) == [domain["file"].removesuffix(".jsonl") for domain in done.record["domains"]]
    assert all((tmp_path / "out" / entry["file_name"]).is_file() for entry in entries.values())
    assert entries["code"]["columns"] == {"prompt": "instruction", "query": "input", "response": "output"}
    # A tag that is not given would be none at all.
    assert len(entries["chat"]["tags"]) == 7
    config = yaml.safe_load((tmp_path / "out" / "mix.yaml").read_text(encoding="utf-8"))
    assert config["interleave_probs"] == "0.25,0.25,0.25,0.25"
    assert config["dataset"].split(",") == list(entries)


def test_plain_text_is_for_another_stage(tmp_path: Path, rows: list[dict[str, Any]]):
    mix([{"text": "a"}, {"text": "b"}], tmp_path / "text", format="llama-factory")
    assert yaml.safe_load((tmp_path / "text" / "mix.yaml").read_text())["stage"] == "pt"
    with pytest.raises(InputError, match="rows of plain text and rows with an answer"):
        mix([*rows, {"text": "a"}], tmp_path / "out", format="llama-factory")
    assert not (tmp_path / "out").exists()


def test_rows_that_would_be_passed_over_in_silence_are_counted(tmp_path: Path, rows: list[dict[str, Any]]):
    said: list[str] = []
    turns = [{"role": "user", "content": "a"}] * 2 + [{"role": "assistant", "content": "b"}]
    more = [{"messages": some, "source": "chat"} for some in (turns, turns[:1])]
    mix([*rows, *more], tmp_path / "out", format="llama-factory", say=said.append)
    assert "2 chats do not go from user to assistant in turn; LLaMA-Factory passes over them" in said


@installed
def test_its_loader_interleaves(tmp_path: Path, rows: list[dict[str, Any]], pairs: set, consumer: Callable[..., Any]):
    weights, files = {"chat": 3, "code": 5, "../x": 2}, ["x.jsonl", "chat.jsonl", "code.jsonl"]
    mix(rows, tmp_path / "out", format="llama-factory", shares=weights)
    seen = consumer("read_llama_factory.py", tmp_path / "out")
    assert (seen["stage"], seen["names"], seen["probabilities"]) == ("sft", files, [0.2, 0.3, 0.5])
    said = [(prompt[-1]["content"], response[0]["content"]) for _, prompt, response in seen["rows"]]
    assert set(said) <= pairs
    assert len(said) == len(set(said))  # interleave_under ends before a row comes again
    count = Counter(answer.split(" ")[0] for _, answer in said)
    assert count["code"] == 12  # half the draws are from the twelve rows of code, which are used up first
    assert all(system == ("be brief" if prompt[-1]["content"].startswith("chat") else "")
               for system, prompt, _ in seen["rows"])  # fmt: skip
    assert [text.split("<|im_end|>")[0].strip() for text in seen["trained"]] == [answer for _, answer in said]


@installed
def test_its_loader_reads_the_copies_of_a_budget(
    tmp_path: Path, rows: list[dict[str, Any]], pairs: set, consumer: Callable[..., Any]
):
    mix(rows, tmp_path / "out", format="llama-factory", shares="uniform", budget=40)
    seen = consumer("read_llama_factory.py", tmp_path / "out")
    said = [(prompt[-1]["content"], response[0]["content"]) for _, prompt, response in seen["rows"]]
    assert len(said) == len(seen["trained"]) == 40
    assert set(said) <= pairs
    assert Counter(answer.split(" ")[0] for _, answer in said) == {"chat": 10, "code": 10, "../x": 10, "数学": 10}


@installed
def test_its_loader_reads_text(tmp_path: Path, consumer: Callable[..., Any]):
    texts = [{"text": f"text {k}", "source": "ab"[k % 2]} for k in range(10)]
    mix(texts, tmp_path / "out", format="llama-factory")
    seen = consumer("read_llama_factory.py", tmp_path / "out")
    said = [prompt[0]["content"] for _, prompt, _ in seen["rows"]]
    assert set(said) <= {row["text"] for row in texts}
    assert len(said) >= 5
    assert all(text in "".join(seen["trained"]) for text in said)
