"""Selecting again during training: the same rows as by hand, of the model as it is, and nothing else is touched."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from reselections import FAST, LESS, ROWS, TARGET, again, saved_by_hand, trained  # noqa: E402
from small_models import make_gpt2, make_llama, save  # noqa: E402

import tasksift as ts  # noqa: E402
from tasksift import model_features  # noqa: E402
from tasksift.errors import InputError  # noqa: E402
from tasksift.online import reselect as module  # noqa: E402
from tasksift.online.reselect import Reselect  # noqa: E402
from tasksift.represent import gradient  # noqa: E402
from tasksift.represent.checkpoints import load_tuned, read_tuned  # noqa: E402
from tasksift.represent.models import load_causal  # noqa: E402
from tasksift.rows import TextReader  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:.*is_gradient_checkpointing:FutureWarning"
)

IDS = torch.arange(3, 15)[None]
WAYS = {
    "less": LESS,
    "tsds-hidden": {"preset": "tsds", "representation": "hidden"},
    "tsds-gradient": {"preset": "tsds", "representation": "gradient", "dim": 16},
    "perplexity": {"preset": "perplexity-middle"},
}


@pytest.fixture
def seen(monkeypatch):
    """The configurations that were run, and what their snapshots said."""
    found = []
    run = module.run

    def spy(config, *arguments, **options):
        tune = config.checkpoints and json.loads((Path(config.checkpoints) / "tune.json").read_text())
        found.append((config, tune))
        return run(config, *arguments, **options)

    monkeypatch.setattr(module, "run", spy)
    return found


@pytest.mark.parametrize("kind", ["full", "lora"])
@pytest.mark.parametrize("way", WAYS)
def test_the_rows_are_those_of_a_selection_by_hand(tmp_path, kind, way):
    options = WAYS[way]
    model, tokenizer, optimizer = trained(kind)
    found = again(tmp_path / "run", **{"dim": None, **options}).rows(3, model, tokenizer, optimizer)
    base = save(tmp_path / "base", make_llama(3, hidden=16, layers=1))
    folder = saved_by_hand(tmp_path / "hand", model, tokenizer, optimizer, 3, base)
    place = {"checkpoints": folder / "tune"} if way in ("less", "tsds-gradient") else {"model": folder / "plain"}
    by_hand = ts.select(ROWS, TARGET, seed=3, **FAST, **options, **place)
    assert found.tolist() == np.repeat(by_hand.positions, by_hand.copies).tolist()
    assert found.dtype == np.int64
    assert len(found) == 6


def test_copies_are_repeated_in_the_order_of_rank(tmp_path):
    model = trained()
    options = {"preset": "tsds", "representation": "hidden", "dim": None, "draw": "multinomial", "budget": 40}
    reselect = again(tmp_path, breadth=1.5, **options)
    found = reselect.rows(2, *model)
    assert len(found) == 40
    assert len(np.unique(found)) < 40
    record = ts.selection.pq.read_table(tmp_path / "step-2" / "selection.parquet")
    assert record["rank"].to_pylist() == list(range(1, record.num_rows + 1))
    assert list(dict.fromkeys(found.tolist())) == record["position"].to_pylist()


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_the_selection_changes_as_the_model_does(tmp_path, kind):
    # "near" of published code takes the same first n at every update.
    model, tokenizer, optimizer = trained(kind)
    reselect = again(tmp_path)
    first = reselect.rows(3, model, tokenizer, optimizer)
    other, _, later = trained(kind, steps=12)
    second = reselect.rows(12, other, tokenizer, later)
    assert sorted(first) != sorted(second)
    for rows in (first, second):
        assert rows.min() >= 0
        assert rows.max() < len(ROWS)


@pytest.mark.parametrize("kind", ["full", "lora"])
@pytest.mark.parametrize("way", ["less", "tsds-hidden"])
def test_the_model_in_training_is_left_as_it_was(tmp_path, kind, way):
    model, tokenizer, optimizer = trained(kind, dropout=0.1)
    model.config.use_cache = False
    handle = model.register_forward_hook(lambda *_: None)
    model.get_input_embeddings().eval()

    def state():
        inner = model.get_base_model() if kind == "lora" else model
        return {
            "modes": [each.training for each in model.modules()],
            "hooks": [len(each._forward_hooks) for each in model.modules()],
            "asking": [each.requires_grad for each in model.parameters()],
            "grads": [each.grad is None for each in model.parameters()],
            "where": [each.data_ptr() for each in model.parameters()],
            "config": dict(vars(model.config)),
            "generation": dict(vars(inner.generation_config)),
            "adapters": [dict(vars(each)) for each in getattr(model, "peft_config", {}).values()],
            "python": random.getstate(),
            "enabled": torch.is_grad_enabled(),
        }

    tensors = [each.clone() for each in model.state_dict().values()]
    moments = [value.clone() for each in optimizer.state.values() for value in each.values()]
    before, numpy = state(), np.random.get_state()[1].copy()  # noqa: NPY002
    generator = torch.random.get_rng_state()
    again(tmp_path, **{"dim": None, **WAYS[way]}).rows(3, model, tokenizer, optimizer)
    assert torch.equal(torch.random.get_rng_state(), generator)
    assert np.array_equal(np.random.get_state()[1], numpy)  # noqa: NPY002
    assert state() == before
    assert all(torch.equal(a, b) for a, b in zip(tensors, model.state_dict().values(), strict=True))
    after = [value for each in optimizer.state.values() for value in each.values()]
    assert all(torch.equal(a, b) for a, b in zip(moments, after, strict=True))
    handle.remove()


def test_the_stream_of_training_goes_on_as_without_a_selection(tmp_path):
    model = trained()
    torch.manual_seed(5)
    plain = torch.rand(3)
    torch.manual_seed(5)
    again(tmp_path).rows(3, *model)
    assert torch.equal(torch.rand(3), plain)


def test_features_are_computed_in_eval_mode(tmp_path):
    # Published code leaves dropout on.
    kept = [again(tmp_path / str(p)).rows(3, *trained("lora", dropout=0.0)) for p in (0.0, 0.1)]
    model, tokenizer, optimizer = trained("lora", dropout=0.0)
    for each in model.modules():
        if isinstance(each, torch.nn.Dropout):
            each.p = 0.9
    model.peft_config["default"].lora_dropout = 0.9
    dropping = again(tmp_path / "dropping").rows(3, model, tokenizer, optimizer)
    assert kept[0].tolist() == kept[1].tolist() == dropping.tolist()


def test_the_projection_is_in_float32(tmp_path, monkeypatch, seen):
    # Published code keeps gradients in float16 before they are projected.
    kinds = []
    step = gradient.adam_direction

    def spy(grads, *arguments, **options):
        made = step(grads, *arguments, **options)
        kinds.append((grads.dtype, made.dtype))
        return made

    monkeypatch.setattr(gradient, "adam_direction", spy)
    model, tokenizer, optimizer = trained()
    again(tmp_path).rows(3, model.bfloat16(), tokenizer, optimizer)
    assert set(kinds) == {(torch.float32, torch.float32)}
    assert seen[0][0].store_dtype == "float32"


def test_less_takes_the_maximum_over_tasks_and_not_the_mean(tmp_path):
    model, tokenizer, optimizer = trained()
    found = again(tmp_path / "run", task_column="task").rows(3, model, tokenizer, optimizer)
    base = save(tmp_path / "base", make_llama(3, hidden=16, layers=1))
    tuned = read_tuned(saved_by_hand(tmp_path / "hand", model, tokenizer, optimizer, 3, base) / "tune")
    made = gradient.Gradients(load_tuned(tuned), checkpoints=tuned.checkpoints, optimizer="adam", dim=16, max_length=24)
    reader = TextReader(None)
    pool = made.transform([reader.example(row, "pool") for row in ROWS])
    target = made.for_targets().transform([reader.example(row, "target") for row in TARGET])
    means = np.stack([target[[k for k, row in enumerate(TARGET) if row["task"] == task]].mean(0) for task in "ab"])
    cosines = pool @ means.T / np.linalg.norm(pool, axis=1)[:, None] / np.linalg.norm(means, axis=1)
    best = np.argsort(-cosines.max(1))[:6]
    assert found.tolist() == best.tolist()
    assert set(np.argsort(-cosines.mean(1))[:6]) != set(best)


def test_the_checkpoint_has_the_learning_rate_and_the_steps_that_less_weighs_by(tmp_path, seen):
    model, tokenizer, optimizer = trained()
    optimizer.param_groups[0]["lr"] = 0.003
    first = again(tmp_path).rows(100, model, tokenizer, optimizer)
    assert seen[0][1]["checkpoints"][0]["learning_rate"] == 0.003
    assert seen[0][1]["checkpoints"][0]["step"] == 3  # of the optimizer, whose bias correction it is
    # At the end of a schedule it is 0, and one checkpoint has all the weight anyway.
    optimizer.param_groups[0]["lr"] = 0.0
    assert again(tmp_path, seed=1).rows(99, model, tokenizer, optimizer).tolist() == first.tolist()


def test_there_is_no_warm_up_in_the_loop(tmp_path):
    said = []
    again(tmp_path, say=said.append).rows(3, *trained())
    assert said[0] == "selecting at step 3"
    assert not any("warming up" in line for line in said)


def test_a_finished_selection_is_found_and_the_index_of_resumption_is_used(tmp_path, seen):
    model = trained()
    first = again(tmp_path).rows(3, *model)
    second = again(tmp_path).rows(3, *trained())
    assert len(seen) == 1
    assert first.tolist() == second.tolist()


def test_the_cache_key_changes_with_the_configuration(tmp_path, seen):
    # Published code keeps selections by their step alone.
    model, tokenizer, optimizer = trained()
    changes = [
        {},
        {"budget": 7},
        {"dim": 8},
        {"momentum": "none"},
        {"seed": 5},
        {"preset": "tsds", "representation": "hidden", "dim": None},
    ]
    found = [again(tmp_path, **change).rows(3, model, tokenizer, optimizer) for change in changes]
    assert len(seen) == len(changes)
    assert len(found[1]) == 7
    Reselect(ROWS[::-1], TARGET, every=1, folder=tmp_path, **FAST, **LESS).rows(3, model, tokenizer, optimizer)
    Reselect(ROWS, TARGET[1:], every=1, folder=tmp_path, **FAST, **LESS).rows(3, model, tokenizer, optimizer)
    assert len(seen) == len(changes) + 2
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1e-3
    Reselect(ROWS, TARGET[1:], every=1, folder=tmp_path, **FAST, **LESS).rows(3, model, tokenizer, optimizer)
    assert len(seen) == len(changes) + 3


def test_a_killed_selection_goes_on_with_the_features_that_it_has(tmp_path, monkeypatch):
    # Published code computes the index to go on from and does not use it.
    model = trained("lora")
    whole = again(tmp_path / "whole").rows(3, *model)
    monkeypatch.setattr(model_features, "SHARD_ROWS", 20)
    asked, transform = [], gradient.Gradients.transform

    def count(self, examples):
        asked.append(len(examples))
        if len(asked) == 4:
            raise KeyboardInterrupt
        return transform(self, examples)

    monkeypatch.setattr(gradient.Gradients, "transform", count)
    with pytest.raises(KeyboardInterrupt):
        again(tmp_path / "run").rows(3, *model)
    features = tmp_path / "run" / "step-3.part" / "features"
    assert sorted(path.name for path in features.glob("*.npy")) == ["shard-00000.npy", "shard-00001.npy"]
    before = len(asked)
    assert again(tmp_path / "run").rows(3, *trained("lora")).tolist() == whole.tolist()
    texts = [row["prompt"] + row["response"] for row in ROWS]
    new = set(texts[40:]) - set(texts[:40])
    assert asked[before:] == [len(TARGET), len(new)]


class Backwards(set):
    def __iter__(self):
        return iter(sorted(super().__iter__(), reverse=True))


def test_the_order_of_a_set_which_is_another_in_every_process_changes_nothing(tmp_path, seen):
    for kind in (set, Backwards):
        model, tokenizer, optimizer = trained("lora")
        model.peft_config["default"].target_modules = kind(model.peft_config["default"].target_modules)
        again(tmp_path).rows(3, model, tokenizer, optimizer)
    assert len(seen) == 1
    assert type(model.peft_config["default"].target_modules) is Backwards


def test_half_done_features_of_another_configuration_are_dropped(tmp_path, monkeypatch):
    model = trained()
    whole = again(tmp_path / "whole", dim=8).rows(3, *model)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_keep", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            again(tmp_path / "run").rows(3, *model)
    assert (tmp_path / "run" / "step-3.part" / "features" / "manifest.json").exists()
    assert again(tmp_path / "run", dim=8).rows(3, *model).tolist() == whole.tolist()


def test_snapshots_and_features_of_earlier_steps_are_removed_and_records_stay(tmp_path, monkeypatch):
    model, tokenizer, optimizer = trained()
    with monkeypatch.context() as patch:
        patch.setattr(module, "_keep", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            again(tmp_path).rows(1, model, tokenizer, optimizer)
    assert (tmp_path / "step-1.part" / "features").is_dir()
    reselect = again(tmp_path)
    for step in (2, 3):
        reselect.rows(step, model, tokenizer, optimizer)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-2", "step-3"]
    assert (tmp_path / "step-2" / "selection.parquet").is_file()


def test_when_a_selection_is_due(tmp_path):
    assert [step for step in range(9) if again(tmp_path, every=4).due(step)] == [4, 8]
    assert [step for step in range(9) if again(tmp_path, every=4, at_start=True).due(step)] == [0, 4, 8]
    assert [step for step in range(9) if again(tmp_path, every=None, at_start=True).due(step)] == [0]


def test_before_the_first_step_the_moments_are_zeros(tmp_path):
    model, tokenizer, optimizer = trained(steps=0)
    assert len(again(tmp_path, at_start=True).rows(0, model, tokenizer, optimizer)) == 6


def test_random_rows_are_others_at_every_step_and_the_same_for_a_seed(tmp_path):
    # A "random" mixture of published code is seeded anew at every call and never changes.
    def rows(folder, step):
        options = {"preset": "random", "folder": tmp_path / folder, "budget": 6, "every": 1}
        return Reselect(ROWS, None, **options).rows(step).tolist()

    assert rows("a", 1) != rows("a", 2)
    assert rows("a", 2) == rows("b", 2)


def test_preferences_with_every_parameter_trained_need_what_training_began_with(tmp_path):
    base = save(tmp_path / "base", make_llama(3, hidden=16, layers=1))
    pairs = [{"prompt": row["prompt"], "chosen": row["response"], "rejected": "no"} for row in TARGET]
    options = {"every": 1, "preset": "rose", "dim": 16, "folder": tmp_path / "run", **FAST}
    model, tokenizer, optimizer = trained()
    with pytest.raises(InputError, match="preferences need model=FOLDER"):
        Reselect(ROWS, pairs, **options).rows(3, model, tokenizer, optimizer)
    assert len(Reselect(ROWS, pairs, model=base, **options).rows(3, model, tokenizer, optimizer)) == 6
    model, tokenizer, optimizer = trained("lora")
    assert len(Reselect(ROWS, pairs, **options).rows(3, model, tokenizer, optimizer)) == 6
    with pytest.raises(InputError, match="whose base is known"):
        Reselect(ROWS, pairs, model=base, **options).check(model)


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_tied_and_transposed_weights_are_written_as_they_are(tmp_path, monkeypatch, kind):
    model, tokenizer, optimizer = trained(kind, make=make_gpt2)
    reselect = again(tmp_path, preset="tsds", representation="hidden", dim=None)
    write, logits = module.write_snapshot, []

    def spy(*arguments, **options):
        snapshot = write(*arguments, **options)
        logits.append(load_causal(snapshot.plain).model(input_ids=IDS).logits)
        return snapshot

    monkeypatch.setattr(module, "write_snapshot", spy)
    reselect.rows(3, model, tokenizer, optimizer)
    with torch.no_grad():
        torch.testing.assert_close(logits[0], model.eval()(input_ids=IDS).logits, rtol=1e-4, atol=1e-5)
