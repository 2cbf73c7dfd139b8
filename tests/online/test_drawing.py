import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasksift.online.drawing import draw_domains


def draw(count, probabilities, *, first=(), served=None, seed=0):
    """Draws; with what was served so far at the same probabilities, exact ones."""
    mask = np.zeros(len(probabilities), dtype=bool)
    mask[list(first)] = True
    p = np.array(probabilities, dtype=float)
    due = None if served is None else p / p.sum() * (served.sum() + count) - served
    return draw_domains(count, p, first=mask, due=due, rng=np.random.default_rng(seed))


def test_draws_follow_the_probabilities():
    p = np.array([0.5, 0.0, 0.2, 0.3])
    counts = np.bincount(draw(20_000, p), minlength=4)
    assert counts[1] == 0
    some = p > 0
    assert ((counts[some] - 20_000 * p[some]) ** 2 / (20_000 * p[some])).sum() < 13.8  # 2 degrees at 0.1 %


@given(st.lists(st.floats(0, 1e300), min_size=1, max_size=20).filter(lambda p: 0 < sum(p) < 1e308), st.integers(0, 99))
def test_a_domain_without_probability_is_never_drawn(p, seed):
    assert (np.array(p)[draw(50, p, seed=seed)] > 0).all()


def test_domains_that_come_first_come_once_each_before_chance():
    codes = draw(10, [0.999, 0.0005, 0.0005], first=[1, 2])
    assert np.bincount(codes, minlength=3).tolist() == [8, 1, 1]
    assert len(draw(2, [0.25] * 4, first=[0, 1, 2, 3])) == 2


def test_a_domain_that_cannot_be_drawn_does_not_come_first():
    assert draw(5, [1.0, 0.0], first=[1]).tolist() == [0] * 5


@given(
    st.lists(st.integers(0, 20), min_size=2, max_size=8).filter(any),
    st.lists(st.integers(1, 40), min_size=1, max_size=12),
)
def test_exact_counts_stay_near_their_share_of_everything(weights, counts):
    p = np.array(weights) / sum(weights)
    served = np.zeros(len(p), dtype=np.int64)
    for step, count in enumerate(counts):
        served += np.bincount(draw(count, p, served=served, seed=step), minlength=len(p))
        assert served.sum() == sum(counts[: step + 1])
        assert np.abs(served - p * served.sum()).max() < 2
        assert (served[p == 0] == 0).all()


def test_exact_counts_make_up_for_domains_that_came_first():
    served = np.zeros(4, dtype=np.int64)
    for step in range(10):
        served += np.bincount(draw(8, [0.25] * 4, first=[3], served=served, seed=step), minlength=4)
    assert served.tolist() == [20, 20, 20, 20]


def test_the_order_within_a_step_is_random():
    assert draw(8, [0.5, 0.5], served=np.zeros(2, dtype=np.int64)).tolist() != [0] * 4 + [1] * 4
