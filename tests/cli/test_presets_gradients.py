"""Presets that look at gradients, from `tasksift tune` on: LESS, ROSE, TAROT, DsDm, GradEx."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
pytest.importorskip("accelerate")

from model_runs import SMALL, TASKS, TUNE, Toys, counted, ranks, unit

from tasksift.represent.checkpoints import load_tuned, read_all
from tasksift.represent.gradient import Gradients, split
from tasksift.selectors import tarot, trak

TARGET = ["-t", "target.jsonl"]
BY_TASK = [*TARGET, "--task-column", "task"]
ONE, TWO = ["--checkpoints", "warm"], ["--checkpoints", "warm,other"]
LESS = [*ONE, "--features", "steps", *SMALL]
TAROT = [*ONE, "--features", "means", *SMALL]
MARGINS = [*TWO, "--features", "margins", *SMALL]


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Toys:
    """The toy pool, with two tunes of two checkpoints each."""
    toys = Toys(tmp_path_factory.mktemp("toys"))
    for name, seed in (("warm", 0), ("other", 1)):
        done = toys("tune", "pool.jsonl", "--model", "llama", *TUNE, "--sample", "50%", "--seed", seed, "-o", name)
        assert done.code == 0, done.err
    return toys


@pytest.fixture(scope="module")
def order(toys: Toys) -> np.ndarray:
    return ranks(toys.select("column", 5, "order.jsonl", "--score-column", "rating"))


@pytest.fixture(scope="module")
def gradients(toys: Toys) -> Any:
    """What embeds by the checkpoints of some tunes, made by the library's own hand and not by the command."""

    @cache
    def make(tunes: str, **options: Any) -> Gradients:
        tuned = read_all(",".join(str(toys.folder / each) for each in tunes.split(",")))
        return Gradients(load_tuned(tuned), checkpoints=tuned.checkpoints, dim=32, max_length=48, **options)

    return make


def influence(toys: Toys, pool: np.ndarray, targets: np.ndarray, tasks: list[str]) -> np.ndarray:
    """Of every row on every task, (n, t): the sum over checkpoints of rate times cosine with the mean gradient."""
    record = json.loads((toys.folder / "warm" / "tune.json").read_text())
    rates = [each["learning_rate"] for each in record["checkpoints"]]
    means = np.array([targets[np.array(tasks) == name].mean(axis=0) for name in dict.fromkeys(tasks)])
    total = np.zeros((len(pool), len(means)))
    for k, rate in enumerate(rates):
        block = slice(32 * k, 32 * (k + 1))
        total += rate / sum(rates) * unit(pool[:, block]) @ unit(means[:, block]).T
    return total


def test_less_is_the_formula_of_its_paper(toys: Toys, gradients: Any):
    found = toys.select("less", 7, "less.jsonl", *BY_TASK, *LESS)
    embedder = gradients("warm", optimizer="adam")
    pool = embedder.transform(toys.examples("pool.jsonl"))
    targets = embedder.for_targets().transform(toys.examples("target.jsonl"))
    by_task = influence(toys, pool, targets, [row["task"] for row in toys.target])
    scores = found.plan_table["score"].to_numpy()
    np.testing.assert_allclose(scores, by_task.max(axis=1), atol=1e-4)
    assert sorted(scores[found.positions]) == sorted(scores)[-7:]
    assert found.manifest["target"]["tasks"] == dict.fromkeys(TASKS, 2)
    best = dict(zip(TASKS, np.bincount(by_task.argmax(axis=1), minlength=3).tolist(), strict=True))
    assert found.manifest["plan"]["info"]["best_for"] == best
    assert set(found.record["task"].to_pylist()) <= set(TASKS)
    assert all(reason.startswith("influence ") for reason in found.record["reason"].to_pylist())
    toys.again(found, "less.jsonl")
    whole = toys.select("less", 7, "less-mean.jsonl", *BY_TASK, *LESS, "--set", "aggregate=mean")
    np.testing.assert_allclose(whole.plan_table["score"].to_numpy(), by_task.mean(axis=1), atol=1e-4)


