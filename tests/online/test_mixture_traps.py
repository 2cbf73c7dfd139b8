"""What published mixing code gets wrong, and what a mixture refuses."""

import copy
import json
import math
import random

import numpy as np
import pytest

from tasksift.errors import InputError
from tasksift.online.mixture import Mixture, exploration


def seen(k, losses):
    """Losses and counts of K domains, of which these were seen."""
    array, counts = np.full(k, np.nan), np.zeros(k)
    array[list(losses)], counts[list(losses)] = list(losses.values()), 1
    return array, counts


def test_trap_1_paper_and_code_differ_and_both_exist():
    found = []
    for mode in ("released", "paper"):
        mixture = Mixture([1, 1], mode=mode, alpha=0.5)
        mixture.update(100, [2, 3], [1, 1])
        found.append(mixture.probabilities)
    eps, last = exploration(2, 100), exploration(2, 99)
    expected = [(1 - 2 * eps) / (1 + math.exp(gap)) + eps for gap in (1, last * (0.5 * 3 / 0.5 - 0.5 * 2 / 0.5))]
    assert [p[0] for p in found] == pytest.approx(expected)
    assert expected[0] < 0.33 < 0.45 < expected[1]


def test_trap_2_cold_start_spikes_as_published_without_the_guard():
    mixture = Mixture([1] * 22, guard=False, warmup_steps=2000)
    mixture.update(2001, *seen(22, {4: 2.0, 9: 3.0}))
    p = mixture.probabilities.round(4)
    assert [round(p[4], 3), round(p[9], 3)] == [0.228, 0.605]
    assert set(np.delete(p, [4, 9])) == {0.0084}
    assert not mixture.unseen.any()


@pytest.mark.parametrize("mode", ["released", "paper"])
def test_trap_2_the_guard_holds_the_prior_until_every_domain_was_seen(mode):
    sizes = [*range(1, 22), 0]
    mixture = Mixture(sizes, mode=mode, warmup_steps=2000)
    prior = np.array(sizes) / sum(sizes)
    assert not mixture.unseen.any()
    mixture.update(2000, *seen(22, {4: 2.0}))
    assert mixture.unseen.sum() == 20
    for t, i in enumerate([*range(20)], 2001):
        mixture.update(t, *seen(22, {i: 2.0}))
        assert np.array_equal(mixture.probabilities, prior)
        assert mixture.unseen.tolist() == [i < j < 21 and j != 4 for j in range(22)]
    mixture.update(3000, *seen(22, {20: 2.0}))
    assert not mixture.unseen.any()
    assert not np.allclose(mixture.probabilities, prior)
    assert (mixture.probabilities[:21] >= exploration(21, 3000)).all()


def test_trap_2_losses_of_the_warm_up_count_as_seen():
    mixture = Mixture([5, 5, 5], warmup_steps=20)
    for t in range(1, 21):
        mixture.update(t, *seen(3, {t % 3: 2.0 + t % 3}))
    assert not mixture.unseen.any()
    mixture.update(21, *seen(3, {}))
    # After 6, 7 and 7 losses of 2, 3 and 4.
    r = np.exp([2, 3, 4]) * (1 - 0.9 ** np.array([6, 7, 7]))
    eps = exploration(3, 21)
    assert mixture.probabilities == pytest.approx((1 - 3 * eps) * r / r.sum() + eps)


def test_trap_2_one_loss_of_each_domain_is_no_progress_yet():
    """The guard waits for rewards; a drop needs two losses."""
    mixture = Mixture([1, 1], reward="loss_drop")
    mixture.update(50, [5, 5], [1, 1])
    assert mixture.unseen.tolist() == [True, True]
    mixture.update(51, *seen(2, {0: 4.0}))
    assert mixture.unseen.tolist() == [False, True]
    assert mixture.probabilities.tolist() == [0.5, 0.5]
    mixture.update(52, *seen(2, {1: 4.5}))
    eps = exploration(2, 52)
    assert mixture.probabilities[0] == pytest.approx((1 - 2 * eps) * 2 / 3 + eps)


def test_trap_3_a_state_from_before_the_first_update_resumes():
    fresh = Mixture([1, 2])
    fresh.load_state_dict(json.loads(json.dumps(Mixture([1, 2]).state_dict())))
    assert fresh.state_dict() == Mixture([1, 2]).state_dict()
    assert fresh.probabilities.tolist() == Mixture([1, 2]).probabilities.tolist()


