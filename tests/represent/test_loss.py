import itertools
import math

import numpy as np
import pytest
from small_models import CHATML, make_examples, make_gpt2, make_llama, make_tokenizer

from tasksift.errors import InputError
from tasksift.represent import token_scores as scoring
from tasksift.represent.chat import ChatTokens, Tokens
from tasksift.represent.loss import METRICS, Losses, _opening
from tasksift.represent.models import CausalModel
from tasksift.represent.token_scores import token_scores, windows
from tasksift.rows.example import Example, Turn

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

EXAMPLES = make_examples()
MODELS = {"llama": make_llama, "gpt2": make_gpt2}
PLAIN_METRICS = ("loss", "perplexity", "entropy", "el2n", "tokens")


def sharp(model, scale=25.0):
    """Make a fresh model's predictions far from uniform."""
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(scale)
    return model


def causal(kind="llama", template=CHATML, dtype=torch.float32, seed=0):
    return CausalModel(
        sharp(MODELS[kind](seed)).requires_grad_(False).to(dtype), make_tokenizer(template), {"digest": f"{kind}{seed}"}
    )


def token_by_token(model, ids, scored):
    """[nll, entropy, el2n, correct] of every scored token, from the logits of one whole example, in float64."""
    logits = model(input_ids=torch.from_numpy(ids)[None]).logits[0].double()
    lines = []
    for t in range(1, len(ids)):
        if scored[t]:
            p = np.exp(logits[t - 1].numpy() - np.logaddexp.reduce(logits[t - 1].numpy()))
            onehot = np.eye(len(p))[ids[t]]
            entropy = -sum(x * math.log(x) for x in p if x > 0)
            lines.append([-math.log(p[ids[t]]), entropy, math.dist(p, onehot), p.argmax() == ids[t]])
    return np.array(lines, dtype=float).reshape(-1, 4)


def of_example(lines):
    if not len(lines):
        return [0, 1, 0, 0, 0]
    loss, entropy, el2n, _ = lines.mean(axis=0)
    return [loss, math.exp(loss), entropy, el2n, len(lines)]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("template", [None, CHATML])
@pytest.mark.parametrize("score", ["response", "text"])
def test_the_definitions(kind, template, score):
    asked = causal(kind, template)
    tokens = ChatTokens(asked.tokenizer, 100, score=score)
    losses = Losses(asked, metrics=PLAIN_METRICS, max_length=100, score=score)
    lines = [token_by_token(asked.model, *_arrays(tokens.encode(each))) for each in EXAMPLES]
    found = losses.transform(EXAMPLES)
    assert (found.dtype, found.shape, losses.names) == (np.float32, (len(EXAMPLES), 5), PLAIN_METRICS)
    np.testing.assert_allclose(found, [of_example(each) for each in lines], rtol=1e-5)
    for one, other in zip(losses.per_token(EXAMPLES), lines, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other[:, 0], atol=1e-5)


def _arrays(tokens):
    return tokens.ids, tokens.scored


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_batches_and_padding_change_nothing(kind, dtype, monkeypatch):
    asked = causal(kind, dtype=dtype)
    metrics = (*PLAIN_METRICS, "ifd")
    alone, together = (Losses(asked, metrics=metrics, max_length=64, batch_tokens=size) for size in (1, 4096))
    one_by_one = np.concatenate([alone.transform([each]) for each in EXAMPLES])
    tolerance = 1e-5 if dtype == torch.float32 else 5e-2
    np.testing.assert_allclose(together.transform(EXAMPLES), one_by_one, rtol=tolerance)
    monkeypatch.setattr(scoring, "LOGIT_BYTES", 400 * 4 * 30)
    monkeypatch.setattr(scoring, "_CHUNK", 400 * 7)
    np.testing.assert_allclose(together.transform(EXAMPLES), one_by_one, rtol=tolerance)


