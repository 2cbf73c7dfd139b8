import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import CHATML, make_examples, make_tokenizer

from tasksift.errors import InputError
from tasksift.represent.chat import ChatTokens
from tasksift.rows.example import Example, Turn

pytest.importorskip("torch")
pytest.importorskip("transformers")

EXAMPLES = make_examples()
LONG = 10**6
TURNS = (
    Turn("system", "Be kind."),
    Turn("user", "Who is there?"),
    Turn("assistant", "Nobody, é 日本."),
    Turn("user", "Who?"),
    Turn("assistant", "  Me!\n"),
)
# Answers have no header of their own, the text begins with a token, and what precedes an answer is trimmed.
LLAMA2 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %} {{ m['content'] | trim }} <|end|>"
    "{% else %}[INST] {{ m['content'] | trim }} [/INST]{% endif %}{% endfor %}"
)
# The last answer alone keeps what it thought, and roles must alternate.
THINKING = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must\n alternate') }}{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' and loop.last %}<think></think>{% endif %}"
    "{{ m['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def conversation(*pairs, where="a.jsonl, line 3"):
    return Example(tuple(Turn(*pair) for pair in pairs), where)


def with_start(tokenizer):
    """Let a tokenizer put a token before every text, as Llama's do."""
    from tokenizers.processors import TemplateProcessing

    tokenizer.bos_token = "<|im_start|>"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", tokenizer.bos_token_id)]
    )
    return tokenizer


def scored_texts(tokens, tokenizer):
    """The runs of scored tokens as text."""
    runs, edges = [], np.flatnonzero(np.diff(np.r_[0, tokens.scored.astype(int), 0]))
    for first, last in edges.reshape(-1, 2):
        runs.append(tokenizer.decode(tokens.ids[first:last]))
    return runs


def test_the_chat_template_lays_out_and_answers_are_scored_with_their_end():
    tokenizer = make_tokenizer(CHATML)
    tokens = ChatTokens(tokenizer, LONG).encode(Example(TURNS))
    turns = [{"role": turn.role, "content": turn.text} for turn in TURNS]
    assert tokenizer.decode(tokens.ids) == tokenizer.apply_chat_template(turns, tokenize=False)
    assert tokens.ids.dtype == np.int64
    assert tokens.scored.dtype == bool
    assert scored_texts(tokens, tokenizer) == ["Nobody, é 日本.<|im_end|>\n", "  Me!\n<|im_end|>\n"]


def test_the_plain_layout():
    tokenizer = make_tokenizer()
    tokens = ChatTokens(tokenizer, LONG).encode(Example((*TURNS, Turn("user", ""))))
    text = "Be kind.\nWho is there?\nNobody, é 日本.<|end|>\nWho?\n  Me!\n<|end|>"
    assert tokenizer.decode(tokens.ids) == text
    assert [each.strip(" \n") for each in scored_texts(tokens, tokenizer)] == [
        "Nobody, é 日本.<|end|>",
        "Me!\n<|end|>",
    ]


def test_a_token_across_the_border_counts_to_the_answer():
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["o?\nM"])
    tokens = ChatTokens(tokenizer, LONG).encode(conversation(("user", "Who?"), ("assistant", "Me")))
    assert scored_texts(tokens, tokenizer) == ["o?\nMe<|end|>"]


@pytest.mark.parametrize("template", [None, CHATML])
def test_documents_are_plain_and_scored_whole(template):
    tokenizer = make_tokenizer(template)
    tokens = ChatTokens(tokenizer, LONG).encode(conversation(("document", "Some text.")))
    assert tokenizer.decode(tokens.ids) == "Some text.<|end|>"
    assert tokens.scored.tolist() == [False] + [True] * (len(tokens.ids) - 1)


@pytest.mark.parametrize("template", [None, CHATML])
def test_everything_is_scored_when_asked(template):
    every = ChatTokens(make_tokenizer(template), LONG, score="text")
    some = ChatTokens(make_tokenizer(template), LONG)
    for example in EXAMPLES:
        tokens = every.encode(example)
        assert np.array_equal(tokens.ids, some.encode(example).ids)
        assert tokens.scored.tolist() == [False] + [True] * (len(tokens.ids) - 1)


def test_without_an_answer_nothing_is_scored():
    for template in (None, CHATML):
        chat = ChatTokens(make_tokenizer(template), LONG)
        assert not chat.encode(conversation(("user", "Who?"))).scored.any()
        assert not chat.encode(conversation(("user", "Who?"), ("assistant", " "))).scored[:-2].any()


def test_an_example_without_turns_has_no_tokens():
    tokens = ChatTokens(make_tokenizer(), LONG).encode(Example(()))
    assert (tokens.ids.shape, tokens.scored.shape) == ((0,), (0,))