def test_another_target_computes_nothing_of_the_pool(toys: Toys):
    toys.select("less", 7, "first.jsonl", *BY_TASK, *LESS)
    shards = {path: path.stat().st_mtime_ns for path in (toys.folder / "steps").glob("shard-*")}
    assert shards
    toys.write("second.jsonl", [{"prompt": "What is it?", "response": "A mapping of names."}])
    with counted(Gradients) as sizes:
        found = toys.select("less", 5, "second-picked.jsonl", "-t", "second.jsonl", *LESS)
    assert sizes == [1]
    assert {path: path.stat().st_mtime_ns for path in shards} == shards
    assert found.manifest["target"]["tasks"] == {"second": 1}
    assert "one task" in found.manifest["plan"]["info"]["note"]


def chats(row: dict[str, Any]) -> dict[str, Any]:
    asked = [{"role": "user", "content": row["prompt"]}]
    return {side: [*asked, {"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")}


LAYOUTS: dict[str, Any] = {
    "explicit prompt": lambda row: row,
    "answers as messages": lambda row: {
        "prompt": [{"role": "user", "content": row["prompt"]}],
        **{side: [{"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")},
    },
    "conversations, the prompt in both": chats,
    "conversations and the prompt besides": lambda row: {"prompt": row["prompt"], **chats(row)},
    "dialogues as text": lambda row: {
        side: f"\n\nHuman: {row['prompt']}\n\nAssistant: {row[side]}" for side in ("chosen", "rejected")
    },
}


def test_rose_reads_every_layout_of_pairs(toys: Toys, gradients: Any):
    """The scores are LESS's with the gradient of the preference loss; the pool's features are those of LESS."""
    toys.select("less", 7, "before.jsonl", *BY_TASK, *LESS)
    pairs = [
        {"prompt": row["prompt"], "chosen": row["response"], "rejected": other["response"]}
        for row, other in zip(toys.target, toys.target[::-1], strict=True)
    ]
    plans = []
    for k, (name, layout) in enumerate(LAYOUTS.items()):
        toys.write("pairs.jsonl", [layout(row) for row in pairs])
        with counted(Gradients) as sizes:
            found = toys.select("rose", 7, f"rose-{k}.jsonl", "-t", "pairs.jsonl", *LESS)
        assert sizes == [6], name
        plans.append(found.plan_table["score"].to_numpy())
        assert (plans[-1] == plans[0]).all(), name
    toys.again(found, f"rose-{k}.jsonl")
    embedder = gradients("warm", optimizer="adam", target_objective="dpo")
    targets = embedder.for_targets().transform(toys.examples("pairs.jsonl"))
    pool = embedder.transform(toys.examples("pool.jsonl"))
    np.testing.assert_allclose(plans[0], influence(toys, pool, targets, ["pairs"] * 6)[:, 0], atol=1e-4)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "Why?", "response": "Because."}, "pairs.jsonl, line 2: no preference pair"),
        ({"prompt": "Why?", "chosen": "Because.", "rejected": None}, "pairs.jsonl, line 2"),
        (
            {"chosen": [{"role": "user", "content": "Why?"}], "rejected": [{"role": "user", "content": "Why?"}]},
            "pairs.jsonl, line 2: 'chosen' has no answer of the assistant",
        ),
    ],
)
def test_rose_refuses_a_target_without_a_pair(row: dict[str, Any], words: str, toys: Toys):
    toys.write("pairs.jsonl", [{"prompt": "Who?", "chosen": "She.", "rejected": "He."}, row])
    done = toys("select", "pool.jsonl", "-p", "rose", "-t", "pairs.jsonl", "-b", 5, "-o", "refused.jsonl", "-q", *LESS)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert words in done.err
    assert not list(toys.folder.glob("refused*"))


def test_tarot_is_that_of_raw_mean_gradients(toys: Toys, order: np.ndarray, gradients: Any):
    targets = gradients("warm", optimizer="sgd", combine="mean").for_targets().transform(toys.examples("target.jsonl"))
    found = toys.select("tarot", 9, "tarot.jsonl", *TARGET, *TAROT)
    pool = toys.stored("means")[:, :-1]
    plan = tarot.fit(pool, targets, budget=9, order=order)
    assert found.plan.ids.tolist() == plan.ids.tolist()
    np.testing.assert_allclose(found.plan.values, plan.values)
    toys.again(found, "tarot.jsonl")
    sized = toys.select("tarot", "auto", "tarot-auto.jsonl", *TARGET, *TAROT)
    plan = tarot.fit(pool, targets, order=order)
    assert sorted(sized.positions.tolist()) == plan.ids.tolist()
    assert len(sized) == sized.manifest["plan"]["info"]["estimated_rows"] == len(plan.ids)
    toys.again(sized, "tarot-auto.jsonl")