def test_logits_of_a_part_stay_within_their_bytes(monkeypatch):
    asked = causal()
    sizes = []
    asked.model.get_output_embeddings().register_forward_hook(lambda _, inputs, out: sizes.append(out.shape[1]))
    losses = Losses(asked, max_length=64, batch_tokens=10**6)
    losses.transform(EXAMPLES)
    (total,) = sizes
    longest = max(len(each) for each in losses.per_token(EXAMPLES))
    sizes.clear()
    monkeypatch.setattr(scoring, "LOGIT_BYTES", 4 * 400 * longest)
    losses.transform(EXAMPLES)
    assert max(sizes) == longest < total == sum(sizes)
    assert all(one + following > longest for one, following in itertools.pairwise(sizes))


def test_bfloat16_is_near_float32():
    fine, coarse = (
        Losses(causal(dtype=dtype), max_length=64).transform(EXAMPLES) for dtype in (torch.float32, torch.bfloat16)
    )
    np.testing.assert_allclose(coarse, fine, rtol=5e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_float32_is_enough_for_the_vocabulary_of_a_large_model(dtype):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(5, 150_000, generator=generator)
    labels = torch.tensor([0, 7, 149_999, 3, 4])
    logits[0] += 100  # a shift means nothing
    logits[1, 7] = 60  # certain and right
    logits[2, 5] = 200  # certain and wrong
    logits[3, 10:] = -torch.inf  # tokens that cannot be
    logits = logits.to(dtype)
    found = scoring._measure(logits, labels).double()
    log_p = torch.log_softmax(logits.double(), 1)
    p = log_p.exp()
    expected = torch.stack(
        [
            -log_p.gather(1, labels[:, None])[:, 0],
            torch.special.entr(p).sum(1),
            (p - torch.nn.functional.one_hot(labels, 150_000)).norm(dim=1),
            (logits.argmax(1) == labels).double(),
        ],
        dim=1,
    )
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert found[1, 3] == 1
    assert found[2, :3].tolist() == pytest.approx([float(expected[2, 0]), 0, math.sqrt(2)], rel=1e-5)


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
    ids, scored = _arrays(ChatTokens(asked.tokenizer, 4096).encode(document))
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


@pytest.mark.parametrize("template", [None, CHATML])
def test_ifd_is_the_loss_with_the_prompt_over_the_loss_without(template):
    asked = causal(template=template)
    tokenizer = asked.tokenizer
    opening = "<|im_start|>assistant\n" if template else "<|end|>"
    opening = tokenizer(opening, add_special_tokens=False)["input_ids"]
    examples = [
        *EXAMPLES,
        Example((Turn("user", "a"), Turn("assistant", "b c"), Turn("user", "d e"), Turn("assistant", "f g h"))),
        Example((Turn("system", "be kind"), Turn("user", "who?"), Turn("assistant", "x"))),
    ]
    expected = []
    for example in examples:
        if example.turns[-1].role == "document":
            expected.append(1)
            continue
        # The tokens of the last answer: what the last turn adds to the ones before it.
        ids, scored = _arrays(ChatTokens(tokenizer, 500).encode(example))
        before = ChatTokens(tokenizer, 500, score="text").encode(Example(example.turns[:-1])).ids
        asked_with = scored & (np.arange(len(ids)) >= len(before))
        answer = ids[asked_with]
        alone = np.array([*opening, *answer])
        direct = token_by_token(asked.model, alone, np.arange(len(alone)) >= len(opening))
        expected.append(token_by_token(asked.model, ids, asked_with)[:, 0].mean() / direct[:, 0].mean())
    found = Losses(asked, metrics=("ifd",), max_length=500).transform(examples)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5)
    assert np.ptp(found) > 0.01