def test_an_example_without_turns_has_no_tokens_under_a_template():
    tokens = ChatTokens(make_tokenizer(CHATML), LONG).encode(Example(()))
    assert (tokens.ids.shape, tokens.scored.shape) == ((0,), (0,))


def test_a_start_token_comes_once_and_is_not_scored():
    tokenizer = with_start(make_tokenizer())
    start = tokenizer.bos_token_id
    for template, example in [(None, Example(TURNS)), (LLAMA2, Example(TURNS)), (LLAMA2, EXAMPLES[4])]:
        tokenizer.chat_template = template
        tokens = ChatTokens(tokenizer, LONG, score="text").encode(example)
        assert (tokens.ids == start).sum() == 1
        assert tokens.ids[0] == start
        assert tokens.scored.tolist() == [False] + [True] * (len(tokens.ids) - 1)


def test_a_start_token_that_the_tokenizer_does_not_put_is_left_out():
    tokenizer = make_tokenizer()
    tokenizer.bos_token = "<|im_start|>"
    assert tokenizer.bos_token_id not in ChatTokens(tokenizer, LONG).encode(Example(TURNS)).ids


def test_a_template_that_trims():
    tokenizer = make_tokenizer(LLAMA2)
    found = scored_texts(ChatTokens(tokenizer, LONG).encode(Example(TURNS)), tokenizer)
    assert found == [" Nobody, é 日本. <|end|>", " Me! <|end|>"]


def test_a_template_that_changes_earlier_answers():
    tokenizer = make_tokenizer(THINKING)
    found = scored_texts(ChatTokens(tokenizer, LONG).encode(Example(TURNS[1:])), tokenizer)
    assert found == ["Nobody, é 日本.", "<think></think>  Me!\n<|im_end|>\n"]


def test_equal_answers_are_told_apart_by_their_place():
    for template in (CHATML, THINKING):
        tokenizer = make_tokenizer(template)
        example = conversation(("user", "yes"), ("assistant", "yes"), ("user", "yes"), ("assistant", "yes"))
        found = scored_texts(ChatTokens(tokenizer, LONG).encode(example), tokenizer)
        assert len(found) == 2
        assert all("yes" in each and "user" not in each for each in found)
        second_user = [turn.text for turn in example.turns].index("yes") + 2
        assert tokenizer.decode(ChatTokens(tokenizer, LONG).encode(example).ids).count("yes") == second_user + 2


def test_a_conversation_that_begins_with_an_answer():
    tokenizer = make_tokenizer(CHATML)
    example = conversation(("assistant", "Hello."), ("user", "Hi."), ("assistant", "What?"))
    found = scored_texts(ChatTokens(tokenizer, LONG).encode(example), tokenizer)
    assert found == ["Hello.", "What?<|im_end|>\n"]


def test_two_turns_of_one_side_become_one():
    tokenizer = make_tokenizer(THINKING)
    parts = conversation(("user", "a"), ("user", "b"), ("assistant", "c"), ("assistant", "d"))
    whole = conversation(("user", "a\nb"), ("assistant", "c\nd"))
    one, other = (ChatTokens(tokenizer, LONG).encode(each) for each in (parts, whole))
    assert np.array_equal(one.ids, other.ids)
    assert np.array_equal(one.scored, other.scored)


def test_a_refusal_names_the_row_in_one_line():
    with pytest.raises(InputError) as error:
        ChatTokens(make_tokenizer(THINKING), LONG).encode(conversation(("system", "S"), ("assistant", "A")))
    assert str(error.value).startswith(
        "a.jsonl, line 3: the model's chat template refuses this conversation (roles must alternate); "
    )
    assert "\n" not in str(error.value)


def test_a_template_that_hides_answers():
    hiding = "{% for m in messages %}{{ m['role'] }} {{ m['content'] | upper }};{{ loop.length }}{% endfor %}"
    with pytest.raises(InputError, match=r"line 3: the chat template does not show the answer 'secret'"):
        ChatTokens(make_tokenizer(hiding), LONG).encode(
            conversation(("user", "q"), ("assistant", "secret"), ("user", "q"), ("assistant", "x"))
        )


@pytest.mark.parametrize("template", [None, CHATML])
@pytest.mark.parametrize("score", ["response", "text"])
def test_cutting(template, score):
    tokenizer = make_tokenizer(template)
    for example in EXAMPLES:
        whole = ChatTokens(tokenizer, LONG, score=score).encode(example)
        for most in (2, 3, 7, 20, 50, 200):
            cut = ChatTokens(tokenizer, most, score=score).encode(example)
            if len(whole.ids) <= most:
                assert np.array_equal(cut.ids, whole.ids)
                assert np.array_equal(cut.scored, whole.scored)
                continue
            assert len(cut.ids) == len(cut.scored) == most
            assert not cut.scored[0]
            first = int(np.argmax(whole.scored)) if whole.scored.any() else 0
            skip = 0 if first <= most // 2 else min(first - most // 2, len(whole.ids) - most)
            assert np.array_equal(cut.ids, whole.ids[skip : skip + most])
            assert np.array_equal(cut.scored[1:], whole.scored[skip + 1 : skip + most])
            assert cut.scored.any() == whole.scored.any()


