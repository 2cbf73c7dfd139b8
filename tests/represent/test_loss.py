import itertools
import math

import numpy as np
import pytest
from losses_by_hand import EXAMPLES, MODELS, PLAIN_METRICS, arrays, causal, sharp, token_by_token
from small_models import CHATML, make_llama, make_tokenizer

from tasksift.errors import InputError
from tasksift.represent import token_scores as scoring
from tasksift.represent.chat import ChatTokens, Tokens
from tasksift.represent.loss import METRICS, Losses, _opening
from tasksift.represent.token_scores import token_scores
from tasksift.rows.example import Example, Turn

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


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
    lines = [token_by_token(asked.model, *arrays(tokens.encode(each))) for each in EXAMPLES]
    found = losses.transform(EXAMPLES)
    assert (found.dtype, found.shape, losses.names) == (np.float32, (len(EXAMPLES), 5), PLAIN_METRICS)
    np.testing.assert_allclose(found, [of_example(each) for each in lines], rtol=1e-5)
    for one, other in zip(losses.per_token(EXAMPLES), lines, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other[:, 0], atol=1e-5)


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
    found = scoring.measure(logits, labels).double()
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
        ids, scored = arrays(ChatTokens(tokenizer, 500).encode(example))
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
        ids, scored = arrays(ChatTokens(asked.tokenizer, length).encode(example))
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