def test_what_opens_an_answer():
    tokenizer = make_tokenizer()
    start, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|end|>"])
    assert _opening(tokenizer) == [end]
    tokenizer.chat_template = "{% for m in messages %}[INST]{{ m['content'] }}[/INST]{% endfor %}"
    assert _opening(tokenizer) == [end]
    tokenizer.chat_template = "{{ raise_exception('never') }}"
    assert _opening(tokenizer) == [end]
    tokenizer.chat_template = CHATML
    assert tokenizer.decode(_opening(tokenizer)) == "<|im_start|>assistant\n"
    tokenizer.bos_token = "<|im_start|>"
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", start)]
    )
    assert tokenizer.decode(_opening(tokenizer)) == "<|im_start|><|im_start|>assistant\n"
    tokenizer.chat_template = None
    assert _opening(tokenizer) == [start]


def test_ifd_compares_the_same_tokens_where_the_answer_is_cut():
    asked = causal("gpt2")
    opening = _opening(asked.tokenizer)
    example = EXAMPLES[-2]
    for length in (40, len(opening) + 2):  # in the latter, what opens the answer leaves room for two tokens of it
        ids, scored = _arrays(ChatTokens(asked.tokenizer, length).encode(example))
        answer = ids[scored][: length - len(opening)]
        alone = np.array([*opening, *answer])
        direct = token_by_token(asked.model, alone, np.arange(len(alone)) >= len(opening))[:, 0]
        conditioned = token_by_token(asked.model, ids, scored)[: len(answer), 0]
        found = Losses(asked, metrics=("ifd",), max_length=length).transform([example])
        assert found[0, 0] == pytest.approx(conditioned.mean() / direct.mean(), rel=1e-5)
    assert len(answer) == 2 < scored.sum()


@pytest.mark.parametrize(
    "turns",
    [
        (Turn("document", "some text"),),
        (Turn("assistant", "an answer"),),
        (Turn("user", " "), Turn("assistant", "an answer")),
        (Turn("user", "a question"), Turn("assistant", "")),
        (Turn("user", "a question"),),
        (Turn("user", "q"), Turn("assistant", "a"), Turn("user", "q"), Turn("assistant", "")),
    ],
)
def test_ifd_without_prompt_or_answer_is_one(turns):
    assert Losses(causal(), metrics=("ifd",), max_length=64).transform([Example(turns)])[0, 0] == 1


@pytest.mark.parametrize("template", [None, CHATML])
def test_examples_without_a_scored_token(template):
    losses = Losses(causal(template=template), metrics=(*PLAIN_METRICS, "ifd"), max_length=64)
    questions = [Example((Turn("user", "only a question"),)), EXAMPLES[0]]
    found = losses.transform(questions)
    assert found[0].tolist() == [0, 1, 0, 0, 0, 1]
    assert np.array_equal(losses.transform(questions[:1]), found[:1])
    assert losses.per_token(questions)[0].shape == (0,)
    assert losses.transform([]).shape == (0, 6)
    assert losses.per_token([]) == []


def test_checkpoints_are_averaged_and_compared():
    asked = causal()
    states = [sharp(make_llama(seed)).state_dict() for seed in (1, 2, 3)]
    puts = [lambda state=state: asked.model.load_state_dict(state) for state in states]
    metrics = (*PLAIN_METRICS, "ifd", "forgetting")
    losses = Losses(asked, metrics=metrics, max_length=64, checkpoints=puts, checkpoints_identity=["a", "b", "c"])
    found = losses.transform(EXAMPLES)
    single, nll, right = [], [], []
    for put in puts:
        put()
        alone = Losses(asked, metrics=metrics[:-1], max_length=64)
        single.append(alone.transform(EXAMPLES))
        nll.append(alone.per_token(EXAMPLES))
        tokens = [ChatTokens(asked.tokenizer, 64).encode(each) for each in EXAMPLES]
        right.append([each[:, 3] for each in token_scores(asked.model, tokens, width=64)])
    np.testing.assert_allclose(found[:, :-1], np.mean(single, axis=0), rtol=1e-5)
    for k, each in enumerate(losses.per_token(EXAMPLES)):
        np.testing.assert_allclose(each, np.mean([one[k] for one in nll], axis=0), atol=1e-5)
    expected = [
        np.mean(sum((right[c][k] == 1) & (right[c + 1][k] == 0) for c in range(2))) for k in range(len(EXAMPLES))
    ]
    np.testing.assert_allclose(found[:, -1], expected, rtol=1e-6)
    assert found[:, -1].any()
    assert losses.identity["checkpoints"] == ["a", "b", "c"]