@pytest.mark.parametrize("state", [None, {}, {"step": 3}, [], "state"])
def test_trap_3_what_is_no_state_is_refused_in_one_line(state):
    mixture = Mixture([1, 2])
    with pytest.raises(InputError, match=r"^this is no state of a mixture; [^\n]*$"):
        mixture.load_state_dict(state)
    assert mixture.state_dict() == Mixture([1, 2]).state_dict()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sizes": [1, 2, 4]}, "sizes 4 of domain 2, but this one has 3"),
        ({"sizes": [1, 2]}, "sizes of 2 domains, but this one has 3"),
        ({"mode": "paper"}, "mode 'paper', but this one has 'released'"),
        ({"reward": "loss"}, "reward 'loss', but this one has 'exp_loss'"),
        ({"alpha": 0.5}, "alpha 0.5, but this one has 0.9"),
        ({"prior": "uniform"}, "prior 'uniform', but this one has 'proportional'"),
        ({"prior": [1, 1, 2]}, "prior one for each domain, but this one has 'proportional'"),
        ({"warmup_steps": 7}, "warmup_steps 7, but this one has 0"),
        ({"guard": False}, "guard False, but this one has True"),
    ],
)
def test_trap_3_a_state_of_another_configuration_names_the_option_and_both_values(options, words):
    options = {"sizes": [1, 2, 3]} | options
    other = Mixture(options.pop("sizes"), **options)
    mixture = Mixture([1, 2, 3])
    before = mixture.state_dict()
    with pytest.raises(InputError, match=words):
        mixture.load_state_dict(json.loads(json.dumps(other.state_dict())))
    assert mixture.state_dict() == before


def test_trap_3_a_state_with_other_reference_losses_names_the_domain():
    one, other = (Mixture([1, 2], reward="excess_loss", reference=[1.0, x]) for x in (2.0, 2.5))
    with pytest.raises(InputError, match=r"reference 2.5 of domain 1, but this one has 2.0"):
        one.load_state_dict(other.state_dict())


def test_trap_4_nothing_is_shared_with_the_configuration_the_caller_or_a_state():
    sizes, prior, reference = np.array([2, 3]), np.array([1.0, 3.0]), np.array([0.5, 0.5])
    given = copy.deepcopy((sizes, prior, reference))
    mixture = Mixture(sizes, prior=prior, reward="excess_loss", reference=reference, guard=False)
    state = mixture.state_dict()
    mixture.update(200, [1, 2], [1, 1])
    for before, after in zip(given, (sizes, prior, reference), strict=True):
        assert np.array_equal(before, after)
    assert state == Mixture(sizes, prior=prior, reward="excess_loss", reference=reference, guard=False).state_dict()

    expected = json.dumps(mixture.state_dict())
    sizes[:], prior[:], reference[:] = 0, 0, 9
    mixture.probabilities[:] = 0
    mixture.unseen[:] = True
    late = mixture.state_dict()
    late["configuration"]["prior"] = late["probabilities"][0] = late["estimates"]["values"][0] = 7
    assert json.dumps(mixture.state_dict()) == expected
    assert mixture.sizes.tolist() == [2, 3]
    mixture.update(201, [1, 2], [0, 0])
    eps = exploration(2, 201)
    assert mixture.probabilities == pytest.approx([(1 - 2 * eps) * share + eps for share in (0.25, 0.75)])

    again = Mixture([2, 3], prior=given[1], reward="excess_loss", reference=given[2], guard=False)
    saved = json.loads(expected)
    again.load_state_dict(saved)
    saved["probabilities"][0] = saved["estimates"]["values"][0] = 7
    assert json.dumps(again.state_dict()) == expected


@pytest.mark.parametrize("mode", ["released", "paper"])
def test_trap_6_losses_of_2000_nats_do_not_overflow(mode):
    mixture = Mixture([1, 1, 1], mode=mode)
    for t in range(100, 120):
        mixture.update(t, [2000, 1999, 1], [1, 1, 1], drawn=[1e-3, 0.5, 0.5])
    p, eps = mixture.probabilities, exploration(3, 119)
    assert abs(p.sum() - 1) <= 1e-12
    if mode == "released":
        assert (p - eps) / (1 - 3 * eps) == pytest.approx([1 / (1 + math.exp(-1)), 1 / (1 + math.e), 0], abs=1e-12)
    else:
        assert p == pytest.approx([1 - 2 * eps, eps, eps])


