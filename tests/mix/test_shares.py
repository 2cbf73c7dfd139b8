"""Shares: as words, numbers and the history of an online run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasksift.errors import InputError
from tasksift.mix import find_shares
from tasksift.mix.shares import history_of, late_shares
from tasksift.online.domains import Domains
from tasksift.online.history import History

DOMAINS = Domains(("a", "b, c", "d=e"), np.array([0, 0, 0, 1, 1, 2]))


@pytest.mark.parametrize(
    ("asked", "shares"),
    [
        ("proportional", [1 / 2, 1 / 3, 1 / 6]),
        ("uniform", [1 / 3] * 3),
        ("a=0.3,b, c=0.7", [0.3, 0.7, 0]),
        ("d=e=30 , a = 10", [0.25, 0, 0.75]),
        ({"a": 1e308, "b, c": 1e308}, [0.5, 0.5, 0]),
        ({"a": 5e-324}, [1, 0, 0]),
    ],
)
def test_shares(asked: str, shares: list[float]):
    found = find_shares(asked, DOMAINS)
    assert found == pytest.approx(shares, abs=1e-15)
    assert found.sum() == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("equal", "--shares 'equal': write proportional, uniform"),
        ("a=0.3;b, c=0.7", "a has 0.3;b; a share is a number from 0"),
        ("a=", "write proportional"),
        ("a=x", "a has x; a share is a number from 0"),
        ("a=-1", "a has -1; a share is a number from 0"),
        ("a=nan", "a has nan; a share is a number from 0"),
        ("a=inf", "a has inf; a share is a number from 0"),
        ("a=0,b, c=0", "the shares add to nothing"),
        ("a=1,a=2", "a is given twice"),
        ("z=1", "no row is of the domain 'z'; there are a, b, c, d=e"),
        ("", "the shares add to nothing"),
        ("x" * 5000, "write proportional"),
        ("gone.jsonl", "cannot read gone.jsonl"),
    ],
)
def test_what_is_refused(asked: str, message: str):
    with pytest.raises(InputError, match=message) as caught:
        find_shares(asked, DOMAINS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("weight", ["x", None, [1], 10**400])
def test_a_weight_that_is_no_number_is_refused(weight: object):
    with pytest.raises(InputError, match=r"^--shares: a has .*; a share is a number from 0"):
        find_shares({"a": weight}, DOMAINS)


def test_what_is_a_history():
    assert history_of("run/mixture.jsonl") == history_of(Path("run/mixture.jsonl")) == Path("run/mixture.jsonl")
    assert history_of(Path("run")) == Path("run")
    assert [history_of(asked) for asked in ("uniform", "a=1", {"a.jsonl": 1}, None)] == [None] * 4


def _run(path: Path, names: tuple[str, ...], probabilities: dict[int, list[float]]) -> Path:
    history = History(path, Domains(names, np.arange(len(names))), {})
    history.begin(0)
    for step, some in probabilities.items():
        history.append(step, some, [1.0] * len(names), [1] * len(names))
    return path


def test_history_is_the_mean_over_the_second_half_in_the_order_of_the_pool(tmp_path: Path):
    path = _run(
        tmp_path / "mixture.jsonl",
        ("d=e", "a", "b, c"),
        {1: [1, 0, 0], 5: [1, 0, 0], 6: [0.2, 0.3, 0.5], 10: [0.4, 0.1, 0.5]},
    )
    assert find_shares(str(path), DOMAINS) == pytest.approx([0.2, 0.5, 0.3])
    assert find_shares(path, DOMAINS) == pytest.approx([0.2, 0.5, 0.3])
    one = _run(tmp_path / "one.jsonl", ("x", "y"), {0: [0.25, 0.75]})
    assert late_shares(one, ["y", "x"]) == pytest.approx([0.75, 0.25])


def test_history_of_other_domains_is_refused(tmp_path: Path):
    other = _run(tmp_path / "other.jsonl", ("a", "b, c"), {1: [0.5, 0.5]})
    with pytest.raises(InputError, match=r"the run had no domain 'd=e' \(it had a, b, c\)"):
        find_shares(other, DOMAINS)
    more = _run(tmp_path / "more.jsonl", (*DOMAINS.names, "z"), {1: [0.25] * 4})
    with pytest.raises(InputError, match=r"the pool has no domain 'z'"):
        find_shares(more, DOMAINS)
    with pytest.raises(InputError, match="no step is logged"):
        find_shares(_run(tmp_path / "none.jsonl", DOMAINS.names, {}), DOMAINS)


def test_steps_of_any_size_and_names_once(tmp_path: Path):
    late = _run(tmp_path / "late.jsonl", ("x", "y"), {2**61: [1, 0], 2**62 - 1: [0.5, 0.5], 2**62 + 5: [0.5, 0.5]})
    assert late_shares(late, ["x", "y"]) == pytest.approx([0.5, 0.5])
    twice = _run(tmp_path / "twice.jsonl", ("x", "y"), {1: [0.5, 0.5]})
    twice.write_text(twice.read_text().replace('"y"', '"x"'))
    with pytest.raises(InputError, match="it names a domain twice"):
        late_shares(twice, ["x"])
    below = _run(tmp_path / "below.jsonl", ("x", "y"), {1: [-0.5, 1.5]})
    with pytest.raises(InputError, match=r"one of the shares is -0.5; a share is a number from 0"):
        late_shares(below, ["x", "y"])


@pytest.mark.parametrize("weight", ["x", None, 10**400, float("nan"), -1])
def test_a_share_is_a_number(weight: object):
    with pytest.raises(InputError, match=r"--shares: a has .*; a share is a number from 0"):
        find_shares({"a": weight}, DOMAINS)  # type: ignore[dict-item]
