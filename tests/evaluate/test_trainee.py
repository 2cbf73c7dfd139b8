"""What comparisons train: the same as `finetune` and the classifier by hand, and what goes with a real model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_comparison import ROWS, make_rows, write, write_toys

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")
pytest.importorskip("accelerate")

from small_models import make_bert, make_llama, save  # noqa: E402

import tasksift as ts  # noqa: E402
from tasksift.evaluate.classifier import score_classifier, train_classifier  # noqa: E402
from tasksift.evaluate.compare import compare  # noqa: E402
from tasksift.evaluate.encoder_head import load_classifier  # noqa: E402
from tasksift.represent.chat import ChatTokens  # noqa: E402
from tasksift.represent.models import load_causal  # noqa: E402
from tasksift.rows import TextReader  # noqa: E402
from tasksift.rows.example import Example  # noqa: E402
from tasksift.tune import Settings, finetune  # noqa: E402

pytestmark = pytest.mark.usefixtures("short_collections")

OPTIONS: dict[str, Any] = {
    "rank": 2, "epochs": 2, "batch_size": 4, "learning_rate": 0.02, "max_length": 32, "presets": "bm25",
    "budgets": "20%", "without": "random-balanced",
}  # fmt: skip
SETTINGS = Settings(rank=2, alpha=4, dropout=0.0, epochs=2, batch_size=4, learning_rate=0.02, max_length=32)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "llama", make_llama(hidden=16))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("bert"), make_bert(layers=1))


def examples(rows: list[dict[str, Any]]) -> list[Example]:
    reader = TextReader(None)
    return [reader.example(row, "") for row in rows]


def judged(model: Any, coder: ChatTokens, rows: list[dict[str, Any]]) -> float:
    """The loss per token of the answers, one row after the other."""
    total, count = 0.0, 0
    for example in examples(rows):
        tokens = coder.encode(example)
        with torch.no_grad():
            logits = model(input_ids=torch.from_numpy(tokens.ids)[None]).logits[0, :-1]
        losses = torch.nn.functional.cross_entropy(logits, torch.from_numpy(tokens.ids)[1:], reduction="none")
        total += float(losses[torch.from_numpy(tokens.scored)[1:]].sum())
        count += int(tokens.scored[1:].sum())
    return total / count


@pytest.mark.parametrize("method", ["lora", "full"])
def test_scores_are_those_of_training_and_judging_by_hand(method: str, llama: Path, tmp_path: Path):
    options = write_toys(tmp_path) | OPTIONS
    done = compare(**{**options, "seeds": [5], "model": str(llama), "method": method}, out=tmp_path / "out")
    pool = make_rows(ROWS, 0)
    loaded = load_causal(llama)
    coder = ChatTokens(loaded.tokenizer, 32)
    cells = {(cell.arm, cell.task): cell for cell in done.cells}
    settings = replace(SETTINGS, method=method, seed=5)
    for k, task in enumerate(("maths", "code")):
        held_out = make_rows(12, 20 + k, (task,))
        assert cells["zero-shot", task].score("loss") == pytest.approx(judged(loaded.model, coder, held_out), rel=1e-5)
        for arm in ("bm25", "random", "full")[: 3 - 2 * k]:
            target = options["target"][k] if arm == "bm25" else None
            chosen = ts.select(options["pool"], target, "20%", preset=arm, seed=5) if arm != "full" else None
            places = chosen.positions if chosen is not None else range(ROWS)
            tokens = [coder.encode(each) for each in examples([pool[at] for at in places])]
            trained = finetune(load_causal(llama).model, tokens, settings)
            cell = cells[arm, task]
            assert cell.score("loss") == pytest.approx(judged(trained.model, coder, held_out), rel=1e-4), arm
            assert cell.tokens == sum(len(each.ids) for each in tokens)
            assert abs(cell.score("loss") - cells["zero-shot", task].score("loss")) > 1e-3
    # The model that all begin from is as it was.
    assert {cell.epochs for cell in done.cells} == {2}


def test_worker_processes_change_nothing(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    options = write_toys(tmp_path) | OPTIONS | {"model": str(llama), "without": "full,random-balanced"}
    options |= {"target": options["target"][:1], "held_out": options["held_out"][:1], "seeds": [0, 1]}
    one = compare(**options, out=tmp_path / "one")
    two = compare(**options, workers=2, out=tmp_path / "two")
    assert [(cell.arm, cell.seed) for cell in one.cells] == [(cell.arm, cell.seed) for cell in two.cells]
    for here, there in zip(one.cells, two.cells, strict=True):
        np.testing.assert_allclose(here.scores["loss"], there.scores["loss"], rtol=1e-4)
    assert two.failed == {}


def test_classes(bert: Path, tmp_path: Path):
    """An encoder learns the sources of rows; a class that only held-out rows have is never right."""
    rows = [{"id": row["id"], "prompt": row["prompt"], "response": row["source"]} for row in make_rows(ROWS, 0)]
    held = [{"prompt": row["prompt"], "response": row["source"]} for row in make_rows(15, 9)]
    held[4]["response"] = " never seen "
    write(tmp_path / "pool.jsonl", rows)
    write(tmp_path / "dev.jsonl", held[:3])
    write(tmp_path / "test.jsonl", held)
    done = compare(
        tmp_path / "pool.jsonl", tmp_path / "dev.jsonl", tmp_path / "test.jsonl", out=tmp_path / "out", model=str(bert),
        head="classes", presets="bm25", budgets="50%", seeds=[2], epochs=6, batch_size=6, learning_rate=0.01,
        max_length=32, without="random-balanced",
    )  # fmt: skip
    cells = {cell.arm: cell for cell in done.cells}
    labels = sorted({row["response"].strip() for row in [*rows, *held]})
    assert len(labels) == 4
    settings = Settings(method="full", epochs=6, batch_size=6, learning_rate=0.01, max_length=32, seed=2)
    by_hand = train_classifier(
        load_classifier(bert, 4, max_length=32).fresh(2), [row["prompt"] for row in rows],
        [labels.index(row["response"]) for row in rows], settings,
    )  # fmt: skip
    numbers = [labels.index(row["response"].strip()) for row in held]
    loss, right = score_classifier(by_hand, [row["prompt"] for row in held], numbers, range(4))
    np.testing.assert_allclose(cells["full"].scores["loss"], loss, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(cells["full"].scores["accuracy"], right)
    assert cells["full"].score("accuracy") > cells["zero-shot"].score("accuracy")
    assert all(cell.scores["accuracy"][4] == 0 for cell in done.cells if cell.arm != "zero-shot")
    assert {"loss", "accuracy"} == set(cells["full"].scores)
