"""Scores of held-out rows by a causal model against loops over tokens, for several templates."""

import math
from dataclasses import replace

import numpy as np
import pytest
from losses_by_hand import causal, token_by_token
from small_models import CHATML, make_examples, make_gpt2, make_llama, make_tokenizer

from tasksift.errors import InputError
from tasksift.evaluate.causal import choice_accuracy, exact_match, row_losses
from tasksift.evaluate.held_out import HeldOut
from tasksift.represent.chat import ChatTokens
from tasksift.rows.example import Example, Turn
from tasksift.tune.data import collate

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

EXAMPLES = make_examples()
CHOICES = (("yes", "no"), ("red", "green, or so they say", "blue"), ("a list of values", "one", "two words", "a"))
ASKED = tuple(
    Example((*before, Turn("user", f"Which of these? {k}"), Turn("assistant", options[0])), f"row {k}")
    for k, (options, before) in enumerate(
        zip(CHOICES, [(), (Turn("user", "Hello"), Turn("assistant", "Well, hello")), ()], strict=True)
    )
)
CAPITALS = [
    ("What is the capital of France?", "Paris"),
    ("Name the capital of the country Japan, please.", " Tokyo 東京\n"),
    ("Italy?", "Rome, which is old"),
    ("And the capital of Kenya is?\nAnswer in a word.", "Nairobi"),
]
LEARNT = [Example((Turn("user", q), Turn("assistant", a)), f"row {k}") for k, (q, a) in enumerate(CAPITALS)]


def by_hand(model, tokens):
    return token_by_token(model, tokens.ids, tokens.scored)[:, 0]


