"""The policy of online mixing against its closed form, the published figures and a definition in plain numbers."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksift.errors import InputError
from tasksift.online.mixture import MODES, Mixture, exploration

WAYS = [
    *(("released", reward) for reward in ("loss", "exp_loss", "loss_drop", "excess_loss", "grad_norm")),
    *(("paper", reward) for reward in ("loss", "loss_drop", "excess_loss", "grad_norm")),
]


def by_hand(prior, steps, *, mode, reward, alpha, warmup_steps=0, guard=True, reference=None):
    """The probabilities after each step; a step maps the domains that were seen to their losses."""
    k, pi, r, mean, done = len(prior), prior, [0.0] * len(prior), {}, set()
    for t, losses in enumerate(steps, 1):
        for i, loss in losses.items():
            before = mean.get(i)
            mean[i] = loss if before is None else alpha * before + (1 - alpha) * loss
            value = math.exp(loss) if reward == "exp_loss" else loss
            if reward == "loss_drop":
                if before is None:
                    continue
                value = before - loss
            elif reward == "excess_loss":
                value = loss - reference[i]
            r[i] = alpha * r[i] + (1 - alpha) * max(value, 0.0) / (pi[i] if mode == "paper" else 1)
            done.add(i)
        eps, last = (1 / k if s == 0 else min(1 / k, math.sqrt(math.log(k) / (k * s))) for s in (t, t - 1))
        w = [math.exp(last * x) for x in r] if mode == "paper" else r
        waits = t <= warmup_steps or not done or (guard and len(done) < k)
        pi = prior if waits or sum(w) == 0 else [(1 - k * eps) * x / sum(w) + eps for x in w]
        yield pi


def a_run(seed, most=7):
    """Sizes, options, and steps that see some of the domains each, now and then none."""
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, most))
    sizes = rng.integers(1, 40, k)
    mode, reward = WAYS[rng.integers(len(WAYS))]
    options = {
        "mode": mode,
        "reward": reward,
        "alpha": float(rng.choice([0, 0.5, 0.9, 0.99])),
        "warmup_steps": int(rng.choice([0, 0, 3, 12])),
        "guard": bool(rng.integers(2)),
        "reference": rng.uniform(0, 4, k).tolist() if reward == "excess_loss" else None,
    }
    low = -1.0 if rng.integers(2) else 0.0
    share = rng.uniform(0.1, 1)
    steps = [
        {i: float(rng.uniform(low, 6)) for i in np.flatnonzero(rng.random(k) < share).tolist()}
        for _ in range(rng.integers(1, 60))
    ]
    return sizes, options, steps


def feed(mixture, step, losses):
    array, counts = np.full(len(mixture.sizes), np.nan), np.zeros(len(mixture.sizes))
    for i, loss in losses.items():
        array[i], counts[i] = loss, 1 + i
    mixture.update(step, array, counts)
    return mixture.probabilities


def shares(losses):
    weights = np.exp(np.asarray(losses) - np.max(losses))
    return weights / weights.sum()


def closed_form(losses, step):
    eps = exploration(len(losses), step)
    return (1 - len(losses) * eps) * shares(losses) + eps


@settings(max_examples=300)
@given(st.integers(0, 2**32 - 1))
def test_both_modes_and_all_rewards_follow_their_definition(seed):
    sizes, options, steps = a_run(seed)
    mixture = Mixture(sizes, **options)
    prior = (sizes / sizes.sum()).tolist()
    for t, (losses, expected) in enumerate(zip(steps, by_hand(prior, steps, **options), strict=True), 1):
        found = feed(mixture, t, losses)
        assert found == pytest.approx(expected, abs=1e-10)
        assert abs(found.sum() - 1) <= 1e-12
        if list(found) != list(mixture._prior):
            assert (found >= exploration(len(sizes), t)).all()


@pytest.mark.parametrize("alpha", [0, 0.5, 0.9])
@pytest.mark.parametrize("losses", [[2, 3, 4], np.linspace(1, 3.5, 22)], ids=["three", "twenty-two"])
def test_constant_losses_give_the_closed_form(losses, alpha):
    """C1: where all are seen at each update, the running mean cancels at every step."""
    k = len(losses)
    mixture = Mixture([5] * k, alpha=alpha)
    for t in range(1, 401):
        mixture.update(t, losses, np.ones(k))
        assert np.abs(mixture.probabilities - closed_form(losses, t)).max() < 1e-12
    mixture.update(4000, losses, np.ones(k))
    eps = exploration(k, 4000)
    assert np.abs((mixture.probabilities - eps) / (1 - k * eps) - shares(losses)).max() < 1e-6


@pytest.mark.parametrize(("alpha", "least"), [(0.5, 25), (0.9, 140)])
@pytest.mark.parametrize("losses", [[2, 3, 4], np.linspace(1, 3.5, 22)], ids=["three", "twenty-two"])
def test_drawn_domains_reach_the_closed_form(losses, alpha, least):
    """C1: each domain that often, in the order that the policy itself draws them."""
    k = len(losses)
    mixture = Mixture([5] * k, alpha=alpha)
    rng = np.random.default_rng(3)
    seen, t = np.zeros(k), 0
    while seen.min() < least:
        t += 1
        counts = rng.multinomial(12, mixture.probabilities)
        mixture.update(t, losses, counts)
        seen += counts > 0
    assert np.abs(mixture.probabilities - closed_form(losses, t)).max() < 1e-6


def test_the_published_figures():
    assert shares([2, 3, 4]).round(3).tolist() == [0.090, 0.245, 0.665]
    mixture = Mixture([1, 1, 1])
    mixture.update(2000, [2, 3, 4], [1, 1, 1])
    assert mixture.probabilities.round(3).tolist() == [0.100, 0.248, 0.652]
    assert round(exploration(3, 2000), 4) == 0.0135
    assert round(exploration(22, 4000), 5) == 0.00593
    assert [exploration(22, 68) == 1 / 22, exploration(22, 69) < 1 / 22] == [True, True]


@pytest.mark.parametrize("mode", ["released", "paper"])
def test_the_first_step_and_equal_losses_are_uniform(mode):
    """C2."""
    mixture = Mixture([1, 2, 30], mode=mode)
    mixture.update(1, [1, 2, 3], [1, 1, 1])
    assert mixture.probabilities == pytest.approx([1 / 3] * 3, abs=1e-15)
    even = Mixture([1, 2, 30], mode=mode, prior="uniform")
    for t in (1, 2, 300):
        even.update(t, [2.5] * 3, [1, 1, 1], drawn=[1 / 3] * 3)
        assert even.probabilities == pytest.approx([1 / 3] * 3, abs=1e-15)


def test_paper_mode_divides_by_the_probabilities_in_force_when_rows_were_drawn():
    late, prompt = (Mixture([3, 1], mode="paper", alpha=0.5) for _ in range(2))
    late.update(100, [2.0, 2.0], [1, 1], drawn=[0.8, 0.2])
    prompt.update(100, [2.0, 2.0], [1, 1])
    eps = exploration(2, 99)
    found = [(p - exploration(2, 100)).tolist() for p in (late.probabilities, prompt.probabilities)]
    expected = [math.exp(eps * (1 / 0.2 - 1 / 0.8)), math.exp(eps * (1 / 0.25 - 1 / 0.75))]
    assert [second / first for first, second in found] == pytest.approx(expected)


@pytest.mark.parametrize("mode", ["released", "paper"])
def test_one_domain_has_probability_one(mode):
    mixture = Mixture([4], mode=mode)
    for t in (1, 2, 50):
        mixture.update(t, [2.0], [3])
        assert mixture.probabilities.tolist() == [1.0]


@pytest.mark.parametrize("mode", ["released", "paper"])
def test_domains_without_rows_do_not_count(mode):
    whole, gaps = Mixture([3, 4], mode=mode), Mixture([0, 3, 0, 4], mode=mode)
    for t, losses in enumerate([[1.0, 2.0], [3.0, 1.0], [2.0, 2.0]], 5):
        whole.update(t, losses, [1, 1])
        gaps.update(t, [math.nan, losses[0], math.nan, losses[1]], [0, 1, 0, 1])
        assert gaps.probabilities.tolist() == [0, whole.probabilities[0], 0, whole.probabilities[1]]
    assert not gaps.unseen.any()


def test_a_domain_without_rows_needs_no_prior_and_no_reference_loss():
    mixture = Mixture([3, 0], prior=[2, 5], reward="excess_loss", reference=[1.0, math.nan])
    assert mixture.probabilities.tolist() == [1, 0]
    json.dumps(mixture.state_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"mode": "uniform"}, [0.5, 0, 0.5]),
        ({"mode": "uniform", "prior": "uniform"}, [0.5, 0, 0.5]),
        ({"mode": "proportional"}, [0.75, 0, 0.25]),
        ({"mode": "stratified"}, [0.5, 0, 0.5]),
        ({"mode": "stratified", "prior": "proportional"}, [0.75, 0, 0.25]),
        ({"mode": "stratified", "prior": [1, 7, 4]}, [0.2, 0, 0.8]),
        ({"mode": "stratified", "prior": [0, 0, 4]}, [0, 0, 1]),
    ],
)
def test_static_modes_never_change(options, expected):
    mixture = Mixture([6, 0, 2], **options)
    for t in (1, 500):
        assert mixture.probabilities.tolist() == expected
        assert not mixture.adapts
        assert not mixture.unseen.any()
        mixture.update(t, [1, 0, 9], [1, 0, 1])
    assert mixture.probabilities.tolist() == expected


@pytest.mark.parametrize(
    ("prior", "expected"), [("proportional", [0.75, 0.25]), ("uniform", [0.5, 0.5]), ([1, 4], [0.2, 0.8])]
)
def test_an_adaptive_mode_begins_with_the_prior_through_the_warm_up(prior, expected):
    """The warm-up's rewards count, and so do its steps."""
    mixture = Mixture([6, 2], prior=prior, warmup_steps=300)
    for t in range(1, 301):
        assert mixture.probabilities.tolist() == expected
        assert not mixture.unseen.any()
        mixture.update(t, [2, 3], [1, 1])
    assert mixture.probabilities.tolist() == expected
    mixture.update(301, [0, 0], [0, 0])
    assert mixture.probabilities == pytest.approx(closed_form([2, 3], 301), abs=1e-12)


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1))
def test_permuting_the_domains_permutes_the_probabilities(seed):
    sizes, options, steps = a_run(seed)
    order = np.random.default_rng(seed).permutation(len(sizes))
    place = np.argsort(order).tolist()
    reference = options["reference"]
    permuted = options | {"reference": None if reference is None else [reference[i] for i in order]}
    one, other = Mixture(sizes, **options), Mixture(sizes[order], **permuted)
    for t, losses in enumerate(steps, 1):
        moved = feed(other, t, {place[i]: loss for i, loss in losses.items()})
        assert np.abs(feed(one, t, losses)[order] - moved).max() <= 1e-12


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1))
def test_a_resumed_run_is_the_same_to_the_bit(seed):
    """C3: through JSON that any reader takes, from any step."""
    sizes, options, steps = a_run(seed)
    whole = Mixture(sizes, **options)
    states, expected = [], []
    for t, losses in enumerate(steps, 1):
        states.append(json.dumps(whole.state_dict(), allow_nan=False))
        expected.append(feed(whole, t, losses).tolist())
    for begin in {0, len(steps) // 2, len(steps) - 1}:
        resumed = Mixture(sizes, **options)
        resumed.load_state_dict(json.loads(states[begin]))
        assert resumed.probabilities.tolist() == (expected[begin - 1] if begin else whole._prior.tolist())
        assert [feed(resumed, t, steps[t - 1]).tolist() for t in range(begin + 1, len(steps) + 1)] == expected[begin:]
        assert resumed.state_dict() == whole.state_dict()


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_saves_and_loads(mode):
    mixture = Mixture([1, 2], mode=mode)
    feed(mixture, 3, {1: 2.0})
    other = Mixture([1, 2], mode=mode)
    other.load_state_dict(json.loads(json.dumps(mixture.state_dict(), allow_nan=False)))
    assert other.state_dict() == mixture.state_dict()
    assert other.step == 3


@pytest.mark.parametrize("reward", ["loss", "grad_norm", "excess_loss"])
def test_a_reward_below_zero_counts_as_zero(reward):
    reference = [0.0, 0.0, 0.0] if reward == "excess_loss" else None
    below, at = (Mixture([1, 1, 1], reward=reward, reference=reference) for _ in range(2))
    below.update(500, [-3.0, 1.0, 2.0], [1, 1, 1])
    at.update(500, [0.0, 1.0, 2.0], [1, 1, 1])
    assert below.probabilities.tolist() == at.probabilities.tolist()
    assert below.probabilities[0] == exploration(3, 500)


def test_exp_loss_takes_negative_losses_as_they_are():
    below, above = Mixture([1, 1]), Mixture([1, 1])
    below.update(500, [-7.0, -6.0], [1, 1])
    above.update(500, [1.0, 2.0], [1, 1])
    assert below.probabilities == pytest.approx(above.probabilities, abs=1e-12)


@pytest.mark.parametrize("mode", ["released", "paper", "uniform"])
@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf, 1e101])
def test_a_loss_that_is_not_finite_is_as_if_the_domain_was_not_seen(loss, mode):
    some, fewer = Mixture([1, 2, 3], mode=mode), Mixture([1, 2, 3], mode=mode)
    for mixture in (some, fewer):
        mixture.update(100, [2.0, 2.0, 2.0], [1, 1, 1])
    for t in range(101, 120):
        some.update(t, [1.0, loss, 3.0], [1, 1, 1])
        fewer.update(t, [1.0, 2.0, 3.0], [1, 0, 1])
    assert some.probabilities.tolist() == fewer.probabilities.tolist()
    assert (some.ignored, fewer.ignored) == (19, 0)
    resumed = Mixture([1, 2, 3], mode=mode)
    resumed.load_state_dict(json.loads(json.dumps(some.state_dict(), allow_nan=False)))
    assert resumed.ignored == 19