def test_a_token_is_right_when_it_is_the_first_choice():
    asked = causal("gpt2")
    tokens = ChatTokens(asked.tokenizer, 64)
    # The text that the model itself would write is right everywhere.
    ids = tokens.encode(EXAMPLES[0]).ids[:5]
    for _ in range(6):
        ids = np.append(ids, int(asked.model(input_ids=torch.from_numpy(ids)[None]).logits[0, -1].argmax()))
    found = token_scores(asked.model, [Tokens(ids, np.arange(11) > 4)], width=64)[0]
    assert found[:, 3].tolist() == [1] * 6


def test_identity_tells_apart_what_changes_the_numbers():
    asked = causal()
    put = [lambda: None] * 2
    identities = [
        Losses(asked, max_length=64).identity,
        Losses(causal(seed=1), max_length=64).identity,
        Losses(asked, max_length=63).identity,
        Losses(asked, max_length=64, stride=32).identity,
        Losses(asked, max_length=64, stride=31).identity,
        Losses(asked, max_length=65, stride=31).identity,
        Losses(asked, max_length=64, score="text").identity,
        Losses(asked, max_length=64, metrics=("entropy", "loss")).identity,
        Losses(asked, max_length=64, checkpoints=put, checkpoints_identity=["a", "b"]).identity,
        Losses(asked, max_length=64, checkpoints=put, checkpoints_identity=["b", "a"]).identity,
        Losses(causal(dtype=torch.bfloat16), max_length=64).identity,
    ]
    assert all(one != other for k, one in enumerate(identities) for other in identities[:k])
    assert Losses(asked, max_length=64, batch_tokens=1).identity == identities[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ("loss", "bleu")}, rf"--metrics bleu does not exist; use some of {', '.join(METRICS)}"),
        ({"metrics": ()}, "at least one metric"),
        ({"metrics": ("loss", "loss")}, "each once"),
        ({"metrics": ("forgetting",)}, "--metrics forgetting .* two or more"),
        ({"metrics": ("ifd",), "score": "text"}, "--metrics ifd .* leave out --score text"),
        ({"metrics": ("ifd",), "max_length": 4}, "--max-length 4 leaves no answer"),
        ({"stride": 64}, "--stride 64 must lie between 1 and 63"),
        ({"stride": 0}, "--stride 0 must lie between 1 and 63"),
    ],
)
def test_requests_that_cannot_be_served(options, message):
    with pytest.raises(InputError, match=message):
        Losses(causal(), **{"max_length": 64, **options})


def test_ifd_needs_something_before_an_answer():
    asked = causal(template=None)
    asked.tokenizer.eos_token = None
    with pytest.raises(InputError, match="begin- or end-of-text token"):
        Losses(asked, metrics=("ifd",), max_length=64)


def test_checkpoints_say_what_they_are():
    with pytest.raises(ValueError, match="checkpoints_identity"):
        Losses(causal(), max_length=64, checkpoints=[lambda: None])


def test_a_model_that_gives_no_numbers():
    broken = causal()
    with torch.no_grad():
        broken.model.get_output_embeddings().weight.fill_(float("nan"))
    with pytest.raises(InputError, match=r"^a\.jsonl, line 3: .* not finite"):
        Losses(broken, max_length=64).transform([Example(EXAMPLES[0].turns, "a.jsonl, line 3")])


def test_a_loss_beyond_float32_still_has_a_perplexity():
    asked = causal()
    sharp(asked.model, 1e5)
    found = Losses(asked, metrics=("loss", "perplexity"), max_length=64).transform(EXAMPLES)
    assert (found[:, 0] > 100).all()
    assert np.isfinite(found).all()
