"""Gradients of margins kept apart, checkpoint by checkpoint, with the margins themselves: what TRAK and GradEx read."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from gradients_by_hand import LENGTH, Saved, causal, flat, loop  # noqa: E402
from small_models import make_examples, make_llama, make_tokenizer  # noqa: E402

from tasksift.config import RunConfig  # noqa: E402
from tasksift.errors import InputError  # noqa: E402
from tasksift.represent import objectives  # noqa: E402
from tasksift.represent.chat import ChatTokens  # noqa: E402
from tasksift.represent.forward import batches  # noqa: E402
from tasksift.represent.gradient import Gradients, split  # noqa: E402
from tasksift.represent.opening import resolve  # noqa: E402
from tasksift.represent.projection import make_projection  # noqa: E402
from tasksift.rows.example import Example, Turn  # noqa: E402

OPTIONS = {"params": "q_proj|v_proj", "objective": "margin", "max_length": LENGTH}


def values_of(model, examples, objective=objectives.margin):
    """What the gradients are of, one example at a time."""
    coder, found = ChatTokens(make_tokenizer(), LENGTH), []
    with torch.no_grad():
        for each in examples:
            [batch] = batches([coder.encode(each)])
            found.append(objective(model, batch).item())
    return np.array(found)


def put(model, saved):
    for name, value in model.named_parameters():
        value.data.copy_(saved.weights()[name])


def checkpoints_of(model, count):
    return [Saved(model, k, (k + 1) * 1e-4) for k in range(count)]


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("projection", ["none", "count-sketch", "rademacher"])
def test_each_checkpoint_has_its_gradients_its_projection_and_its_margins(count, projection):
    model, examples = make_llama(), make_examples(5)
    saved = checkpoints_of(model, count)
    features = Gradients(causal(model), checkpoints=saved, combine="separate", projection=projection, dim=48, **OPTIONS)
    rows = features.transform(examples)
    layout, width = features._per_example.layout, features.projections[0].dim
    assert rows.shape == (5, features.dim) == (5, (width + 1) * max(1, count))
    grads, values = split(rows, max(1, count), width)
    for k in range(max(1, count)):
        if saved:
            put(model, saved[k])
        plain = [loop(model, list(layout), each, objectives.margin) for each in examples]
        expected = np.array([flat(each) for each in plain])
        if projection != "none":
            own = make_projection(projection, layout, 48, k)
            out = torch.zeros(5, own.dim)
            for name in layout:
                own.add(out, name, torch.stack([each[name] for each in plain]))
            expected = out.numpy()
        np.testing.assert_allclose(grads[k], expected, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(values[:, k], values_of(model, examples), rtol=1e-4, atol=1e-5)


def test_projections_of_checkpoints_are_independent():
    """One model twice, as two checkpoints: by one projection the rows would be equal."""
    model, examples = make_llama(), make_examples(8)
    saved = checkpoints_of(model, 1) * 2
    features = Gradients(causal(model), checkpoints=saved, combine="separate", dim=512, **OPTIONS)
    (one, other), values = split(features.transform(examples), 2, 512)
    np.testing.assert_array_equal(values[:, 0], values[:, 1])
    cosines = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert np.abs(cosines).max() < 0.3
    # And yet both are of the same gradients.
    np.testing.assert_allclose(one @ one.T, other @ other.T, rtol=0.5, atol=0.2 * np.abs(one @ one.T).max())


def test_values_are_of_the_objective_that_is_asked_for():
    model, examples = make_llama(), make_examples(4)
    options = {**OPTIONS, "objective": "sft", "target_objective": "margin"}
    features = Gradients(causal(model), combine="separate", dim=16, **options)
    assert features.transform(examples)[:, -1] == pytest.approx(values_of(model, examples, objectives.sft), rel=1e-4)
    targets = features.for_targets().transform(examples)
    assert targets[:, -1] == pytest.approx(values_of(model, examples), rel=1e-4)


def test_both_sides_stay_as_long_as_they_are():
    model, examples = make_llama(), make_examples(4)
    features = Gradients(causal(model), checkpoints=checkpoints_of(model, 2), combine="separate", dim=16, **OPTIONS)
    pool = features.transform(examples)
    np.testing.assert_array_equal(pool, features.for_targets().transform(examples))
    assert np.ptp(np.linalg.norm(pool[:, :16], axis=1)) > 1e-3


def test_targets_of_concatenated_checkpoints_are_not_scaled_before_they_are_averaged():
    model, examples = make_llama(), make_examples(5)
    saved = checkpoints_of(model, 2)
    features = Gradients(causal(model), checkpoints=saved, projection="none", **OPTIONS)
    assert np.linalg.norm(features.transform(examples), axis=1) == pytest.approx(1, rel=1e-5)
    raw, names = features.for_targets().transform(examples), list(features._per_example.layout)
    for k, each in enumerate(saved):
        put(model, each)
        expected = np.array([flat(loop(model, names, example, objectives.margin)) for example in examples])
        width = expected.shape[1]
        np.testing.assert_allclose(raw[:, k * width : (k + 1) * width], expected, rtol=1e-3, atol=1e-5)
    assert not features.raw


def test_a_row_without_an_answer_has_nothing():
    model = make_llama()
    examples = [*make_examples(2), Example((Turn("user", "Only a question?"),))]
    features = Gradients(causal(model), checkpoints=checkpoints_of(model, 2), combine="separate", dim=16, **OPTIONS)
    rows = features.transform(examples)
    assert not rows[2].any()
    assert (np.abs(rows[:2]).max(axis=1) > 0).all()


def test_moving_begins_at_the_last_checkpoint():
    model, examples = make_llama(), make_examples(3)
    saved = checkpoints_of(model, 2)
    features = Gradients(causal(model), checkpoints=saved, combine="separate", dim=16, **OPTIONS)
    put(model, saved[0])
    moved = features.moved(examples)
    distance, margins = moved(np.zeros(16))
    assert distance == 0
    put(model, saved[1])
    np.testing.assert_allclose(margins, values_of(model, examples), rtol=1e-4, atol=1e-5)
    assert moved.projection is features.projections[1]


def test_what_is_split_is_not_copied():
    rows = np.arange(24.0).reshape(2, 12)  # 3 checkpoints of 3 numbers and a value, and nothing more
    grads, values = split(rows, 3, 3)
    assert [each.tolist() for each in grads] == [[[0, 1, 2], [12, 13, 14]], [[3, 4, 5], [15, 16, 17]],
                                                 [[6, 7, 8], [18, 19, 20]]]  # fmt: skip
    assert values.tolist() == [[9, 10, 11], [21, 22, 23]]
    assert all(np.shares_memory(each, rows) for each in [*grads, values])
    one, value = split(rows[:, :7], 1, 5)  # a column more than there are
    assert one[0].shape == (2, 5)
    assert value.tolist() == [[5], [17]]


def test_halves_would_lose_the_lengths():
    config = RunConfig.create(representation="gradient", model="m", combine="separate", store_dtype="float16")
    with pytest.raises(InputError, match=r"float16 keeps directions only, and --combine separate needs lengths"):
        resolve(config, "gradient")
    resolve(config.model_copy(update={"combine": "mean"}), "gradient")
