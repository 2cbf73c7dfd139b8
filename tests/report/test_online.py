"""The data of the report of an online run: what the file says, thinned, with the small domains summed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksift.errors import InputError
from tasksift.online.domains import Domains
from tasksift.online.history import History
from tasksift.report.online import online_data


def write(folder: Path, names: list[str], steps: int, seed: int = 0, about=None) -> tuple[np.ndarray, ...]:
    """A run of so many logged steps, ten apart; the arrays that went into its file."""
    rng = np.random.default_rng(seed)
    history = History(folder / "mixture.jsonl", Domains.of(names), about or {"mode": "released"})
    history.begin(0)
    count = len(set(names))
    probabilities = rng.dirichlet(np.ones(count), steps)
    losses = np.where(rng.random((steps, count)) < 0.2, np.nan, rng.uniform(1, 5, (steps, count)))
    rows = rng.integers(1, 9, (steps, count)).cumsum(axis=0)
    for t in range(steps):
        history.append(10 * (t + 1), probabilities[t], losses[t], rows[t])
    return probabilities, losses, rows


def test_a_small_run_is_shown_whole(tmp_path):
    probabilities, losses, rows = write(tmp_path, ["a", "b", "b", "c"], 5)
    data = online_data(tmp_path)
    order = np.argsort(-rows[-1], kind="stable")
    assert data["domains"] == [
        {"name": "abc"[k], "rows": [1, 2, 1][k], "drawn": int(rows[-1, k])} for k in order.tolist()
    ]
    assert data["steps"] == [10, 20, 30, 40, 50]
    np.testing.assert_allclose(data["probabilities"], probabilities[:, order], rtol=1e-5)
    shown = np.array([[np.nan if loss is None else loss for loss in line] for line in data["losses"]])
    np.testing.assert_allclose(shown, losses[:, order], rtol=1e-5)
    assert (data["format"], data["kind"], data["title"]) == (1, "online", "Online mixing of 3 domains")
    assert {name: data["glance"][name] for name in ("mode", "domains", "steps")} == {
        "mode": "released", "domains": 3, "steps": 50,
    }  # fmt: skip
    assert data["manifest"] == {"about": {"mode": "released"}, "logged_steps": 5, "shown_steps": 5}
    assert online_data(tmp_path / "mixture.jsonl") == data


@settings(max_examples=8)
@given(st.integers(1, 700), st.integers(1, 90))
def test_many_steps_and_domains_are_thinned_and_summed(tmp_path_factory, steps, count):
    folder = tmp_path_factory.mktemp("run")
    names = [f"d{k:03d}" for k in range(count)]
    probabilities, _, rows = write(folder, names, steps, seed=count)
    data = online_data(folder)
    assert len(data["steps"]) == min(steps, 300)
    assert (data["steps"][0], data["steps"][-1]) == (10, 10 * steps)
    gaps = np.diff(data["steps"])
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 10
    assert len(data["domains"]) == min(count, 40)
    assert sum(domain["drawn"] for domain in data["domains"]) == rows[-1].sum()
    assert sum(domain["rows"] for domain in data["domains"]) == count
    assert [domain["name"] is None for domain in data["domains"]] == [False] * min(count, 39) + [count > 40] * (
        count > 39
    )
    np.testing.assert_allclose(np.sum(data["probabilities"], axis=1), 1, rtol=1e-4)
    assert {len(line) for key in ("probabilities", "losses") for line in data[key]} == {min(count, 40)}
    shown = [names.index(domain["name"]) for domain in data["domains"] if domain["name"] is not None]
    at = [step // 10 - 1 for step in data["steps"]]
    wanted = probabilities[at][:, shown]
    np.testing.assert_allclose(np.array(data["probabilities"])[:, : len(shown)], wanted, rtol=1e-5)


def test_the_loss_of_the_rest_is_the_mean_of_what_was_seen_of_it(tmp_path):
    names = [f"d{k:03d}" for k in range(60)]
    _, losses, rows = write(tmp_path, names, 4)
    losses[:, :] = np.nan
    history = History(tmp_path / "mixture.jsonl", Domains.of(names), {})
    history.begin(0)
    rest = np.argsort(-rows[-1], kind="stable")[39:]
    losses[1:, rest[0]], losses[2:, rest[1]] = 2.0, 5.0
    for t in range(4):
        history.append(t, np.full(60, 1 / 60), losses[t], rows[t])
    a, b = rows[2:, rest[0]], rows[2:, rest[1]]
    found = [line[-1] for line in online_data(tmp_path)["losses"]]
    assert found[:2] == [None, 2.0]
    np.testing.assert_allclose(found[2:], (2 * a + 5 * b) / (a + b), rtol=1e-5)


def test_the_sentence(tmp_path):
    history = History(tmp_path / "mixture.jsonl", Domains.of(["code"] * 3 + ["chat"]), {"mode": "paper"})
    history.begin(0)
    assert online_data(tmp_path)["glance"]["sentence"] == (
        "A training on 2 domains was asked for; no step is logged yet."
    )
    history.append(1, [0.25, 0.75], [np.nan, np.nan], [2, 6])
    assert online_data(tmp_path)["glance"]["sentence"] == (
        "Up to step 1, 8 rows of 2 domains were drawn. The largest part, 75.0%, is of “code”, which has 75.0% of the "
        "training rows. The shares were the same at the first and the last logged step."
    )
    history.append(1200, [0.75, 0.25], [1.5, 3.0], [4800, 1200])
    assert online_data(tmp_path)["glance"]["sentence"] == (
        "Up to step 1,200, 6,000 rows of 2 domains were drawn. The largest part, 80.0%, is of “chat”, which has 25.0% "
        "of the training rows. Between the first and the last logged step the share of “chat” rose most, from 25.0% to "
        "75.0%, and that of “code” fell most, from 75.0% to 25.0%. The largest training loss at the end is that of "
        "“code”, 3.000."
    )


def test_one_domain(tmp_path):
    write(tmp_path, ["only"] * 7, 2)
    data = online_data(tmp_path)
    assert data["title"] == "Online mixing of 1 domain"
    assert data["glance"]["sentence"].startswith("Up to step 20, ")
    assert "rows of one domain, “only”, were drawn." in data["glance"]["sentence"]


def test_hostile_names_and_numbers_become_plain_json(tmp_path):
    names = ["</script><script>alert(1)</script>", "\ud800 half", "\u202egnp", "x" * 100_000]
    head = {"format": 1, "domains": names, "sizes": [1, 2**62, 2**62, 4], "about": {"mode": ["odd"], "x": "y" * 10_000}}
    line = {
        "step": 2**60, "probabilities": [1e308] * 4, "losses": [1e308, None, -1e308, 0.0],
        "rows": [-5, 0, 2**62, 2**62],
    }  # fmt: skip
    file = tmp_path / "mixture.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in (head, line)))
    text = json.dumps(online_data(tmp_path), allow_nan=False)
    assert len(text.encode()) < 10_000
    assert "alert(1)" in text


def test_a_folder_without_the_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*mixture\.jsonl"):
        online_data(tmp_path)