def test_a_cut_prompt_still_starts_with_the_start_token():
    tokenizer = with_start(make_tokenizer())
    example = conversation(("user", "word " * 50), ("assistant", "answer"))
    tokens = ChatTokens(tokenizer, 20).encode(example)
    assert tokens.ids[0] == tokenizer.bos_token_id
    assert (tokens.ids == tokenizer.bos_token_id).sum() == 1
    assert tokenizer.decode(tokens.ids[1:]).endswith("answer<|end|>")
    assert len(tokens.ids) == 20


texts = st.text(alphabet="ab .\né日\U0001f600<", min_size=1, max_size=12)


@settings(max_examples=60)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=3), st.sampled_from([None, CHATML]))
def test_scored_tokens_are_the_answers(pairs, template):
    tokenizer = _TOKENIZERS[template]
    turns = tuple(turn for ask, answer in pairs for turn in (Turn("user", ask), Turn("assistant", answer)))
    tokens = ChatTokens(tokenizer, LONG).encode(Example(turns))
    # A token may hold the newline before an answer as well as its beginning, so newlines are not compared.
    found = "".join(tokenizer.decode(tokens.ids[tokens.scored]).split())
    end = "<|im_end|>" if template else "<|end|>"
    answers = [turn.text for turn in turns if turn.role == "assistant" and (template is None or turn.text.strip())]
    assert found == "".join("".join(answer.split()) + end for answer in answers)


_TOKENIZERS = {template: make_tokenizer(template) for template in (None, CHATML)}


def test_identity_tells_apart_what_changes_the_tokens():
    other = make_tokenizer(CHATML)
    other.add_tokens(["word"])
    identities = [
        ChatTokens(make_tokenizer(CHATML), 64).identity,
        ChatTokens(make_tokenizer(), 64).identity,
        ChatTokens(make_tokenizer(LLAMA2), 64).identity,
        ChatTokens(make_tokenizer(CHATML), 65).identity,
        ChatTokens(make_tokenizer(CHATML), 64, score="text").identity,
        ChatTokens(other, 64).identity,
    ]
    assert all(one != another for k, one in enumerate(identities) for another in identities[:k])
    assert json.loads(json.dumps(identities[0])) == identities[0] == ChatTokens(make_tokenizer(CHATML), 64).identity


def test_identity_tells_end_and_start_tokens_apart():
    other = make_tokenizer()
    other.eos_token = "<|im_end|>"
    starting = with_start(make_tokenizer())
    identities = [ChatTokens(each, 64).identity for each in (make_tokenizer(), other, starting)]
    starting.bos_token = None
    identities.append(ChatTokens(starting, 64).identity)
    assert all(one != another for k, one in enumerate(identities) for another in identities[:k])


def test_identity_is_that_of_the_tokens_and_not_of_earlier_calls():
    tokenizer = make_tokenizer(CHATML)
    tokenizer.backend_tokenizer.enable_truncation(5)  # as a folder that training wrote may say
    chat = ChatTokens(tokenizer, 64)
    before = chat.identity
    chat.encode(EXAMPLES[0])
    assert chat.identity == before == ChatTokens(make_tokenizer(CHATML), 64).identity


def test_several_templates_in_one_tokenizer():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = {"default": CHATML, "tool_use": LLAMA2}
    one, other = (ChatTokens(each, LONG) for each in (tokenizer, make_tokenizer(CHATML)))
    assert one.identity == other.identity
    assert np.array_equal(one.encode(Example(TURNS)).ids, other.encode(Example(TURNS)).ids)


def test_requests_that_cannot_be_served():
    with pytest.raises(InputError, match="--max-length 1 leaves nothing to predict"):
        ChatTokens(make_tokenizer(), 1)

    class Slow:
        is_fast = False

    with pytest.raises(InputError, match="not a fast one"):
        ChatTokens(Slow(), 64)


def test_a_template_without_system_turns_takes_them_as_part_of_the_question():
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
    coder = ChatTokens(make_tokenizer(strict), 64)
    turns = (Turn("system", "Be kind."), Turn("user", "Why?"), Turn("assistant", "So."))
    joined = (Turn("user", "Be kind.\nWhy?"), Turn("assistant", "So."))
    np.testing.assert_array_equal(coder.encode(Example(turns)).ids, coder.encode(Example(joined)).ids)
    with pytest.raises(InputError, match="refuses this conversation"):
        coder.encode(Example((Turn("system", "Be kind."), Turn("assistant", "So."))))