def test_tarot_weighted_repeats_rows(toys: Toys, order: np.ndarray, gradients: Any):
    targets = gradients("warm", optimizer="sgd", combine="mean").for_targets().transform(toys.examples("target.jsonl"))
    found = toys.select("tarot-weighted", 40, "weighted.jsonl", *TARGET, *TAROT)
    plan = tarot.fit_weighted(toys.stored("means")[:, :-1], targets, budget=40, order=order)
    assert found.plan.ids.tolist() == plan.ids.tolist()
    np.testing.assert_allclose(found.plan.values, plan.values, rtol=1e-3, atol=1e-6)
    assert found.copies.sum() == 40
    assert found.copies.max() > 1
    toys.again(found, "weighted.jsonl")


def test_dsdm_is_trak_on_the_blocks_of_every_model(toys: Toys, order: np.ndarray, gradients: Any):
    found = toys.select("dsdm", 7, "dsdm.jsonl", *TARGET, *MARGINS)
    embedder = gradients("warm,other", optimizer="sgd", objective="margin", combine="separate")
    targets = embedder.for_targets().transform(toys.examples("target.jsonl"))
    pool, margins = split(toys.stored("margins"), 4, 32)
    plan = trak.fit(pool, split(targets, 4, 32)[0], margins.T, order=order)
    np.testing.assert_allclose(found.plan.values, plan.values, rtol=1e-3, atol=1e-6)
    assert sorted(found.positions.tolist()) == sorted(np.argsort(-plan.values)[:7].tolist())
    assert found.manifest["plan"]["info"]["models"] == 4
    digests = [each["weights"] for each in found.manifest["representation"]["checkpoints"]]
    tunes = [json.loads((toys.folder / name / "tune.json").read_text()) for name in ("warm", "other")]
    assert digests == [each["weights"] for tune in tunes for each in tune["checkpoints"]]
    assert len(set(digests)) == 4
    toys.again(found, "dsdm.jsonl")
    # At the model as it is: one model.
    single = toys.select("dsdm", 7, "dsdm-one.jsonl", *TARGET, "--model", "llama", *SMALL)
    assert single.manifest["plan"]["info"]["models"] == 1


@pytest.mark.parametrize("preset", ["gradex", "gradex-forward"])
def test_gradex_keeps_whole_groups(preset: str, toys: Toys):
    for by, more in (("column", ["--group-column", "kind"]), ("cluster", ["--set", "groups=5"])):
        out = f"{preset}-{by}.jsonl"
        found = toys.select(preset, "auto", out, *TARGET, *MARGINS, *more)
        info = found.manifest["plan"]["info"]
        kept = info["groups"][: len(info["kept"])]
        assert [each["name"] for each in kept] == info["kept"]
        assert len(found) == sum(each["rows"] for each in kept) == len(found.plan.ids)
        if by == "column":
            assert {toys.pool[at]["kind"] for at in found.positions} == set(info["kept"])
        else:
            assert all(name.startswith("cluster ") for name in info["kept"])
        assert sum(each["rows"] for each in info["groups"]) == len(toys.pool)
        checks = [line["check"] for line in info["table"]]
        assert checks
        for check in [info, *checks]:
            assert np.isfinite([check["distance"], check["taylor_error"]]).all()
        toys.again(found, out)
        few = toys.select(preset, 7, f"few-{out}", *TARGET, *MARGINS, *more)
        assert set(few.positions.tolist()) <= set(found.positions.tolist())


@pytest.mark.parametrize(
    ("preset", "more"),
    [
        ("less", [*BY_TASK, *ONE]),
        ("tarot", [*TARGET, *ONE]),
        ("dsdm", [*TARGET, *TWO]),
        ("gradex", [*TARGET, *ONE, "--group-column", "kind"]),
        ("gradex", [*TARGET, *ONE, "--set", "groups=5"]),
    ],
    ids=lambda each: each if isinstance(each, str) else each[-1],
)
def test_the_order_of_the_pool_leaves_no_trace(preset: str, more: list[Any], toys: Toys):
    name = f"{preset}-{more[-1]}.jsonl"
    one = toys.select(preset, 8, f"as-is-{name}", *more, *SMALL)
    other = toys.select(preset, 8, f"permuted-{name}", *more, *SMALL, pool="shuffled.jsonl")
    assert other.ids == one.ids
    assert other.positions.tolist() != one.positions.tolist()