@pytest.mark.parametrize("reward", ["loss", "loss_drop", "grad_norm", "excess_loss"])
@pytest.mark.parametrize("mode", ["released", "paper"])
def test_trap_6_the_largest_losses_that_count_do_not_overflow(mode, reward):
    reference = [-1e100, 0.0] if reward == "excess_loss" else None
    mixture = Mixture([1, 1], mode=mode, reward=reward, reference=reference)
    for t, loss in enumerate([1e100, -1e100, 1e100, 0.0], 100):
        mixture.update(t, [loss, 1.0], [1, 1], drawn=[1e-99, 1.0])
        assert abs(mixture.probabilities.sum() - 1) <= 1e-12
    assert mixture.ignored == 0


@pytest.mark.parametrize("reward", ["loss", "exp_loss", "loss_drop", "excess_loss", "grad_norm"])
@pytest.mark.parametrize("loss", [0.0, 2.0])
def test_trap_7_equal_losses_divide_by_nothing(reward, loss):
    reference = [loss] * 3 if reward == "excess_loss" else None
    mixture = Mixture([1, 1, 1], reward=reward, reference=reference)
    for t in range(1, 30):
        mixture.update(t, [loss] * 3, [1, 1, 1])
        assert mixture.probabilities == pytest.approx([1 / 3] * 3, abs=1e-12)


def test_trap_7_without_any_reward_above_zero_the_prior_stands():
    mixture = Mixture([3, 1], reward="loss_drop")
    for t, loss in enumerate([2.0, 3.0, 4.0, 5.0], 100):
        mixture.update(t, [loss, loss], [1, 1])
    assert mixture.probabilities.tolist() == [0.75, 0.25]
    assert not mixture.unseen.any()


def test_trap_8_global_generators_are_neither_read_nor_moved():
    states = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    mixture = Mixture([1, 2, 3], mode="paper")
    for t in range(1, 20):
        mixture.update(t, *seen(3, {t % 3: 1.0}))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states  # noqa: NPY002


def test_trap_9_a_domain_that_cannot_be_learned_takes_most_only_under_exp_loss():
    """One domain stays at 6 nats, two fall from 5 to 1; the reference could not learn the first either."""
    taken = {}
    for reward in ("exp_loss", "loss", "loss_drop", "excess_loss"):
        mixture = Mixture([1, 1, 1], reward=reward, reference=[6.0, 0.8, 0.8] if reward == "excess_loss" else None)
        for t in range(1, 401):
            falling = 1 + 4 * math.exp(-t / 200)
            mixture.update(t, [6.0, falling, falling], [1, 1, 1])
        taken[reward] = mixture.probabilities[0]
    floor = exploration(3, 400)
    assert taken["exp_loss"] > 0.9
    assert 0.5 < taken["loss"] < 0.7
    assert taken["loss_drop"] == pytest.approx(floor, abs=1e-6)
    assert taken["excess_loss"] == pytest.approx(floor, abs=1e-6)


def test_list_1_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match="reward_scale"):
        Mixture([1, 2], reward_scale=15.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "uniform", "reward": "loss"}, "reward 'loss' has no effect: mode 'uniform'"),
        ({"mode": "proportional", "prior": "uniform"}, "mode 'proportional' takes no prior"),
        ({"mode": "uniform", "prior": [1, 2]}, "mode 'uniform' takes no prior"),
        ({"reference": [1, 2]}, "reward 'exp_loss' takes no reference"),
        ({"mode": "stratified", "reference": [1, 2]}, "reward None takes no reference"),
    ],
)
def test_list_1_an_option_that_nothing_reads_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        Mixture([1, 2], **options)