@pytest.fixture(scope="module", params=[("llama", CHATML), ("gpt2", None)], ids=["llama-chat", "gpt2-plain"])
def learnt(request):
    """A model that has learnt four rows by heart, and its coder."""
    kind, template = request.param
    model = {"llama": make_llama, "gpt2": make_gpt2}[kind](1)
    coder = ChatTokens(make_tokenizer(template), 96)
    batch = collate([coder.encode(example) for example in LEARNT])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(80):
        model(batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.requires_grad_(False), coder


@pytest.mark.parametrize(("kind", "template"), [("llama", CHATML), ("gpt2", None)])
def test_losses_are_means_over_response_tokens(kind, template):
    loaded = causal(kind, template)
    coder = ChatTokens(loaded.tokenizer, 80)
    examples = [*EXAMPLES, Example((Turn("user", "No answer"), Turn("assistant", "")))]
    losses, counts = row_losses(loaded.model, coder, examples)
    expected = [by_hand(loaded.model, coder.encode(example)) for example in EXAMPLES]
    np.testing.assert_allclose(losses[:-1], [each.mean() for each in expected], rtol=1e-4)
    assert counts[:-1].tolist() == [len(each) for each in expected]
    assert losses[-1] == counts[-1] == 0
    assert losses.dtype == counts.dtype == np.float64
    for batch_tokens in (1, 300):
        again = row_losses(loaded.model, coder, examples, batch_tokens=batch_tokens)
        np.testing.assert_allclose(again[0], losses, rtol=1e-4)
        np.testing.assert_array_equal(again[1], counts)
    rough = row_losses(loaded.model, coder, examples, autocast=True)[0]
    assert 0 < np.abs(rough - losses).max() < 0.1 * losses.max()


def options_by_hand(model, coder, example, options, per):
    """Log-likelihoods of options, whose tokens are those after the longest beginning that all have in common."""
    scores = []
    for option in options:
        tokens = coder.encode(replace(example, turns=(*example.turns[:-1], Turn("assistant", option))))
        begin = len(coder.prompt(example, 1))
        scored = tokens.scored & (np.arange(len(tokens.ids)) >= begin)
        total = -token_by_token(model, tokens.ids, scored)[:, 0].sum()
        scores.append(total / len(option.encode()) if per == "byte" else total)
    return scores


@pytest.mark.parametrize("per", ["byte", "answer"])
@pytest.mark.parametrize(("kind", "template"), [("llama", CHATML), ("gpt2", None)])
def test_the_choice_is_the_likeliest_option(kind, template, per):
    loaded = causal(kind, template)
    coder = ChatTokens(loaded.tokenizer, 80)
    likely = [options_by_hand(loaded.model, coder, *row, per) for row in zip(ASKED, CHOICES, strict=True)]
    best = [int(np.argmax(each)) for each in likely]
    for shift in range(4):
        answers = tuple((k + shift) % len(options) for k, options in zip(best, CHOICES, strict=True))
        expected = [float(a == k) for a, k in zip(answers, best, strict=True)]
        held_out = HeldOut(ASKED, CHOICES, answers)
        for batch_tokens in (1, 60, 2048):
            found = choice_accuracy(loaded.model, coder, held_out, per=per, batch_tokens=batch_tokens)
            assert found.tolist() == expected
        # The order of the options, and what stands as the response, do not matter.
        turned = HeldOut(
            tuple(replace(each, turns=(*each.turns[:-1], Turn("assistant", "?"))) for each in ASKED),
            tuple(options[::-1] for options in CHOICES),
            tuple(len(options) - 1 - k for options, k in zip(CHOICES, answers, strict=True)),
        )
        assert choice_accuracy(loaded.model, coder, turned, per=per).tolist() == expected


def test_long_options_are_at_a_loss_only_per_answer():
    loaded = causal("llama", None)
    coder = ChatTokens(loaded.tokenizer, 80)
    held_out = HeldOut(ASKED[:1], (("no", "no, and this goes on and on and on"),), (1,))
    assert choice_accuracy(loaded.model, coder, held_out, per="answer").tolist() == [0]
    assert choice_accuracy(loaded.model, coder, held_out, per="byte").tolist() == [1]


def test_earlier_answers_do_not_count():
    model = make_llama()
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()  # all tokens alike: the fewest per byte win
    coder = ChatTokens(make_tokenizer(CHATML), 250)
    before = (Turn("user", "Hello"), Turn("assistant", "qz" * 40), Turn("user", "Which?"))
    held_out = HeldOut((Example((*before, Turn("assistant", "x"))),), (("arguments", "zq" * 30),), (0,))
    assert choice_accuracy(model, coder, held_out).tolist() == [1]


def test_ties_and_options_that_are_cut_off():
    model = make_llama()
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()  # all tokens alike
    coder = ChatTokens(make_tokenizer(CHATML), 80)

    def right(options, answer, coder=coder):
        return choice_accuracy(model, coder, HeldOut(ASKED[:1], (options,), (answer,)), per="answer").tolist()

    assert [right(("yes", "sey"), k) for k in (0, 1)] == [[0], [0]]
    assert [right(("same", "same"), k) for k in (0, 1)] == [[1], [1]]
    assert [right(("yes", "", "\ufffd"), k) for k in (0, 1)] == [[1], [0]]
    with torch.no_grad():
        model.get_output_embeddings().weight.fill_(math.nan)
    assert right(("yes", "no"), 0) == [0]
    with pytest.raises(ValueError, match="no options"):
        choice_accuracy(model, coder, HeldOut(ASKED))
    assert choice_accuracy(model, coder, HeldOut((), (), ())).shape == (0,)


def test_long_prompts_leave_room_for_the_options():
    loaded = causal("llama", None)
    coder = ChatTokens(loaded.tokenizer, 24)
    turns = (Turn("user", "hello " * 90), Turn("assistant", "well " * 90), Turn("user", "so?"), Turn("assistant", "x"))
    tokens = coder.encode(Example(turns), last=True)
    assert len(tokens.ids) == 24
    assert loaded.tokenizer.decode(tokens.ids[tokens.scored]) == "x<|end|>"


def test_answers_learnt_by_heart_match(learnt):
    model, coder = learnt
    assert exact_match(model, coder, LEARNT).tolist() == [1, 1, 1, 1]
    answers = ["paris", "Tokyo", "\n Rome, which is old ", "Nairobi!"]
    other = [
        replace(each, turns=(each.turns[0], Turn("assistant", a))) for each, a in zip(LEARNT, answers, strict=True)
    ]
    assert exact_match(model, coder, other).tolist() == [0, 0, 1, 0]
    assert exact_match(model, coder, []).shape == (0,)


def greedy(model, coder, example, most):
    """What a model writes, one whole forward pass a token, or None where it does not end."""
    ids = coder.prompt(example, most).tolist()
    begin = len(ids)
    while len(ids) < begin + most:
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] in (0, 1, 2):
            return coder.tokenizer.decode(ids[begin:], skip_special_tokens=True).strip()
    return None


