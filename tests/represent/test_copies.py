"""Copies are found whatever the batches, before and after the recent ones are sorted in."""

import numpy as np
import pytest

from tasksift.represent import copies
from tasksift.represent.copies import Copies
from tasksift.rows.example import Example, Turn


def said(text: str, role: str = "document") -> Example:
    return Example((Turn(role, text),))


@pytest.mark.parametrize("recent", [1, 3, 7, 2**18])
@pytest.mark.parametrize("batch", [1, 4, 100])
def test_the_first_row_like_each(recent, batch, monkeypatch):
    monkeypatch.setattr(copies, "RECENT", recent)
    rng = np.random.default_rng(batch)
    texts = [f"text {k}" for k in rng.integers(0, 40, 300)]
    expected = [texts.index(text) for text in texts]
    seen = Copies()
    found = [seen.add([said(text) for text in texts[at : at + batch]]) for at in range(0, 300, batch)]
    assert np.concatenate(found).tolist() == expected
    assert len(seen.add([])) == 0


def test_what_is_no_copy():
    rows = [
        said("a"),
        said("a", "user"),
        Example((Turn("user", "a"), Turn("assistant", "b"))),
        Example((Turn("user", "a\nb"),)),
        Example((Turn("user", "a assistant 1 b"),)),
        Example(()),
    ]
    assert Copies().add(rows).tolist() == list(range(6))
    assert Copies().add([said("\ud800"), said("\ud800")]).tolist() == [0, 0]
