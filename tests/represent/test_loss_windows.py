"""Windows over long texts, and the perplexity of what they score."""

import math

import numpy as np
import pytest
from losses_by_hand import EXAMPLES, PLAIN_METRICS, arrays, causal, token_by_token
from small_models import CHATML

from tasksift.represent.chat import ChatTokens, Tokens
from tasksift.represent.loss import Losses
from tasksift.represent.token_scores import windows
from tasksift.rows.example import Example, Turn

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.mark.parametrize(
    ("length", "width", "stride"), [(50, 16, 5), (50, 16, 15), (17, 16, 8), (16, 16, 8), (3, 16, 1)]
)
def test_windows_score_every_token_once(length, width, stride):
    generator = np.random.default_rng(0)
    scored = generator.random(length) < 0.7
    scored[0] = False
    tokens = Tokens(generator.integers(0, 400, length), scored)
    ids, owners = [], []
    for k, window in enumerate(windows(tokens, width, stride)):
        assert len(window.ids) <= width
        assert np.array_equal(window.ids, tokens.ids[k * stride : k * stride + width])
        assert not window.scored[0]
        ids += list(window.ids[window.scored])
        owners += list(k * stride + np.flatnonzero(window.scored))
    assert np.array_equal(owners, np.flatnonzero(scored))
    assert np.array_equal(ids, tokens.ids[scored])


def test_windows_of_a_model_without_memory_are_the_whole_text():
    # Without attention a token is predicted from the one before it, so windows take nothing away.
    asked = causal()
    with torch.no_grad():
        for name, parameter in asked.model.named_parameters():
            if "o_proj" in name:
                parameter.zero_()
    metrics = (*PLAIN_METRICS, "ifd")
    whole = Losses(asked, metrics=metrics, max_length=4096).transform(EXAMPLES)
    cut = Losses(asked, metrics=metrics, max_length=12, stride=7)
    assert (whole[:, 4] > 12).any()
    np.testing.assert_allclose(cut.transform(EXAMPLES), whole, rtol=1e-5)
    assert not np.allclose(Losses(asked, metrics=metrics, max_length=12).transform(EXAMPLES), whole)


def test_windows_see_what_lies_in_them():
    asked = causal("gpt2")
    document = Example((Turn("document", " ".join(each.text for each in EXAMPLES[:3])),))
    ids, scored = arrays(ChatTokens(asked.tokenizer, 4096).encode(document))
    expected, at = [], 0
    for begin in range(0, len(ids), 20):
        lines = token_by_token(asked.model, ids[begin : begin + 64], scored[begin : begin + 64])
        expected += list(lines[at:, 0])
        at = 64 - 20 - 1  # of the 63 tokens that a window predicts, the last 20 are new
        if begin + 64 >= len(ids):
            break
    assert len(expected) == len(ids) - 1 > 128
    losses = Losses(asked, metrics=("loss", "tokens"), max_length=64, stride=20)
    np.testing.assert_allclose(losses.per_token([document])[0], expected, atol=1e-5)
    np.testing.assert_allclose(losses.transform([document])[0], [np.mean(expected), len(expected)], rtol=1e-5)


def test_perplexity_weighs_tokens_and_not_windows():
    """A published release takes the plain mean over windows, so a short last window weighs as much as a full one."""
    asked = causal("gpt2")
    document = Example((Turn("document", " ".join(each.text for each in EXAMPLES[:3])),))
    tokens = ChatTokens(asked.tokenizer, 4096).encode(document)
    losses = Losses(asked, metrics=("perplexity",), max_length=64, stride=60)
    nll = losses.per_token([document])[0].astype(float)
    sizes = [int(each.scored.sum()) for each in windows(tokens, 64, 60)]
    assert sizes[-1] < sizes[0]
    by_window = np.mean([each.mean() for each in np.split(nll, np.cumsum(sizes[:-1]))])
    found = losses.transform([document])[0, 0]
    assert found == pytest.approx(math.exp(nll.mean()), rel=1e-5)
    assert found != pytest.approx(math.exp(by_window), rel=1e-3)


@pytest.mark.parametrize("template", [None, CHATML])
def test_perplexity_is_of_all_answers_and_of_answers_only(template):
    """A published release scores prompt and response together, of the first two messages only."""
    asked = causal(template=template)
    said = [("user", "who are you?"), ("assistant", "a cat"), ("user", "why?"), ("assistant", "I purr")]
    turns = [Turn(*each) for each in said]

    def nll(some, score="response"):
        return Losses(asked, max_length=200, score=score).per_token([Example(tuple(some))])[0]

    both, first = nll(turns), nll(turns[:2])
    assert len(first) < len(both) < len(nll(turns, "text"))
    np.testing.assert_allclose(both[: len(first) - 1], first[:-1], atol=1e-5)
    perplexity = Losses(asked, metrics=("perplexity",), max_length=200).transform([Example(tuple(turns))])[0, 0]
    assert perplexity == pytest.approx(math.exp(both.mean(dtype=float)), rel=1e-5)


def test_short_texts_need_no_window():
    asked = causal()
    short = [each for each in EXAMPLES if len(ChatTokens(asked.tokenizer, 999).encode(each).ids) <= 128]
    assert len(short) > 4
    np.testing.assert_array_equal(
        Losses(asked, max_length=128, stride=50).transform(short), Losses(asked, max_length=128).transform(short)
    )