def test_generation_is_greedy_whatever_the_batch_and_the_models_own_settings(learnt):
    model, coder = learnt
    prompts = ["What is the capital of Italy?", "Kenya?", "the word", "Japan", "capital", "Name it, please. " * 9]
    asked = [Example((Turn("user", text), Turn("assistant", "?"))) for text in prompts] + LEARNT
    written = [greedy(model, coder, example, 30) for example in asked]
    expected = [
        Example((each.turns[0], Turn("assistant", text or "?"))) for each, text in zip(asked, written, strict=True)
    ]
    own = model.generation_config
    own.update(repetition_penalty=5.0, do_sample=True, temperature=9.0, max_new_tokens=1)
    state = torch.random.get_rng_state()
    for batch_tokens in (1, 150, 4096):
        found = exact_match(model, coder, expected, 30, batch_tokens=batch_tokens)
        assert found.tolist() == [float(bool(text)) for text in written]
    assert sum(map(bool, written)) >= 6
    assert model.generation_config is own
    assert torch.equal(state, torch.random.get_rng_state())
    # What is right so far but has no end within the limit is wrong.
    lengths = [len(coder.tokenizer(each.response)["input_ids"]) for each in LEARNT]
    assert exact_match(model, coder, LEARNT[:1], lengths[0]).tolist() == [0]
    assert exact_match(model, coder, LEARNT[:1], lengths[0] + 1).tolist() == [1]


def test_wrong_answers_are_left_early(learnt, monkeypatch):
    model, coder = learnt
    steps = []
    forward = type(model).forward
    monkeypatch.setattr(type(model), "forward", lambda self, *a, **k: steps.append(1) or forward(self, *a, **k))
    wrong = [replace(each, turns=(each.turns[0], Turn("assistant", "Zzz" * 20))) for each in LEARNT]
    assert exact_match(model, coder, wrong, 40).tolist() == [0, 0, 0, 0]
    assert len(steps) <= 2


def test_rows_that_cannot_be_answered():
    coder = ChatTokens(make_tokenizer(), 40)
    model = make_llama()
    for turns in [(Turn("document", "All of it"),), (Turn("assistant", "Yes"),)]:
        with pytest.raises(InputError, match="row 7: the row has no prompt to answer"):
            exact_match(model, coder, [Example(turns, "row 7")])
    for most in (0, 40):
        with pytest.raises(InputError, match=f"{most} new tokens do not fit a maximal length of 40"):
            exact_match(model, coder, LEARNT, most)
    tokenizer = make_tokenizer()
    endless = type(tokenizer)(tokenizer_object=type(tokenizer.backend_tokenizer).from_str(
        tokenizer.backend_tokenizer.to_str().replace('"special":true', '"special":false')
    ))  # fmt: skip
    with pytest.raises(InputError, match="no end-of-text token"):
        exact_match(model, ChatTokens(endless, 40), LEARNT)


@pytest.mark.parametrize("template", [CHATML, None])
def test_prompts_are_what_stands_before_the_answer(template):
    tokenizer = make_tokenizer(template)
    coder = ChatTokens(tokenizer, 100)
    for example in [*LEARNT, *ASKED]:
        prompt, tokens = coder.prompt(example, 30), coder.encode(example, last=True)
        assert prompt.tolist() == tokens.ids[: len(prompt)].tolist()
        assert int(np.argmax(tokens.scored)) == len(prompt)
        assert coder.prompt(example, 97).tolist() == prompt[-3:].tolist()
        assert coder.prompt(example, 1000).tolist() == prompt[-1:].tolist()


def test_prompts_of_templates_without_system_turns():
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
    example = Example((Turn("system", "Be brief."), Turn("user", "Hi"), Turn("assistant", "Hello")))
    coder = ChatTokens(make_tokenizer(strict), 100)
    text = coder.tokenizer.decode(coder.prompt(example, 10))
    assert text == "<|im_start|>user\nBe brief.\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_prompts_that_are_cut_keep_the_first_token():
    tokenizer = make_tokenizer()
    from tokenizers.processors import TemplateProcessing

    tokenizer.add_special_tokens({"bos_token": "<|im_start|>"})
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    coder = ChatTokens(tokenizer, 20)
    whole, cut = (coder.prompt(LEARNT[0], room).tolist() for room in (1, 16))
    assert whole[0] == cut[0] == 1
    assert (len(cut), cut[1:]) == (4, whole[-3:])
