"""File names of domains."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasksift.mix.names import file_stems

HOSTILE = ["../x", "a/b", "a\\b", "CON", "con.txt", "", " ", ".", "..", "-rf", "~", "a\0b", "a\nb", "train", "Mixture",
           "a,b", "a*b", "a[0]", "{a}", "\ud800", "数学", "é", "e\u0301", "A", "a", "x" * 500, "日" * 500]  # fmt: skip


@given(st.lists(st.one_of(st.text(), st.sampled_from(HOSTILE)), max_size=30))
def test_safe_and_unique_on_every_system(names: list[str]):
    stems = file_stems(names)
    assert len({stem.casefold() for stem in stems}) == len(names)
    for stem in stems:
        assert stem == PurePosixPath(stem).name
        assert not set(stem) & set('/\\:*?"<>|\0\n,[]{} =')
        assert stem[0] not in ".-"
        assert len(f"{stem}.jsonl.part".encode()) <= 255
        assert stem.split(".")[0].casefold() not in {"con", "nul", "com1", "train", "mixture", "default"}
    assert stems == file_stems(names)


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["../x", "a/b", "CON", ""], ["x", "a-b", "domain-CON", "domain"]),
        (["a b", "a/b", "a-b", "A-B-2"], ["a-b", "a-b-2", "a-b-3", "A-B-2-2"]),
        (["数学", "train", "gsm8k-v1.0_x"], ["数学", "domain-train", "gsm8k-v1.0_x"]),
    ],
)
def test_examples(names: list[str], stems: list[str]):
    assert file_stems(names) == stems
