"""Projected gradients over checkpoints: LESS's score as a cosine, TRAK's margin, ROSE's preference, by slow oracles."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from gradients_by_hand import LENGTH, Saved, causal, flat, loop  # noqa: E402
from small_models import make_examples, make_gpt2, make_llama, make_tokenizer  # noqa: E402

from tasksift.errors import InputError  # noqa: E402
from tasksift.represent import objectives  # noqa: E402
from tasksift.represent.chat import ChatTokens  # noqa: E402
from tasksift.represent.forward import batches  # noqa: E402
from tasksift.represent.gradient import Gradients, unit_blocks  # noqa: E402
from tasksift.rows.example import Example, Turn  # noqa: E402


@pytest.mark.parametrize("make", [make_llama, make_gpt2])
@pytest.mark.parametrize(("name", "objective"), [("sft", objectives.sft), ("margin", objectives.margin)])
def test_plain_gradients_are_those_of_a_loop(make, name, objective):
    model, examples = make(), make_examples(7)
    features = Gradients(causal(model), objective=name, projection="none", max_length=LENGTH)
    expected = np.array([flat(loop(model, list(features._per_example.layout), each, objective)) for each in examples])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = features.transform(examples)
    assert found.shape == (7, features.dim)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("momentum", ["paper", "none"])
@pytest.mark.parametrize("compat", [False, True])
def test_the_cosine_is_less(momentum, compat):
    """Inner products are sum_i rate_i cos(target gradient, Adam's step) / sum_i rate_i, by the formulas of LESS."""
    model, examples = make_llama(), make_examples(6)
    saved = [Saved(model, 1, 3e-4), Saved(model, 2, 1e-4)]
    features = Gradients(
        causal(model), checkpoints=saved, optimizer="adam", momentum=momentum, less_compat=compat,
        params="q_proj|norm", projection="none", max_length=LENGTH,
    )  # fmt: skip
    names = list(features._per_example.layout)
    assert any("norm" in name for name in names)
    scores = np.zeros((6, 6))
    for each in saved:
        for name, value in model.named_parameters():
            value.data.copy_(each.weights()[name])
        plain = [loop(model, names, example, objectives.sft) for example in examples]
        steps = []
        for grads in plain:
            step = {}
            for name, g in grads.items():
                m, v, t = each.moments()[0][name], each.moments()[1][name], each.step + 1
                top = 0.1 * g + (0.9 * m if momentum == "paper" else 0)
                below = 0.999 * v + 0.001 * g**2
                if compat:
                    step[name] = top / (below + 1e-8).sqrt()
                else:
                    step[name] = top / (1 - 0.9**t) / ((below / (1 - 0.999**t)).sqrt() + 1e-8)
            steps.append(flat(step))
        pool, target = np.array(steps), np.array([flat(grads) for grads in plain])
        pool /= np.linalg.norm(pool, axis=1, keepdims=True)
        target /= np.linalg.norm(target, axis=1, keepdims=True)
        scores += each.learning_rate * target @ pool.T
    target = unit_blocks(features.for_targets().transform(examples), features.weights)
    found = target @ features.transform(examples).T
    np.testing.assert_allclose(found, scores / 4e-4, atol=2e-5)


def test_checkpoints_can_be_averaged():
    model, examples = make_llama(), make_examples(5)
    saved = [Saved(model, 1, 3e-4), Saved(model, 2, 1e-4)]
    options = {"params": "q_proj", "projection": "count-sketch", "dim": 64, "max_length": LENGTH}
    mean = Gradients(causal(model), checkpoints=saved, combine="mean", **options).transform(examples)
    each = []
    for one in saved:
        features = Gradients(causal(model), checkpoints=[one], combine="mean", **options)
        each.append(features.transform(examples))
    np.testing.assert_allclose(mean, (each[0] + each[1]) / 2, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_batches_and_padding_change_nothing(optimizer):
    model, examples = make_llama(tied=True), make_examples(12)
    saved = [Saved(model, 1, 1.0)]
    options = {"checkpoints": saved, "optimizer": optimizer, "params": "all", "dim": 256, "max_length": LENGTH}
    one = Gradients(causal(model), batch_tokens=1, **options).transform(examples)
    many = Gradients(causal(model), batch_tokens=10**6, **options).transform(examples)
    np.testing.assert_allclose(one, many, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, rtol=1e-5)


def test_a_row_without_an_answer_has_no_gradient():
    model = make_llama()
    examples = [Example((Turn("user", "Only a question?"),)), *make_examples(2), Example((Turn("user", ""),))]
    for optimizer in ("sgd", "adam"):
        features = Gradients(
            causal(model), checkpoints=[Saved(model, 1, 1.0)], optimizer=optimizer, dim=64, max_length=LENGTH
        )
        assert [bool(row.any()) for row in features.transform(examples)] == [False, True, True, False]


def pairs() -> list[Example]:
    found = []
    for k, example in enumerate(make_examples(4)):
        asked = Turn("user", f"Question {k}?")
        other = Turn("assistant", f"No, {k}.")
        found.append(Example((asked, Turn("assistant", example.response)), rejected=(asked, other)))
    return found


def test_preferences_are_the_closed_form():
    """-beta sigmoid(-delta) (grad log p(chosen) - grad log p(rejected)), against the base as the reference."""
    model, beta = make_llama(), 0.3
    base = make_llama()
    saved = [Saved(model, 3, 1.0)]
    features = Gradients(
        causal(model), checkpoints=saved, objective="dpo", beta=beta, params="v_proj", projection="none",
        max_length=LENGTH, reference=lambda: causal(base),
    )  # fmt: skip
    found = features.transform(pairs())
    names = list(features._per_example.layout)
    tokens = ChatTokens(make_tokenizer(), LENGTH)
    for row, pair in zip(found, pairs(), strict=True):
        gain, grads = 0.0, []
        for turns in (pair.turns, pair.rejected):
            [batch] = batches([tokens.encode_turns(turns, "here")])
            with torch.no_grad():
                ratio = objectives.sequence_logprob(model, batch) - objectives.sequence_logprob(base, batch)
            gain = ratio.item() - gain if not grads else gain - ratio.item()
            grads.append(flat(loop(model, names, Example(turns), objectives.sequence_logprob)))
        expected = -beta / (1 + np.exp(beta * gain)) * (grads[0] - grads[1])
        np.testing.assert_allclose(row, expected / np.linalg.norm(expected), atol=1e-5)
    swapped = [Example(pair.rejected, rejected=pair.turns) for pair in pairs()]
    here = Gradients(causal(base), objective="dpo", params="v_proj", projection="none", max_length=LENGTH)
    np.testing.assert_allclose(here.transform(pairs()), -here.transform(swapped), atol=1e-6)


def test_centring_takes_away_what_all_rows_share():
    rng = np.random.default_rng(0)
    rows = np.hstack([rng.normal(size=(30, 8)), np.zeros((30, 1))])
    rows[3] = np.eye(9)[8]
    weights = np.array([0.75, 0.25])
    out = unit_blocks(rows, weights)
    np.testing.assert_allclose(np.linalg.norm(out[:3, :4], axis=1), np.sqrt(0.75), rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(out[:3, 4:8], axis=1), np.sqrt(0.25), rtol=1e-6)
    np.testing.assert_array_equal(out[3], rows[3])
    model, saved = make_llama(), None
    saved = [Saved(make_llama(), 1, 1.0)]
    options = {"checkpoints": saved, "optimizer": "adam", "params": "q_proj", "dim": 128, "max_length": LENGTH}
    raw = Gradients(causal(model), momentum="centred", **options).transform(make_examples(8))
    paper = Gradients(causal(model), momentum="paper", **options).transform(make_examples(8))
    np.testing.assert_allclose(unit_blocks(raw, np.ones(1)), paper, atol=1e-6)
    assert abs(np.linalg.norm(raw, axis=1) - 1).min() > 0.1


def test_threads_change_no_answer():
    model, examples = make_llama(), make_examples(10)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(Gradients(causal(model), dim=128, max_length=LENGTH).transform(examples))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


def test_refusals():
    model = make_llama()
    with pytest.raises(InputError, match="--optimizer adam needs --checkpoints"):
        Gradients(causal(model), optimizer="adam")
    saved = Saved(model, 1, 1.0)
    saved.parameters = ("lm_head.weight",)
    with pytest.raises(InputError, match="was not trained, so it has no moments"):
        Gradients(causal(model), checkpoints=[saved], optimizer="adam")
    with pytest.raises(InputError, match="rates are all 0"):
        Gradients(causal(model), checkpoints=[Saved(model, 1, 0.0)])
    plain = Gradients(causal(model), target_objective="dpo", max_length=LENGTH).for_targets()
    with pytest.raises(InputError, match="no preference pair"):
        plain.transform(make_examples(1))
