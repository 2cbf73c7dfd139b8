import json
import random
import re
import shlex
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tasksift import demo, open_run
from tasksift.cli import app
from tasksift.demo import Figures, count, interpret
from tasksift.demo_pool import (
    COPIED,
    COPIES,
    PACKAGE,
    SHORTEST,
    TARGETS,
    demo_rows,
    docstrings,
    edited,
    standard_library,
)
from tasksift.errors import InputError
from tasksift.progress import silent

LONG_ENOUGH = "A text of ten words or more, so that it is a row of the demo."


def tasksift(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """One run over the whole standard library: its folder and what it says with --json."""
    out = tmp_path_factory.mktemp("real") / "demo"
    done = tasksift("demo", "--out", out, "--json", "--quiet")
    assert done.exit_code == 0, done.output
    return out, json.loads(done.stdout)


@pytest.fixture(scope="module")
def small_library(tmp_path_factory):
    """A part of the standard library, for runs that take no time."""
    root = tmp_path_factory.mktemp("library")
    for name in (PACKAGE, "email"):
        shutil.copytree(standard_library() / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture(scope="module")
def small_rows(small_library):
    return docstrings(small_library, silent)


def test_a_run_over_the_standard_library_says_what_each_method_is_worth(real):
    out, facts = real
    pool, target = rows_of(out / "pool.jsonl"), rows_of(out / "target.jsonl")
    figures = facts["figures"]
    assert figures["pool"]["rows"] == len(pool) > 3000
    assert facts["targets"] == len(target) == TARGETS == 36
    one_percent = (len(pool) + 50) // 100
    assert [figures[name]["rows"] for name in ("random", "nearest", "tsds")] == [one_percent] * 3
    assert figures["tsds"]["share"] > 2 * figures["random"]["share"]
    assert figures["tsds"]["share"] > 2 * figures["pool"]["share"]
    assert figures["tsds"]["copies"] < figures["nearest"]["copies"]
    assert figures["tsds"]["distinct"] > figures["nearest"]["distinct"]


def test_the_figures_are_those_of_the_files(real):
    out, facts = real
    pool = rows_of(out / "pool.jsonl")
    known = {json.dumps(row) for row in pool}
    for preset in ("random", "nearest", "tsds"):
        picked = rows_of(out / f"picked-{preset}.jsonl")
        figures = facts["figures"][preset]
        assert {json.dumps(row) for row in picked} <= known
        assert figures["rows"] == len(picked)
        assert figures["copies"] == sum("copy_of" in row for row in picked)
        assert figures["of_package"] == sum(row["name"].startswith(PACKAGE) for row in picked)
        run = open_run(out / f"picked-{preset}.jsonl.run")
        assert [pool[k]["text"] for k in run.positions] == [row["text"] for row in picked]


def test_examples_are_the_first_rows_with_their_reasons(real):
    out, facts = real
    pool, target = rows_of(out / "pool.jsonl"), rows_of(out / "target.jsonl")
    run = open_run(out / "picked-tsds.jsonl.run")
    assert len(facts["examples"]) == 3
    for k, example in enumerate(facts["examples"]):
        why = run.explain(k)
        assert example["row"] == pool[why.row]
        assert example["reason"] == why.reason
        assert example["target_row"] == target[example["target"]]


def test_the_page_fits_a_terminal_and_a_second_run_gives_it_again(tmp_path, monkeypatch, small_library):
    monkeypatch.setattr(demo, "standard_library", lambda: small_library)
    monkeypatch.chdir(tmp_path)
    first = tasksift("demo", "--out", "demo")
    assert first.exit_code == 0
    assert max(map(len, first.stdout.splitlines())) < 80
    assert "\ntsds " in first.stdout
    assert "Kept in demo" in first.stdout
    picked = Path("demo/picked-tsds.jsonl").read_bytes()
    assert tasksift("demo", "--out", "demo").stdout == first.stdout
    assert Path("demo/picked-tsds.jsonl").read_bytes() == picked

    # The command at the end does what the demo did.
    command = shlex.split(first.stdout.splitlines()[-1])
    assert command[0] == "tasksift"
    monkeypatch.chdir("demo")
    assert tasksift(*command[1:]).exit_code == 0
    assert Path("picked.jsonl").read_bytes() == picked


def test_files_of_others_stay(tmp_path, monkeypatch, small_library):
    monkeypatch.setattr(demo, "standard_library", lambda: small_library)
    for name in ("pool.jsonl", "picked-tsds.jsonl"):
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        (folder / name).write_text("mine")
        done = tasksift("demo", "--out", folder)
        assert done.exit_code == 2
        assert "name a new or an empty folder" in done.stderr
        assert [(path.name, path.read_text()) for path in folder.iterdir()] == [(name, "mine")]
    (tmp_path / "file").write_text("mine")
    assert "cannot write" in tasksift("demo", "--out", tmp_path / "file").stderr


def test_docstrings_are_found_without_importing(tmp_path):
    (tmp_path / "one.py").write_text(
        f'''raise SystemExit("imported")
class A:
    """{LONG_ENOUGH}"""
    async def f(self):
        """{LONG_ENOUGH} Odd \\d escape."""
        if 1:
            def g():
                """{LONG_ENOUGH} Inside."""
    def short(self):
        """Too short."""
'''
    )
    (tmp_path / "two" / "three").mkdir(parents=True)
    (tmp_path / "two" / "__init__.py").write_text(f'"""{LONG_ENOUGH}"""')
    (tmp_path / "two" / "three" / "four.py").write_text(f'"""{LONG_ENOUGH}"""')
    for skipped in ("two/test", "two/tests", "site-packages", "idlelib/idle_test", "lib-dynload"):
        (tmp_path / skipped).mkdir(parents=True)
        (tmp_path / skipped / "five.py").write_text(f'"""{LONG_ENOUGH}"""')
    (tmp_path / "broken.py").write_text(f'"""{LONG_ENOUGH}"""\nprint "no"')
    (tmp_path / "binary.py").write_bytes(b'"""\xff\x00"""')
    found = docstrings(tmp_path, silent)
    assert [(row["name"], row["source"]) for row in found] == [
        ("one.A", "one"),
        ("one.A.f", "one"),
        ("one.A.f.g", "one"),
        ("two", "two"),
        ("two.three.four", "two"),
    ]
    assert found[0]["text"] == LONG_ENOUGH


def test_copies_are_marked_and_differ_from_their_originals_by_one_slip(small_rows):
    made = demo_rows(small_rows)
    originals = {row["name"]: row for row in made.pool if "copy_of" not in row}
    copies = [row for row in made.pool if "copy_of" in row]
    assert set(Counter(row["copy_of"] for row in copies).values()) == {COPIES}
    assert sum(row["source"] == PACKAGE for row in copies) == len(copies) / 2 == COPIED * COPIES
    for row in copies:
        original = originals[row["copy_of"]]
        assert row["source"] == original["source"]
        before, after = (Counter(re.findall(r"\w+", text)) for text in (original["text"], row["text"]))
        assert row["text"] != original["text"]
        assert (before - after).total() <= 2 >= (after - before).total()
        assert abs(len(row["text"]) - len(original["text"])) < 40


def test_targets_leave_the_pool_and_the_seed_decides(small_rows):
    made = demo_rows(small_rows, seed=3)
    texts = {row["text"] for row in made.target}
    assert len(texts) == TARGETS
    assert all(row["source"] == PACKAGE and len(row["text"].split()) >= SHORTEST for row in made.target)
    kept = [row for row in made.pool if "copy_of" not in row]
    assert kept == [row for row in small_rows if row["text"] not in texts]
    assert demo_rows(small_rows, seed=3) == made
    assert demo_rows(small_rows, seed=4).target != made.target


def test_a_library_without_sources_is_an_error(small_rows):
    with pytest.raises(InputError, match="only 0 docstrings of asyncio"):
        demo_rows([row for row in small_rows if row["source"] != PACKAGE])


@given(st.lists(st.text("abcd", min_size=4, max_size=8), min_size=2, max_size=6), st.integers(0, 2**32))
def test_an_edit_always_changes_a_text_by_little(words, seed):
    text = " ".join(words)
    changed = edited(text, random.Random(seed))
    assert changed != text
    lost = Counter(text.replace(" ", "")) - Counter(changed.replace(" ", ""))
    assert not lost or any(lost == Counter(word) for word in words)


def test_counting_sees_through_copies():
    rows = [
        {"text": "a", "source": PACKAGE, "name": "asyncio.a"},
        {"text": "a", "source": PACKAGE, "name": "asyncio.b"},
        {"text": "a!", "source": PACKAGE, "name": "asyncio.a", "copy_of": "asyncio.a"},
        {"text": "c!", "source": "csv", "name": "csv.c", "copy_of": "csv.c"},
        {"text": "c?", "source": "csv", "name": "csv.c", "copy_of": "csv.c"},
    ]
    found = count(rows, {"asyncio.a": "a", "asyncio.b": "a", "csv.c": "c"})
    assert found == Figures(rows=5, of_package=3, copies=3, distinct=2, distinct_of_package=1)
    assert found.share == 0.6


@pytest.mark.parametrize(
    ("nearest", "words"),
    [
        ((9, 30, 5), ("fewer rows", "fewer edited copies", "more different")),
        ((2, 0, 9), ("more rows", "more edited copies", "fewer different")),
        ((8, 1, 7), ("as many rows", "as many edited copies", "as many different")),
    ],
)
def test_the_words_follow_the_figures(nearest, words):
    of_package, copies, distinct = nearest
    figures = {
        "tsds": Figures(10, 8, 1, 10, 7),
        "nearest": Figures(10, of_package, copies, 10, distinct),
        "random": Figures(10, 0, 0, 10, 0),
    }
    share, beside = interpret(figures)
    assert "8 of its 10 rows (80%)" in share
    assert "random found 0 (0%)" in share
    for word in words:
        assert word in beside
    assert f"(8 against {of_package})" in beside
    assert f"(1 against {copies})" in beside
