"""The stream of rows: exact, complete, and the same whatever reads it."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasksift.errors import InputError
from tasksift.online import Layout, OnlineSampler
from tasksift.online.mixture import MODES

LABELS = list("aaaaaaaabbbbbcccdd")
LOSSES = {"a": 2.0, "b": 3.0, "c": 4.0, "d": 1.0}


def train(sampler, steps, *, labels=LABELS, reduce=None, seen=None):
    """Go through epochs, tell the loss of each row by its domain, and return the rows of each step."""
    per_step = sampler.layout.accumulation * sampler.layout.batch_size
    done = [] if seen is None else seen
    while len(done) < steps:
        rows = []
        for row in sampler:
            rows.append(row)
            place = sampler.layout.rows_of((len(done)) % sampler.layout.steps) // sampler.layout.ranks
            if len(rows) == min(per_step, place):
                sampler.observe(rows, [LOSSES[labels[row]] + row / 100 for row in rows])
                sampler.update(reduce)
                done.append(rows)
                rows = []
                if len(done) == steps:
                    break
    return done


def make(**options):
    return OnlineSampler(LABELS, **{"batch_size": 4, "alpha": 0.5, "warmup_steps": 1, **options})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("batches", ["mixed", "single"])
def test_the_same_seed_gives_the_same_stream_and_another_gives_another(mode, batches):
    first, again, other = (train(make(mode=mode, batches=batches, seed=seed), 20) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_two_steps_of_the_random_mixture_differ():  # a peer reseeds at every call, so that nothing changes
    steps = train(make(mode="proportional"), 8)
    assert len({tuple(rows) for rows in steps}) == 8


@pytest.mark.parametrize("mode", MODES)
def test_every_draw_is_a_row_of_the_domain_that_was_drawn(mode):  # a peer shrinks one list and not the other
    sampler = make(mode=mode)
    rows = np.concatenate(train(sampler, 100))
    assert 0 <= rows.min() <= rows.max() < len(LABELS)
    assert (np.bincount(sampler.domains.codes[rows], minlength=4) == sampler.served).all()
    assert (sampler.served > 0).all()


@given(st.integers(1, 7), st.integers(1, 4), st.integers(1, 50), st.sampled_from(["released", "stratified"]))
def test_within_a_domain_no_row_comes_again_before_all_others_came(batch, accumulation, epoch, mode):
    sampler = make(batch_size=batch, accumulation=accumulation, epoch_rows=epoch, mode=mode)
    rows = np.concatenate(train(sampler, 30))
    for code, size in enumerate(sampler.domains.sizes):
        own = rows[sampler.domains.codes[rows] == code]
        for begin in range(0, len(own), size):
            assert len(set(own[begin : begin + size].tolist())) == len(own[begin : begin + size])


def test_an_epoch_of_one_domain_is_a_permutation_of_its_rows():
    sampler = OnlineSampler(["a"] * 40, batch_size=4, mode="uniform")
    epochs = [[row for rows in train(sampler, 10, labels="a" * 40) for row in rows] for _ in range(2)]
    assert all(sorted(epoch) == list(range(40)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_small_data_need_no_minimum():  # a peer asserts batch * update_step <= rows
    sampler = OnlineSampler(["a"], batch_size=8)
    assert list(sampler) == [0] * 8
    assert len(sampler) == 8


def test_batches_of_a_single_domain():
    sampler = make(batches="single", accumulation=3)
    for rows in train(sampler, 30):
        codes = sampler.domains.codes[rows].reshape(-1, 4)
        assert (codes == codes[:, :1]).all()


def test_stratified_counts_are_exact_in_every_window():
    sampler = OnlineSampler(LABELS, batch_size=6, mode="stratified")
    total = np.zeros(4)
    for step, rows in enumerate(train(sampler, 40)):
        total += np.bincount(sampler.domains.codes[rows], minlength=4)
        assert np.abs(total - total.sum() / 4).max() < 2, step
    shares = OnlineSampler(LABELS, batch_size=10, mode="stratified", prior={"a": 5, "b": 3, "c": 1, "d": 1})
    rows = train(shares, 1)[0]
    assert np.bincount(shares.domains.codes[rows], minlength=4).tolist() == [5, 3, 1, 1]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("batches", ["mixed", "single"])
def test_exact_counts_follow_the_sum_of_the_probabilities(mode, batches):
    sampler = make(mode=mode, counts="exact", batches=batches, guard=False, epoch_rows=400)
    expected, unit = np.zeros(4), 4 if batches == "single" else 1
    for _ in range(60):
        expected += 4 * sampler.probabilities()
        train(sampler, 1)
        assert np.abs(sampler.served - expected).max() < 2 * unit
    assert sampler.served.sum() == 240


def test_the_domains_that_were_not_seen_after_the_warm_up_come_first():
    sampler = OnlineSampler(["a"] * 5000 + list("bcdefgh"), batch_size=8, warmup_steps=2)
    labels = ["a"] * 5000 + list("bcdefgh")
    for _ in range(5):
        rows = list(zip(range(8), sampler, strict=False))
        sampler.observe([row for _, row in rows], [1.0] * 8)
        sampler.update()
    assert labels[0] == "a"
    assert (sampler.served > 0).all()
    assert not sampler.mixture.unseen.any()


def test_global_generators_are_neither_read_nor_moved():  # the published code draws from the global one
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first = train(make(), 10)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    assert train(make(), 10) == first


def test_arguments_are_copied():  # the published code changes the configuration that it was given
    prior = {"a": 1, "b": 1, "c": 1, "d": 1}
    weights = np.array([1.0, 1.0, 1.0, 1.0])
    sampler = OnlineSampler(LABELS, batch_size=4, prior=weights, mode="released")
    train(sampler, 5)
    weights[:] = 0
    sampler.probabilities()[:] = 0
    sampler.reset()
    assert sampler.probabilities().tolist() == [0.25] * 4
    OnlineSampler(LABELS, prior=prior)
    assert prior == {"a": 1, "b": 1, "c": 1, "d": 1}


def test_two_samplers_at_once_do_not_see_one_another():  # buffers of a peer's module leak from run to run
    alone = [train(make(seed=seed), 12) for seed in (0, 1)]
    both, seen = [make(seed=seed) for seed in (0, 1)], [[], []]
    for _ in range(12):
        for sampler, rows in zip(both, seen, strict=True):
            rows += train(sampler, 1)
    assert seen == alone


def test_reset_begins_again():
    sampler = make()
    assert train(sampler, 12) == (sampler.reset(), train(sampler, 12))[1]


def test_rows_that_were_read_ahead_and_not_trained_on_come_again():
    ahead = make(delay=2)
    begun = iter(ahead)
    read = [next(begun) for _ in range(8)]
    assert train(ahead, 3) == train(make(delay=2), 3)
    assert [row for rows in train(make(delay=2), 2) for row in rows] == read


@pytest.mark.parametrize("ahead", [0, 1, 2, 3])
def test_how_far_a_loader_reads_ahead_changes_nothing(ahead):
    sampler = make(delay=3, epoch_rows=48)
    rows, source, expected = [], iter(sampler), train(make(delay=3, epoch_rows=48), 12)
    for step in range(12):
        while len(rows) < min(48, 4 * (step + 1 + ahead)):
            rows.append(next(source))
        now = rows[4 * step : 4 * step + 4]
        sampler.observe(now, [LOSSES[LABELS[row]] + row / 100 for row in now])
        sampler.update()
        assert now == expected[step]


def test_reading_too_far_ahead_is_refused():
    source = iter(make(delay=1))
    for _ in range(8):
        next(source)
    with pytest.raises(InputError, match="rows of step 2 are asked for after 0 updates and with delay 1"):
        next(source)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.sampled_from(MODES))
def test_ranks_share_the_stream_of_one(batch, accumulation, ranks, mode):
    one = make(batch_size=batch * ranks, accumulation=accumulation, mode=mode, epoch_rows=40)
    several = [
        make(batch_size=batch, accumulation=accumulation, mode=mode, epoch_rows=40, rank=rank, ranks=ranks)
        for rank in range(ranks)
    ]
    alone, sources = iter(one), [iter(each) for each in several]
    for step in range(one.layout.steps):
        count = one.layout.rows_of(step)
        whole = [next(alone) for _ in range(count)]
        parts = [[next(source) for _ in range(count // ranks)] for source in sources]
        joined = np.array(parts).reshape(ranks, -1, batch).transpose(1, 0, 2).ravel().tolist()
        assert joined == whole
        losses = {row: LOSSES[LABELS[row]] + row / 128 for row in whole}
        one.observe(whole, [losses[row] for row in whole])
        one.update()
        sums = np.zeros((2, 4))
        for row in whole:
            sums[:, one.domains.codes[row]] += losses[row], 1
        for sampler, rows in zip(several, parts, strict=True):
            assert (sampler.own(step).ravel() == rows).all()
            sampler.observe(rows, [losses[row] for row in rows])
            sampler.update(lambda mine, sums=sums: sums)
            assert np.abs(sampler.probabilities() - one.probabilities()).max() < 1e-12


def test_a_loader_that_deals_by_itself_gets_the_whole_stream():
    sampler = make()
    sampler.arrange(Layout(batch_size=2, accumulation=1, ranks=2, rounds=5, delay=5), rank=1)
    assert len(sampler) == len(list(sampler)) == 20
    assert sampler.own(3).shape == (1, 2)


def test_restricted_rows_and_no_others_come_from_the_next_update_on():
    sampler = make(mode="proportional", delay=1)
    kept = [0, 1, 2, 9, 9, 16]
    train(sampler, 3)
    sampler.restrict(kept)
    steps = train(sampler, 60)
    assert not set(steps[0]) <= set(kept)  # drawn by the update before
    later = np.array(steps[1:]).ravel()
    assert set(later.tolist()) == set(kept)
    counts = np.bincount(later, minlength=18)
    assert counts[9] > 1.5 * counts[16]
    assert sampler.served[sampler.domains.names.index("c")] == 0 or "c" in {LABELS[row] for row in np.ravel(steps[:1])}


def test_a_restriction_to_domains_that_the_mixture_leaves_out_draws_from_what_there_is():
    sampler = make(mode="stratified", prior={"a": 1, "b": 0, "c": 0, "d": 0})
    sampler.restrict([10, 11])
    assert set(np.ravel(train(sampler, 5)).tolist()) == {10, 11}


def test_the_guard_does_not_wait_for_domains_that_a_restriction_leaves_out():
    sampler = make(warmup_steps=0, epoch_rows=400)
    sampler.restrict([0, 1, 2, 8, 9])
    train(sampler, 80)
    p = sampler.probabilities()
    assert p[1] > p[0] > p[2] == p[3]
    again = make(warmup_steps=0, epoch_rows=400)
    again.load_state_dict(sampler.state_dict())
    assert (again.mixture.unseen == sampler.mixture.unseen).all()
    assert not again.mixture.unseen.any()


def test_losses_of_a_domain_are_the_mean_over_its_tokens():
    sampler = make()
    sampler.observe([0, 1, 8], [1.0, 4.0, 7.0], [30, 10, 5])
    sampler.observe([2], [2.0], [40])
    sampler.update()
    assert np.allclose(sampler.losses, [(30 + 40 + 80) / 80, 7.0, np.nan, np.nan], equal_nan=True)


def test_losses_that_are_no_numbers_are_counted_and_left_out():
    sampler = make()
    sampler.observe([0, 1, 8, 9], [np.nan, 2.0, np.inf, 3.0], [1, 1, 1, 0])
    sampler.update()
    assert sampler.ignored == 2
    assert np.allclose(sampler.losses, [2.0, np.nan, np.nan, np.nan], equal_nan=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batches": "pure"}, "batches 'pure' is not one of mixed, single"),
        ({"seed": -1}, "seed -1 is out of range"),
        ({"rank": 2, "ranks": 2}, "rank 2 is out of range; with 2 ranks it is 0 to 1"),
        ({"counts": "even"}, "counts 'even' is not one of random, exact"),
        ({"epoch_rows": 0}, "epoch_rows 0 is out of range"),
        ({"batch_size": 0}, "batch_size 0 is out of range"),
        ({"prior": {"a": 1, "b": 1, "c": 1, "d": 1, "e": 1}}, "there is no domain 'e'"),
        ({"prior": {"a": 1}}, "there is no number for the domain 'b'"),
        ({"mode": "doremi"}, "mode 'doremi' is not one of"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(InputError, match=message):
        make(**options)


@pytest.mark.parametrize("name", ["seed", "batch_size", "ranks", "epoch_rows", "accumulation", "delay"])
@pytest.mark.parametrize("value", [1.5, "2", -1, True])
def test_numbers_are_whole(name, value):
    with pytest.raises(InputError, match=f"{name} .* is out of range; it is a whole number from"):
        make(**{name: value})


def test_tensors_are_observed_as_they_are():
    torch = pytest.importorskip("torch")
    sampler, same = make(), make()
    losses = torch.tensor([1.5, 2.5], dtype=torch.bfloat16, requires_grad=True)
    sampler.observe(torch.tensor([0, 8]), losses, torch.tensor([3, 4]))
    same.observe([0, 8], [1.5, 2.5], [3, 4])
    sampler.update()
    same.update()
    assert np.array_equal(sampler.losses, same.losses, equal_nan=True)


def test_unknown_options_are_refused():  # a peer drops them in silence
    with pytest.raises(TypeError, match="reward_scale"):
        make(reward_scale=15.0)


def test_bad_observations_are_named():
    sampler = make()
    with pytest.raises(InputError, match="2 rows, 1 losses"):
        sampler.observe([0, 1], [1.0])
    with pytest.raises(InputError, match="row 99 is out of range; the training set has 18 rows"):
        sampler.observe([99], [1.0])
    with pytest.raises(InputError, match="row -1 is out of range"):
        sampler.observe([-1, 5], [1.0, 1.0])
    with pytest.raises(InputError, match="rows are of type bool; give their numbers"):
        sampler.restrict(np.ones(18, dtype=bool))
    with pytest.raises(InputError, match="rows are of type float64"):
        sampler.restrict([1.7])
    with pytest.raises(InputError, match="no row is left"):
        sampler.restrict([])
    with pytest.raises(InputError, match="step 5 is not drawn"):
        sampler.rows(5)
    several = make(ranks=2)
    with pytest.raises(InputError, match="several ranks must add up"):
        several.update()


@pytest.mark.parametrize("tokens", [np.inf, np.nan, -1, 0, 1e300])
def test_an_impossible_number_of_tokens_does_not_stop_the_training(tokens):
    sampler = OnlineSampler(list("aabb"), batch_size=2, guard=False)
    rows = list(itertools.islice(sampler, 2))
    sampler.observe(rows, [1.0, 2.0], [tokens, 1.0])
    sampler.update()
    assert sampler.probabilities().sum() == pytest.approx(1)