def test_the_guard_goes_on_waiting_for_a_domain_whose_losses_are_not_finite():
    mixture = Mixture([1, 1])
    mixture.update(100, [1.0, math.nan], [1, 1])
    assert mixture.unseen.tolist() == [False, True]
    assert mixture.probabilities.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("given_values", "words"),
    [
        ((0, [1, 1, 1], [1, 1, 0]), "step 0 is out of range; it is a whole number from 1"),
        ((True, [1, 1, 1], [1, 1, 0]), "step True is out of range"),
        ((1.5, [1, 1, 1], [1, 1, 0]), r"step 1.5 is out of range"),
        ((1, [1, 1], [1, 1, 0]), r"losses has shape \(2,\)"),
        ((1, [1, 1, 1], [[1, 1, 0]]), r"counts has shape \(1, 3\)"),
        ((1, [1, 1, 1], [1, -1, 0]), "counts of domain 1 is -1"),
        ((1, [1, 1, 1], [math.nan, 1, 0]), "counts of domain 0 is nan"),
        ((1, [1, 1, 1], [1, 1, 1]), "counts of domain 2 is 1; the domain has no rows"),
        ((1, [1, 1, 1], [1, 1, 0], [0, 1, 0]), "drawn of domain 0 is 0; the domain was seen"),
        ((1, [1, 1, 1], [1, 1, 0], [1, 1]), r"drawn has shape \(2,\)"),
    ],
)
def test_an_impossible_update_changes_nothing(given_values, words):
    mixture = Mixture([1, 2, 0], mode="paper")
    before = mixture.state_dict()
    with pytest.raises(InputError, match=words):
        mixture.update(*given_values)
    assert mixture.state_dict() == before
