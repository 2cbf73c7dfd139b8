import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasksift.online import Domains
from tasksift.online.decks import Decks

LABELS = st.lists(st.sampled_from("abc"), min_size=1, max_size=30)


def dealt(decks, codes, parts):
    """Deal the codes in parts, and return the rows of all."""
    taken = np.zeros(len(decks.sizes), dtype=np.int64)
    return np.concatenate([decks.deal(part, taken) for part in np.array_split(codes, parts)])


@given(LABELS, st.integers(0, 5), st.integers(1, 60), st.integers(1, 7))
def test_a_domain_deals_every_row_before_any_comes_again_in_whatever_parts(labels, seed, count, parts):
    domains = Domains.of(labels)
    codes = np.random.default_rng(count).integers(0, len(domains.names), count)
    rows = dealt(Decks(domains, seed), codes, parts)
    assert (domains.codes[rows] == codes).all()
    for domain, size in enumerate(domains.sizes):
        own = rows[codes == domain]
        for begin in range(0, len(own), size):
            turn = own[begin : begin + size]
            assert len(set(turn.tolist())) == len(turn)
    assert (rows == dealt(Decks(domains, seed), codes, 1)).all()


def test_passes_and_seeds_and_generations_have_their_own_order():
    domains = Domains.of(["a"] * 40)
    everything = np.arange(40)
    turns = dealt(Decks(domains, 0), np.zeros(80, dtype=np.int64), 1).reshape(2, 40)
    others = [
        dealt(decks, np.zeros(40, dtype=np.int64), 1)
        for decks in (Decks(domains, 1), Decks(domains, 0, everything, 1), Decks(domains, 0, everything, 2))
    ]
    seen = {tuple(order.tolist()) for order in [*turns, *others]}
    assert len(seen) == 5
    assert all(sorted(order) == everything.tolist() for order in seen)


def test_a_deck_of_some_rows_holds_repeats_as_often_as_they_stand_there():
    decks = Decks(Domains.of(list("aabba")), 0, np.array([0, 4, 4, 3]), 1)
    assert decks.sizes.tolist() == [3, 1]
    rows = dealt(decks, np.array([0, 0, 0, 1, 1]), 2)
    assert sorted(rows[:3].tolist()) == [0, 4, 4]
    assert rows[3:].tolist() == [3, 3]


def test_the_first_row_of_a_pass_is_any_row_equally_often():
    domains = Domains.of(list("aaaa"))
    first = [int(dealt(Decks(domains, seed), np.zeros(1, dtype=np.int64), 1)[0]) for seed in range(2000)]
    counts = np.bincount(first, minlength=4)
    assert ((counts - 500) ** 2 / 500).sum() < 16.3  # chi-square of 3 degrees at 0.1 %
