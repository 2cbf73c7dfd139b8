"""ROSE: gradients of preferences on the side of the targets, and LESS's scores for them."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from small_models import CHATML, make_llama, make_tokenizer  # noqa: E402

from tasksift.geometry import task_means  # noqa: E402
from tasksift.represent import objectives  # noqa: E402
from tasksift.represent.forward import batches  # noqa: E402
from tasksift.represent.gradient import Gradients, unit_blocks  # noqa: E402
from tasksift.represent.models import CausalModel  # noqa: E402
from tasksift.rows.example import Example, Turn  # noqa: E402
from tasksift.selectors import less  # noqa: E402

LENGTH = 64
WORDS = ["table", "river", "stone", "window", "paper", "garden", "music", "winter"]
STYLES = {
    "chosen": ["please", "thank", "you", "kindly", "glad", "welcome"],
    "rejected": ["whatever", "stupid", "shut", "never", "awful", "go"],
    "neutral": ["one", "two", "three", "four", "five", "six"],
}


def causal(model, template=None) -> CausalModel:
    return CausalModel(model.requires_grad_(False), make_tokenizer(template), {"digest": "small"})


def answer(style: str, rng: np.random.Generator) -> Turn:
    return Turn("assistant", " ".join([*rng.choice(WORDS, 3), *rng.choice(STYLES[style], 4)]))


def question(rng: np.random.Generator) -> Turn:
    return Turn("user", "Say something about " + " ".join(rng.choice(WORDS, 2)))


def make_pool(n: int, rng: np.random.Generator) -> tuple[list[Example], np.ndarray]:
    """Answers of each style in turn."""
    styles = np.array(list(STYLES))[np.arange(n) % 3]
    return [Example((question(rng), answer(style, rng))) for style in styles], styles


def make_pairs(n: int, rng: np.random.Generator) -> list[Example]:
    found = []
    for _ in range(n):
        asked = question(rng)
        found.append(Example((asked, answer("chosen", rng)), rejected=(asked, answer("rejected", rng))))
    return found


def swap(pairs: list[Example]) -> list[Example]:
    return [Example(pair.rejected or (), rejected=pair.turns) for pair in pairs]


class Saved:
    """A checkpoint in memory: what `Checkpoint` offers, without files."""

    def __init__(self, model, adam, rate: float, name: str) -> None:
        own = dict(model.named_parameters())
        self._weights = {key: value.detach().clone() for key, value in own.items()}
        self._moments = [
            {key: adam.state[value][part].clone() for key, value in own.items()} for part in ("exp_avg", "exp_avg_sq")
        ]
        self.step, self.learning_rate = int(next(iter(adam.state.values()))["step"]), rate
        self.folder, self.digest, self.moments_digest, self.parameters = Path(name), name, name, tuple(own)

    def weights(self):
        return self._weights

    def moments(self):
        return self._moments


def tuned(model, examples: list[Example], epochs: int, rate: float = 3e-3) -> list[Saved]:
    """Train on the examples with Adam and keep the model and its moments after each epoch."""
    tokens = [Gradients(causal(model), params="all", dim=8, max_length=LENGTH).tokens.encode(each) for each in examples]
    model.requires_grad_(True)
    adam, kept = torch.optim.Adam(model.parameters(), lr=rate), []
    for epoch in range(epochs):
        for k in range(0, len(tokens), 10):
            for batch in batches(tokens[k : k + 10]):
                adam.zero_grad()
                objectives.sft(model, batch).mean().backward()
                adam.step()
        kept.append(Saved(model, adam, rate, f"epoch {epoch}"))
    model.requires_grad_(False)
    return kept


def influence(pool, targets, tasks, weights, task: int | None = None):
    """Scores of the pool for all tasks, or for one of them alone."""
    means = unit_blocks(task_means(targets, tasks), weights)
    return less.fit(pool, means if task is None else means[task : task + 1]).values


def auc(high: np.ndarray, low: np.ndarray) -> float:
    return float((high[:, None] > low).mean())


def test_swapped_answers_flip_the_influence_of_each_task_at_the_reference():
    rng = np.random.default_rng(0)
    model = make_llama(layers=1)
    features = Gradients(causal(model), target_objective="dpo", params="all", dim=512, max_length=LENGTH)
    rows, pairs, tasks = features.transform(make_pool(30, rng)[0]), make_pairs(6, rng), np.array([0, 0, 1, 1, 1, 1])
    there, back = (features.for_targets().transform(each) for each in (pairs, swap(pairs)))
    one = np.ones(1)
    for task in (0, 1):
        found = influence(rows, there, tasks, one, task)
        np.testing.assert_allclose(influence(rows, back, tasks, one, task), -found, atol=1e-6)
        assert np.abs(found).max() > 0.05
    # The best of several tasks is not that of the others: signs must be compared before it is taken.
    both = influence(rows, there, tasks, one) + influence(rows, back, tasks, one)
    assert both.max() > 0.01


def test_away_from_the_reference_a_single_pair_flips_and_a_task_of_several_does_not():
    rng = np.random.default_rng(1)
    base, model = make_llama(layers=1), make_llama(layers=1)
    saved = tuned(model, make_pool(30, rng)[0], 2, rate=1e-2)[-1:]
    features = Gradients(causal(model), checkpoints=saved, target_objective="dpo", beta=1.0, params="all", dim=512,
                         max_length=LENGTH, reference=lambda: causal(base))  # fmt: skip
    rows, pairs = features.transform(make_pool(12, rng)[0]), make_pairs(3, rng)
    there, back = (features.for_targets().transform(each) for each in (pairs, swap(pairs)))
    one = np.ones(1)
    for k in range(3):
        pair = np.zeros(1, dtype=int)
        found = influence(rows, there[k : k + 1], pair, one)
        np.testing.assert_allclose(influence(rows, back[k : k + 1], pair, one), -found, atol=1e-5)
    tasks = np.zeros(3, dtype=int)
    assert np.abs(influence(rows, there, tasks, one) + influence(rows, back, tasks, one)).max() > 1e-3


def test_rows_in_the_chosen_style_come_before_those_in_the_rejected_one():
    rng = np.random.default_rng(2)
    base, model = make_llama(layers=1), make_llama(layers=1)
    pool, styles = make_pool(90, rng)
    part = [pool[k] for k in rng.choice(90, 30, replace=False)]
    saved = tuned(model, part, 4)
    features = Gradients(causal(model), checkpoints=saved, optimizer="adam", target_objective="dpo", params="all",
                         dim=1024, max_length=LENGTH, reference=lambda: causal(base))  # fmt: skip
    rows, pairs = features.transform(pool), make_pairs(6, rng)
    grads = features.for_targets().transform(pairs)
    values = influence(rows, grads, np.zeros(6, dtype=int), features.weights)
    of = {style: values[styles == style] for style in STYLES}
    assert auc(of["chosen"], of["rejected"]) >= 0.9
    assert auc(of["chosen"], of["neutral"]) >= 0.75
    swapped = features.for_targets().transform(swap(pairs))
    back = influence(rows, swapped, np.zeros(6, dtype=int), features.weights)
    assert auc(back[styles == "rejected"], back[styles == "chosen"]) >= 0.9


def test_what_both_answers_share_counts_for_less_and_not_for_rose():
    """A bigram model with a table of logits, at 0: the pair differs in its last token, so in one row of the table."""
    first, then, last, good, bad, other, words = 0, 1, 2, 3, 4, 5, 40

    def log_likelihood(*tokens):
        table = np.zeros((words, words))
        for here, following in pairwise(tokens):
            table[here] -= 1 / words
            table[here, following] += 1
        return table.ravel()

    chosen, rejected = log_likelihood(first, then, last, good), log_likelihood(first, then, last, bad)
    shared = log_likelihood(first, then, last)
    difference = chosen - rejected
    assert difference @ shared == 0
    # A row of the content that both share, one of the style that was preferred, one of neither.
    steps = -np.stack([log_likelihood(first, then), log_likelihood(last, good), log_likelihood(other, first)])
    plain = less.fit(steps, -chosen[None]).values
    preference = less.fit(steps, -0.1 * 0.5 * difference[None]).values
    assert plain[0] == pytest.approx(plain[1], rel=1e-12)
    assert plain[0] > 0.5
    np.testing.assert_allclose(preference[[0, 2]], 0, atol=1e-12)
    assert preference[1] > 0.7


@pytest.mark.parametrize("template", [None, CHATML])
def test_pairs_and_pool_are_laid_out_alike(template):
    """Prompts get no end of their own, answers exactly one, also where the text has one in its midst."""
    asked = Turn("user", "Who <|end|> there?")
    pair = Example((asked, Turn("assistant", "You <|end|> me")), rejected=(asked, Turn("assistant", "Nobody")))
    features = Gradients(causal(make_llama(layers=1), template), target_objective="dpo", dim=8, max_length=LENGTH)
    target = features.for_targets().tokens
    assert target is features.tokens
    tokenizer = make_tokenizer(template)
    end = "<|end|>" if template is None else "<|im_end|>\n"
    for turns in (pair.turns, pair.rejected):
        tokens = target.encode_turns(turns, "here")
        scored = tokenizer.decode(tokens.ids[tokens.scored])
        assert scored.strip("\n ").endswith(f"{turns[1].text}{end}".strip())
        asks = tokenizer.decode(tokens.ids[~tokens.scored])
        assert asks.count("<|end|>") == 1
        np.testing.assert_array_equal(tokens.ids, features.tokens.encode(Example(turns)).ids)


def test_every_pair_counts_whatever_the_batches():
    rng = np.random.default_rng(3)
    model, pairs = make_llama(layers=1), make_pairs(5, rng)
    # Two pairs of one prompt are two pairs.
    pairs.append(Example((pairs[0].turns[0], answer("chosen", rng)), rejected=pairs[0].rejected))
    found = [
        Gradients(causal(model), objective="dpo", dim=64, max_length=LENGTH, batch_tokens=tokens).transform(pairs)
        for tokens in (1, 150, 10**6)
    ]
    for each in found:
        assert each.shape == (6, 64)
        assert each.any(1).all()
        np.testing.assert_allclose(each, found[0], atol=1e-5)
    assert np.abs(found[0][0] - found[0][5]).max() > 1e-3