@pytest.mark.parametrize(
    ("sizes", "options", "words"),
    [
        ([1, 2], {"mode": "odm"}, "mode 'odm' is not one of released, paper, uniform, proportional, stratified"),
        ([1, 2], {"reward": "entropy"}, "reward 'entropy' is not one of loss, exp_loss, loss_drop"),
        ([1, 2], {"mode": "paper", "reward": "exp_loss"}, "reward 'exp_loss' does not go with mode 'paper'"),
        ([1, 2], {"prior": "equal"}, "prior 'equal' is not one of proportional, uniform"),
        ([1, 2], {"prior": [1, -1]}, "prior of domain 1 is -1"),
        ([1, 2], {"prior": [math.inf, 1]}, "prior of domain 0 is inf"),
        ([1, 2], {"prior": [1, 2, 3]}, r"prior has shape \(3,\); give one number for each of 2 domains"),
        ([1, 2], {"prior": ["a", "b"]}, "prior .* is no list of numbers"),
        ([1, 2], {"prior": [0, 1]}, "prior of domain 0 is 0; mode 'released' draws from all"),
        ([1, 0], {"mode": "stratified", "prior": [0, 1]}, "prior is 0 for every domain that has rows"),
        ([1, 2], {"alpha": 1.0}, r"alpha 1.0 is out of range; it is at least 0 and below 1"),
        ([1, 2], {"alpha": math.nan}, "alpha nan is out of range"),
        ([1, 2], {"guard": "no"}, "guard 'no' is not True or False"),
        ([1, 2], {"warmup_steps": -1}, "warmup_steps -1 is out of range"),
        ([1, 2], {"warmup_steps": 2.5}, r"warmup_steps 2.5 is out of range"),
        ([1, 2], {"reward": "excess_loss"}, "reward 'excess_loss' needs the reference loss of every domain"),
        ([1, 2], {"reward": "excess_loss", "reference": [1, math.nan]}, "reference of domain 1 is nan"),
        ([0, 0], {}, "no domain has rows"),
        ([], {}, "are no numbers of rows"),
        ([1, -2], {}, "are no numbers of rows"),
        ([1.5, 2], {}, "are no numbers of rows"),
        ([[1, 2]], {}, "are no numbers of rows"),
    ],
)
def test_list_1_an_option_that_is_none_of_those_allowed_is_refused(sizes, options, words):
    with pytest.raises(InputError, match=words) as caught:
        Mixture(sizes, **options)
    assert "\n" not in str(caught.value)


def test_list_2_probabilities_change_from_update_to_update_and_repeat_in_another_run():
    def run():
        mixture = Mixture([1] * 4)
        for t in range(50, 60):
            mixture.update(t, [1, 2, 3, t % 3], [1, 1, 1, 1])
            yield tuple(mixture.probabilities)

    first = list(run())
    assert len(set(first)) == 10
    assert first == list(run())


@pytest.mark.parametrize("mode", ["released", "paper"])
@pytest.mark.parametrize("k", [34, 64, 1000])
def test_list_5_many_domains_still_adapt(mode, k):
    """From 34 domains on a floor of .03 leaves nothing; here 1 - K eps grows as soon as t passes K ln K."""
    mixture = Mixture([3] * k, mode=mode)
    losses = np.linspace(1, 4, k)
    begin = math.ceil(k * math.log(k))
    mixture.update(begin - 1, losses, np.ones(k))
    assert mixture.probabilities == pytest.approx(np.full(k, 1 / k))
    for t in (begin + 1, 2 * begin, 100 * begin):
        mixture.update(t, losses, np.ones(k), drawn=np.full(k, 1 / k))
        p, eps = mixture.probabilities, exploration(k, t)
        assert k * eps < 1
        assert (np.diff(p) > 0).all()
        assert abs(p.sum() - 1) <= 1e-12
    assert k * eps == pytest.approx(0.1, rel=1e-2)
    if mode == "released":
        assert p == pytest.approx((1 - k * eps) * np.exp(losses) / np.exp(losses).sum() + eps)


def test_list_5_most_of_the_mass_of_22_domains_adapts():
    """34 % under a floor of .03; 87 % here."""
    assert 1 - 22 * exploration(22, 4000) == pytest.approx(0.87, abs=0.005)


def test_list_5_estimates_are_not_clipped():
    """Log-weights clipped to [-5, 0] cannot tell 10 nats from 20."""
    mixture = Mixture([1, 1, 1])
    mixture.update(10**9, [1, 11, 21], [1, 1, 1])
    p, eps = mixture.probabilities, exploration(3, 10**9)
    assert (p[1] - eps) / (p[2] - eps) == pytest.approx(math.exp(-10), rel=1e-6)
    assert p[0] == pytest.approx(eps, rel=1e-3)
